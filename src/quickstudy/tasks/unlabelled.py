"""What tasks without labels are drawn from: examples alone, in memory or in a file."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import DataError
from quickstudy.progress import track
from quickstudy.tasks.image_files import list_images
from quickstudy.tasks.images import (
    DECODED_CACHE,
    Fit,
    Images,
    Ink,
    decoded_key,
    folder_bit_depth,
)
from quickstudy.tasks.sources import (
    Encode,
    as_floats,
    as_tensor,
    check_images,
    check_square,
    split_by_share,
)

__all__ = ["UnlabelledData", "load_unlabelled_images"]

BATCH = 1024
"""Examples that are looked at together, where all are."""


@dataclass(frozen=True, eq=False, repr=False)
class UnlabelledData:
    """Examples without labels, read when they are drawn.

    Args:
        x: Examples, shape (n, ...). Bytes (images) are read as x / 255. A tensor that is mapped to
            a file, as `load_unlabelled_images` makes it, stays there.
        index: The rows of `x` that count, by default all.
        versions: What makes of a batch its versions, such as quarter turns, each of which counts
            as an example of its own; by default the examples alone.

    Raises:
        DataError: If there are fewer than two examples, all are alike, or a value is not finite.

    Example:
        >>> pool = UnlabelledData(torch.rand(10, 3))
        >>> len(pool), pool.rows(torch.tensor([4, 2])).shape
        (10, torch.Size([2, 3]))
    """

    x: Tensor
    index: Tensor | None = None
    versions: tuple[Callable[[Tensor], Tensor], ...] = (torch.clone,)

    def __post_init__(self) -> None:
        if self.x.ndim < 2:
            raise DataError(f"expected examples of shape (n, ...), got shape {tuple(self.x.shape)}")
        if self._n < 2:
            raise DataError(f"expected two examples or more, got {self._n}: add examples")
        if self.index is not None:
            return  # a part of what was checked
        first = self.x[:1]
        if all(bool((part == first).all()) for part in self.x.split(BATCH)):
            raise DataError(
                f"expected examples that differ, got {self._n} that are all alike: add others"
            )
        if self.x.is_floating_point() and not bool(torch.isfinite(self.x).all()):
            raise DataError("expected finite examples, got NaN or infinity: clean or impute them")

    @classmethod
    def from_examples(cls, examples: Any, encode: Encode | None = None) -> UnlabelledData:
        """Take an array, a tensor, a data frame of numbers, or a list of arrays, tensors or Pillow
        images; or what an encoder makes of a list of texts or tensors.

        Args:
            encode: Embeds them, as `quickstudy.encoders.minilm()` does texts.

        Raises:
            DataError: If they differ in shape, or are no numbers.

        Example:
            >>> lengths = lambda texts: torch.tensor([[float(len(t))] for t in texts])
            >>> UnlabelledData.from_examples(["hi", "bye now"], lengths).x.tolist()
            [[2.0], [7.0]]
        """
        if encode is not None:
            return cls(encode(list(examples)))
        if isinstance(examples, list | tuple):
            x = _stacked(examples)
        else:
            array = examples.to_numpy() if hasattr(examples, "to_numpy") else examples
            if not isinstance(array, Tensor):
                array = np.require(array, requirements="W")
                if array.dtype.kind not in "fiub":
                    raise DataError(
                        f"expected numbers, got {array.dtype}: encode texts and categories first"
                    )
            x = torch.as_tensor(array)
        return cls(x.float() if x.dtype == torch.float64 else x)

    def __len__(self) -> int:
        return self._n * len(self.versions)

    def __repr__(self) -> str:
        return f"UnlabelledData({len(self)} examples of shape {tuple(self.x.shape[1:])})"

    @property
    def _n(self) -> int:
        return len(self.x) if self.index is None else len(self.index)

    def rows(self, index: Tensor) -> Tensor:
        """Examples at `index`, as floating point."""
        at, version = index % self._n, index // self._n
        x = as_floats(self.x[at if self.index is None else self.index[at]])
        if len(self.versions) > 1:
            for v, make in enumerate(self.versions):
                chosen = version == v
                x[chosen] = make(x[chosen])
        return x

    def split(self, shares: Sequence[float], *, seed: int = 0) -> list[UnlabelledData]:
        """Disjoint parts of about the given shares, which together are 1.

        Where an example goes depends on its own values and the seed alone: copies of one stay
        together, and one that is added moves no other.

        Raises:
            DataError: If a part gets fewer than two examples.

        Example:
            >>> [len(part) for part in UnlabelledData(torch.rand(100, 3)).split((1.0,))]
            [100]
        """
        rows = torch.arange(len(self.x)) if self.index is None else self.index
        values = (self.x[row].contiguous().flatten().view(torch.uint8) for row in rows)
        names = [hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in values]
        parts = split_by_share(names, shares, seed=seed)
        return [replace(self, index=rows[torch.tensor(part, dtype=torch.int64)]) for part in parts]

    def with_rotations(self) -> UnlabelledData:
        """Images (n, channels, side, side) and their quarter turns, each an example of its own."""
        check_square(self.x)
        return self._with([partial(torch.rot90, k=k, dims=(-2, -1)) for k in range(4)])

    def with_mirrors(self) -> UnlabelledData:
        """Images (n, channels, height, width) and their mirror images left to right."""
        check_images(self.x)
        return self._with([torch.clone, partial(torch.flip, dims=(-1,))])

    def _with(self, makers: list[Callable[..., Tensor]]) -> UnlabelledData:
        both = [partial(_in_turn, old, new) for new in makers for old in self.versions]
        return replace(self, versions=tuple(both))


def _in_turn(first: Callable[..., Tensor], second: Callable[..., Tensor], x: Tensor) -> Tensor:
    return second(first(x))


def _stacked(examples: Sequence[Any]) -> Tensor:
    """Tensors, arrays or Pillow images as one tensor (n, ...)."""
    if any(isinstance(example, str) for example in examples):
        raise DataError("expected numbers or images, got texts: give encode=, which embeds them")
    tensors = [as_tensor(example) for example in examples]
    if len(shapes := {tuple(tensor.shape) for tensor in tensors}) != 1:
        got = " and ".join(map(str, sorted(shapes)[:2])) or "none"
        raise DataError(f"expected examples of one shape, got {got}: resize them")
    return torch.stack(tensors)


def load_unlabelled_images(
    path: str | Path,
    *,
    size: int = 28,
    channels: int = 1,
    ink: Ink = "bright",
    fit: Fit = "pad",
    bits: int | None = None,
) -> UnlabelledData:
    """Load images without labels, from a directory or a zip, flat or with folders in it.

    Each image is decoded once, to bytes in a file of the user's cache, and only those of a task are
    read from there, so memory does not grow with the folder. Where the cache is off or too small,
    the file is a temporary one. Images that cannot be read are left out, with a warning.

    Args:
        path: Folder or zip; names of folders in it are not looked at.
        size: Side to resize to, in pixels.
        channels, ink, fit: As of `Images`.
        bits: As of `Images`; by default by all images in `path`.

    Returns:
        Images uint8 of shape (n, channels, size, size), in the order of their names.

    Raises:
        MissingError: If `path` is not there.
        DataError: If fewer than two images can be read, or all are alike.
    """
    path = Path(path)
    how = Images(size, channels, ink, fit, bits)
    listed = list_images(path)
    pixels = channels * size * size
    file = DECODED_CACHE.store(
        f"{decoded_key(path, how)}.pixels",
        partial(_decoded, path, listed, how),
        len(listed) * pixels,
    )
    n = file.seek(0, 2) // pixels
    if n < len(listed):
        warnings.warn(
            f"{len(listed) - n} of {len(listed)} images in {path} cannot be read and are left out.",
            stacklevel=2,
        )
    if n < 2:
        raise DataError(
            f"expected two readable images or more in {path}, found {n} of {len(listed)}: add "
            "images"
        )
    # Copied on writing, since PyTorch knows no tensors that cannot be written.
    mapped = np.memmap(file, np.uint8, mode="c", shape=(n, channels, size, size))
    try:
        return UnlabelledData(torch.from_numpy(mapped))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _decoded(
    path: Path, listed: list[tuple[str, Callable[[], bytes]]], how: Images
) -> Iterator[bytes]:
    """The pixels of each image that can be read."""
    depth = how.bits or folder_bit_depth(path, skip_unreadable=True)
    decode = replace(how, bits=depth).decode
    for name, read in track(listed, "decoding images"):
        try:
            pixels = decode(read(), f"{path}/{name}")
        except DataError:
            continue
        yield pixels.tobytes()
