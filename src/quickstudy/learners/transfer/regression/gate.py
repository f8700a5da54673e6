"""The gate of regression: a small network that says how much each candidate is to be trusted, and
how far off their blend may be.

Shapes: t tasks, k candidates, m queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.learners.transfer.regression.features import LEAST_ERROR, N_FEATURES

__all__ = ["Prediction", "RegressionGate"]

MAX_DEVIATIONS = 4.0

LEAST_VARIANCE = 1e-5
"""Of a prediction, in units of the targets' variance."""

N_SUMMARY = N_FEATURES + 2


@dataclass(frozen=True)
class Prediction:
    """Student's t distributions of the targets of queries.

    Args:
        mean, scale: Shape (t, m) each.
        freedom: Degrees of freedom, shape (t,).
        weights: Of the candidates, shape (t, k).
    """

    mean: Tensor
    scale: Tensor
    freedom: Tensor
    weights: Tensor


class RegressionGate(nn.Module):
    """Weighs candidates by their meta-features, each by the same network.

    The blend is their weighted mean. Its variance at a query is the sum of the blend's error on
    examples left out and of how the candidates differ there, each by a factor that a second network
    gives.

    Args:
        heads: Names of those met in training.
        width: Of the hidden layers.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, heads: Sequence[str], width: int = 48) -> None:
        super().__init__()
        self.heads = list(heads)
        self.register_buffer("mean", torch.zeros(N_FEATURES))
        self.register_buffer("deviation", torch.ones(N_FEATURES))
        self.head = nn.Embedding(len(self.heads), 12)
        self.bias = nn.Embedding(len(self.heads), 1)
        self.network = nn.Sequential(
            nn.Linear(N_FEATURES + 12, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 1),
        )
        self.variance = nn.Sequential(
            nn.Linear(N_SUMMARY, width // 2), nn.GELU(), nn.Linear(width // 2, 3)
        )
        nn.init.normal_(self.head.weight, std=0.3)
        for zero in (self.bias, self.network[-1], self.variance[-1]):
            for parameter in zero.parameters():
                nn.init.zeros_(parameter)

    def ids(self, names: Sequence[tuple[str, str]]) -> Tensor:
        """Numbers of the heads of candidates, shape (k,)."""
        return torch.tensor([self.heads.index(head) for _, head in names])

    def forward(
        self,
        values: Tensor,
        heads: Tensor,
        there: Tensor,
        left_out: Tensor,
        targets: Tensor,
        is_left_out: Tensor,
        predictions: Tensor,
    ) -> Prediction:
        """Predict the queries of t tasks.

        Args:
            values: Meta-features, shape (t, k, N_FEATURES).
            heads: As of `ids`, shape (t, k).
            there: Whether a candidate is there, as tasks may have fewer than k; shape (t, k).
            left_out: Cross-validated predictions, shape (t, k, n).
            targets: Of the examples left out, shape (t, n).
            is_left_out: Whether there is such an example, shape (t, n).
            predictions: Of the candidates on the queries, shape (t, k, m).
        """
        z = ((values - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        scores = self.network(torch.cat([z, self.head(heads)], dim=-1)) + self.bias(heads)
        weights = scores[..., 0].masked_fill(~there, -torch.inf).softmax(1)
        blended = _blend(weights, left_out)
        squares = (blended - targets).square() * is_left_out
        n = is_left_out.sum(1)
        error = squares.sum(1) / n.clamp_min(1)
        error = torch.where(n > 0, error, 1.0)
        summary = torch.cat(
            [
                (weights[..., None] * z).sum(1),
                (error + LEAST_ERROR).log()[:, None] / 2,
                -(weights * (weights + 1e-9).log()).sum(1, keepdim=True),
            ],
            dim=1,
        )
        out = self.variance(summary)
        mean = _blend(weights, predictions)
        disagreement = (weights[..., None] * (predictions - mean[:, None]).square()).sum(1)
        factors = out[:, :2].clamp(-6, 4).exp()
        variance = factors[:, :1] * error[:, None] + factors[:, 1:] * disagreement
        freedom = 2.2 + 3 * F.softplus(out[:, 2])
        return Prediction(mean, (variance + LEAST_VARIANCE).sqrt(), freedom, weights)


def _blend(weights: Tensor, predictions: Tensor) -> Tensor:
    """The weighted mean of candidates: (t, k), (t, k, m) -> (t, m)."""
    return (weights[..., None] * predictions).sum(1)
