"""Trials: the tasks of an environment family, each to be lived through for some episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from quickstudy.tasks.environments.environment import EnvironmentFamily, EnvironmentTask
from quickstudy.tasks.environments.options import check_whole

__all__ = ["Trial", "Trials"]


@dataclass(frozen=True)
class Trial:
    """A task of an environment family, with the episodes that a learner has in it.

    Args:
        task: The environment.
        n_shot: Episodes to learn from, whose rewards do not count: the support set.
        n_query: Episodes whose rewards count.
    """

    task: EnvironmentTask
    n_shot: int
    n_query: int

    def to(self, device: torch.device) -> Trial:
        """Itself: its environments are made where the learner is."""
        del device
        return self


class Trials:
    """Tasks of a family: `trials[i]` is the trial in `family[i]`.

    Args:
        family: The environments.
        n_shot, n_query: Episodes of a trial, see `Trial`.
        first, every: The task of the first trial, and how far apart tasks are.

    Example:
        >>> from quickstudy.tasks.environments import BernoulliBandits
        >>> Trials(BernoulliBandits(n_arms=5), n_query=2)[3].n_query
        2
    """

    def __init__(
        self,
        family: EnvironmentFamily,
        *,
        n_shot: int = 0,
        n_query: int = 1,
        first: int = 0,
        every: int = 1,
    ) -> None:
        self.family, self.first, self.every = family, first, every
        self.n_shot = check_whole("n_shot", n_shot, least=0)
        self.n_query = check_whole("n_query", n_query)

    def __getitem__(self, index: int) -> Any:
        """A `Trial`."""
        return Trial(self.family[self.first + self.every * index], self.n_shot, self.n_query)

    def indices(self, n: int) -> range:
        """The family's tasks of the first n trials."""
        return range(self.first, self.first + n * self.every, self.every)

    def share(self, first: int, every: int) -> Trials:
        """Every so many trials, from one on."""
        return Trials(
            self.family,
            n_shot=self.n_shot,
            n_query=self.n_query,
            first=self.first + first * self.every,
            every=every * self.every,
        )
