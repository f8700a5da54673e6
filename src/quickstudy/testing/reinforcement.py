"""The contract of learners that act."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import partial

import torch
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import play
from quickstudy.learners.reinforcement.policies import distribution_of
from quickstudy.tasks.environments import (
    BernoulliBandits,
    EnvironmentFamily,
    GaussianBandits,
    Navigation,
    Trial,
    Trials,
)

__all__ = ["ReinforcementContract"]


class _CertainBandits(BernoulliBandits):
    """Two arms, of which one always pays and the other never."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(n_arms=2, seed=seed)

    def sample(self, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        first = (torch.rand(n, 1, generator=generator) < 0.5).float()
        return {"means": torch.cat([first, 1 - first], 1)}


class ReinforcementContract(ABC):
    """Inherit, and say how to make a learner that acts, for environments of a family.

    `families` are two of different actions; set others if the learner does not take these.
    """

    steps, meta_batch_size, lr, optimizer = 10, 100, 0.02, Adam
    """How long to meta-train on bandits of two arms."""

    n_shot, n_query = 0, 1
    """Episodes of 10 pulls to learn from, and those that are scored."""

    families: tuple[EnvironmentFamily, ...] = (GaussianBandits(n_arms=3), Navigation(horizon=6))

    @abstractmethod
    def make(self, family: EnvironmentFamily) -> ReinforcementLearner:
        """Make the learner, for environments of a family."""

    def trials(self, family: EnvironmentFamily) -> Trials:
        return Trials(family, n_shot=self.n_shot, n_query=self.n_query)

    def tasks(self, family: EnvironmentFamily) -> list[Trial]:
        return [self.trials(family)[i] for i in range(4)]

    def test_its_policy_acts_through_trials_and_is_finite(self) -> None:
        for family in self.families:
            learner = self.make(family).eval()
            before = copy.deepcopy(learner.state_dict())
            lived = play(family.environments(range(3)), learner.policy(), episodes=3)
            assert bool(lived.actions.isfinite().all()), "an action is NaN or infinite"
            assert lived.returns(family.horizon).shape == (3, 3)
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"acting changed {changed}: keep what it learns in the policy"

    def test_adapted_it_has_a_distribution_for_each_observation_and_is_as_it_was(self) -> None:
        for family in self.families:
            learner = self.make(family).eval()
            before = copy.deepcopy(learner.state_dict())
            lived = play(family.environments([0], copies=4), learner.policy())
            with torch.no_grad():  # as in meta-testing
                predictor = learner.adapt(lived)
                out = predictor(torch.zeros(5, family.observation_size))
                none = predictor(torch.zeros(0, family.observation_size))
            assert bool(out.isfinite().all()), "what adapt predicts is NaN or infinite"
            drawn = distribution_of(family.actions, out).sample()
            family.actions.check(drawn, 5)
            assert len(none) == 0, f"expected nothing for no observation, got {tuple(none.shape)}"
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"adapt changed {changed}: adapt a copy of the weights"

    def test_a_meta_step_touches_nothing_and_repeats_with_its_seed(self) -> None:
        for family in self.families:
            learner = self.make(family).train()
            before = copy.deepcopy(learner.state_dict())
            found = []
            for _ in range(2):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(3)
                    part = next(iter(learner.updates(self.tasks(family))))[0]
                    found.append(learner.meta_gradient(part))
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"meta_gradient changed {changed}: return new buffers instead"
            assert all(p.grad is None for p in learner.parameters()), "use torch.autograd.grad"
            names = {n for n, p in learner.named_parameters() if p.requires_grad}
            assert found[0].gradients.keys() == names
            for name in names:
                one, other = (result.gradients[name] for result in found)
                assert bool(one.isfinite().all()), f"the gradient of {name} is not finite"
                assert torch.equal(one, other), (
                    "the same seed gave another gradient: draw by PyTorch's generator alone"
                )

    def test_other_actions_than_it_was_made_for_are_refused(self) -> None:
        one, other = self.families
        refusal = ""
        try:
            meta_test(self.make(one), self.trials(other), 2)
        except DataError as error:
            refusal = str(error)
        assert "as the learner has" in refusal, "call self.check_family(family) before acting"

    def test_returns_repeat_and_meet_the_same_luck(self) -> None:
        for family in self.families:
            learner = self.make(family)
            one, again = (meta_test(learner, self.trials(family), 6) for _ in range(2))
            assert one.scores == again.scores, "draw by the seed that returns() is given"
            assert one.metric == "return"

    def test_saved_and_loaded_it_acts_the_same(self) -> None:
        for family in self.families:
            learner, other = self.make(family).eval(), self.make(family).eval()
            with torch.no_grad():
                for tensor in other.state_dict().values():
                    tensor.zero_()
            other.load_state_dict(learner.state_dict())
            one, same = (
                meta_test(each, self.trials(family), 3).scores for each in (learner, other)
            )
            assert one == same, "what is learned is not all in parameters and buffers"

    def test_meta_trained_it_finds_the_better_arm_of_unseen_bandits(self) -> None:
        if not self.steps:
            return
        seen, unseen = (_CertainBandits(seed=seed) for seed in (0, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            learner = self.make(seen)
        meta_train(
            learner,
            self.trials(seen),
            steps=self.steps,
            meta_batch_size=self.meta_batch_size,
            optimizer=partial(self.optimizer, lr=self.lr),
        )
        mean = meta_test(learner, self.trials(unseen), 200).mean
        assert mean > 7, f"got {mean:.3g} of 10: change steps and lr of the test class"
