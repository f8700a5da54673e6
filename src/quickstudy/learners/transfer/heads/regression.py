"""Heads of regression on one target, each fitted to all folds of a support set at once.

Shapes: k candidates, f folds, n support examples, m examples of any kind, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from quickstudy.learners.transfer.closed_form import BayesianRidge
from quickstudy.learners.transfer.heads.folds import (
    MAX_DEVIATIONS,
    FoldedView,
    Folds,
    Preparation,
    n_folds,
    stratified,
)
from quickstudy.learners.transfer.heads.head import FittedHead, Head
from quickstudy.tasks import Support

__all__ = [
    "EvidenceRidge",
    "GaussianProcess",
    "Mean",
    "NeighbourAverage",
    "RegressionFolds",
    "RegressionView",
]

MARGIN = 0.25
"""How far beyond the support set a feature is followed by a head of "bounded" vectors, in units of
its range there."""

LEAST_RELEVANCE = 0.05
"""Of a feature, beside the mean relevance of all."""

SMOOTH_WIDTHS, ROUGH_WIDTHS = (0.15, 0.6, 2.4), (0.4, 1.2)
"""Of the squared-exponential and the exponential kernels that a Gaussian process averages over."""

NOISE_RATIOS = (0.01, 0.1, 0.5, 2.0)
"""Of the noise's variance to that of the function, which a Gaussian process averages over."""


class RegressionFolds(Folds):
    """Which examples each fold trains on, those left out together far apart in their targets.

    Args:
        y: Targets (n,).
    """

    def __init__(self, y: Tensor) -> None:
        self.y, self.n_way = y, 1
        step, count = n_folds(len(y), 1) if len(y) > 1 else (1, 0)
        self._split(stratified(y, step, count))

    def targets(self, like: Tensor) -> Tensor:
        """The targets, shape (n, 1)."""
        return self.y[:, None].to(like)


class RegressionView(FoldedView):
    """Vectors as each fold prepares them, for regression.

    "bounded" is "standardised", cut off a quarter of a feature's range beyond the examples that the
    fold trains on. "relevant" weighs each feature of "bounded" by its squared correlation with the
    target beyond what chance gives.
    """

    def __init__(self, x: Tensor, folds: RegressionFolds) -> None:
        super().__init__(x, folds)
        ranges = [(self.x[trains].amin(0), self.x[trains].amax(0)) for trains in folds.trains]
        low, high = (torch.stack(ends) for ends in zip(*ranges, strict=True))  # (f, d)
        self.low, self.high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        self.relevance = self._relevance()

    def _relevance(self) -> Tensor:
        """Of each feature, shape (f, d); they sum to 1."""
        weights = self.weights.double()
        y = folds_centred(self.targets.double(), weights)[..., 0]  # (f, n)
        covariance = y @ self.x - y.sum(1, keepdim=True) * self.mean
        variance = y.square().sum(1, keepdim=True) * self.count * self.scale.square()
        square = covariance.square() / variance.clamp_min(1e-30)
        beyond = (square - 1 / (self.count - 1).clamp_min(1)).clamp_min(0)
        beyond = beyond + LEAST_RELEVANCE * beyond.mean(1, keepdim=True) + 1e-9
        return beyond / beyond.sum(1, keepdim=True)

    def queries(self, x: Tensor) -> Self:
        view = super().queries(x)
        view.low, view.high = self.low[-1:], self.high[-1:]
        view.relevance = self.relevance[-1:]
        return view

    def _prepare(self, how: Preparation) -> Tensor:
        if how == "bounded":
            low, high, mean, scale = (
                part[:, None] for part in (self.low, self.high, self.mean, self.scale)
            )
            z = ((self.x.clamp(low, high) - mean) / scale).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
            return (z / z.shape[2] ** 0.5).float()
        if how == "relevant":
            size = self.x.shape[1]
            return self.prepared("bounded") * (size * self.relevance[:, None]).sqrt().float()
        return super()._prepare(how)


