"""What the default learner sees of examples: the views of each kind, side by side."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from quickstudy.apps.fewshot.inputs import Kind as InputKind
from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    IMAGE_ENCODER,
    EncodedImages,
    images_of,
    named_encoder,
)
from quickstudy.encoders import ENCODERS, Encoder, module_encoder
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.errors import MissingError
from quickstudy.experiments.run import load_run
from quickstudy.learners.transfer.blend import (
    PIXELS,
    RAW,
    Kind,
    LearnedBlend,
    View,
    shipped_gate,
)
from quickstudy.learners.transfer.regression import RegressionBlend, shipped_regression_gate
from quickstudy.nn import Flatten
from quickstudy.tasks.images import Images

__all__ = [
    "KINDS",
    "ImageViews",
    "default_blend",
    "default_regression_blend",
    "encoder_name",
    "encoder_of_views",
]

STATISTICS_SIZE = 64
"""Of the images that statistics are taken of, in pixels."""

CHROMA_THRESHOLD = 0.15
"""A pixel is colourful from this difference between its strongest and its weakest channel, in
0..1."""

ENCODERS_OF: Mapping[InputKind, Sequence[str]] = {
    "texts": ("minilm", "use_multilingual"),
    "sounds": ("log_mel", "speech_resnet50"),
}
"""Those that embed a kind if none is named, of which one has to be installed."""

MIN_SHARES_OF_PHOTOGRAPHS = (0.31, 0.001)
"""The shares of mid-grey and of colourful pixels from which images are rather photographs
(`docs/research/few_shot.md`)."""

KINDS: Mapping[InputKind, Kind] = {
    "texts": "text",
    "images": "image",
    "sounds": "sound",
    "series": "series",
    "numbers": "numbers",
}
"""The gate's word for each kind of input."""


