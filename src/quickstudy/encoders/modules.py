"""Encoders made of networks that the user has."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.encoders.encoder import Encoder, module_digest
from quickstudy.errors import UsageError

__all__ = ["Preprocess", "embed_tensors", "module_encoder", "text_encoder", "timm_encoder"]


def module_encoder(
    module: nn.Module, name: str, *, seen: str = "", batch_size: int = 64
) -> Encoder:
    """Make an encoder of any module that maps tensors (n, ...) to features (n, d).

    The module is copied, and the copy put in evaluation mode; the version is a hash of its
    description and weights. Bytes are read as x / 255, as in `ClassData`.

    Args:
        module: The network.
        name: What it is called.
        seen: What pretraining may have seen of the data of a test.
        batch_size: Inputs embedded at once.

    Example:
        >>> encode = module_encoder(nn.Flatten(), "pixels")
        >>> encode(torch.rand(3, 1, 4, 4)).shape
        torch.Size([3, 16])
    """
    module = deepcopy(module).eval()
    embed = partial(embed_tensors, module)
    return Encoder(embed, name, module_digest(module), seen=seen, batch_size=batch_size)


def timm_encoder(model: nn.Module, *, seen: str = "", batch_size: int = 64) -> Encoder:
    """Make an encoder of images of a model of timm, made without its classifier:
    `timm_encoder(timm.create_model("resnet18", pretrained=True, num_classes=0))`.

    Images (n, 1 or 3, height, width) are brought to the size, mean and standard deviation that its
    `pretrained_cfg` says.

    Args:
        model: The model. The encoder has the name in its `pretrained_cfg`.
        seen: What pretraining may have seen of the data of a test.
        batch_size: Images embedded at once.

    Raises:
        UsageError: If the model has a classifier, or is not one of timm.
    """
    config = getattr(model, "pretrained_cfg", None)
    if config is None or getattr(model, "num_classes", None) != 0:
        raise UsageError(
            "expected a model of timm without its classifier, "
            f"timm.create_model(..., num_classes=0), got {type(model).__name__}"
        )
    prepare = Preprocess(config["input_size"][-1], config["mean"], config["std"])
    module = nn.Sequential(prepare, model)
    return module_encoder(module, config["architecture"], seen=seen, batch_size=batch_size)


def embed_tensors(module: nn.Module, inputs: list[Tensor]) -> Tensor:
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    x = torch.stack(inputs).to(device)
    return module(x.float() / 255 if x.dtype == torch.uint8 else x)


def text_encoder(model: Any, name: str, *, seen: str = "", batch_size: int = 64) -> Encoder:
    """Make an encoder of a `SentenceTransformer`, whichever is installed.

    Args:
        model: The model; its version is a hash of its description and weights.
        name: What it is called.
        seen: What pretraining may have seen of the data of a test.
        batch_size: Texts embedded at once.
    """
    embed = partial(_embed_sentences, model, batch_size)
    return Encoder(embed, name, module_digest(model), seen=seen, batch_size=batch_size)


def _embed_sentences(model: Any, batch_size: int, texts: list[str]) -> Tensor:
    return model.encode(
        texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
    )


class Preprocess(nn.Module):
    """Images (n, 1 or 3, height, width) in 0..1 as pretrained networks take them: three channels,
    square, shifted and scaled.

    Args:
        size: Side to resize to, in pixels.
        mean: Of the three channels, in 0..1.
        std: Standard deviation of the three channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def extra_repr(self) -> str:
        return f"size={self.size}"

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True)
        return (x - self.mean) / self.std
