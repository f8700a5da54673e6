import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from quickstudy.cli.app import app
from quickstudy.errors import UsageError
from quickstudy.experiments.adaptation import adaptation_curves, draw_curves
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.run import train_run
from quickstudy.experiments.significance import interquartile_mean
from quickstudy.recipes.loading import load_recipe


def runs_of(name, changes=(), n_seeds=2):
    recipes = [load_recipe(name, [*changes, f"seed={seed}"]) for seed in range(n_seeds)]
    return {f"{name}/{recipe.seed}": (recipe, make_learner(recipe)) for recipe in recipes}


def test_runs_of_a_recipe_are_one_curve_beside_policies_that_do_not_adapt(tmp_path):
    runs = runs_of("rl2_mdp", ["learner.hidden=4"])
    learned, random, best = adaptation_curves(runs, n_tasks=5, n_times=2)
    assert learned.name == "RL² on random MDPs of 10 states and 5 actions, 10 episodes"
    assert (learned.adapts_by, random.adapts_by) == ("episodes", None)
    assert (random.name, best.name) == ("random", "oracle")
    assert learned.returns.shape == (2, 3, 5)
    assert random.returns.shape == best.returns.shape == (1, 3, 5)
    assert bool((best.returns.mean(2) > random.returns.mean(2)).all())
    last = interquartile_mean(learned.returns[:, 2].double().numpy())
    assert learned.points[2] == last
    assert (random.points[0].interval, len(random.points)) == (None, 3)
    with Image.open(draw_curves([learned, random, best], tmp_path / "curves.png")) as picture:
        assert picture.size[0] > picture.size[1]


def test_all_runs_play_the_same_tasks_whatever_their_seed():
    runs = runs_of("rl2_mdp", ["learner.hidden=4"])
    (recipe, learner), (other, _) = runs.values()
    alike = {"one": (recipe, learner), "other": (other, learner)}
    learned, *_ = adaptation_curves(alike, n_tasks=4, n_times=1)
    assert torch.equal(learned.returns[0], learned.returns[1])
    elsewhere, *_ = adaptation_curves(alike, n_tasks=4, n_times=1, seed=5)
    assert not torch.equal(elsewhere.returns, learned.returns)


def test_recipes_that_say_the_same_of_themselves_are_told_apart():
    runs = runs_of("rl2_mdp", ["learner.hidden=4"], 1)
    ((recipe, learner),) = runs.values()
    changed = load_recipe("rl2_mdp", ["learner.hidden=5"])
    more = {"one": (recipe, learner), "two": (changed, make_learner(changed))}
    names = [curve.name for curve in adaptation_curves(more, n_tasks=2, n_times=1)]
    assert names[1] == f"{names[0]}, two"


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageError, match="one run or more, got none"):
        adaptation_curves({})
    with pytest.raises(UsageError, match="maml does not act"):
        adaptation_curves(runs_of("maml_sinusoid"))
    two = runs_of("rl2_mdp", ["learner.hidden=4"]) | runs_of("rl2_bandits", ["learner.hidden=4"])
    with pytest.raises(UsageError, match="got tabular_mdp and in rl2_bandits/0 bernoulli_bandit"):
        adaptation_curves(two)


def test_the_command_prints_curves_and_draws_them(tmp_path):
    for seed in range(2):
        changes = ["train.steps=0", "learner.hidden=4", "validation.n_tasks=2", f"seed={seed}"]
        changes += ["test=[{title='last', n_tasks=2, n_query=2}]"]
        train_run(load_recipe("rl2_mdp", changes), tmp_path / f"{seed}")
    runs = [str(tmp_path / "0"), str(tmp_path / "1")]
    few = ["--tasks", "3", "--times", "1"]
    picture = tmp_path / "curves.png"
    result = CliRunner().invoke(app, ["curves", *runs, *few, "--picture", str(picture), "--json"])
    assert result.exit_code == 0, result.output
    learned, random, best = json.loads(result.stdout).values()
    assert (learned["runs"], len(learned["returns"])) == (2, 2)
    low, high = learned["returns"][1]["interval"]
    assert low <= learned["returns"][1]["mean"] <= high
    assert random["returns"][0]["mean"] < best["returns"][0]["mean"]
    assert picture.is_file()
    result = CliRunner().invoke(app, ["curves", runs[0], *few])
    assert "A curve of one run has no interval" in result.output
