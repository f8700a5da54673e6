"""Distortions that leave the class of an example as it is: of images and of vectors.

A distortion maps a batch and a generator to a batch of the same shape, `distort(x, generator)`, and
each example is distorted by numbers of its own. `chain` applies several, one after the other; a
recipe names them, each with its options:

    augment = ["elastic", { name = "cutout", side = 0.3 }]
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.errors import DataError

__all__ = [
    "AUGMENTS",
    "Augment",
    "add_noise",
    "affine",
    "chain",
    "colour_jitter",
    "crop",
    "crop_and_mirror",
    "cutout",
    "elastic",
    "grey",
    "mask_features",
    "mirror",
    "mix",
    "pixel_mask",
    "strokes",
    "swap_features",
    "translate",
]

Augment = Callable[[Tensor, torch.Generator], Tensor]


def chain(*distortions: Augment) -> Augment:
    """Several distortions as one, the first applied first.

    Example:
        >>> distort = chain(translate, pixel_mask)
        >>> distort(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """

    def distort(x: Tensor, generator: torch.Generator) -> Tensor:
        for distortion in distortions:
            x = distortion(x, generator)
        return x

    return distort


# Where the pixels go.


def affine(
    x: Tensor,
    generator: torch.Generator,
    *,
    degrees: float = 10.0,
    shear: float = 0.3,
    scale: float = 0.2,
    shift: float = 2 / 105,
    share: float = 0.5,
) -> Tensor:
    """Affine distortions, by default those of convolutional Siamese networks (Koch et al. 2015,
    section 3.3).

    Each of rotation, and of shear, scale and shift along each axis, with a probability of its own.

    Args:
        x: Images, shape (n, channels, side, side), with the background at 0.
        degrees: Most rotation, either way.
        shear: Most shear along an axis.
        scale: Most change of size along an axis, either way.
        shift: Most shift along an axis, in sides.
        share: Probability of each.

    Example:
        >>> affine(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    grid = _affine_grid(x, generator, degrees, shear, scale, shift, share)
    return F.grid_sample(x, grid, align_corners=False)


def translate(x: Tensor, generator: torch.Generator, *, shift: float = 0.2) -> Tensor:
    """Shift each image by up to `shift` of its side along each axis.

    Args:
        x: Images, shape (n, channels, side, side), with the background at 0.

    Example:
        >>> translate(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    return affine(x, generator, degrees=0, shear=0, scale=0, shift=shift, share=1)


def elastic(
    x: Tensor,
    generator: torch.Generator,
    *,
    bend: float = 0.05,
    degrees: float = 10.0,
    shear: float = 0.3,
    scale: float = 0.2,
    shift: float = 2 / 105,
    share: float = 0.5,
) -> Tensor:
    """Affine distortions as `affine` has them, and smooth shifts of the parts of an image, in the
    manner of Simard, Steinkraus & Platt, "Best Practices for Convolutional Neural Networks Applied
    to Visual Document Analysis", ICDAR 2003.

    The shifts are drawn at 5x5 points and interpolated between them; their standard deviation is
    drawn for each image, from 0 to `bend` of the side.

    Args:
        x: Images, shape (n, channels, side, side), with the background at 0.
        degrees, shear, scale, shift, share: As of `affine`.

    Example:
        >>> elastic(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    grid, n = _affine_grid(x, generator, degrees, shear, scale, shift, share), len(x)
    deviation = 2 * bend * torch.rand(n, 1, 1, 1, generator=generator)  # in half sides
    shifts = deviation * torch.randn(n, 2, 5, 5, generator=generator)
    smooth = F.interpolate(shifts, x.shape[2:], mode="bicubic", align_corners=True)
    grid = grid + smooth.permute(0, 2, 3, 1).to(x.dtype)  # (n, side, side, 2)
    return F.grid_sample(x, grid, align_corners=False)


def _affine_grid(
    x: Tensor,
    generator: torch.Generator,
    degrees: float,
    shear: float,
    scale: float,
    shift: float,
    share: float,
) -> Tensor:
    """Where `affine` takes each pixel from, shape (n, side, side, 2)."""
    n = len(_images(x))

    def draw(most: float, around: float, k: int) -> Tensor:
        drawn = around - most + 2 * most * torch.rand(n, k, generator=generator)
        distorted = torch.rand(n, k, generator=generator) < share
        return torch.where(distorted, drawn, torch.full_like(drawn, around))

    angle = draw(math.radians(degrees), 0.0, 1)[:, 0]
    shears, scales = draw(shear, 0.0, 2), draw(scale, 1.0, 2)
    shifts = draw(2 * shift, 0.0, 2)  # in half sides
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    shearing = torch.eye(2).repeat(n, 1, 1)
    shearing[:, 0, 1], shearing[:, 1, 0] = shears[:, 0], shears[:, 1]
    matrix = rotation @ shearing @ torch.diag_embed(scales)
    grid = F.affine_grid(torch.cat([matrix, shifts[..., None]], dim=2), list(x.shape), False)
    return grid.to(x.dtype)


def crop(x: Tensor, generator: torch.Generator, *, least: float = 0.6) -> Tensor:
    """A square of each image at a random place, enlarged to the whole.

    Args:
        x: Images, shape (n, channels, side, side).
        least: Side of the smallest square, in sides of the image.

    Example:
        >>> crop(torch.rand(2, 3, 84, 84), torch.Generator()).shape
        torch.Size([2, 3, 84, 84])
    """
    return _crop(x, generator, least, torch.ones(len(x)))


def mirror(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn half of the images (n, channels, height, width) left to right.

    Example:
        >>> mirror(torch.rand(2, 3, 84, 84), torch.Generator()).shape
        torch.Size([2, 3, 84, 84])
    """
    turned = torch.rand(len(_images(x)), 1, 1, 1, generator=generator) < 0.5
    return torch.where(turned, x.flip(-1), x)


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
    cropped = _crop(x, generator, 0.6, None)
    n = len(x)
    contrast, brightness = 0.7 + 0.6 * torch.rand(2, n, 1, 1, 1, generator=generator).to(x.dtype)
    mean = cropped.mean((1, 2, 3), keepdim=True)
    return (brightness * (mean + contrast * (cropped - mean))).clamp(0, 1)


def _crop(x: Tensor, generator: torch.Generator, least: float, across: Tensor | None) -> Tensor:
    """Squares at random places, enlarged; `across` is -1 for each that is mirrored, by default
    half of them."""
    n = len(_images(x))
    side = least + (1 - least) * torch.rand(n, generator=generator)
    centre = (2 * torch.rand(n, 2, generator=generator) - 1) * (1 - side[:, None])
    if across is None:
        across = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.stack([side * across, side], dim=1).diag_embed()
    grid = F.affine_grid(torch.cat([matrix, centre[..., None]], dim=2), list(x.shape), False)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)


# What the pixels are.


def pixel_mask(x: Tensor, generator: torch.Generator, *, share: float = 0.3) -> Tensor:
    """Set a share of the pixels to 0, as UMTRA does (Khodadadeh et al. 2019).

    Args:
        x: Images, shape (n, channels, height, width); all channels of a pixel go together.
        share: Probability of each pixel.

    Example:
        >>> round(float(pixel_mask(torch.ones(1, 1, 50, 50), torch.Generator()).mean()), 1)
        0.7
    """
    n, _, height, width = _images(x).shape
    return x * (torch.rand(n, 1, height, width, generator=generator) >= share).to(x.dtype)


def strokes(x: Tensor, generator: torch.Generator, *, most: float = 1.0) -> Tensor:
    """Thicken the bright strokes of one image in three by up to a pixel, and thin those of another.

    Args:
        x: Images in 0..1, shape (n, channels, height, width), with the background at 0.
        most: The largest share of a pixel.

    Example:
        >>> strokes(torch.rand(2, 1, 28, 28), torch.Generator()).shape
        torch.Size([2, 1, 28, 28])
    """
    n = len(_images(x))
    thick = F.max_pool2d(x, 2, stride=1, padding=1)[..., :-1, :-1]
    thin = 1 - F.max_pool2d(1 - x, 2, stride=1, padding=1)[..., :-1, :-1]
    share = most * torch.rand(n, 1, 1, 1, generator=generator).to(x.dtype)
    kind = torch.randint(3, (n, 1, 1, 1), generator=generator)
    other = torch.where(kind == 0, x, torch.where(kind == 1, thick, (x + thin) / 2))
    return x + share * (other - x)


def cutout(x: Tensor, generator: torch.Generator, *, side: float = 0.3) -> Tensor:
    """Set a square at a random place to 0 (DeVries & Taylor, "Improved Regularization of
    Convolutional Neural Networks with Cutout", 2017).

    Args:
        x: Images, shape (n, channels, height, width).
        side: Of the square, in sides of the image. A part of it may lie outside the image.

    Example:
        >>> bool((cutout(torch.ones(1, 1, 20, 20), torch.Generator()) == 0).any())
        True
    """
    n, _, height, width = _images(x).shape
    centre = torch.rand(2, n, 1, generator=generator)

    def inside(size: int, centre: Tensor) -> Tensor:  # (n, size)
        return ((torch.arange(size) + 0.5) / size - centre).abs() < side / 2

    hidden = inside(height, centre[0])[:, :, None] & inside(width, centre[1])[:, None, :]
    return x.masked_fill(hidden[:, None], 0.0)


def colour_jitter(
    x: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Tensor:
    """Change brightness, contrast and saturation, each times 1 minus to 1 plus its strength.

    Args:
        x: Images in 0..1, shape (n, channels, height, width); grey ones have no saturation.

    Example:
        >>> colour_jitter(torch.rand(2, 3, 84, 84), torch.Generator()).shape
        torch.Size([2, 3, 84, 84])
    """
    n = len(_images(x))

    def factor(strength: float) -> Tensor:
        return 1 + strength * (2 * torch.rand(n, 1, 1, 1, generator=generator).to(x.dtype) - 1)

    x = x * factor(brightness)
    for strength, like in ((contrast, (1, 2, 3)), (saturation, (1,))):
        mean = x.mean(like, keepdim=True)
        x = mean + factor(strength) * (x - mean)
    return x.clamp(0, 1)


def grey(x: Tensor, generator: torch.Generator, *, share: float = 0.2) -> Tensor:
    """Take the colour from a share of the images (n, channels, height, width).

    Example:
        >>> x = grey(torch.rand(1, 3, 8, 8), torch.Generator(), share=1)
        >>> torch.equal(x[:, 0], x[:, 1])
        True
    """
    chosen = torch.rand(len(_images(x)), 1, 1, 1, generator=generator) < share
    return torch.where(chosen, x.mean(1, keepdim=True), x)


# Vectors.


def mask_features(x: Tensor, generator: torch.Generator, *, share: float = 0.3) -> Tensor:
    """Set a share of the features of vectors (n, d) to 0.

    Example:
        >>> round(float(mask_features(torch.ones(1, 1000), torch.Generator()).mean()), 1)
        0.7
    """
    return x * (torch.rand(_vectors(x).shape, generator=generator) >= share).to(x.dtype)


def swap_features(x: Tensor, generator: torch.Generator, *, share: float = 0.3) -> Tensor:
    """Take a share of the features of vectors (n, d) from other vectors of the batch, each from one
    of its own: random feature corruption (Bahri et al., "SCARF", ICLR 2022).

    It suits tables, as what is put in is a value that the column has.

    Example:
        >>> x = torch.arange(6.0).view(3, 2)
        >>> bool((swap_features(x, torch.Generator(), share=1)[:, 0] % 2 == 0).all())
        True
    """
    other = torch.randint(len(_vectors(x)), x.shape, generator=generator)
    swapped = torch.rand(x.shape, generator=generator) < share
    return torch.where(swapped, x.gather(0, other), x)


def add_noise(x: Tensor, generator: torch.Generator, *, deviation: float = 0.2) -> Tensor:
    """Add Gaussian noise to vectors (n, d), in standard deviations of each feature in the batch.

    Example:
        >>> add_noise(torch.rand(4, 3), torch.Generator()).shape
        torch.Size([4, 3])
    """
    spread = _vectors(x).std(0, correction=0)
    return x + deviation * spread * torch.randn(x.shape, generator=generator).to(x.dtype)


def mix(x: Tensor, generator: torch.Generator, *, most: float = 0.3) -> Tensor:
    """Move each vector (n, d) up to a share `most` of the way to another of the batch, as mixup
    does (Zhang et al., ICLR 2018), but for the labels, which stay.

    Example:
        >>> mix(torch.rand(4, 3), torch.Generator()).shape
        torch.Size([4, 3])
    """
    other = torch.randint(len(_vectors(x)), (len(x),), generator=generator)
    way = most * torch.rand(len(x), 1, generator=generator).to(x.dtype)
    return x + way * (x[other] - x)


def _images(x: Tensor) -> Tensor:
    if x.ndim != 4:
        raise DataError(
            "expected images (n, channels, height, width) to distort, got shape "
            f"{tuple(x.shape)}: vectors take {', '.join(VECTOR_AUGMENTS)}"
        )
    return x


def _vectors(x: Tensor) -> Tensor:
    if x.ndim != 2:
        raise DataError(
            f"expected vectors (n, d) to distort, got shape {tuple(x.shape)}: images take "
            f"{', '.join(IMAGE_AUGMENTS)}"
        )
    return x


IMAGE_AUGMENTS: dict[str, Callable[..., Tensor]] = {
    "affine": affine,
    "translate": translate,
    "elastic": elastic,
    "crop": crop,
    "mirror": mirror,
    "crop_and_mirror": crop_and_mirror,
    "pixel_mask": pixel_mask,
    "strokes": strokes,
    "cutout": cutout,
    "colour_jitter": colour_jitter,
    "grey": grey,
}

VECTOR_AUGMENTS: dict[str, Callable[..., Tensor]] = {
    "mask_features": mask_features,
    "swap_features": swap_features,
    "add_noise": add_noise,
    "mix": mix,
}

AUGMENTS = IMAGE_AUGMENTS | VECTOR_AUGMENTS
