"""Every learner that acts keeps the contract, and refuses what it cannot act in."""

import pytest
import torch
from torch import nn
from torch.optim import SGD

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import (
    LEARNERS,
    MAMLTRPO,
    RL2,
    RL3,
    DecisionPretrainedTransformer,
    PrototypicalNetworks,
    VariBAD,
)
from quickstudy.learners.reinforcement import base
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import EpisodeSampler
from quickstudy.tasks.environments import (
    BernoulliBandits,
    Discrete,
    GaussianBandits,
    GridNavi,
    TabularMDPs,
    Trials,
)
from quickstudy.testing import ReinforcementContract, blob_classes


class TestRL2(ReinforcementContract):
    def make(self, family):
        return RL2(Flatten((family.observation_size,)), family.actions, hidden=16)


class TestRL3(ReinforcementContract):
    families = (GaussianBandits(n_arms=3), TabularMDPs(n_states=2, n_actions=2, horizon=6))

    def make(self, family):
        return RL3(Flatten((family.observation_size,)), family.actions, width=16, n_states=8)


class TestMAMLTRPO(ReinforcementContract):
    steps, meta_batch_size, lr, optimizer = 3, 20, 1.0, SGD
    n_shot, n_query = 10, 10

    def make(self, family):
        return MAMLTRPO(MLP((family.observation_size,), (8,)), family.actions, inner_lr=0.5)


class TestMAMLTRPOWithoutInnerSteps(TestMAMLTRPO):
    steps = 0

    def make(self, family):
        return MAMLTRPO(MLP((family.observation_size,), (8,)), family.actions, inner_steps=0)


class TestDecisionPretrainedTransformer(ReinforcementContract):
    steps, lr = 20, 5e-3
    families = (GaussianBandits(n_arms=3), TabularMDPs(n_states=2, n_actions=2, horizon=6))

    def make(self, family):
        backbone = Flatten((family.observation_size,))
        return DecisionPretrainedTransformer(backbone, family.actions, width=16, layers=2)


class TestVariBAD(ReinforcementContract):
    def make(self, family):
        return VariBAD(
            Flatten((family.observation_size,)),
            family.actions,
            hidden=16,
            width=16,
            divergence_weight=0.01,
            model_share=1.0,
            clip=0.2,
            epochs=4,
        )


ACTING = [kind for kind in LEARNERS.values() if kind.acts]


class Counting(ReinforcementLearner):
    """Pulls arm e in episode e, and counts no parameters."""

    def __init__(self, actions):
        super().__init__(actions)
        self.weight = nn.Parameter(torch.zeros(()))

    def adapt(self, support):
        raise NotImplementedError

    def updates(self, tasks):
        raise NotImplementedError

    def policy(self):
        class Turns:
            def reset(self, n):
                self.n, self.episode = n, 0

            def act(self, observations):
                return torch.full((self.n,), self.episode)

            def observe(self, actions, step):
                self.episode += int(step.dones[0])

        return Turns()


class FirstArmPays(BernoulliBandits):
    """Arm 0 never pays, arm 1 in tasks of their kind, arm 2 always."""

    def sample(self, n, generator):
        often = (torch.rand(n, 1, generator=generator) < 0.5).float()
        return {"means": torch.cat([0 * often, often, 0 * often + 1], 1)}


def test_only_query_episodes_count():
    family = FirstArmPays(n_arms=3, horizon=4)
    learner = Counting(Discrete(3))
    often = family.parameters(range(6))["means"][:, 1]
    assert 0 < often.sum() < 6
    for n_shot, n_query, expected in [
        (0, 1, 0 * often),
        (1, 1, 4 * often),
        (1, 2, (4 * often + 4) / 2),
        (2, 1, 0 * often + 4),
    ]:
        trials = Trials(family, n_shot=n_shot, n_query=n_query)
        assert torch.equal(learner.returns(trials, range(6)), expected)


def test_many_tasks_are_played_a_part_at_a_time(monkeypatch):
    trials = Trials(FirstArmPays(n_arms=3, horizon=4), n_shot=1)
    learner = Counting(Discrete(3))
    whole = learner.returns(trials, [5, 0, 9, 3, 4])
    monkeypatch.setattr(base, "MAX_ENVIRONMENTS", 2)
    assert torch.equal(learner.returns(trials, [5, 0, 9, 3, 4]), whole)


@pytest.mark.parametrize("kind", ACTING)
def test_a_learner_of_another_task_than_environments_is_refused(kind):
    with pytest.raises(UsageError, match=f"{kind.__name__} learns to act: expected tasks of an"):
        kind.build(MLP((8,), (4,)), 5)


@pytest.mark.parametrize("kind", ACTING)
def test_other_actions_are_refused_in_training_too(kind):
    learner = kind.build(Flatten((2,)), Discrete(5))
    trials = Trials(GridNavi(), n_shot=1)
    meta_train(learner, trials, steps=1, meta_batch_size=2)
    other = kind.build(Flatten((2,)), Discrete(4))
    with pytest.raises(DataError, match=r"actions Discrete\(n=4\), as the learner has, got Dis.*5"):
        meta_train(other, trials, steps=1, meta_batch_size=2)


@pytest.mark.parametrize("kind", ACTING)
def test_examples_are_refused_by_those_that_act_and_environments_by_those_that_do_not(kind):
    acting = kind.build(Flatten((1,)), Discrete(2))
    learning = PrototypicalNetworks(MLP((8,), (4,)))
    trials = Trials(BernoulliBandits(n_arms=2), n_shot=1)
    episodes = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=1)
    with pytest.raises(UsageError, match=f"{kind.__name__} learns to act: expected Trials"):
        meta_train(acting, episodes, steps=1)
    with pytest.raises(UsageError, match=f"{kind.__name__} learns to act: expected Trials"):
        meta_test(acting, episodes, 2)
    with pytest.raises(UsageError, match="PrototypicalNetworks learns from examples: expected"):
        meta_train(learning, trials, steps=1)
    with pytest.raises(UsageError, match="PrototypicalNetworks learns from examples: expected"):
        meta_test(learning, trials, 2)
