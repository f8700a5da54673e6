"""How much better actions were than expected.

Shapes: t steps, n environments.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["generalized_advantages", "standardised"]


def generalized_advantages(
    rewards: Tensor, values: Tensor, ends: Tensor, discount: float, decay: float
) -> Tensor:
    """Advantages (t, n) (Schulman et al., "High-Dimensional Continuous Control Using Generalized
    Advantage Estimation", 2016, equation 16).

    Args:
        rewards: (t, n).
        values: What was expected of each step on, and after the last, shape (t + 1, n).
        ends: Where nothing after a step counts for it, shape (t, n).
        discount, decay: gamma and lambda.

    Example:
        >>> rewards, values = torch.tensor([[1.0], [1.0]]), torch.zeros(3, 1)
        >>> generalized_advantages(rewards, values, torch.zeros(2, 1), 0.5, 1.0)[:, 0]
        tensor([1.5000, 1.0000])
    """
    goes_on = 1 - ends.to(rewards)
    errors = rewards + discount * goes_on * values[1:] - values[:-1]
    advantage = torch.zeros_like(rewards[0])
    advantages = torch.empty_like(rewards)
    for step in range(len(rewards) - 1, -1, -1):
        advantage = errors[step] + discount * decay * goes_on[step] * advantage
        advantages[step] = advantage
    return advantages


def standardised(x: Tensor, active: Tensor, dims: tuple[int, ...]) -> Tensor:
    """With mean 0 and standard deviation 1 over some dimensions, and 0 where `active` is not.

    Example:
        >>> x, active = torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])
        >>> standardised(x, active, (0,))
        tensor([-1.,  1.,  0.])
    """
    weights = active.to(x)
    n = weights.sum(dims, keepdim=True)
    centred = (x - (x * weights).sum(dims, keepdim=True) / n) * weights
    return centred / ((centred.square().sum(dims, keepdim=True) / n).sqrt() + 1e-8)
