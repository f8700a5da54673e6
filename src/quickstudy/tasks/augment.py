"""Distortions of images that leave their class as it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTS", "affine"]


def affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Affine distortions as for convolutional Siamese networks (Koch et al. 2015, section 3.3).

    Each of these with probability a half: rotation by up to 10 degrees, shear by up to 0.3 along
    each axis, scale of 0.8 to 1.2 along each axis, and a shift of up to 2 pixels in 105 along each.

    Args:
        x: Images, shape (n, channels, side, side), with the background at 0.

    Example:
        >>> affine(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    n = len(x)

    def draw(low: float, high: float, none: float, k: int) -> Tensor:
        drawn = low + (high - low) * torch.rand(n, k, generator=generator)
        keep = torch.rand(n, k, generator=generator) < 0.5
        return torch.where(keep, drawn, torch.full_like(drawn, none))

    angle = draw(-math.pi / 18, math.pi / 18, 0.0, 1)[:, 0]
    shear, scale = draw(-0.3, 0.3, 0.0, 2), draw(0.8, 1.2, 1.0, 2)
    shift = draw(-4 / 105, 4 / 105, 0.0, 2)  # in half sides
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    lean = torch.eye(2).repeat(n, 1, 1)
    lean[:, 0, 1], lean[:, 1, 0] = shear[:, 0], shear[:, 1]
    matrix = turn @ lean @ torch.diag_embed(scale)
    grid = F.affine_grid(torch.cat([matrix, shift[..., None]], dim=2), list(x.shape), False)
    return F.grid_sample(x, grid.to(x.dtype), align_corners=False)


AUGMENTS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"affine": affine}
