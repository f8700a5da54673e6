import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from quickstudy.cli.app import app
from quickstudy.errors import UsageError
from quickstudy.experiments.behaviour import behaviour, draw_behaviour
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.run import train_run
from quickstudy.recipes.loading import load_recipe


def recipe_of(family, **test):
    recipe = load_recipe("rl2_bandits", ["learner.hidden=4"])
    data = recipe.data.model_copy(update={"name": family, "options": {}})
    tests = [recipe.test[0].model_copy(update=test)]
    return recipe.model_copy(update={"data": data, "test": tests})


@pytest.mark.parametrize(
    ("family", "policies"),
    [
        ("bernoulli_bandit", ["before", "oracle"]),
        ("navigation", ["before", "oracle"]),
        ("pendulum", ["before"]),
    ],
)
def test_an_episode_of_each_policy_that_there_is(family, policies, tmp_path):
    recipe = recipe_of(family)
    found = behaviour(recipe, make_learner(recipe), n_tasks=2)
    assert list(found.episodes) == policies
    assert all(len(returns) == 2 for returns in found.returns().values())
    with Image.open(draw_behaviour(found, tmp_path / "picture.png")) as picture:
        assert picture.size[0] > picture.size[1] // 2


def test_the_last_of_several_episodes_is_the_one_after(tmp_path):
    recipe = recipe_of("gridnavi", n_query=3)
    found = behaviour(recipe, make_learner(recipe), n_tasks=2)
    assert list(found.episodes) == ["before", "after", "oracle"]
    assert len(found.episodes["after"]) == len(found.episodes["before"]) == 15
    again = behaviour(recipe, make_learner(recipe), n_tasks=2)
    assert torch.equal(found.episodes["after"].actions, again.episodes["after"].actions)


def test_the_oracle_is_not_beaten():
    recipe = recipe_of("gaussian_bandit")
    returns = behaviour(recipe, make_learner(recipe), n_tasks=20).returns()
    assert sum(returns["oracle"]) > sum(returns["before"])


def test_a_learner_that_does_not_act_is_refused():
    recipe = load_recipe("maml_sinusoid")
    with pytest.raises(UsageError, match="maml does not act"):
        behaviour(recipe, make_learner(recipe))


def test_the_command_prints_returns_and_draws_them(tmp_path):
    recipe = load_recipe("rl2_bandits", ["train.steps=0", "learner.hidden=4"])
    train_run(recipe, tmp_path / "run")
    arguments = ["rollout", str(tmp_path / "run"), "--tasks", "2", "--json"]
    arguments += ["--picture", str(tmp_path / "picture.png")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)) == ["before", "oracle"]
    assert (tmp_path / "picture.png").is_file()


def test_the_command_draws_a_belief_and_refuses_a_learner_without_one(tmp_path):
    changes = ["train.steps=0", "learner.hidden=4"]
    train_run(load_recipe("varibad_gridnavi", changes), tmp_path / "run")
    train_run(load_recipe("rl2_bandits", changes), tmp_path / "other")
    for name, has_belief in (("run", True), ("other", False)):
        arguments = ["rollout", str(tmp_path / name), "--tasks", "1"]
        result = CliRunner().invoke(app, [*arguments, "--belief", str(tmp_path / f"{name}.png")])
        assert (result.exit_code == 0) == has_belief, result.output
        assert (tmp_path / f"{name}.png").is_file() == has_belief
