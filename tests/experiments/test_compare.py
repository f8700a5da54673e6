import importlib
import json
import math
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from quickstudy.engine import TestReport
from quickstudy.engine.meta_test import ClassScores
from quickstudy.errors import DataError, RunError, UsageError
from quickstudy.experiments import budget
from quickstudy.experiments import compare as comparing
from quickstudy.experiments.build import tasks_of_test
from quickstudy.experiments.compare import compare, recipe_of
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.run import load_run
from quickstudy.experiments.significance import compare_pairs, holm
from quickstudy.files import read_json
from quickstudy.recipes.loading import load_recipe, parse_recipe
from quickstudy.tasks.datasets import glyphs


@pytest.fixture
def recipes_here(monkeypatch, tmp_path):
    """Two recipes in the working folder, for comparisons of a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(budget, "MIN_STEPS", 2)
    monkeypatch.setattr(budget, "VALIDATION_TASKS", (2, 4))
    monkeypatch.setattr(budget, "_seconds", lambda *_: (0.02, 0.002))
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "small.toml").write_text(SMALL)


LEARNERS = ["small.toml", "nearest.toml"]
SMALL = """
base = "prototypical_glyphs"
[backbone]
width = 4
[tasks]
n_way = 60
augment = "affine"
[train]
precision = "bfloat16"
patience = 3
"""
NEAREST = """
about = "pixels"
data = { name = "glyphs" }
backbone = { name = "flatten" }
learner = { name = "nearest_centroid" }
tasks = { n_way = 5 }
train = { steps = 0 }
"""
CLASSIFIER = """
about = "a classifier of all classes"
data = { name = "glyphs" }
backbone = { name = "flatten" }
learner = { name = "fine_tuning", n_classes = 64 }
tasks = { n_way = 5 }
curriculum = [{ steps = 1000, n_way = 2 }]
[train]
steps = 4000
executor = "compiled"
schedule = { name = "MultiStepLR", milestones = [1000, 3000] }
"""
GLYPHS = {"name": "glyphs"}
TASKS = {"n_way": 4, "n_shot": 2, "n_query": 3}


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_learners_are_compared_on_the_same_tasks_and_a_comparison_goes_on(tmp_path):
    options = {"seconds": 2, "n_tasks": 30, "seed": 3, **TASKS}
    found = compare(LEARNERS, GLYPHS, tmp_path / "out", **options)
    scores = json.loads((tmp_path / "out" / "compare.json").read_text())["scores"]
    assert [len(scores[name]) for name in LEARNERS] == [30, 30]
    assert [entry["learner"] for entry in found.learners] == sorted(
        LEARNERS, key=lambda name: -sum(scores[name])
    )
    (pair,) = found.pairs
    assert pair.difference == pytest.approx(
        abs(sum(scores[LEARNERS[0]]) - sum(scores[LEARNERS[1]])) / 30
    )
    assert all(entry["curve"] and entry["cost"]["seconds"] > 0 for entry in found.learners)

    again = compare(LEARNERS, GLYPHS, tmp_path / "out", **options)
    assert [entry["mean"] for entry in again.learners] == [e["mean"] for e in found.learners]
    assert [e["train_seconds"] for e in again.learners] == [
        e["train_seconds"] for e in found.learners
    ]
    with pytest.raises(RunError, match="another comparison"):
        compare(LEARNERS, GLYPHS, tmp_path / "out", **{**options, "seed": 4})
    with pytest.raises(RunError, match="is not a comparison"):
        compare(LEARNERS, GLYPHS, tmp_path, **options)


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_all_learners_train_on_the_tasks_of_the_test_whatever_their_recipes_say(tmp_path):
    (tmp_path / "classifier.toml").write_text(CLASSIFIER)
    names = [*LEARNERS, "classifier.toml"]
    compare(names, GLYPHS, tmp_path / "out", seconds=2, n_tasks=5, **TASKS)
    runs = [load_run(tmp_path / "out" / name.removesuffix(".toml"))[0] for name in names]
    for recipe in runs:
        for family in (recipe.tasks, recipe.validation, recipe.test[0]):
            assert {key: getattr(family, key) for key in TASKS} == TASKS
            assert family.augment is None
        assert not recipe.curriculum
        assert recipe.train.precision == "float32"
        assert recipe.train.patience is None
    assert runs[0].validation.n_tasks == runs[2].validation.n_tasks
    classifier = runs[2]
    assert classifier.learner.options["n_classes"] == glyphs.load("train").n_classes
    assert classifier.train.executor == "auto"  # which compiles nothing under a budget
    first, second = classifier.train.schedule.options["milestones"]
    assert second == pytest.approx(3 * first, abs=2)
    assert first == pytest.approx(classifier.train.steps / 8, abs=2)  # of twice the estimate


COPIES = """
base = "prototypical_glyphs"
data = { name = "glyphs", labels = "none" }
backbone = { width = 4 }
tasks = { n_way = 20, n_query = 1, augment = "affine" }
validation = { n_way = 10, n_query = 1, augment = "affine" }
"""


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_a_recipe_without_labels_trains_on_its_own_tasks_and_is_tested_with_the_others(tmp_path):
    (tmp_path / "copies.toml").write_text(COPIES)
    names = ["nearest.toml", "copies.toml"]
    found = compare(names, GLYPHS, tmp_path / "out", seconds=0.5, n_tasks=2, **TASKS)
    labels = {entry["learner"]: entry["labels"] for entry in found.learners}
    assert labels == {"nearest.toml": "given", "copies.toml": "none"}
    recipes = [load_run(tmp_path / "out" / name[:-5])[0] for name in names]
    own, copies = recipes[1].validation, recipes[1].tasks
    assert (copies.n_way, copies.augment, own.n_way, own.augment) == (20, "affine", 10, "affine")
    one, other = (tasks_of_test(recipe, recipe.test[0])[1] for recipe in recipes)
    assert torch.equal(one.query.x, other.query.x)
    assert torch.equal(one.query.y, other.query.y)


def test_without_labels_too_a_learner_that_takes_no_other_ways_trains_on_those_of_the_test():
    recipe = recipe_of("umtra_maml_omniglot")
    planned = comparing._by_protocol("umtra", recipe, {"name": "glyphs"}, TASKS, 1, 5, 0)
    assert planned.tasks.n_way == planned.validation.n_way == TASKS["n_way"]
    assert planned.tasks.augment == recipe.tasks.augment


def test_a_recipe_without_labels_is_not_trained_on_a_folder(tmp_path):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (30, 30)).save(tmp_path / "data" / name / "one.png")
    folder = {"name": "folder", "folder": str(tmp_path / "data")}
    with pytest.raises(UsageError, match="protoclr_omniglot: expected a data set for a recipe"):
        compare(["protoclr_omniglot", "nearest_centroid"], folder, tmp_path / "out", seconds=1)


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_training_ends_by_the_clock_though_steps_turn_out_slower_than_those_timed(
    tmp_path, monkeypatch
):
    clock = [0.0]
    training = importlib.import_module("quickstudy.engine.meta_train")
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(budget, "_seconds", lambda *_: (0.01, 0.01))  # too good
    sampled = comparing.EpisodeSampler.__getitem__

    def slow(tasks, index):
        clock[0] += 0.1
        return sampled(tasks, index)

    monkeypatch.setattr(comparing.EpisodeSampler, "__getitem__", slow)
    found = compare(LEARNERS, GLYPHS, tmp_path / "out", seconds=10, n_tasks=5, **TASKS)
    (entry,) = [entry for entry in found.learners if entry["steps"]]
    assert 9 < entry["train_seconds"] <= 11
    assert read_json(tmp_path / "out" / "small" / "report.json")["train"]["stopped"] == "time"


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_what_took_more_than_its_budget_or_hardly_trained_is_shown_but_not_tested(tmp_path):
    options = {"seconds": 2, "n_tasks": 5, **TASKS}
    compare(LEARNERS, GLYPHS, tmp_path / "out", **options)
    path = tmp_path / "out" / "small" / "report.json"
    report = json.loads(path.read_text())
    for change, enough in (
        ({"seconds": 2.1}, True),
        ({"seconds": 2.3}, False),
        ({"seconds": 2.0, "steps": 1}, False),
    ):
        path.write_text(json.dumps({**report, "train": {**report["train"], **change}}))
        found = compare(LEARNERS, GLYPHS, tmp_path / "out", **options)
        assert {e["learner"]: e["trained_enough"] for e in found.learners} == {
            "small.toml": enough,
            "nearest.toml": True,
        }
        assert (found.pairs[0].p is not None) == enough


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_a_budget_too_short_for_some_steps_is_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "MIN_STEPS", 50)
    monkeypatch.setattr(budget, "_seconds", lambda *_: (0.5, 0.001))
    with pytest.raises(UsageError, match=r"20 s is too short for small.toml, .* about 32 s for 50"):
        compare(LEARNERS, GLYPHS, tmp_path / "out", seconds=20, n_tasks=5, **TASKS)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few_glyphs", "recipes_here")
def test_of_a_plan_that_fails_the_learner_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^small.toml: expected .* examples of every class"):
        compare(LEARNERS, GLYPHS, tmp_path / "out", seconds=1, n_shot=1000)


@pytest.mark.usefixtures("few_glyphs")
def test_of_a_backbone_that_does_not_take_the_data_the_learner_is_named(tmp_path):
    for name, text in (("nearest", NEAREST), ("small", SMALL)):
        (tmp_path / f"{name}.toml").write_text(text)
    learners = [str(tmp_path / name) for name in LEARNERS]
    tiny_images = {**GLYPHS, "image_size": 12}
    with pytest.raises(UsageError, match=r"small.toml: backbone conv4"):
        compare(learners, tiny_images, tmp_path / "out", seconds=1, n_tasks=5)


def draw_classes(folder, mode, size):
    generator = np.random.default_rng(0)
    for c in range(40):
        (folder / f"c{c}").mkdir(parents=True)
        for i in range(4):
            pixels = generator.integers(200, 256, (size[1], size[0], 3), np.uint8)
            pixels[..., c % 3] //= 2 if mode == "RGB" else 1
            Image.fromarray(pixels).convert(mode).convert("RGB").save(folder / f"c{c}" / f"{i}.png")


@pytest.mark.usefixtures("recipes_here")
@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [("RGB", (40, 30), (3, 40)), ("L", (30, 30), (1, 30)), ("RGB", (300, 200), (3, 84))],
)
def test_images_of_a_folder_keep_their_colours_and_size(
    tmp_path, monkeypatch, mode, size, expected
):
    draw_classes(tmp_path / "photographs", mode, size)
    data = {"name": "folder", "folder": str(tmp_path / "photographs")}
    options = {"n_way": 2, "n_shot": 1, "n_query": 1, "n_tasks": 4}
    monkeypatch.setattr(comparing, "_trained", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(LEARNERS, data, tmp_path / "out", seconds=3, **options)
    plan = read_json(tmp_path / "out" / "plan.json")
    for recipe in map(parse_recipe, plan["recipes"].values()):
        assert recipe.data.shape == (expected[0], expected[1], expected[1])
        x = make_tasks(recipe, recipe.tasks, recipe.data, 0)[0].query.x
        middle = x[..., expected[1] // 2, expected[1] // 2]
        assert float(middle.mean()) > 0.5  # bright as in the files, not inverted


def report(scores, by_class=None):
    return TestReport("accuracy", float(np.mean(scores)), 0.0, None, list(scores), by_class)


def test_a_difference_is_tested_by_class_where_classes_are_known():
    rng = np.random.default_rng(0)
    n_classes, n_tasks = 6, 200
    by_class = rng.normal(0.05, 0.05, n_classes)  # how much better one is on each class
    clusters = torch.arange(n_classes).repeat(n_tasks)
    tasks = torch.arange(n_tasks).repeat_interleave(n_classes)
    weights = torch.ones(len(tasks)).double()
    better = torch.from_numpy(np.tile(by_class, n_tasks))
    one = ClassScores(0.5 + better, weights, clusters, tasks)
    other = ClassScores(torch.full_like(better, 0.5), weights, clusters, tasks)
    scores = np.full(n_tasks, 0.5 + by_class.mean())
    reports = {"one": report(scores, one), "other": report(np.full(n_tasks, 0.5), other)}
    (pair,) = compare_pairs(reports, {"one", "other"})
    # 200 tasks over the same six classes are worth six differences.
    assert pair.p == pytest.approx(stats.ttest_1samp(by_class, 0).pvalue)

    a, b = rng.normal(0.6, 0.1, (2, 50))
    (pair,) = compare_pairs({"a": report(a), "b": report(b)}, {"a", "b"})
    assert pair.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    (pair,) = compare_pairs({"a": report(a), "b": report(a)}, {"a", "b"})
    assert pair.p == 1
    assert not math.isnan(
        compare_pairs({"a": report([1, 1]), "b": report([0, 0])}, {"a", "b"})[0].p
    )


def test_what_cannot_be_compared_is_refused(tmp_path):
    for names, message in (
        (["maml"], "two different"),
        (["maml", "maml"], "two different"),
        (["maml", "mine/maml.toml"], "more than a folder or .toml"),
        (["maml", "mamll"], "did you mean 'maml'"),
    ):
        with pytest.raises(UsageError, match=message):
            compare(names, {"name": "glyphs"}, tmp_path / "out", seconds=1)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="data set of classes to tell apart, got sinusoid"):
        compare(["maml", "reptile"], {"name": "sinusoid"}, tmp_path / "out", seconds=1)


def test_a_learner_stands_for_its_recipe_on_images():
    assert recipe_of("maml") == load_recipe("maml_omniglot")
    assert recipe_of("maml", channels=3) == load_recipe("maml_caltech")
    assert recipe_of("mann") == load_recipe("mann_omniglot")
    assert recipe_of("fine_tuning") == load_recipe("fine_tuning_caltech")
    assert recipe_of("prototypical_omniglot").tasks.n_way == 60


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
