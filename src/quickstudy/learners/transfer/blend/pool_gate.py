"""How far each use of a pool of unlabelled examples is to be trusted, learned from other tasks.

Shapes: n support examples, p of the pool, c classes, d numbers of an example, k uses, of which the
first leaves the pool out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["POOL_FEATURES", "PoolEvidence", "PoolGate"]

MAX_DEVIATIONS = 4.0

POOL_FEATURES = (
    "examples of a class (log)",
    "pool beside the examples (log)",
    "classes (log)",
    "share of columns in the distance",
    "shift of the pool's mean (log)",
    "nearest neighbours in the pool, beside pairs (log)",
    "nearest pool of an example, beside pairs (log)",
    "confidence of the blend on the pool",
    "balance of the blend on the pool",
    "examples held out (log)",
    "likelihood of those by the blend",
    "likelihood of those by the use, beside the blend's, sum",
    "likelihood of those by the use, beside the blend's, mean",
    "right of those by the use, beside the blend's",
    "confidence of the use on the pool",
    "balance of the use on the pool",
    "agreement of use and blend on the pool",
    "divergence of use and blend on the pool",
)
"""What the gate sees of each use but the first."""

MAX_LIKELIHOOD = 20.0
"""Beyond which a difference of log-likelihoods says no more."""


@dataclass(frozen=True)
class PoolEvidence:
    """What is known about uses of a pool before any query.

    Args:
        n_way: Number of classes, c.
        support, pool: Vectors (n, d) and (p, d).
        column_share: What columns count for in their distance.
        shift: Squared distance between the means, as a multiple of what chance makes it.
        on_pool: Log-probabilities (k, p, c) of each use for the pool.
        held_out: Those (k, n_held_out, c) for support examples held out; there may be none.
        labels: Of these examples.
    """

    n_way: int
    support: Tensor
    pool: Tensor
    column_share: float
    shift: float
    on_pool: Tensor
    held_out: Tensor
    labels: Tensor

    def features(self) -> Tensor:
        """`POOL_FEATURES` of each use but the first, shape (k - 1, N)."""
        of_task = torch.tensor([*self._sizes(), *self._spacing(), *self._of_blend()])
        rows = [
            torch.cat([of_task, torch.tensor(self._of_use(use))])
            for use in range(1, len(self.on_pool))
        ]
        return torch.stack(rows)

    def _sizes(self) -> list[float]:
        n, p = len(self.support), len(self.pool)
        shift = math.log(self.shift + 0.1)
        return [
            math.log(n / self.n_way),
            math.log(p / n),
            math.log(self.n_way),
            self.column_share,
            shift,
        ]

    def _spacing(self) -> list[float]:
        """How clustered the pool is, and how near to the examples."""
        if len(self.pool) < 2:
            return [0.0, 0.0]
        distance = torch.cdist(self.pool, self.pool).square()
        pairs = distance.sum() / (len(self.pool) * (len(self.pool) - 1))
        nearest = distance.fill_diagonal_(torch.inf).amin(1).mean()
        of_support = torch.cdist(self.support, self.pool).square().amin(1).mean()
        least = 1e-6 * pairs.clamp_min(1e-6)
        return [float(((one + least) / (pairs + least)).log()) for one in (nearest, of_support)]

    def _of_blend(self) -> list[float]:
        likelihood = 0.0
        if len(self.labels):
            rows = torch.arange(len(self.labels))
            likelihood = float(self.held_out[0, rows, self.labels].clamp_min(-5).mean())
        return [*self._sureness(0), math.log1p(len(self.labels)), likelihood]

    def _of_use(self, use: int) -> list[float]:
        total = mean = right = 0.0
        if len(self.labels):
            rows = torch.arange(len(self.labels))
            gains = (self.held_out[use] - self.held_out[0])[rows, self.labels]
            total = max(-MAX_LIKELIHOOD, min(MAX_LIKELIHOOD, float(gains.sum())))
            mean = max(-MAX_LIKELIHOOD, min(MAX_LIKELIHOOD, float(gains.mean())))
            hits = (self.held_out.argmax(2) == self.labels).float().mean(1)
            right = float(hits[use] - hits[0])
        blend, own = self.on_pool[0], self.on_pool[use]
        agreement = float((blend.argmax(1) == own.argmax(1)).float().mean())
        divergence = float((blend.exp() * (blend - own)).sum(1).mean().clamp_max(MAX_LIKELIHOOD))
        return [total, mean, right, *self._sureness(use), agreement, divergence]

    def _sureness(self, use: int) -> list[float]:
        """The mean probability of the most probable class, and the entropy of the mean
        probabilities, as a share of the most it can be."""
        probabilities = self.on_pool[use].exp()
        mean = probabilities.mean(0)
        entropy = -(mean * mean.clamp_min(1e-12).log()).sum() / math.log(self.n_way)
        return [float(probabilities.amax(1).mean()), float(entropy)]


class PoolGate(nn.Module):
    """Weighs the uses of a pool by `PoolEvidence`; a new one leaves every pool out by half.

    It is trained by the likelihood of queries, on tasks of many domains with pools of many kinds,
    as the gate of the heads is.

    Args:
        n_uses: How many uses, with leaving the pool out.
        width: Of the hidden layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_uses: int, width: int = 24) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(POOL_FEATURES)))
        self.register_buffer("deviation", torch.ones(len(POOL_FEATURES)))
        self.use = nn.Embedding(n_uses - 1, 4)
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, -math.log(n_uses - 1))
        self.network = nn.Sequential(nn.Linear(len(POOL_FEATURES) + 4, width), nn.GELU(), last)

    def forward(self, features: Tensor) -> Tensor:
        """Log-weights (..., k) of the uses, from features (..., k - 1, N)."""
        z = ((features - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        uses = self.use.weight.expand(*z.shape[:-1], -1)
        logits = self.network(torch.cat([z, uses], dim=-1))[..., 0]
        left_out = logits.new_zeros(*logits.shape[:-1], 1)
        return torch.cat([left_out, logits], dim=-1).log_softmax(-1)
