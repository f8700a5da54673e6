"""The Gittins index for a finite number of pulls.

Shapes: n environments, k arms; l trial values of an index, m pulls left, s successes, f failures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from quickstudy.learners.reinforcement.classical import BanditPolicy, check_bernoulli, check_steps
from quickstudy.tasks.environments.bandits import Bandits

__all__ = ["GittinsIndex", "gittins_indices"]

N_TRIAL_VALUES = 200


@lru_cache(maxsize=4)
def gittins_indices(horizon: int) -> list[Tensor]:
    """Gittins indices of Bernoulli arms with flat priors, by the number of pulls left.

    The index of an arm is the greatest price of a pull at which it pays to pull it some times, up
    to as often as there are pulls left, when one may stop at will. All prices of a grid are tried
    at once; between two of them the surplus is taken as linear, which leaves an error below 1e-4.

    Sources: Gittins, Bandit Processes and Dynamic Allocation Indices, 1979; Lattimore, Regret
    Analysis of the Finite-Horizon Gittins Index Strategy for Multi-Armed Bandits, 2016.

    Args:
        horizon: Number of pulls.

    Returns:
        At m, the indices (s, f) with m pulls left; those with s + f > horizon - m mean nothing.
        At 0 nothing.

    Example:
        >>> indices = gittins_indices(10)
        >>> indices[1][2, 1]  # with one pull left, the posterior mean, 3 / 5
        tensor(0.6000)
        >>> bool(indices[8][1, 1] > indices[2][1, 1] > 0.5)
        True
    """
    prices = torch.linspace(0, 1, N_TRIAL_VALUES + 1, dtype=torch.float64)[:, None, None]
    size = horizon + 1
    surplus = torch.zeros(len(prices), size + 1, size + 1, dtype=torch.float64)  # (l, s, f)
    indices = [torch.empty(0)]
    for left in range(1, horizon + 1):
        size = horizon - left + 1
        counts = torch.arange(size, dtype=torch.float64)
        p = (counts[:, None] + 1) / (counts[:, None] + counts + 2)  # (s, f)
        success, failure = surplus[:, 1 : size + 1, :size], surplus[:, :size, 1 : size + 1]
        pulled = p - prices + p * success + (1 - p) * failure
        indices.append(_root(pulled, 1 / N_TRIAL_VALUES))
        surplus = pulled.clamp_min_(0)
    return indices


def _root(falling: Tensor, width: float) -> Tensor:
    """Where functions given on a grid of this width from 0, (l, s, f), become negative."""
    last = (falling > 0).sum(0).sub_(1).clamp_(0, len(falling) - 2)[None]
    high, low = falling.gather(0, last)[0], falling.gather(0, last + 1)[0]
    return ((last[0] + high / (high - low)) * width).float()


class GittinsIndex(BanditPolicy):
    """Pulls the arm with the highest Gittins index for the pulls that are left.

    This is the finite-horizon strategy of Lattimore (2016). It is not quite Bayes-optimal, since
    the theorem of Gittins needs discounted rewards for ever.

    Args:
        family: The Bernoulli bandits that are to be played, for one episode. The indices take
            some hundred megabytes and half a minute for 500 pulls.
        options: Of `BanditPolicy`.

    Raises:
        UsageError: If the arms are Gaussian.
    """

    def __init__(self, family: Bandits, **options: Any) -> None:
        super().__init__(family, **options)
        check_bernoulli(family)
        self.indices = gittins_indices(family.horizon)

    def act(self, observations: Tensor) -> Tensor:
        check_steps(self.steps, self.horizon)
        table = self.indices[self.horizon - self.steps].to(self.totals.device)
        successes, pulls = self.totals.long(), self.pulls.long()
        return table[successes, pulls - successes].argmax(1)
