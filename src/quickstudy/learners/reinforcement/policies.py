"""Networks that say how to act: distributions over actions.

Shapes: n observations, k choices or a numbers of an action.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from quickstudy.tasks.environments import Box, Discrete

__all__ = ["ActionHead", "distribution_of", "encode_actions", "n_of_encoded_actions"]

MIN_LOG_DEVIATION = math.log(1e-6)


class ActionHead(nn.Module):
    """A linear layer from features to a distribution over actions: logits of choices, or the means
    of a normal distribution whose standard deviations are parameters of their own.

    Args:
        n_features: Length of the features.
        actions: What actions are.
        deviation: Initial standard deviation, as a share of half the range of a `Box`.

    Example:
        >>> head = ActionHead(8, Box(2, -1.0, 1.0))
        >>> distribution_of(head.actions, head(torch.randn(3, 8))).sample().shape
        torch.Size([3, 2])
    """

    def __init__(self, n_features: int, actions: Discrete | Box, deviation: float = 1.0) -> None:
        super().__init__()
        self.actions = actions
        n_outputs = actions.n if isinstance(actions, Discrete) else actions.size
        self.linear = nn.Linear(n_features, n_outputs)
        nn.init.orthogonal_(self.linear.weight, 0.01)
        nn.init.zeros_(self.linear.bias)
        if isinstance(actions, Box):
            self.log_deviation = nn.Parameter(torch.full((n_outputs,), math.log(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., d) to what `distribution_of` takes: (..., k), or (..., 2a)."""
        out = self.linear(features)
        if isinstance(self.actions, Discrete):
            return out
        # In units of the range, so that a step of gradient means as much whatever the range is.
        middle, half = _middle_and_half(self.actions)
        deviation = (self.log_deviation + math.log(half)).expand_as(out)
        return torch.cat([middle + half * out, deviation], dim=-1)


def distribution_of(actions: Discrete | Box, parameters: Tensor) -> Distribution:
    """The distribution over actions that an `ActionHead` describes."""
    if isinstance(actions, Discrete):
        return Categorical(logits=parameters, validate_args=False)
    mean, log_deviation = parameters.chunk(2, dim=-1)
    deviation = log_deviation.clamp_min(MIN_LOG_DEVIATION).exp()
    return Independent(Normal(mean, deviation, validate_args=False), 1, validate_args=False)


def n_of_encoded_actions(actions: Discrete | Box) -> int:
    """Length of what `encode_actions` makes of an action."""
    return actions.n if isinstance(actions, Discrete) else actions.size


def encode_actions(actions: Discrete | Box, taken: Tensor) -> Tensor:
    """Actions as a network's input: one-hot choices (..., k), or numbers (..., a) in -1..1."""
    if isinstance(actions, Discrete):
        return nn.functional.one_hot(taken, actions.n).to(torch.get_default_dtype())
    middle, half = _middle_and_half(actions)
    return ((taken - middle) / half).clamp(-1, 1)


def _middle_and_half(actions: Box) -> tuple[float, float]:
    return (actions.high + actions.low) / 2, (actions.high - actions.low) / 2
