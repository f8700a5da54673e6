"""Recipes whose data has no labels, from the folder to the tested run."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.encoders.encoder import Pretrained
from quickstudy.engine.checkpoints import load_tensors
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments import data
from quickstudy.experiments.build import tasks_of_test, training_options
from quickstudy.experiments.evaluate import meta_test_all
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.report import keep_results
from quickstudy.experiments.run import load_run, train_run
from quickstudy.recipes.loading import override, parse_recipe
from quickstudy.tasks import ClassData, ClusterTasks, CopyTasks
from quickstudy.tasks.datasets import DATASETS, Dataset

SIDE = 16
TEST = {"title": "digits", "data": {"name": "digits"}, "n_way": 3, "n_shot": 1, "n_tasks": 2}


def recipe(source, *changes):
    plain = {
        "about": "no labels",
        "data": {"labels": "none", "image_size": SIDE, **source},
        "backbone": {"name": "conv4", "width": 4},
        "learner": {"name": "prototypical_networks"},
        "tasks": {"n_way": 4, "n_query": 2, "augment": ["affine", {"name": "cutout", "side": 0.2}]},
        "train": {"steps": 3, "executor": "serial", "precision": "float32"},
        "test": [TEST],
    }
    return parse_recipe(override(plain, changes))


def training_tasks(recipe) -> Any:
    return make_tasks(recipe, recipe.tasks, recipe.data, 0)


@pytest.fixture
def photos(tmp_path):
    folder, generator = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for i in range(60):
        pixels = generator.integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return {"name": "folder", "folder": str(folder)}


def test_a_flat_folder_trains_is_chosen_by_its_own_images_and_is_tested_on_others(photos, tmp_path):
    validation = "validation = { n_way = 2, n_query = 2, n_tasks = 2, augment = 'elastic' }"
    key, _, value = validation.partition(" = ")
    of_photos = recipe(photos, f"{key}={value}", "train.validate_every=1")
    train, held_out = training_tasks(of_photos), training_options(of_photos)["validation"]
    assert isinstance(train, CopyTasks)
    assert isinstance(held_out, CopyTasks)
    assert len(train.data) + len(held_out.data) == 60
    assert len(held_out.data) < 15

    learner, trained = train_run(of_photos, tmp_path / "run")
    assert trained.best is not None
    found, absent = meta_test_all(of_photos, {"score": learner})
    assert not absent
    keep_results(tmp_path / "run", of_photos, found)
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "photos without its labels (train split)" in " ".join(card.split())
    again, _ = load_run(tmp_path / "run")
    assert again == of_photos
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["data"]["labels"] == "none"


def garbled(y):
    """Other labels, which do not depend on the examples."""
    return torch.randperm(len(y), generator=torch.Generator().manual_seed(5)) % (int(y.max()) + 1)


@pytest.mark.parametrize(
    "changes",
    [[], ["data.rotations=true"], ["tasks.clusters={ n_clusters = 5, n_partitions = 2 }"]],
    ids=["copies", "rotations", "clusters"],
)
def test_other_labels_give_the_same_bits(changes, tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 1, SIDE, SIDE, generator=generator), torch.arange(60) % 6
    weights = []
    for i, labels in enumerate((y, garbled(y))):
        classes = ClassData(x, labels, list("abcdef"))
        load = lambda split, *, image_size, seed, classes=classes: classes  # noqa: E731
        name = f"labelled{i}"
        dataset = Dataset(title="noise", splits=("train",), load=load)
        monkeypatch.setitem(DATASETS, name, dataset)
        run = recipe({"name": name}, *changes)
        train_run(run, tmp_path / name)
        weights.append(load_tensors(tmp_path / name / "weights.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


def test_clusters_may_be_of_what_another_run_has_learned(photos, tmp_path):
    train_run(recipe(photos), tmp_path / "encoder")
    clusters = "{{ n_clusters = 5, n_partitions = 2, embedding = '{}' }}"
    by_run = recipe(photos, "tasks.clusters=" + clusters.format(tmp_path / "encoder"))
    raw = recipe(photos, "tasks.clusters={ n_clusters = 5, n_partitions = 2 }")
    tasks, of_raw = training_tasks(by_run), training_tasks(raw)
    assert isinstance(tasks, ClusterTasks)
    assert tasks[0].support.x.shape == (4, 1, SIDE, SIDE)
    sizes = [[counts.tolist() for _, counts in one.partitions] for one in (tasks, of_raw)]
    assert sizes[0] != sizes[1]
    other = recipe(
        photos, "data.image_size=20", "tasks.clusters=" + clusters.format(tmp_path / "encoder")
    )
    with pytest.raises(UsageError, match=r"run on examples of shape \(1, 20, 20\) to cluster by"):
        training_tasks(other)
    absent = recipe(photos, "tasks.clusters=" + clusters.format(tmp_path / "absent"))
    with pytest.raises(MissingError, match="expected a run folder"):
        training_tasks(absent)


def test_what_an_encoder_makes_of_images_is_distorted_as_vectors(photos, monkeypatch):
    def brightness(images):
        return torch.stack(images).float().mean((2, 3)).repeat(1, 3)[:, :3] + 1

    encoder = Encoder(brightness, "brightness", "1", seen="light and dark")
    pretrained = Pretrained(lambda: encoder, 3, "images", side=16)
    monkeypatch.setitem(ENCODERS, "efficientnet_lite0", pretrained)
    monkeypatch.setattr(data, "_encoder", lambda _: encoder)
    plain = {**photos, "labels": "none", "encoder": "efficientnet_lite0"}
    made = parse_recipe(
        {
            "about": "vectors",
            "data": plain,
            "backbone": {"name": "linear"},
            "learner": {"name": "prototypical_networks"},
            "tasks": {"n_way": 4, "n_query": 2, "augment": "mask_features"},
            "train": {"steps": 1},
        }
    )
    episode = training_tasks(made)[0]
    assert episode.query.x.shape == (8, 3)
    assert bool((episode.query.x == 0).any())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ("tasks.n_way=61", DataError, "at least 61 examples for 61-way tasks, each a class, got"),
        ("tasks.split=test", UsageError, "unknown split of a folder without labels 'test'"),
        ("tasks.n_labels=9", UsageError, "expected no n_labels with data.labels"),
        ("tasks.augment=elastik", UsageError, "unknown augment 'elastik'; did you mean 'elastic'"),
        ("tasks.augment=[{ name = 'crop', most = 1 }]", UsageError, "option of augment crop"),
        ("tasks.augment=[{ name = 'crop', least = 'a' }]", UsageError, "option least of augment"),
        ("tasks.augment=add_noise", DataError, r"vectors \(n, d\) to distort, got shape"),
        ("tasks.n_query=0", UsageError, "tasks.n_query"),
        (
            "tasks.clusters={ n_clusters = 5, n_partitions = 1 }",
            DataError,
            "4 clusters of 31 examples or more",
        ),
    ],
)
def test_tasks_that_cannot_be_are_refused_in_a_line(photos, change, kind, message):
    changes = [change, *(["tasks.n_query=30"] if "clusters" in change else [])]
    with pytest.raises(kind, match=message) as refused:
        training_tasks(recipe(photos, *changes))[0]
    assert "\n" not in str(refused.value)


def test_neither_copies_nor_clusters_and_tests_without_labels_are_refused(photos):
    made = recipe(photos)
    bare = made.tasks.model_copy(update={"augment": None})
    with pytest.raises(UsageError, match="expected augment or clusters"):
        make_tasks(made, bare, made.data, 0)
    unlabelled = made.test[0].model_copy(update={"data": None})
    with pytest.raises(UsageError, match=r"data with labels to test on, got .* in test 'digits'"):
        tasks_of_test(made, unlabelled)
    with pytest.raises(UsageError, match="expected no further keys with sinusoid"):
        recipe({"name": "sinusoid"}, "data={ name = 'sinusoid', labels = 'none' }")
    labelled = parse_recipe(
        {
            **json.loads(made.as_json()),
            "data": {"name": "digits"},
            "tasks": {"split": "test", "n_way": 2, "clusters": {"n_clusters": 4}},
        }
    )
    with pytest.raises(UsageError, match=r'clusters only with data\.labels = "none"'):
        training_tasks(labelled)


def test_too_few_images_to_hold_some_out_are_said_so(photos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").rename(few / f"{i}.png")
    short = recipe(
        {"name": "folder", "folder": str(few)}, "tasks.n_way=2", "tasks.split=validation"
    )
    with pytest.raises(DataError, match="for training and validation, got 3, too few to split"):
        training_tasks(short)
    assert (
        len(
            training_tasks(recipe(short.data.model_dump(), "tasks.n_way=2", "tasks.split=all")).data
        )
        == 3
    )
