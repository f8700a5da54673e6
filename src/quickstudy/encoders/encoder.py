"""An encoder: a frozen map from texts or tensors to vectors, each input embedded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from quickstudy.cache import BlobCache
from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.progress import track

__all__ = ["Encoder", "Kind", "Pretrained", "module_digest", "without_surrogates"]

Kind = Literal["texts", "images", "sounds", "series"]
"""What an encoder embeds."""

EMBEDDING_CACHE = BlobCache("embeddings")
"""Of all encoders."""


class Encoder:
    """Embed inputs, texts or tensors of one shape, each once.

    Embeddings are saved in the user's cache folder by the content of the input and by the encoder's
    name and version, so neither this process nor the next computes them again. The cache is
    bounded, processes may share it, and it may be deleted at any time; see `quickstudy.cache`.

    Args:
        embed: Maps a list of at most `batch_size` inputs, n of them, to embeddings (n, d).
        name: What it is called.
        version: Changes with whatever changes an embedding, such as the weights.
        seen: What pretraining may have seen of the data of a test; a report should say it.
        batch_size: Inputs embedded, and written to the cache, at once.
        check: Receives the inputs of a call that are not in the cache, before they are embedded, as
            to warn of what the encoder does not know.
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
        check: Callable[[list[Any]], None] | None = None,
        cache: bool = True,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"expected a batch_size of 1 or more, got {batch_size}")
        self.embed, self.name, self.version = embed, name, version
        self.seen, self.batch_size, self.cache = seen, batch_size, cache
        self.check = check

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
            for key, value in EMBEDDING_CACHE.get(by_key).items():
                embeddings[key] = torch.frombuffer(bytearray(value), dtype=torch.float32)
        new = [key for key in by_key if key not in embeddings]
        if new and self.check:
            self.check([by_key[key] for key in new])
        starts = range(0, len(new), self.batch_size)
        for start in track(starts, f"embedding by {self.name}") if new else ():
            batch = new[start : start + self.batch_size]
            made = self._embed([by_key[key] for key in batch])
            embeddings.update(zip(batch, made, strict=True))
            if self.cache:
                rows = [row.numpy().tobytes() for row in made]
                EMBEDDING_CACHE.put(dict(zip(batch, rows, strict=True)))
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


@dataclass(frozen=True)
class Pretrained:
    """A pretrained encoder that users name, and what is known of it before it is loaded.

    Args:
        load: Makes it, or raises `MissingError` without its extra.
        size: Of an embedding, d.
        kind: What it embeds.
        side: Of the images it takes, in pixels; None for other kinds.
        languages: Of the texts it was trained on, by their ISO 639-1 codes, such as "en"; None if
            they are not known, and for other kinds.

    Raises:
        UsageError: If `side` is given for anything but images, or missing for images.
    """

    load: Callable[[], Encoder]
    size: int
    kind: Kind
    side: int | None = None
    languages: frozenset[str] | None = None

    def __post_init__(self) -> None:
        check_option("kind", self.kind, get_args(Kind))
        if (self.side is not None) != (self.kind == "images"):
            raise UsageError(f"expected side= with images alone, got {self.side} for {self.kind}")


def _content(one: str | Tensor) -> bytes:
    """A hash of a text, or of a tensor's type, shape and values."""
    if isinstance(one, str):
        return hashlib.sha256(b"text\0" + one.encode(errors="surrogatepass")).digest()
    values = one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(f"{one.dtype}{tuple(one.shape)}\0".encode() + values.tobytes()).digest()


def without_surrogates(text: str) -> str:
    """A text with a question mark for each half of a surrogate pair, as damaged files have them.

    Example:
        >>> without_surrogates("card " + chr(0xD83D))
        'card ?'
    """
    return text.encode(errors="replace").decode()


def module_digest(module: nn.Module) -> str:
    """A hash of a module's description and weights."""
    total = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        total.update(name.encode() + _content(value))
    return total.hexdigest()[:16]
