"""Encoders and learners by name, and those for examples of each kind if none is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from quickstudy.errors import unknown
from quickstudy.learners import FineTuning, Learner, Predictor
from quickstudy.learners.transfer.closed_form import GaussianClasses
from quickstudy.nn import ENCODERS, Encoder, Flatten
from quickstudy.tasks import Support
from quickstudy.tasks.images import SUFFIXES, Images

__all__ = [
    "DRAWINGS",
    "EMBEDDINGS",
    "METHODS",
    "NUMBERS",
    "PHOTOGRAPHS",
    "TEXTS",
    "EncodedImages",
    "default_encoder",
    "in_colour",
    "make_method",
    "named_encoder",
]

DRAWINGS = "handwriting"
"""The run that comes with quickstudy, for drawn characters; for images without colour."""

PHOTOGRAPHS, TEXTS = "efficientnet_lite0", "minilm"

METHODS = ("gaussian_classes", "nearest_centroid", "nearest_neighbour", "ridge", "linear_probe")
"""Learners of vectors that need no meta-training."""

NUMBERS, EMBEDDINGS = "gaussian_classes", "ridge"
"""The method if none is named. Features of columns differ in scale and depend on each other;
embeddings compare by direction, and with one example a class their scales cannot be told."""

SHARPNESS = {"nearest_centroid": 10.0, "nearest_neighbour": 10.0, "ridge": 16.0}
"""Factors for the softmax of scores that are cosines or targets of 0 and 1. The best ones were 8 to
15 for centroids and 13 to 25 for ridge, by 1, 2 or 5 examples of 5 or 16 training classes of
Caltech 101 under EfficientNet-Lite0 and of clinc150 under MiniLM."""

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


def named_encoder(name: str) -> Encoder | EncodedImages:
    """The encoder of a name.

    Raises:
        UsageError: If there is none.
        MissingError: Without its extra.
    """
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    known = ENCODERS[name]
    return known.load() if known.side is None else EncodedImages(known.load(), known.side)


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
    learner = _Sharpened(Flatten(shown.shape[1:]), n_classes=1, method=name)  # pyright: ignore[reportArgumentType]
    learner.to(shown.dtype).centre.copy_(shown.flatten(1).mean(0))
    return learner.to(shown.device).eval()


class _Sharpened(FineTuning):
    """Fine-tuning whose scores are logits, also those of methods in closed form."""

    def adapt(self, support: Support) -> Predictor:
        predict, factor = super().adapt(support), SHARPNESS.get(self.strategy.method, 1.0)
        return lambda x: factor * predict(x)


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
