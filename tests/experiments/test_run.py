import shutil
from pathlib import Path

import pytest
import torch

import quickstudy
from quickstudy import load_run
from quickstudy.engine.checkpoints import load_tensors
from quickstudy.errors import RunError, UsageError
from quickstudy.experiments import report
from quickstudy.experiments.run import train_run
from quickstudy.recipes.loading import load_recipe

QUICK = ["validation.n_tasks=2", "test=[]"]


@pytest.fixture
def pretrained(tmp_path):
    train_run(load_recipe("pretrained_sinusoid", ["train.steps=2", *QUICK]), tmp_path / "old")
    return tmp_path / "old"


def test_a_run_can_start_from_the_backbone_of_another(pretrained, tmp_path):
    start = f"train.start={str(pretrained)!r}"
    recipe = load_recipe("maml_sinusoid", ["train.steps=0", "seed=3", start, *QUICK])
    learner, _ = train_run(recipe, tmp_path / "new")
    old = load_run(pretrained)[1].state_dict()
    new = learner.state_dict()
    assert old.keys() == new.keys()
    for name, tensor in new.items():
        assert torch.equal(tensor, old[name]) is ("backbone" in name), name


def test_a_run_is_resumed_without_the_one_it_started_from(pretrained, tmp_path):
    changes = [f"train.start={str(pretrained)!r}", *QUICK]
    for i, steps in enumerate((2, 3)):
        recipe = load_recipe("maml_sinusoid", [f"train.steps={steps}", *changes])
        _, report = train_run(recipe, tmp_path / "new", resume=bool(i))
        assert report.steps == steps
        shutil.rmtree(pretrained, ignore_errors=True)


def test_a_backbone_that_does_not_fit_is_refused(pretrained, tmp_path):
    start = f"train.start={str(pretrained)!r}"
    recipe = load_recipe("maml_sinusoid", ["backbone.widths=[30, 40]", start, *QUICK])
    with pytest.raises(UsageError, match="of shape"):
        train_run(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_start_that_is_not_there_is_refused(tmp_path):
    recipe = load_recipe("maml_sinusoid", [f"train.start={str(tmp_path / 'none')!r}", *QUICK])
    with pytest.raises(RunError, match="found none"):
        train_run(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def glyphs(tmp_path):
    """A copy of a run that comes with quickstudy."""
    shipped = Path(quickstudy.__file__).parent / "shipped" / "glyphs"
    return shutil.copytree(shipped, tmp_path / "glyphs")


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a": ' + "[" * 200_000, "[]", "1", '"x"'])
def test_json_of_any_other_form_than_an_object_is_refused(glyphs, content):
    (glyphs / "recipe.json").write_text(content)
    with pytest.raises(RunError, match=r"recipe\.json is damaged"):
        load_run(glyphs)


def test_huge_weights_are_refused_unread(glyphs):
    with (glyphs / "weights.safetensors").open("r+b") as file:
        file.truncate(100 << 30)  # which takes no room on the disk
    with pytest.raises(RunError, match=r"bytes at most, got 107,374,182,400"):
        load_run(glyphs)
    with pytest.raises(RunError, match=r"8,000,000,000 bytes at most, got 107,374,182,400"):
        load_tensors(glyphs / "weights.safetensors")


def test_huge_json_is_refused_unread(glyphs):
    with (glyphs / "recipe.json").open("r+b") as file:
        file.truncate(100 << 30)
    with pytest.raises(RunError, match=r"damaged \(over 100000000 bytes\)"):
        load_run(glyphs)


def test_a_card_names_some_held_out_classes():
    part = {"data": "mine", "split": "test", "n_classes": 120, "classes": ["x" * 99] * 100}
    text = report._held_out_line(part)
    assert text.startswith("Held out for tests: the 120 classes of the split test of mine: xxx")
    assert text.endswith(", and 100 more.")
    assert len(text) < 2000
