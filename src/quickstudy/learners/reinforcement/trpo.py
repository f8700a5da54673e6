"""Trust-region policy optimisation.

Schulman, Levine, Moritz, Jordan & Abbeel, "Trust Region Policy Optimization", 2015,
arXiv:1502.05477, appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["conjugate_gradients", "trust_region_step"]

Objective = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""Maps weights to the gain to maximise and to the divergence from the policy that acted."""


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float = 1e-10
) -> Tensor:
    """Solve A x = b (d,) by products with A alone.

    Example:
        >>> A = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        >>> conjugate_gradients(lambda v: A @ v, torch.tensor([1.0, 2.0]), steps=2)
        tensor([0.0909, 0.6364])
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = residual @ residual
    for _ in range(steps):
        image = product(direction)
        rate = square / (direction @ image)
        x = x + rate * direction
        residual = residual - rate * image
        next_square = residual @ residual
        if next_square < tolerance:
            break
        direction = residual + next_square / square * direction
        square = next_square
    return x


def trust_region_step(
    objective: Objective,
    weights: Sequence[Tensor],
    *,
    max_divergence: float,
    divergence: Callable[[Sequence[Tensor]], Tensor] | None = None,
    cg_steps: int = 10,
    damping: float = 1e-2,
    backtracks: int = 15,
    shrink: float = 0.8,
) -> list[Tensor]:
    """The change of weights along the natural gradient, as long as the divergence allows and the
    gain grows; zeros where no length does.

    Args:
        objective: Gain and divergence.
        weights: Where the policy is that acted.
        max_divergence: The most that the divergence may become.
        divergence: Maps weights to an estimate of the divergence whose curvature is to be used,
            such as that of fewer steps; the objective's own if not given.
        cg_steps, damping: Of the natural gradient.
        backtracks, shrink: Lengths that are tried, each this share of the one before.
    """
    leaves = [w.detach().requires_grad_() for w in weights]
    with torch.enable_grad():
        gain, diverged = objective(leaves)
        gradient = _flat(torch.autograd.grad(gain, leaves, retain_graph=divergence is None))
        if divergence is not None:
            diverged = divergence(leaves)
        slope = _flat(torch.autograd.grad(diverged, leaves, create_graph=True))

    def product(v: Tensor) -> Tensor:
        with torch.enable_grad():
            along = (slope * v).sum()
            return _flat(torch.autograd.grad(along, leaves, retain_graph=True)) + damping * v

    direction = conjugate_gradients(product, gradient, cg_steps)
    curvature = direction @ product(direction)
    if not bool(curvature > 0):
        return [torch.zeros_like(w) for w in weights]
    change = (2 * max_divergence / curvature).sqrt() * direction
    for _ in range(backtracks):
        with torch.no_grad():
            moved = [w + c for w, c in zip(leaves, _as(change, leaves), strict=True)]
            new_gain, new_divergence = objective(moved)
        if bool((new_gain > gain) & (new_divergence <= max_divergence)):
            return _as(change, leaves)
        change = shrink * change
    return [torch.zeros_like(w) for w in weights]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _as(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    pieces = flat.detach().split([w.numel() for w in like])
    return [piece.view_as(w) for piece, w in zip(pieces, like, strict=True)]
