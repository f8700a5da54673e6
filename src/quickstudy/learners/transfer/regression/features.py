"""What the gate of regression knows of a task and of each candidate: its meta-features.

Shapes: k candidates, n support examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quickstudy.learners.transfer.blend.view_features import VIEW_FEATURES
from quickstudy.learners.transfer.regression.candidates import RegressionCandidates
from quickstudy.learners.transfer.regression.target_features import TARGET_FEATURES

__all__ = ["LEAST_ERROR", "N_FEATURES", "describe_regression"]

LEAST_ERROR = 1e-6
"""Of a mean squared error, in units of the targets' variance, before its logarithm is taken."""

MAX_T = 6.0

CANDIDATE_FEATURES = (
    "log error",
    "log error behind the mean",
    "log error behind the best",
    "the same, in sqrt(n)",
    "log median error behind the mean",
    "t against the mean",
    "t against the best",
    "correlation",
    "left out",
)
TASK_FEATURES = (
    "log examples",
    "least log error",
    "mean log error",
    "spread of log errors",
    "greatest t",
)
N_FEATURES = (
    len(CANDIDATE_FEATURES) + len(VIEW_FEATURES) + len(TARGET_FEATURES) + len(TASK_FEATURES)
)


def describe_regression(candidates: RegressionCandidates, n: int) -> Tensor:
    """The meta-features of a task of n examples, shape (k, N_FEATURES)."""
    by_candidate = _cross_validated(candidates)
    log_error, t = by_candidate[:, 0], by_candidate[:, 5]
    spread = log_error.std(correction=0)
    task = torch.stack([log_error.min(), log_error.mean(), spread, t.max()])
    task = torch.cat([task.new_tensor([math.log(n)]), task])
    return torch.cat(
        [by_candidate, candidates.view_features, task.expand(len(log_error), -1)], dim=1
    )


def _cross_validated(candidates: RegressionCandidates) -> Tensor:
    """The `CANDIDATE_FEATURES` (k, 9), from the examples left out."""
    predictions, y = candidates.left_out.float(), candidates.targets.float()
    k, n = predictions.shape
    if n < 2:
        return torch.zeros(k, len(CANDIDATE_FEATURES))
    squares = (predictions - y).square().clamp_max(1e4)  # (k, n)
    log_error = (squares.mean(1) + LEAST_ERROR).log()
    log_median = (squares.median(1).values + LEAST_ERROR).log()
    best = int(log_error.argmin())
    centred, y = predictions - predictions.mean(1, keepdim=True), y - y.mean()
    norms = centred.norm(dim=1) * y.norm()
    behind = log_error - log_error.min()
    features = [
        log_error,
        log_error - log_error[0],
        behind,
        behind.clamp_max(2) * math.sqrt(n),
        log_median - log_median[0],
        _paired_t(squares[0] - squares),
        _paired_t(squares[best] - squares),
        centred @ y / norms.clamp_min(1e-6),
        torch.ones(k),
    ]
    return torch.stack(features, 1)


def _paired_t(gains: Tensor) -> Tensor:
    """Student's t of the mean of paired differences: (k, n) -> (k,)."""
    error = gains.std(1) / math.sqrt(gains.shape[1])
    return (gains.mean(1) / error.clamp_min(1e-6)).clamp(-MAX_T, MAX_T)
