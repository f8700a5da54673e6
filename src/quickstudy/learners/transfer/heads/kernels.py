"""Ridge and logistic regression, linear or by a kernel, at several strengths at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView, Preparation, cholesky
from quickstudy.learners.transfer.heads.head import FittedHead, Head

__all__ = ["KernelHead"]

Kernel = Literal["linear", "rbf", "laplace"]

MAX_STEPS, TOLERANCE = 30, 4e-3
"""Of logistic regression: steps, and the greatest change, relative to the greatest weight, at which
it ends."""

MAX_BOUND = 0.5
"""Of the Hessian, as a multiple of the Gram matrix, whatever the probabilities."""

MANY_CLASSES = 30
"""Beyond, most probabilities are small and the Hessian is far below that bound: a lower one is
raised only where the loss contradicts it. With fewer classes the test costs more than it saves."""

ROUNDING = 1e-5
"""Relative error of a loss."""


class KernelHead(Head):
    """Regression to one-hot labels (ridge) and multinomial logistic regression on one kernel.

    Logistic regression minimises the summed cross-entropy plus strength / 2 times the squared norm
    of the weights, as scikit-learn's does with C = 1 / strength. The upper bound of its Hessian by
    half the Gram matrix (Böhning, "Multinomial Logistic Regression Algorithm", Annals of the
    Institute of Statistical Mathematics 1992) is inverted once, and steps with it have Nesterov's
    momentum; with many classes the bound begins lower and is raised by backtracking (Beck &
    Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", SIAM Journal on Imaging Sciences
    2009). Both solve for a weight of each example, or of each feature where these are fewer and
    the kernel is linear.

    Args:
        preparation: Of the vectors.
        kernel: "linear", with a constant feature; "rbf", exp(-width d^2) at distance d; "laplace",
            exp(-width d).
        width: Of the kernel.
        ridge, logistic: Their strengths.

    Example:
        >>> from quickstudy.learners.transfer.heads import FoldedView, Folds
        >>> x, y = torch.tensor([[0.0], [0.1], [1.0], [1.1]]), torch.tensor([0, 0, 1, 1])
        >>> view = FoldedView(x, Folds(y, n_way=2))
        >>> scores = KernelHead("standardised", logistic=[0.1]).fit(view)
        >>> scores(view.queries(torch.tensor([[0.2], [0.9]])))[0, 0].argmax(1)
        tensor([0, 1])
    """

    def __init__(
        self,
        preparation: Preparation,
        kernel: Kernel = "linear",
        width: float = 1.0,
        *,
        ridge: Sequence[float] = (),
        logistic: Sequence[float] = (),
    ) -> None:
        self.preparation: Preparation = preparation
        self.kernel, self.width = kernel, width
        self.ridge, self.logistic = tuple(ridge), tuple(logistic)
        kind = "" if kernel == "linear" else f"{kernel} "
        self.names = (
            *(f"{kind}ridge {strength:g}, {preparation}" for strength in ridge),
            *(f"{kind}logistic {strength:g}, {preparation}" for strength in logistic),
        )

    def fit(self, view: FoldedView) -> FittedHead:
        x = view.prepared(self.preparation)  # (f, n, d)
        trains = view.weights[..., None]  # (f, n, 1)
        primal = self.kernel == "linear" and x.shape[2] + 1 < x.shape[1]
        # Scores are design @ weights; `design` has a row for each example.
        design = _with_constant(x) if primal else self._gram_of_support(view)
        train = design * trains if primal else design * trains * trains.mT
        curvature = train.mT @ train if primal else train  # (f, p, p)
        mean = (view.weights @ view.targets / view.count)[:, None]  # (f, 1, c)
        weights, offsets = [], []
        if self.ridge:
            residual = (view.targets - mean) * trains
            right = train.mT @ residual if primal else residual
            strengths = curvature.new_tensor(self.ridge)[:, None, None, None]
            root = cholesky(curvature + strengths * torch.eye(curvature.shape[-1]))
            weights.append(torch.cholesky_solve(right.expand(len(self.ridge), *right.shape), root))
            offsets += [mean] * len(self.ridge)
        if self.logistic:
            regression = _LogisticRegression(train, curvature, view.targets, trains)
            weights.append(regression.path(self.logistic))
            offsets += [torch.zeros_like(mean)] * len(self.logistic)
        fitted = torch.cat(weights)  # (k, f, p, c)
        if not primal:
            fitted = fitted * trains
        offset = torch.stack(offsets)  # (k, f, 1, c)

        def scores(other: FoldedView) -> Tensor:
            if other.is_support:
                return design @ fitted + offset
            q = other.prepared(self.preparation)
            rows = _with_constant(q) if primal else self._gram_of_queries(q, x[-1:])
            return rows @ fitted[:, -1:] + offset[:, -1:]

        return scores

    def _gram_of_support(self, view: FoldedView) -> Tensor:
        """Kernel values and a constant, shape (f, n, n)."""
        if self.kernel != "linear":
            return self._of_distance(view.distances(self.preparation))
        x = view.prepared(self.preparation)
        return x @ x.mT + 1

    def _gram_of_queries(self, q: Tensor, x: Tensor) -> Tensor:
        """Kernel values and a constant, (1, m, d), (1, n, d) -> (1, m, n)."""
        return q @ x.mT + 1 if self.kernel == "linear" else self._of_distance(torch.cdist(q, x))

    def _of_distance(self, distance: Tensor) -> Tensor:
        if self.kernel == "rbf":
            distance = distance.square()
        return torch.exp(-self.width * distance) + 0.5


class _LogisticRegression:
    """Multinomial logistic regression of f folds at once, from no weights to those of `path`.

    Weights are (f, c, p) and scores (f, c, n) here: softmax over a few classes takes a fifth of the
    time if these do not lie side by side in memory.

    Args:
        train: Design matrix (f, n, p), zero where a fold leaves out.
        curvature: Its Gram matrix (f, p, p), or itself where p is n and it is one.
        targets: One-hot labels (n, c).
        trains: 1 where a fold trains, shape (f, n, 1).
    """

    def __init__(self, train: Tensor, curvature: Tensor, targets: Tensor, trains: Tensor) -> None:
        self.curvature, self.trains = curvature, trains.mT  # (f, 1, n)
        self.targets = (targets * trains).mT.contiguous()  # (f, c, n)
        self.primal = train is not curvature
        self.train = train
        self.features = train.mT.contiguous() if self.primal else train  # (f, p, n)
        n_way = targets.shape[1]
        bound = MAX_BOUND if n_way <= MANY_CLASSES else 1 / n_way
        self.bound = train.new_full((len(train), 1, 1), bound)
        self.may_rise = bound < MAX_BOUND

    def path(self, strengths: Sequence[float]) -> Tensor:
        """Weights (k, f, p, c) at k strengths, each from where the next greater one ended."""
        f, n_way, _ = self.targets.shape
        weights = self.targets.new_zeros(f, n_way, self.curvature.shape[1])
        fitted: dict[float, Tensor] = {}
        for strength in sorted(strengths, reverse=True):
            weights = fitted[strength] = self._fit(strength, weights)
        return torch.stack([fitted[strength] for strength in strengths]).mT

    def _fit(self, strength: float, weights: Tensor) -> Tensor:
        """Weights (f, c, p) at a strength, from others."""
        inverse = self._inverse(strength)
        scores = weights @ self.features  # (f, c, n)
        ahead, ahead_scores, momentum = weights, scores, 1.0
        for i in range(MAX_STEPS):
            gradient = self._gradient(ahead, ahead_scores, strength)
            while True:
                new = torch.baddbmm(ahead, gradient, inverse, alpha=-1)
                new_scores = new @ self.features
                if not self._raise_bound(strength, gradient, ahead, ahead_scores, new, new_scores):
                    break
                inverse = self._inverse(strength)
            next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ratio = (momentum - 1) / next_momentum
            ahead = weights.lerp(new, 1 + ratio)
            ahead_scores = scores.lerp(new_scores, 1 + ratio)
            before, weights, scores, momentum = weights, new, new_scores, next_momentum
            if i % 4 == 3 and _is_close(before, weights):
                break
        return weights

    def _inverse(self, strength: float) -> Tensor:
        """Of the bound of the Hessian, shape (f, p, p)."""
        ridge = strength * torch.eye(self.curvature.shape[-1])
        return torch.cholesky_inverse(cholesky(self.bound * self.curvature + ridge))

    def _gradient(self, weights: Tensor, scores: Tensor, strength: float) -> Tensor:
        """Shape (f, c, p); without its factor, the Gram matrix, where p is n."""
        residual = scores.softmax(1).mul_(self.trains).sub_(self.targets)  # (f, c, n)
        gradient = residual @ self.train if self.primal else residual
        return gradient.add_(weights, alpha=strength)

    def _raise_bound(
        self,
        strength: float,
        gradient: Tensor,
        weights: Tensor,
        scores: Tensor,
        new: Tensor,
        new_scores: Tensor,
    ) -> bool:
        """Double the bounds of the folds whose loss falls by less than they promise."""
        if not self.may_rise:
            return False
        step = weights - new if self.primal else scores - new_scores
        promised = _inner(gradient, step) / 2
        before = self._loss(weights, scores, strength)
        failed = self._loss(new, new_scores, strength) > before - promised + ROUNDING * before
        failed &= self.bound < MAX_BOUND
        self.bound = torch.where(failed, (2 * self.bound).clamp_max(MAX_BOUND), self.bound)
        self.may_rise = bool((self.bound < MAX_BOUND).any())
        return bool(failed.any())

    def _loss(self, weights: Tensor, scores: Tensor, strength: float) -> Tensor:
        """Shape (f, 1, 1)."""
        square = _inner(weights, weights if self.primal else scores)
        return strength / 2 * square - _inner(scores.log_softmax(1), self.targets)


def _is_close(before: Tensor, weights: Tensor) -> bool:
    """Whether a step changed weights by less than `TOLERANCE`."""
    return float((weights - before).abs().max()) < TOLERANCE * float(weights.abs().max())


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of matrices, (f, p, c), (f, p, c) -> (f, 1, 1)."""
    return (a * b).sum((1, 2), keepdim=True)


def _with_constant(x: Tensor) -> Tensor:
    """Vectors with a constant feature of 1: (f, m, d) -> (f, m, d + 1)."""
    return torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2)
