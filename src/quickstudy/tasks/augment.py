"""Distortions of images that leave their class as it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTS", "affine", "crop_and_mirror", "elastic"]


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
    return F.grid_sample(x, _affine_grid(x, generator), align_corners=False)


def elastic(x: Tensor, generator: torch.Generator) -> Tensor:
    """Affine distortions as `affine` has them, and smooth shifts of the parts of an image, in the
    manner of Simard, Steinkraus & Platt, "Best Practices for Convolutional Neural Networks Applied
    to Visual Document Analysis", ICDAR 2003.

    The shifts are drawn at 5x5 points and interpolated between them; their standard deviation is
    drawn for each image, from 0 to a twentieth of the side.

    Args:
        x: Images, shape (n, channels, side, side), with the background at 0.

    Example:
        >>> elastic(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    grid, n = _affine_grid(x, generator), len(x)
    deviation = 0.1 * torch.rand(n, 1, 1, 1, generator=generator)  # in half sides
    shifts = deviation * torch.randn(n, 2, 5, 5, generator=generator)
    smooth = F.interpolate(shifts, x.shape[2:], mode="bicubic", align_corners=True)
    grid = grid + smooth.permute(0, 2, 3, 1).to(x.dtype)  # (n, side, side, 2)
    return F.grid_sample(x, grid, align_corners=False)


def _affine_grid(x: Tensor, generator: torch.Generator) -> Tensor:
    """Where `affine` takes each pixel from, shape (n, side, side, 2)."""
    n = len(x)

    def draw(low: float, high: float, identity: float, k: int) -> Tensor:
        drawn = low + (high - low) * torch.rand(n, k, generator=generator)
        keep = torch.rand(n, k, generator=generator) < 0.5
        return torch.where(keep, drawn, torch.full_like(drawn, identity))

    angle = draw(-math.pi / 18, math.pi / 18, 0.0, 1)[:, 0]
    shear, scale = draw(-0.3, 0.3, 0.0, 2), draw(0.8, 1.2, 1.0, 2)
    shift = draw(-4 / 105, 4 / 105, 0.0, 2)  # in half sides
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    shearing = torch.eye(2).repeat(n, 1, 1)
    shearing[:, 0, 1], shearing[:, 1, 0] = shear[:, 0], shear[:, 1]
    matrix = rotation @ shearing @ torch.diag_embed(scale)
    grid = F.affine_grid(torch.cat([matrix, shift[..., None]], dim=2), list(x.shape), False)
    return grid.to(x.dtype)


def crop_and_mirror(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops, mirror images and exposure, for photographs.

    Each image: a square of 0.6 to 1 of its side at a random place, enlarged to the whole; with
    probability a half mirrored left to right; its contrast, and then its brightness, times 0.7 to
    1.3.

    Args:
        x: Images in 0..1, shape (n, channels, side, side).

    Example:
        >>> crop_and_mirror(torch.rand(2, 3, 84, 84), torch.Generator()).shape
        torch.Size([2, 3, 84, 84])
    """
    n = len(x)
    side = 0.6 + 0.4 * torch.rand(n, generator=generator)
    centre = (2 * torch.rand(n, 2, generator=generator) - 1) * (1 - side[:, None])
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.stack([side * mirror, side], dim=1).diag_embed()
    grid = F.affine_grid(torch.cat([matrix, centre[..., None]], dim=2), list(x.shape), False)
    cropped = F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)
    contrast, brightness = 0.7 + 0.6 * torch.rand(2, n, 1, 1, 1, generator=generator).to(x.dtype)
    mean = cropped.mean((1, 2, 3), keepdim=True)
    return (brightness * (mean + contrast * (cropped - mean))).clamp(0, 1)


AUGMENTS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "affine": affine,
    "elastic": elastic,
    "crop_and_mirror": crop_and_mirror,
}
