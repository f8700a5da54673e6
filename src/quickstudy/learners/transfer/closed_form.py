"""Learners of plain numbers that need no meta-training: they are solved in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from scipy import special
from torch import Tensor, nn

from quickstudy.errors import DataError
from quickstudy.learners.base import Learner, Predictor, check_every_class, class_means
from quickstudy.nn import squared_euclidean
from quickstudy.tasks import Support

__all__ = ["BayesianRidge", "GaussianClasses"]

STRENGTHS = torch.logspace(-4, 3, 29, dtype=torch.float64)
"""Strengths of a ridge, in units of the mean squared singular value; infinity is one more."""

NULL_PRIOR = 0.5
"""Probability, before any target is seen, that features say nothing of it: of infinite strength."""

EXTRAPOLATION = 0.5
"""How far beyond the support set a feature is followed, in units of its range there, for each unit
of the signal-to-noise ratio."""

CONFIDENCE = 0.95
"""Of the lower bound of the signal-to-noise ratio."""


class _ClosedForm(Learner):
    """A learner without parameters."""

    @classmethod
    def build(cls, backbone: nn.Module, n_outputs: int) -> Self:
        del backbone, n_outputs
        return cls()


class GaussianClasses(_ClosedForm):
    """Linear discriminant analysis whose covariance leans on that of all examples.

    Features are brought to mean 0 and variance 1. A class is a Gaussian about its mean, and all
    share one covariance, the posterior mean under d pseudo-examples of unit covariance:
    (R'R + d I) / (n - n_way + d), with R the examples less their class means. With one example a
    class that is the nearest mean. Logits are minus half the squared Mahalanobis distances,
    divided by sqrt(d): features that depend on each other would else count as many.

    Example:
        >>> support = Support(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), n_way=2)
        >>> GaussianClasses().adapt(support)(torch.tensor([[0.9]])).argmax(1)
        tensor([1])
    """

    def check(self, support: Support) -> None:
        check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        standardise = _standardise(support.x)
        x = standardise(support.x)
        means = class_means(x, support)
        n, d = x.shape
        _, s, v = torch.linalg.svd(x - means[support.y], full_matrices=False)
        shrink = (d / (s.square() + d)).sqrt() - 1  # along v; the inverse is that of I elsewhere
        scale = (n - len(means) + d) / (2 * d * d**0.5)

        def whiten(x: Tensor) -> Tensor:
            return x + (x @ v.T * shrink) @ v

        centres = whiten(means)
        return lambda x: -scale * squared_euclidean(whiten(standardise(x)), centres)


class BayesianRidge(_ClosedForm):
    """Ridge regression with an intercept, averaged over strengths by their evidence.

    Features are brought to mean 0 and variance 1. A strength weighs by the marginal likelihood of
    the targets, y ~ N(b, s^2 (I + X X' / strength)) with b and s integrated out (Hoeting, Madigan,
    Raftery & Volinsky, "Bayesian Model Averaging: A Tutorial", Statistical Science 1999). One of
    the strengths is infinite, which is to predict the mean of the targets, and has half of the
    prior: without evidence the prediction shrinks to that mean. Each target has its own weights.

    A line need not go on beyond the examples. So a query's features are cut off outside their range
    in the support set, farther outside the better lines predict examples left out: by
    `EXTRAPOLATION` ranges for each unit of the lower bound of the ratio of explained to unexplained
    variance. Leaving out is exact in closed form, weights included: without example i, of residual
    e and leverage h, the residual is e / (1 - h) (Allen 1974, "The relationship between variable
    selection and data augmentation and a method for prediction").

    Example:
        >>> x = torch.arange(5.0)[:, None]
        >>> predict = BayesianRidge().adapt(Support(x, 2 * x + 1))
        >>> predict(torch.tensor([[10.0]])).round(decimals=1)
        tensor([[21.]])
    """

    def check(self, support: Support) -> None:
        if support.n_way is not None or not len(support):
            raise DataError("expected regression targets, got labels or no example")

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        x, targets = support.x.flatten(1).double(), support.y.double()
        standardise, mean = _standardise(x), targets.mean(0)
        u, s, v = torch.linalg.svd(standardise(x), full_matrices=False)
        fits = [_average_ridges(u, s, y) for y in (targets - mean).T]
        weights = torch.stack([v.T @ coefficients for coefficients, _ in fits])  # (k, d)
        margins = torch.stack([margin for _, margin in fits])[:, None]  # (k, 1)
        low, high = x.amin(0), x.amax(0)
        reach = margins * (high - low)  # (k, d)

        def predict(queries: Tensor) -> Tensor:
            queries = queries.flatten(1).double()
            columns = [
                standardise(queries.clamp(low - r, high + r)) @ w
                for w, r in zip(weights, reach, strict=True)
            ]
            return (torch.stack(columns, 1) + mean).to(support.y.dtype)

        return predict


def _average_ridges(u: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Average ridge regressions of one target over strengths.

    Args:
        u, s: Left singular vectors (n, r) and singular values (r,) of the centred features.
        y: Centred targets, shape (n,).

    Returns:
        Coefficients along the right singular vectors, shape (r,), and how many ranges beyond the
        examples a feature is followed, a scalar.
    """
    n, square = len(y), s.square()
    tiny = torch.finfo(y.dtype).tiny
    least = (1e-24 * y.square().sum()).clamp_min(tiny)  # of a sum of squares: rounding is left
    strengths = STRENGTHS.to(s) * square.mean().clamp_min(1e-12)
    strengths = torch.cat([strengths, strengths.new_tensor([torch.inf])])
    log_prior = strengths.new_full(strengths.shape, math.log((1 - NULL_PRIOR) / len(STRENGTHS)))
    log_prior[-1] = math.log(NULL_PRIOR)
    share = square / (square + strengths[:, None])  # (strengths, r)
    fitted = u.T @ y
    residuals = y - (share * fitted) @ u.T  # (strengths, n)
    unexplained = (residuals * y).sum(1).clamp_min(least)
    log_volume = -torch.log1p(-share).sum(1)  # log det(I + X X' / strength)
    evidence = log_prior - log_volume / 2 - (n - 1) / 2 * unexplained.log()
    coefficients = (evidence.softmax(0)[:, None] * share).sum(0) * fitted / s.clamp_min(tiny)
    if n < 3:
        return coefficients, y.new_zeros(())
    outside = (1 - 1 / n - share @ u.square().T).clamp_min(1e-12)  # 1 - leverage
    left_out = residuals / outside
    rest = (unexplained[:, None] - residuals * left_out).clamp_min(least)
    evidence = log_prior - log_volume / 2 - (n - 2) / 2 * rest.T.log() - outside.T.log() / 2
    error = (evidence.softmax(1).T * left_out).sum(0).square().sum().clamp_min(least)
    ratio = left_out[-1].square().sum() / error - 1
    bound = ratio.clamp_min(0) / float(special.fdtri(n - 2, n - 2, CONFIDENCE))
    return coefficients, EXTRAPOLATION * bound


def _standardise(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Flatten examples, and bring their features to mean 0 and variance 1: (n, ...) -> (n, d)."""
    x = x.flatten(1)
    mean, deviation = x.mean(0), x.std(0, correction=0)
    constant = deviation <= 10 * torch.finfo(x.dtype).eps * mean.abs()  # but for rounding
    scale = torch.where(constant, torch.ones_like(deviation), deviation)
    return lambda x: (x.flatten(1) - mean) / scale
