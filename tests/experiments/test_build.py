"""Recipes of learners that act: what fits together, and what is refused."""

import pytest
import torch

from quickstudy.engine import meta_test
from quickstudy.errors import DataError, UsageError
from quickstudy.experiments.build import make_learner, tasks_of_test
from quickstudy.experiments.evaluate import check_tests
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.run import load_run, train_run
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks.environments import Discrete, Trials

ACTING = ["rl2_bandits", "rl2_mdp", "maml_trpo_navigation", "multi_task_navigation"]
SMALL = ["test.0.n_tasks=2", "train.steps=1", "train.meta_batch_size=2", "validation.n_tasks=2"]


def small(name, *changes):
    keys = [key for key in SMALL if not name.endswith("navigation") or "validation" not in key]
    return load_recipe(name, [*keys, *changes])


@pytest.mark.parametrize("name", ACTING)
def test_a_recipe_of_a_learner_that_acts_trains_a_step_and_is_brought_back(name, tmp_path):
    fewer = ["tasks.n_query=1", "learner.hidden=8"]
    if name.endswith("navigation"):
        fewer = ["tasks.n_shot=2", "tasks.n_query=2", "data.options.horizon=10"]
    recipe = small(name, *fewer)
    learner, report = train_run(recipe, tmp_path / "run")
    assert report.steps == 1
    again, brought_back = load_run(tmp_path / "run")
    assert again.learner == recipe.learner
    trials = tasks_of_test(recipe, recipe.test[-1])
    one, other = (meta_test(each, trials, 2).scores for each in (learner, brought_back))
    assert one == other


def test_environments_of_training_validation_and_tests_have_other_seeds():
    recipe = load_recipe("rl2_bandits", ["seed=4"])
    training = make_tasks(recipe, recipe.tasks, recipe.data, 0)
    unseen = tasks_of_test(recipe, recipe.test[0])
    assert isinstance(training, Trials)
    assert (training.family.seed, unseen.family.seed) == (40, 42)
    assert (training.n_shot, training.n_query, training.family.horizon) == (0, 1, 10)
    assert make_learner(recipe).actions == Discrete(5)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("prototypical_glyphs", "learner.name=rl2", "rl2 acts in environments: .* got glyphs"),
        ("maml_sinusoid", "learner={ name = 'maml_trpo' }", "maml_trpo acts in .* got sinusoid"),
        ("rl2_bandits", "learner={ name = 'maml' }", "maml learns from ex.* got bernoulli_bandit"),
        ("rl2_bandits", "data.options.arms=3", "'arms'.*did you mean 'n_arms'"),
        ("rl2_bandits", "data.options.n_arms=0", "expected n_arms to be a whole number of 1"),
        ("rl2_bandits", "data.options.n_arms='five'", "expected n_arms to be a whole number of 1"),
        ("rl2_bandits", "learner.hiden=3", "'hiden'.*did you mean 'hidden'"),
        ("maml_sinusoid", "data.options={ a = 1 }", "unknown option of sinusoid 'a'"),
        (
            "rl2_bandits",
            "data.image_size=28",
            "expected no further keys with bernoulli_bandit tasks but o",
        ),
        (
            "rl2_bandits",
            "data.encoder=minilm",
            "expected no further keys with bernoulli_bandit tasks but o",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, change, message):
    with pytest.raises(UsageError, match=message) as refused:
        make_learner(load_recipe(name, [change]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tasks.n_way=5", "expected no n_way for bernoulli_bandit tasks, which are environments"),
        ("tasks.augment=symbol", "expected no augment for bernoulli_bandit tasks"),
        ("tasks.n_labels=2", "expected no n_labels for bernoulli_bandit tasks"),
        ("tasks.n_shot=[1, 3]", "expected one n_shot for bernoulli_bandit tasks, got a range"),
    ],
)
def test_tasks_of_classes_are_refused_of_environments(change, message):
    recipe = load_recipe("rl2_bandits", [change])
    with pytest.raises(UsageError, match=message):
        make_tasks(recipe, recipe.tasks, recipe.data, 0)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ("{ name = 'gaussian_bandit', options = { n_arms = 3 } }", DataError, "actions Discrete"),
        ("{ name = 'gridnavi' }", UsageError, "expected observations of 1 numbers .* got 2 of"),
        ("{ name = 'sinusoid' }", UsageError, "RL2 learns to act: expected Trials of an env"),
    ],
)
def test_a_test_in_environments_unlike_those_of_training_is_refused(data, kind, message):
    recipe = load_recipe("rl2_bandits", [f"test.0.data={data}"])
    with pytest.raises(kind, match=message):
        check_tests(recipe, make_learner(recipe))


def test_a_test_may_be_in_other_environments_of_the_same_actions():
    data = "{ name = 'gaussian_bandit', options = { noise = 0.1 } }"
    recipe = load_recipe("rl2_bandits", [f"test.0.data={data}", "validation.n_tasks=2"])
    learner = make_learner(recipe)
    check_tests(recipe, learner)
    report = meta_test(learner, tasks_of_test(recipe, recipe.test[0]), 10)
    assert torch.tensor(report.scores).isfinite().all()


BROKEN = """
import torch
from quickstudy.tasks.environments import BernoulliBandits


class NoRewards(BernoulliBandits):
    def step(self, parameters, state, actions, generator):
        state, rewards, ends = super().step(parameters, state, actions, generator)
        return state, rewards / 0 - rewards / 0, ends


class Swelling(BernoulliBandits):
    def step(self, parameters, state, actions, generator):
        longer = torch.cat([state["observations"], state["observations"]], 1)
        return {"observations": longer}, *super().step(parameters, state, actions, generator)[1:]


class OtherThanItSays(BernoulliBandits):
    observation_size = 3
"""


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("NoRewards", "expected finite rewards from NoRewards, got NaN or infinity in step 1"),
        ("Swelling", r"expected observations of shape \(2, 1\) from Swelling, got \(2, 2\)"),
        ("OtherThanItSays", r"observations of shape \(2, 3\) from OtherThanItSays, got \(2, 1\)"),
    ],
)
def test_a_family_that_breaks_its_word_is_refused_in_one_line(
    family, message, tmp_path, monkeypatch
):
    (tmp_path / "broken_families.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = small("rl2_bandits", f"data={{ name = 'broken_families:{family}' }}")
    with pytest.raises(DataError, match=message) as refusal:
        train_run(recipe, tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()
