import shutil

import pytest
import torch

from quickstudy import load_run
from quickstudy.apps.run import train_run
from quickstudy.errors import RunError, UsageError
from quickstudy.recipes.recipe import load_recipe

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
