"""What all learners that act share: the support set is experience, the predictor a policy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import Learner, MetaGradient, Predictor, device_of, trainable
from quickstudy.learners.reinforcement.experience import Experience, Policy, play
from quickstudy.tasks.environments import Box, Discrete
from quickstudy.tasks.environments.environment import EnvironmentFamily, Environments
from quickstudy.tasks.environments.trials import Trial, Trials

__all__ = ["ReinforcementLearner"]

MAX_ENVIRONMENTS = 4096
"""Those that are played at once in meta-testing."""


class ReinforcementLearner(Learner):
    """Learns to act in a new environment of a family.

    `adapt` turns experience of one task, in one environment or in several side by side, into a
    predictor, which maps observations (n, o) to the parameters of a distribution over actions, as
    of `distribution_of`. `policy` acts through whole trials, from no experience on.

    Args:
        actions: What actions are.
    """

    acts = True

    def __init__(self, actions: Discrete | Box) -> None:
        super().__init__()
        self.actions = actions

    @classmethod
    def build(cls, backbone: nn.Module, n_outputs: Any, **options: Any) -> Self:
        """Make the learner from a backbone of observations.

        Args:
            n_outputs: What actions are.

        Raises:
            UsageError: If these are no actions.
        """
        if not isinstance(n_outputs, Discrete | Box):
            raise UsageError(
                f"{cls.__name__} learns to act: expected tasks of an environment family, such as "
                "bernoulli_bandit"
            )
        return cls(backbone, n_outputs, **options)  # type: ignore[call-arg]

    @abstractmethod
    def adapt(self, support: Experience) -> Predictor:
        """Learn from experience of one task; in evaluation mode the learner is left as it was."""

    @abstractmethod
    def policy(self) -> Policy:
        """What acts in trials as the learner does."""

    @abstractmethod
    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[Any]]:
        """Experience that the learner collects in the tasks, a part for each update."""

    def query_episodes(self, trials: Trials, indices: Sequence[int], seed: int = 0) -> Experience:
        """The query episodes of some trials: of several copies of an environment side by side, or
        of one after the other.

        Args:
            seed: Of the environments' luck, which is the same for all learners.
        """
        environments = trials.family.environments(indices, seed=seed, device=device_of(self))
        experience = play(environments, self.policy(), trials.n_shot + trials.n_query)
        return experience.after(trials.n_shot * trials.family.horizon)

    def copies(self, trials: Trials) -> int:
        """Environments of a task that `query_episodes` plays side by side, at most."""
        del trials
        return 1

    def returns(self, trials: Trials, indices: Sequence[int], seed: int = 0) -> Tensor:
        """The mean return of the query episodes of some trials, (n,); see `query_episodes`."""
        found = []
        at_once = max(1, MAX_ENVIRONMENTS // self.copies(trials))
        for start in range(0, len(indices), at_once):
            some = indices[start : start + at_once]
            played = self.query_episodes(trials, some, seed + start)
            returns = played.returns(trials.family.horizon)  # (episodes, n * copies)
            found.append(returns.unflatten(1, (len(some), -1)).mean((0, 2)))
        return torch.cat(found)

    def adaptation_curve(
        self, trials: Trials, indices: Sequence[int], n: int, seed: int = 0
    ) -> Tensor:
        """The returns of some tasks before the learner has adapted, and after each of n times of
        adapting, (n + 1, tasks). One time is what `adapts_by` says: here, an episode.

        Args:
            seed: Of the environments' luck.
        """
        environments = trials.family.environments(indices, seed=seed, device=device_of(self))
        return play(environments, self.policy(), n + 1).returns(trials.family.horizon)

    def adapts_by(self, trials: Trials) -> str:
        """What the learner adapts by, in the plural."""
        del trials
        return "episodes"

    def check_family(self, family: EnvironmentFamily) -> None:
        """Refuse environments of other actions than those learned.

        Raises:
            DataError: If they are.
        """
        if family.actions != self.actions:
            raise DataError(
                f"expected environments with actions {self.actions}, as the learner has, got "
                f"{family.actions} of {type(family).__name__}"
            )

    def environments(self, tasks: Sequence[Trial], copies: int = 1) -> Environments:
        """Environments of trials' tasks, whose luck comes from PyTorch's generator."""
        self.check_family(tasks[0].task.family)
        seed = int(torch.randint(2**31, ()))
        return Environments.of(
            [trial.task for trial in tasks], copies=copies, seed=seed, device=device_of(self)
        )

    def meta_gradient(self, episode: Any) -> MetaGradient:
        """The gradient of `loss` on a part of `updates`."""
        parameters = trainable(self)
        with torch.enable_grad():
            loss = self.loss(episode)
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
        buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
        return MetaGradient(loss.detach(), dict(zip(parameters, gradients, strict=True)), buffers)
