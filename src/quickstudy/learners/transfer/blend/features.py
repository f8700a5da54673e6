"""What the gate knows of a task and of each candidate: its meta-features.

Shapes: k candidates, n support examples, m queries, c classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.learners.transfer.blend.candidates import KINDS, Candidates, Kind
from quickstudy.learners.transfer.blend.view_features import VIEW_FEATURES

__all__ = ["TaskFeatures", "describe", "temper"]

LOG_SCALES = torch.linspace(-3.5, 3.5, 29)
"""Log-scales of a candidate's scores that are compared, beside its usual one."""

MAX_CHUNK = 2**18
"""Scores at several scales that are in memory at once, unless one scale has more."""

PRIOR_DEVIATION = 0.7
"""Standard deviation of the normal prior of a log-scale."""

CANDIDATE_FEATURES = (
    "loss",
    "accuracy",
    "overconfidence",
    "log scale",
    "loss behind the best, in sqrt(n)",
    "accuracy behind the best, in sqrt(n)",
    "loss behind the best",
    "accuracy behind the best",
    "left out",
)
TASK_FEATURES = (
    "log ways",
    "log shots",
    "log least shots",
    "log examples",
    "imbalance",
    "mid-grey pixels",
    "coloured images",
    *KINDS,
    "least loss",
    "mean loss",
    "greatest accuracy",
    "mean accuracy",
    "spread of accuracies",
)
N_FEATURES = len(CANDIDATE_FEATURES) + len(VIEW_FEATURES) + len(TASK_FEATURES)


@dataclass(frozen=True)
class TaskFeatures:
    """What the gate decides by.

    Args:
        values: Features of each candidate, of its view and of the task, shape (k, N_FEATURES).
        log_scales: Of the candidates' scores, for the softmax, shape (k,).
        left_out: Log-probabilities of the examples left out, shape (k, n_left_out, c).
    """

    values: Tensor
    log_scales: Tensor
    left_out: Tensor


def temper(scores: Tensor, log_scales: Tensor) -> Tensor:
    """Log-probabilities of scores (k, m, c) at the candidates' scales (k,)."""
    return (scores.float() * log_scales.exp()[:, None, None]).log_softmax(2)


def describe(
    candidates: Candidates, y: Tensor, n_way: int, kind: Kind, usual: Tensor
) -> TaskFeatures:
    """The meta-features of a task.

    Args:
        candidates: Fitted to the support set.
        y: Labels of the support set, shape (n,).
        n_way: Number of classes.
        kind: What examples are.
        usual: The usual log-scale of each candidate's scores, shape (k,).
    """
    counts = y.bincount(minlength=n_way).float()
    counts = counts[counts > 0]
    n = len(y)
    log_scales, by_candidate, left_out = _cross_validated(candidates, n_way, usual)
    losses, accuracies = by_candidate[:, 0], by_candidate[:, 1]
    summary = [losses.min(), losses.mean(), accuracies.max(), accuracies.mean()]
    task = [
        math.log(n_way),
        math.log(n / n_way),
        math.log(float(counts.min())),
        math.log(n),
        float(counts.std(correction=0) / counts.mean()),
        *candidates.pixels,
        *[float(kind == one) for one in KINDS],
        *map(float, summary),
        float(accuracies.std(correction=0)),
    ]
    views = torch.tensor([candidates.view_features[view] for view, _ in candidates.names])
    values = torch.cat([by_candidate, views, torch.tensor(task).expand(len(views), -1)], dim=1)
    return TaskFeatures(values, log_scales, left_out)


def _cross_validated(
    candidates: Candidates, n_way: int, usual: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-scales (k,), features (k, 9) and log-probabilities, from the examples left out."""
    scores, y = candidates.left_out.float(), candidates.labels
    k, n = len(scores), len(y)
    if not n:
        return usual, torch.zeros(k, len(CANDIDATE_FEATURES)), scores
    rows = torch.arange(n)
    margins = scores - scores[:, rows, y][..., None]
    scales = (usual + LOG_SCALES[:, None]).exp()[..., None, None]  # (scales, k, 1, 1)
    parts = scales.split(max(1, MAX_CHUNK // margins.numel()))
    losses = torch.cat([(part * margins).logsumexp(3).mean(2) for part in parts])  # (scales, k)
    log_prior = -((LOG_SCALES / PRIOR_DEVIATION) ** 2) / 2
    posterior = (log_prior[:, None] - n * losses).softmax(0)
    shift = (posterior * LOG_SCALES[:, None]).sum(0)
    left_out = temper(scores, usual + shift)
    loss = -left_out[:, rows, y].mean(1)
    accuracy = (left_out.argmax(2) == y).float().mean(1)
    confidence = left_out.amax(2).exp().mean(1)
    behind, short = loss - loss.min(), accuracy - accuracy.max()
    features = [
        loss / math.log(n_way),
        accuracy,
        confidence - accuracy,
        shift,
        behind * math.sqrt(n),
        short * math.sqrt(n),
        behind,
        short,
        torch.ones(k),
    ]
    return usual + shift, torch.stack(features, 1), left_out
