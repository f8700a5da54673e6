"""Heads that model each class as a Gaussian of standardised features."""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView, cholesky
from quickstudy.learners.transfer.heads.head import FittedHead, Head

__all__ = ["LinearDiscriminant", "NaiveBayes"]

POOLED_EXAMPLES = 4.0
"""How many examples the pooled variance counts for in the variance of a class."""


class LinearDiscriminant(Head):
    """Linear discriminant analysis, whose covariance leans on that of all features together.

    All classes share the covariance (R'R + shrinkage I) / (n - c + d shrinkage), with R the
    examples less their class means: the posterior mean under d pseudo-examples of covariance
    I / d, times `shrinkage`. Logits are divided by sqrt(d), as features that depend on each other
    would else count as many.

    Args:
        shrinkage: See above.
    """

    def __init__(self, shrinkage: float = 1.0) -> None:
        self.shrinkage = shrinkage
        self.names = (f"linear discriminant {shrinkage:g}",)

    def fit(self, view: FoldedView) -> FittedHead:
        x = view.prepared("standardised")  # (f, n, d)
        n, d = x.shape[1:]
        means, residuals = _class_means(view, x)
        freedom = view.count[..., None] - view.folds.n_way + d * self.shrinkage
        if d <= n:
            covariance = residuals.mT @ residuals + self.shrinkage * torch.eye(d)
            root = cholesky(covariance)
            slopes = freedom * torch.cholesky_solve(means.mT, root)  # (f, d, c)
        else:  # the inverse by Woodbury's identity
            gram = residuals @ residuals.mT + self.shrinkage * torch.eye(n)
            root = cholesky(gram)
            along = residuals.mT @ torch.cholesky_solve(residuals @ means.mT, root)
            slopes = freedom / self.shrinkage * (means.mT - along)
        offsets = -(means.mT * slopes).sum(1, keepdim=True) / 2  # (f, 1, c)

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared("standardised")
            f = len(q)
            return (q @ slopes[-f:] + offsets[-f:])[None] / d**0.5

        return scores


class NaiveBayes(Head):
    """Gaussian naive Bayes, whose variances lean on that of all classes. Log-likelihoods are
    divided by sqrt(d), as features are never independent."""

    names = ("naive Bayes",)

    def fit(self, view: FoldedView) -> FittedHead:
        x = view.prepared("standardised")
        d = x.shape[2]
        means, residuals = _class_means(view, x)
        counts = (view.weights @ view.targets)[..., None]  # (f, c, 1)
        freedom = (view.count[..., None] - view.folds.n_way).clamp_min(0)
        pooled = (residuals.square().sum(1, keepdim=True) + 2 / d) / (freedom + 2)  # (f, 1, d)
        within = view.targets.T @ residuals.square()  # (f, c, d)
        variances = (within + POOLED_EXAMPLES * pooled) / (counts + POOLED_EXAMPLES)
        precisions = 1 / variances.clamp_min(1e-12)
        log_prior = (counts / view.count[..., None]).clamp_min(1e-9).log().mT  # (f, 1, c)

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared("standardised")
            f = len(q)
            iv, m = precisions[-f:], means[-f:]
            distance = q.square() @ iv.mT - 2 * q @ (m * iv).mT
            distance = distance + (m.square() * iv - iv.log()).sum(2)[:, None]
            return (-distance / 2 / d**0.5 + log_prior[-f:])[None]

        return scores


def _class_means(view: FoldedView, x: Tensor) -> tuple[Tensor, Tensor]:
    """Class means (f, c, d), and what examples differ from theirs, zero where left out."""
    members = view.weights[..., None] * view.targets
    means = (members.mT @ x) / members.sum(1)[..., None].clamp_min(1)
    return means, (x - means[:, view.folds.y]) * view.weights[..., None]
