"""Encoders and learners by name, and those for examples of each kind if none is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from quickstudy.errors import unknown
from quickstudy.learners import FineTuning, Learner
from quickstudy.learners.transfer.closed_form import GaussianClasses
from quickstudy.nn import Encoder, Flatten, efficientnet_lite0, minilm
from quickstudy.tasks.images import SUFFIXES, Images

__all__ = [
    "DRAWINGS",
    "ENCODERS",
    "METHODS",
    "PHOTOGRAPHS",
    "TEXTS",
    "EncodedImages",
    "default_encoder",
    "in_colour",
    "make_method",
    "named_encoder",
]

DRAWINGS = "glyphs"
"""The run that comes with quickstudy, for drawn characters; for images without colour."""

PHOTOGRAPHS, TEXTS = "efficientnet_lite0", "minilm"

METHODS = ("gaussian_classes", "nearest_centroid", "nearest_neighbour", "ridge", "linear_probe")
"""Learners of vectors that need no meta-training."""

COLOURFUL = 0.02
"""Mean difference, in 0..1, between the strongest and the weakest channel of images in colour."""


class EncodedImages:
    """Images, prepared in the size that an encoder takes, and embedded.

    Args:
        encoder: Of images (3, size, size) in 0..1.
        size: Their side, in pixels.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.encoder, self.images = encoder, Images(size, channels=3)

    @property
    def seen(self) -> str:
        return self.encoder.seen

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Embed paths, Pillow images or arrays: (n, d)."""
        return self.encoder(self.images(images))


ENCODERS: dict[str, Callable[[], Encoder | EncodedImages]] = {
    PHOTOGRAPHS: lambda: EncodedImages(efficientnet_lite0(), 224),
    TEXTS: minilm,
}


def named_encoder(name: str) -> Encoder | EncodedImages:
    """The encoder of a name.

    Raises:
        UsageError: If there is none.
        MissingError: Without its extra.
    """
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    return ENCODERS[name]()


def make_method(name: str, shown: Tensor) -> Learner:
    """A learner that needs no meta-training, for examples (n, ...) like those shown, whose mean is
    the centre of those that compare directions.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    if name == "gaussian_classes":
        return GaussianClasses().eval()
    learner = FineTuning(Flatten(shown.shape[1:]), n_classes=1, method=name)  # pyright: ignore[reportArgumentType]
    learner.to(shown.dtype).centre.copy_(shown.flatten(1).mean(0))
    return learner.to(shown.device).eval()


def default_encoder(examples: Any, *, drawings: bool) -> str | None:
    """What takes examples if the user names nothing: an encoder, `DRAWINGS`, or None for numbers.

    Args:
        examples: Of any kind.
        drawings: Whether images without colour are for `DRAWINGS`.
    """
    if not (isinstance(examples, list | tuple) or getattr(examples, "ndim", 0) == 1):
        return None
    first = next(iter(examples), None)
    if isinstance(first, Image.Image | os.PathLike) or (
        isinstance(first, str) and Path(first).suffix.lower() in SUFFIXES
    ):
        return DRAWINGS if drawings and not in_colour(Images(32, 3)(examples)) else PHOTOGRAPHS
    return TEXTS if isinstance(first, str) else None


def in_colour(images: Tensor) -> bool:
    """Whether images (n, 3, height, width) in 0..1 have more than greys.

    Example:
        >>> import torch
        >>> in_colour(torch.rand(2, 1, 8, 8).expand(2, 3, 8, 8))
        False
    """
    return float((images.amax(1) - images.amin(1)).mean()) > COLOURFUL