class ImageViews:
    """Images as photographs, embedded by EfficientNet-Lite0; as drawn characters, embedded by the
    run "handwriting"; and the shares of mid-grey and of colourful pixels, which tell them apart.

    Args:
        bits: Of 16-bit images, as of `Images`.

    Raises:
        MissingError: Without the extra "images", if an image is in colour or has shades.
    """

    def __init__(self, bits: int | None = None) -> None:
        self.bits = bits
        recipe, _ = load_run(DRAWINGS_RUN)
        self._drawings, self._embed_drawings = images_of(recipe), _drawings_encoder()
        self.n_drawings = self._embed_drawings(torch.zeros(1, *recipe.data.shape)).shape[1]
        self._missing: MissingError | None = None
        try:
            photographs = named_encoder(IMAGE_ENCODER)
            assert isinstance(photographs, EncodedImages)
            self._photographs = photographs
        except MissingError as error:
            self._missing = error

    @property
    def parts(self) -> list[tuple[str, int]]:
        """The name and size of each view."""
        photographs = [] if self._missing else [(IMAGE_ENCODER, ENCODERS.find(IMAGE_ENCODER).size)]
        return [*photographs, (DRAWINGS_RUN, self.n_drawings), (PIXELS, 2)]

    @property
    def seen(self) -> str:
        return "" if self._missing else self._photographs.seen

    def fitted(self, images: Sequence[Any]) -> ImageViews:
        """One that scales 16-bit images as a support set uses them, see `Images.fitted`."""
        return ImageViews(Images(bits=self.bits).fitted(images).bits)

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Embed paths, Pillow images or arrays: (n, d)."""
        return self.embed(lambda how: how(images))

    def embed(self, prepare: Callable[[Images], Tensor]) -> Tensor:
        """Embed images, which `prepare` makes in 0..1 for each of several options: (n, d)."""
        statistics = pixel_statistics(
            prepare(self._with_bits(Images(STATISTICS_SIZE, 3, fit="stretch")))
        )
        drawings = self._embed_drawings(prepare(self._with_bits(self._drawings)))
        if self._missing:
            if bool((statistics.mean(0) > torch.tensor(MIN_SHARES_OF_PHOTOGRAPHS)).any()):
                raise self._missing
            _say_once(f"{IMAGE_ENCODER} is not tried: {self._missing}")
            return torch.cat([drawings, statistics], dim=1)
        photographs = self._photographs
        embedded = photographs.encoder(prepare(self._with_bits(photographs.images)))
        return torch.cat([embedded, drawings, statistics], dim=1)

    def _with_bits(self, images: Images) -> Images:
        return replace(images, bits=self.bits)


@cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)


@cache
def _drawings_encoder() -> Encoder:
    learner: Any = load_run(DRAWINGS_RUN)[1]
    return module_encoder(learner.backbone, DRAWINGS_RUN)


def pixel_statistics(images: Tensor) -> Tensor:
    """The share of mid-grey and of colourful pixels of images (n, 3, height, width) in 0..1:
    (n, 2).

    A pixel is mid-grey from a fifth to four fifths of the way from the darkest to the brightest of
    its image.
    """
    colourful = images.amax(1) - images.amin(1) > CHROMA_THRESHOLD
    grey = images.mean(1).flatten(1)
    low, high = grey.quantile(torch.tensor([0.01, 0.99]), dim=1)[..., None]
    relative = (grey - low) / (high - low).clamp_min(0.05)
    mid_grey = (relative > 0.2) & (relative < 0.8)
    return torch.stack([mid_grey.float().mean(1), colourful.flatten(1).float().mean(1)], dim=1)


def encoder_name(kind: InputKind) -> str:
    """Of the encoders that embed texts or sounds if none is named: those installed, joined.

    Raises:
        MissingError: If none is.
    """
    installed, missing = [], []
    for name in ENCODERS_OF[kind]:
        try:
            ENCODERS.find(name).load()
            installed.append(name)
        except MissingError as error:
            missing.append(f"{name}: {error}")
    if not installed:
        raise MissingError(f"expected an encoder of {kind}, found none; {'; '.join(missing)}")
    return "+".join(installed)


def encoder_of_views(kind: InputKind, X: Any) -> tuple[str | None, Any]:
    """The encoder of examples of a kind, by name or itself, if the user names nothing; numbers have
    none.

    Raises:
        MissingError: If none is installed.
    """
    if kind in ("texts", "sounds"):
        return encoder_name(kind), None
    if kind == "series":
        return None, SeriesEncoder.fitted(X)
    return None, ImageViews() if kind == "images" else None


def default_blend(kind: Kind, encoder: Any, size: int, name: str | None = None) -> LearnedBlend:
    """The learner if the user names none, with the gate that comes with quickstudy.

    Args:
        kind: What examples are.
        encoder: What made numbers of them, whose parts are the views; None if they are numbers.
        size: How many numbers an example has.
        name: Of the encoder, among those registered.
    """
    gate, accuracy, pool_gate = copy.deepcopy(shipped_gate())
    views = _views_of(encoder, size, name)
    blend = LearnedBlend(
        Flatten((size,)), views, kind, gate=gate, accuracy=accuracy, pool_gate=pool_gate
    )
    return blend.double().eval()


def default_regression_blend(encoder: Any, size: int, name: str | None = None) -> RegressionBlend:
    """The learner of regression if the user names none, with the gate that comes with quickstudy.

    Args:
        encoder, size, name: As of `default_blend`.
    """
    gate = copy.deepcopy(shipped_regression_gate())
    views = _views_of(encoder, size, name)
    return RegressionBlend(Flatten((size,)), views, gate=gate).double().eval()


def _views_of(encoder: Any, size: int, name: str | None) -> list[View]:
    if encoder is None:
        return [View.of(RAW, size)]
    inner = encoder.encoder if isinstance(encoder, EncodedImages) else encoder
    parts = getattr(inner, "parts", [(name or getattr(inner, "name", "other"), size)])
    return [View.of(name, part) for name, part in parts]
