"""The candidates of a blend: every head on every view of the examples.

Shapes: k candidates, n support examples, m queries, c classes, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.errors import DataError
from quickstudy.learners.transfer.blend.view_features import describe_view
from quickstudy.learners.transfer.heads import (
    ExtraTrees,
    FittedHead,
    FoldedView,
    Folds,
    Head,
    KernelHead,
    LinearDiscriminant,
    NaiveBayes,
    NearestCentroid,
    NearestNeighbours,
)
from quickstudy.nn import full_precision
from quickstudy.tasks import Support

__all__ = [
    "HEADS",
    "JOINED",
    "KINDS",
    "PIXELS",
    "RAW",
    "Candidates",
    "FittedViews",
    "Kind",
    "View",
    "fit_candidates",
    "views_known",
    "with_joined",
]

Kind = Literal["text", "image", "numbers", "series", "sound"]
KINDS: tuple[Kind, ...] = ("text", "image", "numbers", "series", "sound")
"""What examples are."""

RAW, PIXELS = "raw", "pixels"
"""Names of the views of numbers as they are, and of the shares of mid-grey and of colourful pixels,
which tell photographs from drawings."""

JOINED = "joined"
"""The name of the view of all embeddings side by side, each of length one."""

MAX_JOINED_SIZE = 2048
"""Of an embedding that is joined to others."""

MAX_CLASSES_OF_TREES = 30

MAX_EXAMPLES_OF_KERNELS = 4000
"""Beyond, heads that compare each pair of examples are left out."""

MAX_SIZE_OF_KERNELS = 100_000
"""Examples times classes beyond which regressions on a kernel of pairs are left out."""

EMBEDDING_HEADS: tuple[Head, ...] = (
    NearestCentroid("direction"),
    NearestCentroid("raw"),
    KernelHead("direction", ridge=(0.1, 1.0), logistic=(0.01, 0.1, 1.0)),
    LinearDiscriminant(),
    NearestNeighbours("direction"),
)

COLUMN_HEADS: tuple[Head, ...] = (
    NearestCentroid("standardised"),
    KernelHead("standardised", ridge=(0.1,), logistic=(0.01, 0.1, 1.0)),
    KernelHead("direction", ridge=(0.1,), logistic=(0.1,)),
    KernelHead("standardised", "rbf", ridge=(0.1,), logistic=(0.1,)),
    LinearDiscriminant(),
    LinearDiscriminant(0.1),
    NaiveBayes(),
    NearestNeighbours("standardised"),
    NearestNeighbours("direction"),
    NearestNeighbours("raw"),
    ExtraTrees(),
)

HEADS: tuple[str, ...] = tuple(
    dict.fromkeys(name for head in (*EMBEDDING_HEADS, *COLUMN_HEADS) for name in head.names)
)
"""The names of all heads, each once."""


@dataclass(frozen=True)
class View:
    """A part of each example's numbers, and the heads that classify by it.

    Args:
        name: Of the encoder, or "raw".
        size: How many numbers.
        heads: "columns" for numbers that differ in scale, "embedding" for what an encoder makes,
            None for numbers that only tell what the examples are like.
    """

    name: str
    size: int
    heads: Literal["columns", "embedding"] | None = "embedding"

    @classmethod
    def of(cls, name: str, size: int) -> View:
        """The view of a name, with the heads that suit it."""
        if name == PIXELS:
            return cls(name, size, None)
        return cls(name, size, "columns" if name == RAW else "embedding")


@dataclass(frozen=True)
class Candidates:
    """All candidates, fitted to a support set.

    Args:
        names: Of view and head, one a candidate.
        left_out: Cross-validated scores, shape (k, n_left_out, c); n_left_out may be 0.
        labels: Of the examples left out, shape (n_left_out,).
        view_features: What each view is like, by its name, see `VIEW_FEATURES`.
        pixels: The mean shares of mid-grey and of colourful pixels; zeros where none are told.
        predict: Maps queries, as the support set's examples, to scores (k, m, c).
    """

    names: list[tuple[str, str]]
    left_out: Tensor
    labels: Tensor
    view_features: dict[str, list[float]]
    pixels: list[float]
    predict: Callable[[Tensor], Tensor]


def heads_for(view: View, n: int, n_way: int) -> list[Head]:
    """The heads that classify by a view of n examples; those too slow for so many are left out."""
    if view.heads is None:
        return []
    heads = COLUMN_HEADS if view.heads == "columns" else EMBEDDING_HEADS
    return [head for head in heads if _is_fast(head, view.size, n, n_way)]


def _is_fast(head: Head, size: int, n: int, n_way: int) -> bool:
    if isinstance(head, ExtraTrees):
        return n_way <= MAX_CLASSES_OF_TREES
    if isinstance(head, NearestNeighbours):
        return n <= MAX_EXAMPLES_OF_KERNELS
    if isinstance(head, KernelHead):
        if head.kernel != "linear" and n * n_way > MAX_SIZE_OF_KERNELS:
            return False
        return n <= MAX_EXAMPLES_OF_KERNELS or (head.kernel == "linear" and size < n)
    return True


@dataclass
class FittedViews:
    """Heads that are fitted to views, as one predictor.

    Args:
        views: The parts of an example, in their order.
        parts: Of each view: its name, the support set's vectors, and its fitted heads.
    """

    views: Sequence[View]
    parts: list[tuple[str, FoldedView, list[FittedHead]]] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        """The scores of all heads, (k, m, c), on queries (m, ...)."""
        vectors = split_views(self.views, x)
        scores = []
        for name, folded, fits in self.parts:
            queries = folded.queries(vectors[name])
            with full_precision(x):
                scores += [fit(queries)[:, 0] for fit in fits]
        return torch.cat(scores)


def fit_candidates(views: Sequence[View], support: Support) -> Candidates:
    """Fit every head on every view, to the support set and to each of its folds.

    Args:
        views: The parts of `support.x.flatten(1)`, in their order.
        support: A classification task.
    """
    n_way = support.n_way or 0
    folds = Folds(support.y, n_way)
    parts = split_views(views, support.x)
    fitted = FittedViews(views)
    names: list[tuple[str, str]] = []
    left_out = []
    for view in with_joined(views):
        folded = FoldedView(parts[view.name], folds)
        heads = heads_for(view, len(support), n_way)
        names += [(view.name, name) for head in heads for name in head.names]
        with full_precision(support.x):
            fits = [head.fit(folded) for head in heads]
            left_out += [folds.left_out(fit(folded)) for fit in fits]
        fitted.parts.append((view.name, folded, fits))
    return Candidates(
        names,
        torch.cat(left_out),
        folds.left_out_labels,
        {name: describe_view(x) for name, x in parts.items() if name != PIXELS},
        parts[PIXELS].mean(0).tolist() if PIXELS in parts else [0.0, 0.0],
        fitted,
    )


def with_joined(views: Sequence[View]) -> list[View]:
    """The views, and that of all embeddings joined where there are several."""
    joined = _joined(views)
    if len(joined) < 2:
        return list(views)
    return [*views, View(JOINED, sum(view.size for view in joined))]


def _joined(views: Sequence[View]) -> list[View]:
    return [v for v in views if v.heads == "embedding" and v.size <= MAX_JOINED_SIZE]


def views_known(views: Sequence[View], x: Tensor, names: Sequence[tuple[str, str]]) -> Tensor:
    """Whether each candidate's view says anything of examples (m, ...), shape (k, m).

    A part that is all zeros says nothing: its encoder does not know the example's language.
    """
    parts = split_views(views, x)
    known = {view.name: parts[view.name].any(1) for view in views if view.heads == "embedding"}
    if JOINED in parts:
        known[JOINED] = torch.stack([known[view.name] for view in _joined(views)]).all(0)
    everything = torch.ones(len(x), dtype=torch.bool)
    return torch.stack([known.get(view, everything) for view, _ in names])


def split_views(views: Sequence[View], x: Tensor) -> dict[str, Tensor]:
    """The vectors (n, d) of each view, and of all embeddings joined, in examples (n, ...).

    Raises:
        DataError: If examples have another number of numbers.
    """
    x = x.flatten(1)
    sizes = [view.size for view in views]
    if x.shape[1] != sum(sizes):
        raise DataError(f"expected examples of {sum(sizes)} numbers, got {x.shape[1]}")
    parts = dict(zip([view.name for view in views], x.split(sizes, dim=1), strict=True))
    joined = [F.normalize(parts[view.name], dim=1) for view in _joined(views)]
    if len(joined) > 1:
        parts[JOINED] = torch.cat(joined, dim=1)
    return parts
