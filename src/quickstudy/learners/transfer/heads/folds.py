"""A support set split into folds, whose statistics each fold takes of what it trains on alone.

Every head fits all folds and the whole support set at once, as one batch, so cross-validation costs
little more than a fit. Shapes: n support examples, m examples of any kind, d features, c classes,
and f folds, the last of which leaves nothing out.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.learners.base import encode_targets

__all__ = ["FoldedView", "Folds", "Preparation", "cholesky", "n_folds", "stratified"]

Preparation = Literal["raw", "direction", "standardised", "bounded", "relevant"]

MAX_DEVIATIONS = 10.0
"""Standard deviations from the mean beyond which a feature is cut off."""

SMALL, MEDIUM, LARGE = 120, 400, 40_000
"""Sizes of a support set up to which it has twelve folds and five; and examples times classes up to
which it has three. Beyond, two of four folds are computed."""


class Folds:
    """Which examples each fold trains on.

    Folds are stratified: those left out together are far apart in the order of classes. The only
    example of a class is never left out.

    Args:
        y: Labels 0..n_way-1, shape (n,).
        n_way: Number of classes, c.
    """

    def __init__(self, y: Tensor, n_way: int) -> None:
        self.y, self.n_way = y, n_way
        n = len(y)
        counts = y.bincount(minlength=n_way)
        trains = stratified(y, *n_folds(n, n_way))
        trains |= counts[y] < 2
        # Folds that leave out nothing say nothing.
        says_something = ~trains.all(1)
        says_something[-1] = True
        self._split(trains[says_something])

    def _split(self, trains: Tensor) -> None:
        """Set which examples each fold trains on, shape (f, n)."""
        self.trains = trains
        self.fold, self.row = (~trains).nonzero(as_tuple=True)
        """Of each example left out: its fold and its row in the support set."""

    def targets(self, like: Tensor) -> Tensor:
        """One-hot labels, shape (n, c)."""
        return encode_targets(self.y, self.n_way, like=like)

    def __len__(self) -> int:
        return len(self.trains)

    @property
    def left_out_labels(self) -> Tensor:
        """Labels of the examples left out, in the order of `left_out`."""
        return self.y[self.row]

    def left_out(self, scores: Tensor) -> Tensor:
        """Scores of examples left out, each by its fold: (..., f, n, c) -> (..., n_left_out, c)."""
        return scores[..., self.fold, self.row, :]


def stratified(y: Tensor, step: int, n_folds: int) -> Tensor:
    """Which examples each fold trains on, (n_folds + 1, n): in the order of targets y (n,), each
    leaves out one of every `step`, and the last none."""
    order = y.argsort(stable=True)
    trains = torch.ones(n_folds + 1, len(y), dtype=torch.bool)
    for fold in range(n_folds):
        trains[fold, order[fold::step]] = False
    return trains


def n_folds(n: int, n_way: int) -> tuple[int, int]:
    """In how many parts examples are split, and how many of these are left out in turn."""
    if n <= SMALL:
        return min(n, 12), min(n, 12)
    if n <= MEDIUM:
        return 5, 5
    return (3, 3) if n * n_way <= LARGE else (4, 2)


class FoldedView:
    """Vectors as each fold prepares them.

    Args:
        x: Vectors of the support set, shape (n, d).
        folds: Of the support set.
    """

    def __init__(self, x: Tensor, folds: Folds) -> None:
        exact = x.double()  # a mean far from zero would else cost the digits of the deviation
        self.x, self.folds = exact, folds
        weights = folds.trains.to(exact)
        count = weights.sum(1)[:, None]  # (f, 1)
        self.mean = weights @ exact / count  # (f, d)
        square = torch.stack(
            [
                w @ (exact - mean).square() / n
                for w, mean, n in zip(weights, self.mean, count, strict=True)
            ]
        )
        deviation = square.sqrt()
        constant = deviation <= 10 * torch.finfo(exact.dtype).eps * self.mean.abs()
        self.scale = torch.where(constant, 1.0, deviation)
        self.weights = weights.float()  # (f, n): 1 for what a fold trains on
        self.count = count.float()
        self.targets = folds.targets(like=self.weights)  # (n, c)
        self.is_support = True
        self._prepared: dict[str, Tensor] = {}
        self._distances: dict[str, Tensor] = {}

    def queries(self, x: Tensor) -> Self:
        """Other vectors (m, d), prepared as by the fold of the whole support set."""
        view = object.__new__(type(self))
        view.x, view.folds = x.double(), self.folds
        view.mean, view.scale = self.mean[-1:], self.scale[-1:]
        view.is_support = False
        view._prepared = {}
        return view

    def prepared(self, how: Preparation) -> Tensor:
        """The vectors, shape (f, m, d), about the mean of all examples ("raw"), or brought by each
        fold to mean 0 and then length 1 ("direction") or variance 1 / d ("standardised")."""
        if how not in self._prepared:
            self._prepared[how] = self._prepare(how)
        return self._prepared[how]

    def distances(self, how: Preparation) -> Tensor:
        """Between all pairs of examples of the support set, shape (f, n, n), or (1, n, n) of "raw"
        vectors, which are the same in all folds."""
        if how not in self._distances:
            x = self.prepared(how)
            x = x[:1] if how == "raw" else x
            self._distances[how] = torch.cdist(x, x)
        return self._distances[how]

    def _prepare(self, how: Preparation) -> Tensor:
        if how == "raw":
            # Differences survive float32 near zero alone; distances and thresholds are none other.
            return (self.x - self.mean[-1]).float().expand(len(self.mean), *self.x.shape)
        parts = []
        for mean, scale in zip(self.mean, self.scale, strict=True):
            centred = self.x - mean
            if how == "direction":
                parts.append(F.normalize(centred, dim=1).float())
            else:
                z = (centred / scale).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
                parts.append((z / z.shape[1] ** 0.5).float())
        return torch.stack(parts)


def cholesky(matrix: Tensor) -> Tensor:
    """The Cholesky root of positive definite matrices, in float64 where rounding needs it."""
    root, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        root = torch.linalg.cholesky(matrix.double()).to(matrix)
    return root
