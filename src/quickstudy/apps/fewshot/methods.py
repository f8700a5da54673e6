"""Encoders and learners by name, and those for examples of each kind if none is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from quickstudy.apps.fewshot.inputs import kind_of
from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.errors import UsageError, unknown
from quickstudy.learners import Learner, Predictor
from quickstudy.learners.base import check_every_class
from quickstudy.learners.transfer.closed_form import GaussianClasses
from quickstudy.learners.transfer.strategies import Method, TransferStrategy
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images, Ink

__all__ = [
    "DRAWINGS_RUN",
    "IMAGE_ENCODER",
    "METHODS",
    "TEXT_ENCODER",
    "EncodedImages",
    "VectorClassifier",
    "default_encoder",
    "images_of",
    "make_method",
    "named_encoder",
]

DRAWINGS_RUN = "handwriting"
"""The run that comes with quickstudy, for drawn characters."""

IMAGE_ENCODER, TEXT_ENCODER = "efficientnet_lite0", "minilm"

DEFAULT_ENCODERS = {"texts": TEXT_ENCODER, "images": IMAGE_ENCODER, "sounds": "log_mel"}
"""Of each kind that has to be embedded, for a method that is named."""

METHODS = ("gaussian_classes", "nearest_centroid", "nearest_neighbour", "ridge", "linear_probe")
"""Learners of vectors that need no meta-training."""

LOGIT_SCALES = {"nearest_centroid": 10.0, "nearest_neighbour": 10.0, "ridge": 16.0}
"""Factors for the softmax of scores that are cosines or targets of 0 and 1. The best ones were 8 to
15 for centroids and 13 to 25 for ridge, by 1, 2 or 5 examples of 5 or 16 training classes of
Caltech 101 under EfficientNet-Lite0 and of clinc150 under MiniLM."""


class EncodedImages:
    """Images, prepared in the size that an encoder takes, and embedded.

    Args:
        encoder: Of images (3, size, size) in 0..1.
        size: Their side, in pixels.
        bits: Of 16-bit images, as of `Images`.
    """

    def __init__(self, encoder: Encoder, size: int, bits: int | None = None) -> None:
        self.encoder, self.images = encoder, Images(size, channels=3, fit="grey", bits=bits)

    def fitted(self, images: Sequence[Any]) -> EncodedImages:
        """One that scales 16-bit images as a support set uses them, see `Images.fitted`."""
        return EncodedImages(self.encoder, self.images.size, self.images.fitted(images).bits)

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
    known = ENCODERS.find(name)
    return known.load() if known.side is None else EncodedImages(known.load(), known.side)


def make_method(name: str) -> Learner:
    """A learner of vectors (n, d) that needs no meta-training.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    learner = GaussianClasses() if name == "gaussian_classes" else VectorClassifier(name)  # pyright: ignore[reportArgumentType]
    return learner.eval()


class VectorClassifier(Learner):
    """A transfer strategy on vectors as they are, whose scores are logits, also those of methods in
    closed form. Those that compare directions do so about the mean of the support set.

    Args:
        method: As of `TransferStrategy`.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.strategy = TransferStrategy(method, inputs="raw")
        self.sharpness = LOGIT_SCALES.get(method, 1.0)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        predict = self.strategy.adapt(nn.Flatten(), support.x.new_empty(0), support)
        return lambda x: self.sharpness * predict(x)


def images_of(recipe: Recipe, ink: Ink | None = None) -> Images:
    """How a recipe's learner takes images: in the size, colours and ink it is trained with.

    Args:
        ink: Of the images to come. By default as the images of the recipe's folder; else dark, or
            bright in colour.

    Raises:
        UsageError: If the recipe is not of images, or of what an encoder makes of them.
    """
    if encoder := recipe.data.encoder:
        raise UsageError(f"expected a run trained on images, got one on what {encoder} makes")
    if not recipe.data.of_images:
        raise UsageError(f"expected a run trained on images, got one on {recipe.data.name}")
    photographs = recipe.data.n_channels == 3 and recipe.data.folder is None
    ink = ink or ("bright" if photographs else recipe.data.ink)
    return Images(recipe.data.image_size, recipe.data.n_channels, ink)


def default_encoder(examples: Any) -> str | None:
    """The encoder of examples for a method that is named: by their kind, and None for numbers.

    Raises:
        DataError, MissingError: As of `kind_of`.
    """
    return DEFAULT_ENCODERS.get(kind_of(examples))
