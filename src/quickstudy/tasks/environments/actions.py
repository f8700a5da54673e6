"""What actions are: one of some choices, or a vector.

Shapes: n environments, a numbers of an action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.environments.options import check_whole

__all__ = ["Box", "Discrete"]


@dataclass(frozen=True)
class Discrete:
    """Actions that are one of n choices: a tensor (n,) of whole numbers from 0 to `n` - 1.

    Args:
        n: Number of choices.

    Example:
        >>> Discrete(5).sample(3, torch.Generator()).shape
        torch.Size([3])
    """

    n: int

    def __post_init__(self) -> None:
        check_whole("n of Discrete", self.n)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw actions (n,) uniformly."""
        return torch.randint(self.n, (n,), generator=generator, device=generator.device)

    def check(self, actions: Tensor, n: int) -> Tensor:
        """Return the actions (n,) as int64, or raise DataError if there are no such actions."""
        _check_tensor(actions, (n,))
        if actions.is_floating_point() or actions.is_complex() or actions.dtype == torch.bool:
            raise DataError(f"expected actions that are whole numbers, got {actions.dtype}")
        lowest, highest = actions.aminmax()
        if lowest < 0 or highest >= self.n:
            raise DataError(
                f"expected actions from 0 to {self.n - 1}, got some from {int(lowest)} to "
                f"{int(highest)}"
            )
        return actions.long()


@dataclass(frozen=True)
class Box:
    """Actions that are vectors: a tensor (n, size) of numbers from `low` to `high`.

    What is outside is clipped, since policies are often Gaussian and know no bounds.

    Args:
        size: Numbers of an action.
        low: Least value of each.
        high: Greatest value of each.

    Example:
        >>> Box(2, -1.0, 1.0).check(torch.tensor([[0.5, 3.0]]), 1)
        tensor([[0.5000, 1.0000]])
    """

    size: int
    low: float
    high: float

    def __post_init__(self) -> None:
        check_whole("size of Box", self.size)
        if not -math.inf < self.low < self.high < math.inf:
            raise UsageError(f"expected a finite low below high, got {self.low} and {self.high}")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw actions (n, size) uniformly."""
        unit = torch.rand(n, self.size, generator=generator, device=generator.device)
        return self.low + (self.high - self.low) * unit

    def check(self, actions: Tensor, n: int) -> Tensor:
        """Return the actions (n, size), clipped, or raise DataError if they are no such actions."""
        _check_tensor(actions, (n, self.size))
        if not actions.is_floating_point():
            raise DataError(f"expected actions that are floating-point numbers: {actions.dtype}")
        if actions.isnan().any():
            raise DataError("expected actions that are numbers, got NaN")
        return actions.clamp(self.low, self.high)


def _check_tensor(actions: object, shape: tuple[int, ...]) -> None:
    if not isinstance(actions, Tensor):
        raise DataError(f"expected actions as a tensor, got {type(actions).__name__}")
    if actions.shape != shape:
        raise DataError(f"expected actions of shape {shape}, got {tuple(actions.shape)}")
