"""Planning over models of dynamics: true ones, learned ones, and those that adapt."""

import itertools
from functools import partial

import pytest
import torch

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import MAML, NeuralProcess
from quickstudy.learners.reinforcement import (
    AdaptiveModel,
    CrossEntropyMethod,
    ModelPredictivePolicy,
    RandomPolicy,
    RandomShooting,
    TrueModel,
    play,
)
from quickstudy.nn import MLP
from quickstudy.tasks.environments import CartPoleSwingUp, Navigation, Pendulums, TwoLinkArms
from quickstudy.tasks.environments.dynamics import DynamicsTasks, Scaling
from quickstudy.tasks.environments.environment import Environments

QUICK = {"action_repeat": 2, "candidates": 60, "elites": 8, "iterations": 3}


@pytest.fixture(scope="module")
def learner():
    """MAML that has seen the dynamics of pendulums for some seconds."""
    torch.manual_seed(0)
    made = MAML(MLP((4,), (32, 32)), n_outputs=3, inner_lr=0.1, inner_steps=2)
    tasks = DynamicsTasks(Pendulums, n_shot=20, n_query=20)
    meta_train(
        made,
        tasks,
        steps=300,
        meta_batch_size=8,
        optimizer=partial(torch.optim.Adam, lr=5e-3),
        executor="vmap",
    )
    return made


def error(learner, n_shot):
    tasks = DynamicsTasks(Pendulums, n_shot=n_shot, n_query=20, seed=1)
    return meta_test(learner, tasks, n_tasks=150).mean


def test_the_error_of_an_adapted_model_falls_with_transitions(learner):
    none, some, many = (error(learner, n_shot) for n_shot in (0, 20, 60))
    assert some < 0.8 * none
    assert many < 0.8 * none


@pytest.mark.parametrize("kind", [Pendulums, CartPoleSwingUp, TwoLinkArms])
def test_the_true_model_foresees_what_happens(kind):
    environments = kind(horizon=6).environments(range(3))
    model = TrueModel(environments)
    observations, generator = environments.reset(), torch.Generator()
    for _ in range(5):
        actions = environments.family.actions.sample(3, generator)
        foreseen = model.predict(
            observations[:, None].expand(-1, 2, -1), actions[:, None].expand(-1, 2, -1)
        )
        observations = environments.step(actions).observations
        assert torch.allclose(foreseen, observations[:, None].expand(-1, 2, -1), atol=1e-4)


@pytest.mark.parametrize(
    ("family", "planner"),
    [
        (Pendulums(horizon=60), CrossEntropyMethod(horizon=24, **QUICK)),
        (Pendulums(horizon=60), RandomShooting(horizon=24, action_repeat=4, candidates=300)),
        (TwoLinkArms(horizon=40), CrossEntropyMethod(horizon=10, **QUICK)),
    ],
)
def test_planning_over_the_true_model_is_far_better_than_chance(family, planner):
    def returns(make):
        environments = family.environments(range(3), seed=2)
        return play(environments, make(environments)).returns(family.horizon).mean()

    planned = returns(lambda environments: ModelPredictivePolicy(TrueModel(environments), planner))
    assert planned > 0.6 * returns(RandomPolicy)  # both below 0


def test_what_a_policy_does_depends_on_its_seed_alone():
    def act(seed):
        environments = Pendulums(horizon=4).environments(range(2))
        planner = CrossEntropyMethod(horizon=4, candidates=20, elites=4)
        policy = ModelPredictivePolicy(TrueModel(environments), planner, seed=seed)
        return play(environments, policy, episodes=2).actions

    assert torch.equal(act(0), act(0))
    assert not torch.equal(act(0), act(1))


def test_an_action_is_held_for_as_long_as_it_was_planned():
    environments = Pendulums(horizon=7).environments(range(2))
    planner = CrossEntropyMethod(horizon=6, action_repeat=3, candidates=20, elites=4)
    actions = play(environments, ModelPredictivePolicy(TrueModel(environments), planner)).actions
    for start in (0, 3):
        assert torch.equal(actions[start : start + 3], actions[start].expand(3, -1, -1))
    assert not torch.equal(actions[2], actions[3])


