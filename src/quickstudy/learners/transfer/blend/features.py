"""What the gate knows of a task and of each candidate: its meta-features.

Shapes: k candidates, n support examples, m queries, c classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.learners.transfer.blend.candidates import KINDS, Candidates, Kind
from quickstudy.tasks import Support

__all__ = ["TaskFeatures", "describe", "temper"]

LOG_SCALES = torch.linspace(-3.5, 3.5, 29)
"""Log-scales of a candidate's scores that are compared, beside its usual one."""

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
VIEW_FEATURES = (
    "log size",
    "effective dimensions",
    "smoothness",
    "integers",
    "log kurtosis",
    "zeros",
    "spread of lengths",
    "spread of scales",
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
    candidates: Candidates, support: Support, kind: Kind, usual: Tensor, hints: Sequence[float]
) -> TaskFeatures:
    """The meta-features of a task.

    Args:
        candidates: Fitted to the support set.
        support: A classification task.
        kind: What examples are.
        usual: The usual log-scale of each candidate's scores, shape (k,).
        hints: The shares of mid-grey pixels and of coloured images; zeros where none are images.
    """
    n_way = support.n_way or 0
    counts = support.y.bincount(minlength=n_way).float()
    counts = counts[counts > 0]
    n = len(support)
    log_scales, by_candidate, left_out = _cross_validated(candidates, n_way, usual)
    by_view = {name: _view_features(x) for name, x in candidates.views.items()}
    losses, accuracies = by_candidate[:, 0], by_candidate[:, 1]
    summary = [losses.min(), losses.mean(), accuracies.max(), accuracies.mean()]
    task = [
        math.log(n_way),
        math.log(n / n_way),
        math.log(float(counts.min())),
        math.log(n),
        float(counts.std(correction=0) / counts.mean()),
        *hints,
        *[float(kind == one) for one in KINDS],
        *map(float, summary),
        float(accuracies.std(correction=0)),
    ]
    views = torch.tensor([by_view[view] for view, _ in candidates.names])
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
    losses = torch.stack(  # (scales, k)
        [-temper(scores, usual + shift)[:, rows, y].mean(1) for shift in LOG_SCALES]
    )
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


def _view_features(x: Tensor) -> list[float]:
    """Of vectors (n, d)."""
    x = x.double()
    n, d = x.shape
    deviation = x.std(0, correction=0)
    varies = deviation > 1e-8
    z = ((x - x.mean(0)) / deviation.clamp_min(1e-8))[:, varies]
    if not z.shape[1]:
        return [0.0] * len(VIEW_FEATURES)
    gram = z @ z.T if n <= z.shape[1] else z.T @ z
    dimensions = gram.trace().square() / gram.square().sum()
    lengths = x.norm(dim=1)
    return [
        math.log(d),
        float(dimensions / min(n, d)),
        float((z[:, 1:] * z[:, :-1]).mean()) if z.shape[1] > 1 else 0.0,
        float((x == x.round()).double().mean()),
        float((z.pow(4).mean(0).clamp_max(30).mean() + 0.1).log()),
        float((x == 0).double().mean()),
        float((lengths.std(correction=0) / lengths.mean().clamp_min(1e-9)).clamp_max(3)),
        float(deviation[varies].log().std(correction=0).clamp_max(4)),
    ]
