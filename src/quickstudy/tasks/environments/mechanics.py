"""What the mechanical families share: parameters drawn from ranges, or beyond them; and what a
planner needs, a reward and a state that follow from what is seen.

Shapes: n environments, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.tasks.environments.actions import Box
from quickstudy.tasks.environments.environment import EnvironmentFamily, Parameters, State
from quickstudy.tasks.environments.options import check_number

__all__ = ["Mechanics", "draw"]


def draw(low: float, high: float, beyond: float, n: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers uniformly from a range, or from what lies around it.

    Args:
        low: Least number of the range.
        high: Greatest number of the range.
        beyond: If 0, the range itself. Else only numbers outside it, at most this share of its
            width below or above.
        n: How many numbers.
        generator: Decides them.

    Example:
        >>> outside = draw(1.0, 3.0, 0.5, 1000, torch.Generator())
        >>> bool(((outside < 1) | (outside > 3)).all()), bool((outside > 0).all())
        (True, True)
    """
    unit = torch.rand(n, generator=generator)
    if beyond == 0:
        return low + (high - low) * unit
    offset = (2 * unit - 1) * beyond * (high - low)  # its sign says on which side
    return torch.where(offset < 0, low, high) + offset


class Mechanics(EnvironmentFamily):
    """A machine whose parameters, each a number, are drawn from ranges of their own.

    Args:
        beyond: If 0, parameters are drawn from their ranges. Else all lie outside them, by at most
            this share of the range's width: 0.5 tests what was learned on machines unlike those
            of training.
        seed: Decides every task.

    Attributes:
        ranges: The least and greatest value of each parameter, all above 0.

    Raises:
        UsageError: If `beyond` is so large that a parameter could be 0 or less.
    """

    actions: Box
    ranges: Mapping[str, tuple[float, float]]

    def __init__(self, *, beyond: float = 0.0, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.beyond = check_number("beyond", beyond, least=0.0)
        for name, (low, high) in self.ranges.items():
            if low - beyond * (high - low) <= 0:
                raise UsageError(
                    f"expected beyond to leave {name} above 0: less than {low / (high - low):g}, "
                    f"got {beyond}"
                )

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {
            name: draw(low, high, self.beyond, n, generator)
            for name, (low, high) in self.ranges.items()
        }

    @abstractmethod
    def reset_anywhere(self, parameters: Parameters, generator: torch.Generator) -> State:
        """Draw states from all that a machine may come to, to learn its dynamics from."""

    @abstractmethod
    def state_of(self, observations: Tensor) -> State:
        """The states that look like these observations (n, o)."""

    @abstractmethod
    def reward(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> Tensor:
        """The rewards (...) of steps, from what was seen before and after them, both (..., o), and
        the actions (..., a)."""
