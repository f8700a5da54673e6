"""What episodes are drawn from: labelled examples grouped by class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import DataError
from quickstudy.progress import track

__all__ = [
    "ClassData",
    "Encode",
    "TextData",
    "as_floats",
    "as_tensor",
    "check_images",
    "check_square",
    "group_rows",
    "split_by_share",
    "split_classes",
]

Encode = Callable[[Sequence[Any]], Tensor]
"""Maps n examples, texts or tensors, to vectors (n, d); see `quickstudy.encoders.Encoder`."""


def as_tensor(example: Any) -> Tensor:
    """A tensor or array as it is; a Pillow image as bytes, shape (channels, height, width)."""
    if hasattr(example, "getbands"):
        pixels = np.array(example.convert("RGB" if len(example.getbands()) > 1 else "L"))
        return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
    return torch.as_tensor(example)


@dataclass(frozen=True, eq=False, repr=False)
class ClassData:
    """Labelled examples, grouped by class.

    Args:
        x: Examples, shape (n, ...). Bytes (images) are read as x / 255.
        y: Class ids, int64 of shape (n,), every id in 0..n_classes-1 at least once.
        names: A name per class.
        clusters: The independent unit each class belongs to, shape (n_classes,); by default
            each class is its own. Rotations of one character share a cluster.
        attributes: A vector per class, shape (n_classes, d), for zero-shot learning.
        groups: The family each class is one of, such as its alphabet, shape (n_classes,).

    Raises:
        DataError: If the shapes disagree, a class is empty, or a value is not finite.

    Example:
        >>> data = ClassData(torch.rand(6, 2), torch.tensor([0, 0, 1, 1, 2, 2]), ["a", "b", "c"])
        >>> data.n_classes, data.counts.tolist()
        (3, [2, 2, 2])
    """

    x: Tensor
    y: Tensor
    names: list[str]
    clusters: Tensor | None = None
    attributes: Tensor | None = None
    groups: Tensor | None = None
    counts: Tensor = field(init=False)
    index: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1]:
            raise DataError(
                f"expected int64 class ids of shape ({len(self.x)},), "
                f"got {self.y.dtype} of shape {tuple(self.y.shape)}"
            )
        if len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < len(self.names):
            raise DataError(f"expected class ids in 0..{len(self.names) - 1}, one per name")
        per_class = {
            "cluster": self.clusters,
            "attribute vector": self.attributes,
            "group": self.groups,
        }
        for what, given in per_class.items():
            if given is not None and len(given) != len(self.names):
                raise DataError(f"expected a {what} per class, {len(self.names)}, got {len(given)}")
        index, counts = group_rows(self.y, len(self.names))
        if not len(self.names) or int(counts.min()) == 0:
            raise DataError("expected at least one example of every class, got an empty class")
        if self.x.is_floating_point() and not bool(torch.isfinite(self.x).all()):
            raise DataError("expected finite examples, got NaN or infinity: clean or impute them")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "index", index)

    @classmethod
    def from_arrays(cls, x: Any, y: Any) -> ClassData:
        """Group arrays or tensors by label, whatever the labels are.

        Args:
            x: Examples, shape (n, ...).
            y: A label each, shape (n,): numbers or strings.

        Example:
            >>> ClassData.from_arrays([[0.5], [0.1], [0.2]], ["cat", "dog", "cat"]).names
            ['cat', 'dog']
        """
        names, ids = np.unique(np.asarray(y), return_inverse=True)
        x = torch.as_tensor(x)
        if x.dtype == torch.float64:
            x = x.float()
        return cls(x, torch.from_numpy(ids.astype(np.int64)), [str(name) for name in names])

    @classmethod
    def from_dataset(cls, dataset: Any) -> ClassData:
        """Group the pairs of a torch data set by label, each read once, into memory.

        Classes go by `dataset.classes`, which those of torchvision have, or else by their labels.

        Args:
            dataset: Has a length, and `dataset[i]` is an example and its label; examples are
                tensors or arrays of one shape, or Pillow images of one size, which become bytes
                of shape (channels, height, width).

        Raises:
            DataError: If it is empty, has no length, or its items are not such pairs.

        Example:
            >>> pairs = torch.utils.data.TensorDataset(torch.rand(4, 3), torch.tensor([7, 7, 9, 9]))
            >>> ClassData.from_dataset(pairs)
            ClassData(4 examples of shape (3,), 2 classes)
        """
        if not getattr(dataset, "__len__", lambda: 0)():
            raise DataError(f"expected a data set with items, got {type(dataset).__name__} of none")
        pairs = [dataset[i] for i in track(range(len(dataset)), "reading the data set")]
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise DataError("expected pairs of an example and its label in the data set")
        examples = [as_tensor(example) for example, _ in pairs]
        if len(shapes := {tuple(example.shape) for example in examples}) > 1:
            raise DataError(
                f"expected examples of one shape, got {' and '.join(map(str, sorted(shapes)[:2]))}:"
                " resize them in the data set's transform"
            )
        names = getattr(dataset, "classes", None)
        labels = [label.item() if isinstance(label, Tensor) else label for _, label in pairs]
        y = [names[label] for label in labels] if names else labels
        return cls.from_arrays(torch.stack(examples), y)

    def __repr__(self) -> str:
        shape = tuple(self.x.shape[1:])
        return f"ClassData({len(self.x)} examples of shape {shape}, {self.n_classes} classes)"

    @property
    def n_classes(self) -> int:
        return len(self.names)

    def rows(self, index: Tensor) -> Tensor:
        """Examples at `index`, as floating point."""
        return as_floats(self.x[index])

    def embed(self, encode: Encode) -> ClassData:
        """The same classes with the embeddings of their examples."""
        x, per_class = encode(list(self.x)), (self.clusters, self.attributes, self.groups)
        return ClassData(x, self.y, self.names, *per_class)

    def select(self, classes: Sequence[int]) -> ClassData:
        """The part that holds these classes, renumbered in the order given."""
        new_id = torch.full((self.n_classes,), -1)
        new_id[torch.as_tensor(classes, dtype=torch.int64)] = torch.arange(len(classes))
        y = new_id[self.y]
        keep = y >= 0
        per_class = (self.clusters, self.attributes, self.groups)
        names = [self.names[c] for c in classes]
        selected = (None if part is None else part[list(classes)] for part in per_class)
        return ClassData(self.x[keep], y[keep], names, *selected)

    def with_rotations(self) -> ClassData:
        """Images (n, channels, side, side) and their quarter turns, each turn a new class of a new
        group."""
        check_square(self.x)
        turned = [torch.rot90(self.x, turn, (-2, -1)) for turn in range(4)]
        return self._with_versions(turned, [f"@{90 * turn}" for turn in range(4)])

    def with_mirrors(self) -> ClassData:
        """Images (n, channels, height, width) and their mirror images left to right, which are new
        classes of new groups."""
        check_images(self.x)
        return self._with_versions([self.x, self.x.flip(-1)], ["", "@mirror"])

    def _with_versions(self, x: list[Tensor], suffixes: list[str]) -> ClassData:
        """All versions of the examples, each as new classes of new groups in the old clusters."""
        n, groups = len(x), self.groups
        own = torch.arange(self.n_classes) if self.clusters is None else self.clusters
        if groups is not None:
            groups = torch.cat([groups + i * (int(groups.max()) + 1) for i in range(n)])
        return ClassData(
            torch.cat(x),
            torch.cat([self.y + i * self.n_classes for i in range(n)]),
            [f"{name}{suffix}" for suffix in suffixes for name in self.names],
            own.repeat(n),
            None if self.attributes is None else self.attributes.repeat(n, 1),
            groups,
        )


@dataclass(frozen=True, eq=False)
class TextData:
    """Labelled texts, grouped by class; `embed` makes of them what episodes are drawn from.

    Args:
        texts: One an example, n in all.
        y: Class ids, int64 of shape (n,).
        names: A name per class, in words.
        groups: The family each class is one of, such as its domain, shape (n_classes,).

    Example:
        >>> data = TextData(["hi", "bye now"], torch.tensor([0, 1]), ["greeting", "goodbye"])
        >>> data.embed(lambda texts: torch.tensor([[float(len(t))] for t in texts])).x.tolist()
        [[2.0], [7.0]]
    """

    texts: list[str]
    y: Tensor
    names: list[str]
    groups: Tensor | None = None

    def embed(self, encode: Encode) -> ClassData:
        """The embedded texts; the attributes of a class are its embedded name."""
        x, attributes = encode(self.texts), encode(self.names)
        return ClassData(x, self.y, self.names, attributes=attributes, groups=self.groups)


def as_floats(x: Tensor) -> Tensor:
    """Examples as floating point: bytes as x / 255."""
    if x.dtype == torch.uint8:
        return x.float() / 255
    return x if x.is_floating_point() else x.float()


def check_images(x: Tensor) -> None:
    if x.ndim != 4:
        raise DataError(f"expected images to mirror, got shape {tuple(x.shape)}")


def check_square(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[-1] != x.shape[-2]:
        raise DataError(f"expected square images to rotate, got shape {tuple(x.shape)}")


def group_rows(y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """The rows of each class, and how many: index (n_classes, most), counts (n_classes,).

    index[c, :counts[c]] are the rows of class c; the rest is padding, never read. Rows of a label
    below 0 are of no class.

    Example:
        >>> group_rows(torch.tensor([1, 0, 1, -1]), 2)[1].tolist()
        [1, 2]
    """
    rows = (y >= 0).nonzero()[:, 0]
    labels = y[rows]
    counts = torch.bincount(labels, minlength=n_classes)
    index = torch.full((n_classes, int(counts.max()) if n_classes else 0), -1)
    index[torch.arange(index.shape[1]) < counts[:, None]] = rows[labels.argsort(stable=True)]
    return index, counts


def split_classes(
    names: list[str], sizes: Sequence[int], *, seed: int = 0
) -> tuple[list[list[int]], str]:
    """Split classes into disjoint parts that depend on their names and the seed alone.

    Classes are ranked by the SHA-256 of seed and name, so neither the order of the files nor
    any library's random generator can change a split.

    Args:
        names: Class names, all different.
        sizes: Number of classes of each part; together at most `len(names)`.

    Returns:
        The class ids of each part, and a digest to pin the split by.

    Raises:
        DataError: If names repeat or there are too few of them.

    Example:
        >>> parts, digest = split_classes(["a", "b", "c", "d"], [2, 1])
        >>> [len(part) for part in parts], len(digest)
        ([2, 1], 16)
    """
    if len(set(names)) != len(names):
        raise DataError("expected different class names, got repeated ones")
    if sum(sizes) > len(names):
        raise DataError(f"expected at least {sum(sizes)} classes to split, got {len(names)}")

    rank = sorted(range(len(names)), key=lambda c: _hash(seed, names[c]))
    parts, start = [], 0
    for size in sizes:
        parts.append(sorted(rank[start : start + size]))
        start += size
    listing = "\n\n".join("\n".join(sorted([names[c] for c in part])) for part in parts)
    return parts, hashlib.sha256(listing.encode()).hexdigest()[:16]


def split_by_share(
    names: Sequence[str], shares: Sequence[float], *, seed: int = 0
) -> list[list[int]]:
    """Split classes into disjoint parts of about the given shares.

    Where a class goes depends on its own name and the seed alone, so a class that is added or
    removed moves no other: none ever goes from training to test.

    Args:
        names: Class names.
        shares: Share of each part; together 1.

    Example:
        >>> before, after = split_by_share("abc", (0.5, 0.5)), split_by_share("abcd", (0.5, 0.5))
        >>> [set(part) <= set(grown) for part, grown in zip(before, after)]
        [True, True]
    """
    bounds = np.cumsum(shares)[:-1]
    place = [int.from_bytes(_hash(seed, name)[:6], "big") / 2**48 for name in names]
    part = np.searchsorted(bounds, place, side="right")
    return [np.flatnonzero(part == i).tolist() for i in range(len(shares))]


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