def folds_centred(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets (n, c) less each fold's mean, zero where left out: (f, n, c)."""
    mean = weights @ targets / weights.sum(1, keepdim=True)  # (f, c)
    return (targets - mean[:, None]) * weights[..., None]


def _means(view: FoldedView) -> Tensor:
    """The mean target of each fold, shape (f, 1, 1)."""
    return (view.weights @ view.targets / view.count)[:, None]


class Mean(Head):
    """The mean of the targets."""

    names = ("mean",)

    def fit(self, view: FoldedView) -> FittedHead:
        means = _means(view)
        return lambda other: means[-len(other.mean) :].expand(-1, len(other.x), 1)[None]


class EvidenceRidge(Head):
    """`BayesianRidge`, fitted to each fold."""

    names = ("Bayesian ridge",)

    def fit(self, view: FoldedView) -> FittedHead:
        y = view.targets.double()
        learner = BayesianRidge()
        predictors = [learner.adapt(Support(view.x[t], y[t])) for t in view.folds.trains]

        def scores(other: FoldedView) -> Tensor:
            used = predictors if other.is_support else predictors[-1:]
            return torch.stack([predict(other.x) for predict in used]).float()[None]

        return scores


class NeighbourAverage(Head):
    """The mean target of near examples (Nadaraya, "On Estimating Regression", 1964).

    The kernel is exp(-sharpness d^2 / s) at distance d, where s is the mean squared distance from
    an example to its nearest neighbour.

    Args:
        preparation: Of the vectors.
        sharpness: Of the kernels, one a candidate.
    """

    def __init__(self, preparation: Preparation, sharpness: Sequence[float]) -> None:
        self.preparation: Preparation = preparation
        self.sharpness = tuple(sharpness)
        self.names = tuple(f"neighbours {s:g}, {preparation}" for s in sharpness)

    def fit(self, view: FoldedView) -> FittedHead:
        x, weights = view.prepared(self.preparation), view.weights
        distance = view.distances(self.preparation).square()  # (f, n, n)
        excluded = (1 - weights)[:, None] + torch.eye(x.shape[1])
        nearest = distance.masked_fill(excluded > 0, torch.inf).amin(2)  # (f, n)
        nearest = torch.where((weights > 0) & nearest.isfinite(), nearest, 0.0)
        scale = (nearest.sum(1) / view.count[:, 0]).clamp_min(1e-12)[:, None, None]

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared(self.preparation)
            near = view.distances(self.preparation) if other.is_support else torch.cdist(q, x[-1:])
            f = len(q)
            near = -near.square() / scale[-f:]
            near = near.masked_fill(weights[-f:, None] == 0, -torch.inf)
            return torch.stack([(s * near).softmax(2) @ view.targets for s in self.sharpness])

        return scores


class GaussianProcess(Head):
    """A Gaussian process, averaged over kernels, widths and noise by its evidence.

    Kernels are exp(-w d^2) and exp(-w d) at distance d. The variance is integrated out (Rasmussen &
    Williams, "Gaussian Processes for Machine Learning", 2006, section 2.7).

    Args:
        preparation: Of the vectors.
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation: Preparation = preparation
        self.names = (f"Gaussian process, {preparation}",)

    def fit(self, view: FoldedView) -> FittedHead:
        x = view.prepared(self.preparation).double()
        trains = view.weights.double()[..., None]  # (f, n, 1)
        n, count = x.shape[1], view.count.double()[:, 0]
        y = folds_centred(view.targets.double(), trains[..., 0])  # (f, n, 1)
        gram = _grams(x, x)  # (kernels, f, n, n)
        masked = gram * trains * trains.mT
        noise = torch.tensor(NOISE_RATIOS, dtype=x.dtype)
        ridge = noise[:, None, None, None, None] * torch.eye(n, dtype=x.dtype)
        root = torch.linalg.cholesky(masked + ridge)  # (noises, kernels, f, n, n)
        solved = torch.cholesky_solve(y.expand(*root.shape[:3], n, 1), root)
        unexplained = (solved * y).sum((3, 4)).clamp_min(1e-12)
        # An example left out has a variance of the noise alone.
        log_volume = 2 * root.diagonal(dim1=3, dim2=4).log().sum(3)
        log_volume = log_volume - (n - count) * noise.log()[:, None, None]
        evidence = -log_volume / 2 - (count - 1) / 2 * unexplained.log()
        shares = evidence.flatten(0, 1).softmax(0).view_as(evidence)
        weights = (shares[..., None, None] * solved).sum(0) * trains  # (kernels, f, n, 1)
        means = _means(view)

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared(self.preparation).double()
            rows = gram if other.is_support else _grams(q, x[-1:])
            f = len(q)
            return ((rows @ weights[:, -f:]).sum(0).float() + means[-f:])[None]

        return scores


def _grams(a: Tensor, b: Tensor) -> Tensor:
    """Values of each kernel, (f, m, d), (f, n, d) -> (kernels, f, m, n)."""
    distance = torch.cdist(a, b)
    smooth = [torch.exp(-width * distance.square()) for width in SMOOTH_WIDTHS]
    return torch.stack([*smooth, *(torch.exp(-width * distance) for width in ROUGH_WIDTHS)])
