"""Learners of plain numbers that need no meta-training: they are solved in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError
from quickstudy.learners.base import Learner, Predictor, check_every_class, class_means
from quickstudy.nn import squared_euclidean
from quickstudy.tasks import Support

__all__ = ["GaussianClasses", "LeaveOneOutRidge"]

STRENGTHS = torch.logspace(-4, 3, 29, dtype=torch.float64)
"""Strengths of a ridge that are tried, in units of the mean squared singular value."""


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


class LeaveOneOutRidge(_ClosedForm):
    """Ridge regression with an intercept, of the strength whose leave-one-out error is least.

    Features are brought to mean 0 and variance 1. With the hat matrix H, the error of the fit
    without example i is its residual over 1 - H_ii (Allen 1974, "The relationship between variable
    selection and data augmentation and a method for prediction"), so one singular value
    decomposition tries all strengths. Each target has its own.

    Example:
        >>> x = torch.arange(5.0)[:, None]
        >>> predict = LeaveOneOutRidge().adapt(Support(x, 2 * x + 1))
        >>> predict(torch.tensor([[10.0]])).round(decimals=1)
        tensor([[21.]])
    """

    def check(self, support: Support) -> None:
        if support.n_way is not None or not len(support):
            raise DataError("expected regression targets, got labels or no example")

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        standardise = _standardise(support.x)
        u, s, v = torch.linalg.svd(standardise(support.x), full_matrices=False)
        mean = support.y.mean(0)
        fitted = u.T @ (support.y - mean)  # (r, k)
        square = s.square()
        strengths = STRENGTHS.to(s) * square.mean().clamp_min(1e-12)
        errors = []
        for strength in strengths:
            share = square / (square + strength)
            leverage = 1 / len(u) + u.square() @ share
            residuals = support.y - mean - u @ (share[:, None] * fitted)
            errors.append((residuals / (1 - leverage).clamp_min(1e-12)[:, None]).square().mean(0))
        best = strengths[torch.stack(errors).argmin(0)]  # (k,)
        weights = v.T @ (s[:, None] / (square[:, None] + best) * fitted)
        return lambda x: standardise(x) @ weights + mean


def _standardise(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Flatten examples, and bring their features to mean 0 and variance 1: (n, ...) -> (n, d)."""
    x = x.flatten(1)
    mean, deviation = x.mean(0), x.std(0, correction=0)
    constant = deviation <= 10 * torch.finfo(x.dtype).eps * mean.abs()  # but for rounding
    scale = torch.where(constant, torch.ones_like(deviation), deviation)
    return lambda x: (x.flatten(1) - mean) / scale
