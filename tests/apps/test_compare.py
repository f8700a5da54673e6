import json

import pytest
from scipy import stats

from quickstudy.apps.compare import compare, holm, recipe_of
from quickstudy.apps.run import load_run
from quickstudy.errors import DataError, RunError, UsageError
from quickstudy.recipes import recipe as recipes
from quickstudy.recipes.recipe import load_recipe
from quickstudy.tasks.datasets import glyphs


@pytest.fixture
def few_glyphs(monkeypatch):
    monkeypatch.setattr(recipes, "_LOADED", {})
    monkeypatch.setattr(glyphs, "_PARTS", {"train": (3, 0), "validation": (2, 1), "test": (2, 2)})


LEARNERS = ["small.toml", "nearest.toml"]
SMALL = """
base = "prototypical_glyphs"
[backbone]
width = 4
[tasks]
n_way = 5
"""
NEAREST = """
about = "pixels"
data = { name = "glyphs" }
backbone = { name = "flatten" }
learner = { name = "nearest_centroid" }
tasks = { n_way = 5 }
train = { steps = 0 }
"""
SEQUENCES = """
about = "examples in sequence"
data = { name = "glyphs", image_size = 4 }
backbone = { name = "flatten" }
learner = { name = "mann", controller_size = 4, memory_shape = [4, 4], n_reads = 1 }
tasks = { n_way = 5, n_shot = 0, n_query = 3 }
curriculum = [{ steps = 1000, n_way = 2 }, { steps = 2000, n_way = 3 }]
train = { steps = 4000, executor = "compiled" }
"""


@pytest.mark.usefixtures("few_glyphs")
def test_learners_are_compared_on_the_same_tasks_and_a_comparison_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "small.toml").write_text(SMALL)
    options = {"seconds": 1, "n_tasks": 30, "seed": 3}
    found = compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", **options)
    kept = json.loads((tmp_path / "out" / "compare.json").read_text())
    scores = kept["scores"]
    assert [len(scores[name]) for name in LEARNERS] == [30, 30]
    assert [entry["learner"] for entry in found.learners] == sorted(
        LEARNERS, key=lambda name: -sum(scores[name])
    )
    (pair,) = found.pairs
    assert pair.p == pytest.approx(stats.wilcoxon(*(scores[name] for name in LEARNERS)).pvalue)
    assert pair.difference == pytest.approx(
        abs(sum(scores[LEARNERS[0]]) - sum(scores[LEARNERS[1]])) / 30
    )
    assert all(entry["curve"] and entry["cost"]["seconds"] > 0 for entry in found.learners)

    again = compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", **options)
    assert [entry["mean"] for entry in again.learners] == [e["mean"] for e in found.learners]
    with pytest.raises(RunError, match="another comparison"):
        compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", **{**options, "seed": 4})
    with pytest.raises(RunError, match="no comparison"):
        compare(LEARNERS, {"name": "glyphs"}, tmp_path, **options)


@pytest.mark.usefixtures("few_glyphs")
def test_own_data_may_have_few_classes_and_few_examples_of_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "small.toml").write_text(SMALL.replace("n_way = 5", "n_way = 9999"))
    compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", seconds=0.1, n_query=3, n_tasks=5)
    n_classes = glyphs.load("train").n_classes
    recipe, _ = load_run(tmp_path / "out" / "small")
    assert recipe.tasks.n_way == n_classes
    assert (recipe.tasks.n_query, recipe.validation.n_query, recipe.test[0].n_query) == (3, 3, 3)
    assert load_run(tmp_path / "out" / "nearest")[0].tasks.n_way == 5


@pytest.mark.usefixtures("few_glyphs")
def test_a_curriculum_is_squeezed_into_the_budget_and_nothing_is_compiled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "sequences.toml").write_text(SEQUENCES)
    names = ["sequences.toml", "nearest.toml"]
    compare(names, {"name": "glyphs"}, tmp_path / "out", seconds=0.2, n_query=3, n_tasks=5)
    recipe, _ = load_run(tmp_path / "out" / "sequences")
    steps = recipe.train.steps
    assert recipe.train.executor == "vmap"
    assert 1 <= steps < 4000
    assert [s.steps for s in recipe.curriculum] == [max(1, round(k * steps / 4)) for k in (1, 2)]


@pytest.mark.usefixtures("few_glyphs")
def test_data_without_groups_does_for_a_recipe_of_tasks_within_a_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "small.toml").write_text(SMALL + "within_group = true")
    compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", seconds=0.1, n_query=3, n_tasks=5)
    assert not load_run(tmp_path / "out" / "small")[0].tasks.within_group


@pytest.mark.usefixtures("few_glyphs")
def test_a_classifier_of_all_classes_gets_those_of_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    classifier = NEAREST.replace('"nearest_centroid"', '"fine_tuning", n_classes = 64')
    (tmp_path / "small.toml").write_text(classifier.replace("steps = 0", "steps = 2"))
    compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", seconds=0.1, n_query=3, n_tasks=5)
    recipe, _ = load_run(tmp_path / "out" / "small")
    assert recipe.learner.options["n_classes"] == glyphs.load("train").n_classes


@pytest.mark.usefixtures("few_glyphs")
def test_of_a_plan_that_fails_the_learner_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.toml").write_text(NEAREST)
    (tmp_path / "small.toml").write_text(SMALL + "n_shot = 1000")
    with pytest.raises(DataError, match=r"^small.toml: expected .* examples of every class"):
        compare(LEARNERS, {"name": "glyphs"}, tmp_path / "out", seconds=0.1, n_tasks=5)


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
    assert recipe_of("mann") == load_recipe("mann_omniglot")
    assert recipe_of("fine_tuning") == load_recipe("fine_tuning_caltech")
    assert recipe_of("prototypical_omniglot").tasks.n_way == 60


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
