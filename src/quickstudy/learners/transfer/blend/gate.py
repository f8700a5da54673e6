"""The gate: a small network that says how much each candidate of a task is to be trusted.

Shapes: t tasks, k candidates, m queries, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.learners.transfer.blend.features import N_FEATURES

__all__ = ["Gate", "GateDecision", "pool"]

MAX_DEVIATIONS = 4.0

LEAST_LOG_PROBABILITY = -20.0
"""Of a class by a candidate: no single one may exclude a class."""

OTHER = "other"
"""The name of a view that was not met in training."""


@dataclass(frozen=True)
class GateDecision:
    """What the gate says of a task.

    Args:
        weights: Of the candidates; they sum to 1. Shape (t, k), or (t, k, m) of each query.
        sharpness: Factor on each candidate's log-probabilities, shape (t, k).
        overall: Factor on those of the pool, shape (t,).
    """

    weights: Tensor
    sharpness: Tensor
    overall: Tensor


class Gate(nn.Module):
    """Weighs candidates by their meta-features, each by the same network.

    Args:
        views, heads: Names of those met in training; another view counts as `OTHER`.
        width: Of the two hidden layers.
    """

    mean: Tensor
    deviation: Tensor
    log_scales: Tensor

    def __init__(self, views: Sequence[str], heads: Sequence[str], width: int = 48) -> None:
        super().__init__()
        self.views, self.heads = [OTHER, *views], list(heads)
        self.register_buffer("mean", torch.zeros(N_FEATURES))
        self.register_buffer("deviation", torch.ones(N_FEATURES))
        self.register_buffer("log_scales", torch.zeros(len(self.views), len(self.heads)))
        self.view = nn.Embedding(len(self.views), 8)
        self.head = nn.Embedding(len(self.heads), 12)
        self.bias = nn.Embedding(len(self.heads), 1)
        self.network = nn.Sequential(
            nn.Linear(N_FEATURES + 20, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 2),
        )
        self.overall = nn.Linear(N_FEATURES, 1)
        nn.init.normal_(self.head.weight, std=0.3)
        for zero in (self.view, self.bias, self.network[-1], self.overall):
            for parameter in zero.parameters():
                nn.init.zeros_(parameter)

    def ids(self, names: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Numbers of the views and heads of candidates, shape (k,) each."""
        views = [self.views.index(view) if view in self.views else 0 for view, _ in names]
        return torch.tensor(views), torch.tensor([self.heads.index(head) for _, head in names])

    def usual_scales(self, names: Sequence[tuple[str, str]]) -> Tensor:
        """The usual log-scale of each candidate's scores, shape (k,)."""
        return self.log_scales[self.ids(names)]

    def forward(self, values: Tensor, views: Tensor, heads: Tensor, there: Tensor) -> GateDecision:
        """Decide on t tasks.

        Args:
            values: Meta-features, shape (t, k, N_FEATURES).
            views, heads: As of `ids`, shape (t, k).
            there: Whether a candidate is there, as tasks may have fewer than k; shape (t, k).
        """
        z = ((values - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        out = self.network(torch.cat([z, self.view(views), self.head(heads)], dim=-1))
        scores = out[..., 0] + self.bias(heads)[..., 0]
        weights = scores.masked_fill(~there, -torch.inf).softmax(1)
        sharpness = out[..., 1].clamp(-2, 2).exp()
        mean = (z * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        overall = self.overall(mean)[..., 0].clamp(-1.5, 1.5).exp()
        return GateDecision(weights, sharpness, overall)


def pool(log_probabilities: Tensor, decision: GateDecision) -> Tensor:
    """The logarithmic opinion pool of candidates (Genest & Zidek, "Combining Probability
    Distributions", Statistical Science 1986): (t, k, m, c) -> (t, m, c), log-probabilities."""
    sharpened = log_probabilities * decision.sharpness[..., None, None]
    each = sharpened.log_softmax(3).clamp_min(LEAST_LOG_PROBABILITY)
    weights = decision.weights if decision.weights.ndim == 3 else decision.weights[..., None]
    pooled = (weights[..., None] * each).sum(1)
    return F.log_softmax(pooled * decision.overall[:, None, None], dim=2)
