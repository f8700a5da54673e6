"""Plans by shooting: try sequences of actions on a model, and go on from the best.

Shapes: n environments, c candidates, k actions of a plan, a numbers of an action.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import Box
from quickstudy.tasks.environments.options import check_whole

__all__ = ["CrossEntropyMethod", "Planner", "RandomShooting"]

Returns = Callable[[Tensor], Tensor]
"""Maps plans (n, c, k, a) to what a model says of their sum of rewards, (n, c)."""


class Planner(ABC):
    """Finds a plan of actions that a model says is good.

    Args:
        horizon: Steps that a plan looks ahead.
        action_repeat: Steps for which each action of a plan is held.
        candidates: Plans that are tried at once.

    Raises:
        UsageError: If one is not a whole number of 1 or more.
    """

    def __init__(self, horizon: int, action_repeat: int, candidates: int) -> None:
        self.horizon = check_whole("horizon", horizon)
        self.action_repeat = check_whole("action_repeat", action_repeat)
        self.candidates = check_whole("candidates", candidates)
        self.length = math.ceil(horizon / action_repeat)
        """Actions of a plan, k."""

    @abstractmethod
    def plan(
        self, returns: Returns, last: Tensor, actions: Box, generator: torch.Generator
    ) -> Tensor:
        """Find plans.

        Args:
            returns: Judges plans.
            last: The plans so far, without the actions that are done, (n, k, a).
            actions: What actions are.
            generator: Decides which plans are tried.

        Returns:
            Plans (n, k, a).
        """


class RandomShooting(Planner):
    """Try plans of uniformly random actions, and take the best one.

    Sources: Nagabandi, Kahn, Fearing, Levine, "Neural Network Dynamics for Model-Based Deep
    Reinforcement Learning with Model-Free Fine-Tuning", ICRA 2018, arXiv:1708.02596, section IV-C.

    Args:
        horizon: Steps that a plan looks ahead.
        action_repeat: Steps for which each action of a plan is held.
        candidates: Plans that are tried.

    Example:
        >>> def returns(plans): return -plans.square().sum((2, 3))
        >>> planner = RandomShooting(horizon=2, candidates=1000)
        >>> last = torch.zeros(1, 2, 1)
        >>> found = planner.plan(returns, last, Box(1, -1.0, 1.0), torch.Generator())
        >>> bool(found.abs().max() < 0.1)
        True
    """

    def __init__(
        self, *, horizon: int = 20, action_repeat: int = 1, candidates: int = 1000
    ) -> None:
        super().__init__(horizon, action_repeat, candidates)

    def plan(
        self, returns: Returns, last: Tensor, actions: Box, generator: torch.Generator
    ) -> Tensor:
        n, k, a = last.shape
        tried = actions.sample(n * self.candidates * k, generator).view(n, -1, k, a)
        return _best(tried, returns(tried), 1)[:, 0]


class CrossEntropyMethod(Planner):
    """Try normally distributed plans around the last one, and fit the distribution to the best of
    them, several times; the plan is the mean of the last fit.

    Sources: Rubinstein, "The cross-entropy method for combinatorial and continuous optimization",
    Methodology and Computing in Applied Probability, 1999; Chua, Calandra, McAllister, Levine,
    "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models",
    NeurIPS 2018, arXiv:1805.12114, which plans with it.

    Args:
        horizon: Steps that a plan looks ahead.
        action_repeat: Steps for which each action of a plan is held.
        candidates: Plans that are tried at once.
        elites: The best of these, to which the distribution is fitted.
        iterations: How many times.

    Raises:
        UsageError: If there are more elites than candidates.

    Example:
        >>> def returns(plans): return -(plans - 0.3).square().sum((2, 3))
        >>> last = torch.zeros(1, 5, 1)
        >>> found = CrossEntropyMethod(horizon=5, iterations=8).plan(
        ...     returns, last, Box(1, -1.0, 1.0), torch.Generator())
        >>> bool((found - 0.3).abs().max() < 0.05)
        True
    """

    def __init__(
        self,
        *,
        horizon: int = 20,
        action_repeat: int = 1,
        candidates: int = 200,
        elites: int = 20,
        iterations: int = 4,
    ) -> None:
        super().__init__(horizon, action_repeat, candidates)
        self.elites = check_whole("elites", elites)
        self.iterations = check_whole("iterations", iterations)
        if elites > candidates:
            raise UsageError(f"expected at most {candidates} elites, as candidates, got {elites}")

    def plan(
        self, returns: Returns, last: Tensor, actions: Box, generator: torch.Generator
    ) -> Tensor:
        n, k, a = last.shape
        mean, deviation = last, torch.full_like(last, (actions.high - actions.low) / 2)
        for _ in range(self.iterations):
            noise = torch.randn(
                n, self.candidates, k, a, generator=generator, device=generator.device
            )
            tried = mean[:, None] + deviation[:, None] * noise
            tried = tried.clamp(actions.low, actions.high)
            best = _best(tried, returns(tried), self.elites)  # (n, elites, k, a)
            mean, deviation = best.mean(1), best.std(1, correction=0)
        return mean


def _best(tried: Tensor, returns: Tensor, n_best: int) -> Tensor:
    """The plans of the highest returns, (n, n_best, k, a); a return that is not a number is the
    lowest."""
    rows = returns.nan_to_num(nan=-math.inf).topk(n_best, dim=1).indices  # (n, n_best)
    return tried.gather(1, rows[:, :, None, None].expand(-1, -1, *tried.shape[2:]))
