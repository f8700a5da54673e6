import json
import shutil

import numpy as np
import pytest
from PIL import Image

from command import run
from drawings import draw_boxes, draw_few_glyphs
from quickstudy.apps.doctor import diagnosis, run_checks
from quickstudy.apps.doctor.advice import advise
from quickstudy.diagnostics.finding import Finding
from quickstudy.diagnostics.training_statistics import STATISTICS_FILE
from quickstudy.experiments.run import train_run
from quickstudy.learners.transfer.blend import ExpectedAccuracy
from quickstudy.recipes.loading import load_recipe

QUICK = ["train.steps=2", "validation.n_tasks=2"]
SMALL = [
    "tasks.n_way=5",
    "validation.n_way=5",
    "backbone.width=8",
    "train.executor='serial'",
    "test=[{title='new', n_way=5, n_shot=1, n_tasks=2}]",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor") / "run"
    with pytest.MonkeyPatch.context() as patch:
        draw_few_glyphs(patch)
        train_run(load_recipe("prototypical_glyphs", [*QUICK, *SMALL]), folder)
    return folder


@pytest.fixture
def glyphs_run(few_glyphs, trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def letters(tmp_path):
    boxes = {"<b>low": (2, 20, 20, 26), "high": (2, 2, 20, 8), "left": (2, 2, 8, 26)}
    draw_boxes(tmp_path / "letters", boxes)
    return tmp_path / "letters"


def diagnose(capsys, tmp_path, *words):
    page = tmp_path / "page.html"
    code, out, err = run(capsys, "doctor", *words, "--n-tasks", 10, "--out", page, "--json")
    assert code == 0, err
    return json.loads(out), page.read_text()


def test_a_run_with_a_support_set_gets_every_section_and_one_page(
    capsys, tmp_path, glyphs_run, letters
):
    shutil.copy(letters / "high" / "0.png", letters / "left" / "copy.png")
    found, page = diagnose(capsys, tmp_path, glyphs_run, "--support", letters)
    measures = {one["measure"] for each in found["sections"].values() for one in each}
    assert {"novelty", "generalisation gap", "label order", "Vendi score of tasks"} <= measures
    assert {"shuffled support labels", "proxy A-distance", "seconds to adapt"} <= measures
    here = {one["measure"]: one for one in found["sections"]["Support set and training"]}
    assert here["default learner"]["threshold"]["value"] == here["expected accuracy"]["value"]
    (copies,) = [o for o in found["sections"]["Support set"] if o["measure"] == "copies"]
    assert copies["status"] == "warning"
    assert page.count("data:image/png;base64,") >= 2  # the two copies
    assert "<svg" in page
    for external in ("<script", "http://", "https://", "<b>low"):
        assert external not in page.replace("http://www.w3.org/2000/svg", "")


def expected_of(mean):
    return Finding("expected accuracy", "fine", mean, "")


def test_the_learner_that_promises_more_is_advised():
    default = ExpectedAccuracy(0.8, 0.6, 0.9, 0.2)
    better, worse = advise(expected_of(0.55), default), advise(expected_of(0.85), default)
    assert better.is_warning
    assert "default learner" in better.advice
    assert not worse.is_warning
    assert not advise(expected_of(0.7), default).is_warning  # it may be as good
    assert worse.advice == ""


def test_a_run_from_before_the_statistics_says_so(capsys, tmp_path, glyphs_run, letters):
    (glyphs_run / STATISTICS_FILE).unlink()
    found, page = diagnose(capsys, tmp_path, glyphs_run, "--support", letters)
    (reason,) = [one["reason"] for one in found["left_out"] if one["measure"] == "novelty"]
    assert "from before statistics" in reason
    assert "from before statistics" in page
    (unknown,) = [one for one in found["left_out"] if one["measure"] == "default learner"]
    assert "nothing is known" in unknown["reason"]


def test_a_support_set_of_one_image_a_class_is_served_as_far_as_it_goes(
    capsys, tmp_path, glyphs_run
):
    for name in ("a", "b"):
        (tmp_path / "one" / name).mkdir(parents=True)
        Image.new("L", (28, 28), 255).save(tmp_path / "one" / name / "1.png")
    found, _ = diagnose(capsys, tmp_path, glyphs_run, "--support", tmp_path / "one")
    left = {one["measure"]: one["reason"] for one in found["left_out"]}
    assert "three examples of each" in left["mislabelled example"]
    assert "5 examples of each domain" in left["distance to the training data"]


def test_a_run_of_regression_is_served_as_far_as_it_goes(capsys, tmp_path):
    changes = [*QUICK, "train.executor='serial'"]
    train_run(load_recipe("maml_sinusoid", changes), tmp_path / "run")
    found, _ = diagnose(capsys, tmp_path, tmp_path / "run")
    measures = {one["measure"] for each in found["sections"].values() for one in each}
    assert {"generalisation gap", "adaptation gain", "feature reuse"} <= measures
    left = {one["measure"]: one["reason"] for one in found["left_out"]}
    assert "has no chance" in left["shuffled support labels"]


def test_a_run_without_its_data_says_what_is_left_out(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "none"))
    found, _ = diagnose(capsys, tmp_path, "handwriting")
    left = {one["measure"]: one["reason"] for one in found["left_out"]}
    assert "omniglot" in left["generalisation gap"]


def test_a_fault_of_a_measure_surfaces(few_glyphs, monkeypatch):
    def fault(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(run_checks, "generalisation_gap", fault)
    with pytest.raises(RuntimeError, match="mat1"):
        diagnosis.diagnose("glyphs", n_tasks=3)


def test_a_learner_that_acts_is_pointed_to_rollout(capsys, tmp_path):
    recipe = load_recipe(
        "rl2_bandits", ["train.steps=1", "train.meta_batch_size=4", "validation.n_tasks=2"]
    )
    train_run(recipe, tmp_path / "run")
    found, _ = diagnose(capsys, tmp_path, tmp_path / "run")
    assert "rollout" in found["left_out"][0]["reason"]


def test_a_table_with_a_leak_is_found_by_its_column(capsys, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 20)), np.arange(30) % 2
    x[:, 3] = y + 0.01 * x[:, 3]
    names = [f"c{i}" for i in range(20)]
    lines = [",".join([*names, "label"])]
    lines += [",".join([*(f"{v:.4f}" for v in row), f"k{k}"]) for row, k in zip(x, y, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    found, _ = diagnose(capsys, tmp_path, "tables", "--support", tmp_path / "table.csv")
    (leak,) = [o for o in found["sections"]["Support set"] if o["measure"] == "leaking column"]
    assert leak["status"] == "warning"
    assert "'c3'" in leak["verdict"]
    left = {one["measure"]: one["reason"] for one in found["left_out"]}
    assert "examples of one shape" in left["distance to the training data"]
    assert "examples of one shape" in left["task diversity"]