def test_a_model_adapts_to_the_last_transitions_of_each_machine():
    learner = MAML(MLP((4,), (8,)), n_outputs=3, inner_lr=0.1).eval()
    supports = []
    learner.adapt = lambda s, adapt=learner.adapt: (supports.append(s), adapt(s))[1]
    model = AdaptiveModel(learner, Pendulums(), n_shot=3, min_shot=2, every=2)
    model.reset(2)
    seen = [torch.full((2, 3), float(t)) for t in range(5)]
    supports.clear()
    for before, after in itertools.pairwise(seen):
        model.observe(before, torch.zeros(2, 1), after)
    assert [len(s) for s in supports] == [2, 2, 3, 3]  # twice, for each of two machines
    scaling = Scaling.of(Pendulums)
    assert torch.allclose(supports[-1].x[:, :3] * scaling.observations, torch.stack(seen)[1:4, 0])
    assert torch.allclose(supports[-1].y * scaling.changes, torch.ones(3, 3))


def test_adapting_foresees_a_machine_that_has_changed(learner):
    """A pendulum of twice the length than any in training, which only its transitions tell of."""
    parameters = {"mass": torch.full((4,), 1.0), "length": torch.full((4,), 2.0)}
    environments = Environments(Pendulums(), parameters)
    found = []
    for n_shot in (0, 50):
        model = AdaptiveModel(learner, environments.family, n_shot=n_shot)
        model.reset(4)
        observations, generator = environments.reset(seed=0), torch.Generator()
        squared = []
        for _ in range(100):
            actions = environments.family.actions.sample(4, generator)
            foreseen = model.predict(observations[:, None], actions[:, None])[:, 0]
            after = environments.step(actions).observations
            model.observe(observations, actions, after)
            squared.append((foreseen - after).square().mean())
            observations = after
        found.append(torch.stack(squared[50:]).mean())
    assert found[1] < 0.6 * found[0]


def test_an_adapted_model_swings_a_pendulum_up(learner):
    environments = Pendulums(horizon=60, seed=3).environments(range(2))
    model = AdaptiveModel(learner, environments.family, every=30)
    planner = CrossEntropyMethod(horizon=20, **QUICK)
    returns = play(environments, ModelPredictivePolicy(model, planner)).returns(60).mean()
    assert returns > play(environments, RandomPolicy(environments)).returns(60).mean() + 50


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda: MAML(MLP((5,), (8,)), n_outputs=3), "of 4 numbers to 3, got"),
        (lambda: MAML(MLP((4,), (8,)), n_outputs=2), "got predictions of 2 numbers"),
    ],
)
def test_a_learner_of_another_machine_is_refused(made, found):
    with pytest.raises(UsageError, match=f"dynamics of Pendulums.*{found}"):
        AdaptiveModel(made(), Pendulums())


def test_a_neural_process_is_a_model_too():
    learner = NeuralProcess(MLP((4,), (8,)), n_outputs=3, likelihood="gaussian", attention=False)
    model = AdaptiveModel(learner, Pendulums(), min_shot=1, every=1)
    model.reset(2)
    observations, actions = torch.rand(2, 5, 3), torch.rand(2, 5, 1)
    assert model.predict(observations, actions).isfinite().all()
    model.observe(observations[:, 0], actions[:, 0], observations[:, 1])
    assert model.predict(observations, actions).shape == (2, 5, 3)


def test_what_cannot_be_planned_for_is_refused():
    navigation = Navigation().environments(range(2))
    with pytest.raises(UsageError, match="expected machines to plan for"):
        TrueModel(navigation)
    learner = MAML(MLP((4,), (8,)), n_outputs=3)
    with pytest.raises(UsageError, match="every"):
        AdaptiveModel(learner, Pendulums(), every=0)
    policy = ModelPredictivePolicy(TrueModel(Pendulums().environments(range(3))))
    with pytest.raises(UsageError, match="expected the 3 environments of the model, got 2"):
        policy.reset(2)
