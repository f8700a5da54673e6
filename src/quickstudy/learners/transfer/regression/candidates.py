"""The candidates of a blend of regression: every head on every view of the examples.

Shapes: k candidates, n support examples, m queries, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.learners.transfer.blend.candidates import (
    FittedViews,
    View,
    split_views,
    with_joined,
)
from quickstudy.learners.transfer.blend.view_features import describe_view
from quickstudy.learners.transfer.heads import (
    EvidenceRidge,
    GaussianProcess,
    Head,
    KernelHead,
    Mean,
    NeighbourAverage,
    RegressionFolds,
    RegressionTrees,
    RegressionView,
)
from quickstudy.learners.transfer.regression.target_features import describe_target

__all__ = ["HEAD_NAMES", "MEAN", "RegressionCandidates", "fit_regression_candidates"]

MAX_EXAMPLES_OF_KERNELS, MAX_EXAMPLES_OF_PROCESSES = 2000, 400
"""Beyond, heads that compare each pair of examples are left out, and those that do so with many
kernels."""

MAX_SIZE_OF_TREES = 4096
"""Of a view with trees."""

HEADS: tuple[Head, ...] = (
    EvidenceRidge(),
    KernelHead("bounded", ridge=(0.1, 1.0)),
    KernelHead("relevant", ridge=(0.1, 1.0)),
    KernelHead("bounded", "rbf", 0.5, ridge=(0.1,)),
    KernelHead("relevant", "laplace", 1.0, ridge=(0.1,)),
    GaussianProcess("bounded"),
    GaussianProcess("relevant"),
    NeighbourAverage("bounded", (0.5, 2.0)),
    NeighbourAverage("relevant", (1.0,)),
    RegressionTrees(),
)

HEAD_NAMES = ("mean", *(name for head in HEADS for name in head.names))

MEAN = ("", "mean")
"""The name of the candidate that predicts the mean, whatever the view."""


@dataclass(frozen=True)
class RegressionCandidates:
    """All candidates, fitted to a support set and one target.

    Args:
        names: Of view and head, one a candidate; the first is the mean.
        left_out: Cross-validated predictions, shape (k, n_left_out).
        targets: Of the examples left out, shape (n_left_out,).
        view_features: Of each candidate's view and its target, (k, n_view_features).
        predict: Maps queries, as the support set's examples, to predictions (k, m).
    """

    names: list[tuple[str, str]]
    left_out: Tensor
    targets: Tensor
    view_features: Tensor
    predict: Callable[[Tensor], Tensor]


def fit_regression_candidates(views: Sequence[View], x: Tensor, y: Tensor) -> RegressionCandidates:
    """Fit every head on every view, to the support set and to each of its folds.

    Args:
        views: The parts of `x`, in their order.
        x: Vectors of all views side by side, (n, d).
        y: Targets (n,) of mean 0 and variance 1.
    """
    folds = RegressionFolds(y)
    parts = split_views(views, x)
    usable = [view for view in with_joined(views) if view.heads is not None]
    names: list[tuple[str, str]] = [MEAN]
    left_out, described = [], []
    fitted = FittedViews(views)
    for view in usable:
        folded = RegressionView(parts[view.name], folds)
        heads = [head for head in HEADS if _suits(head, view, len(y))]
        fits = [head.fit(folded) for head in heads]
        if not fitted.parts:  # the mean is fitted once
            fits.insert(0, Mean().fit(folded))
        own = [(view.name, name) for head in heads for name in head.names]
        features = describe_view(parts[view.name]) + describe_target(parts[view.name], y)
        described += [features] * (len(own) + (not fitted.parts))
        names += own
        left_out += [folds.left_out(fit(folded))[..., 0] for fit in fits]
        fitted.parts.append((view.name, folded, fits))
    return RegressionCandidates(
        names,
        torch.cat(left_out),
        y[folds.row],
        torch.tensor(described),
        lambda x: fitted(x)[..., 0],
    )


def _suits(head: Head, view: View, n: int) -> bool:
    """Whether a head is fast enough on n examples, and meant for the view."""
    if isinstance(head, RegressionTrees):
        return view.size <= MAX_SIZE_OF_TREES and view.heads == "columns"
    if isinstance(head, GaussianProcess):
        return n <= MAX_EXAMPLES_OF_PROCESSES
    if isinstance(head, KernelHead | NeighbourAverage):
        return n <= MAX_EXAMPLES_OF_KERNELS
    return True
