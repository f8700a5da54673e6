"""How a blend uses a pool of unlabelled examples.

Shapes: n support examples, p of the pool, m queries, c classes, d numbers of an example, k uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.learners.base import encode_targets
from quickstudy.learners.transfer.blend.candidates import JOINED, View, split_views
from quickstudy.learners.transfer.blend.pool_gate import PoolEvidence, PoolGate
from quickstudy.learners.transfer.blend.semi_supervised import SEMI_SUPERVISED
from quickstudy.learners.transfer.heads import Folds
from quickstudy.tasks import Support

__all__ = [
    "MAX_POOL",
    "USES",
    "FittedPool",
    "Refinement",
    "VectorSpace",
    "average",
    "fit_pool",
    "refine",
    "view_shares",
]

MAX_POOL = 2000
"""Unlabelled examples that are used; of more, as many drawn at random."""

MAX_LOOKED_AT = 300
"""Of these, how many the gate looks at."""

USES = ("left out", *SEMI_SUPERVISED)
"""Of a pool."""

MAX_SHIFT, N_SAMPLED = 1.5, 5
"""Squared distance of the pool's mean from the examples', as a multiple of what drawing so many
examples makes of it, beyond which the pool is left out."""

MAX_DEVIATIONS = 10.0
"""Standard deviations from the mean beyond which a column is cut off."""

FittedUse = Callable[[Tensor], Tensor]
"""Maps vectors (m, d) of a space to log-probabilities (m, c)."""


@dataclass(frozen=True)
class VectorSpace:
    """Where unlabelled examples are compared: all views side by side, each about the mean of the
    examples and then of length sqrt(share), so squared distances are averages over views.

    Args:
        views: The parts of an example.
        shares: Of each view, by name; they sum to 1.
        means, scales: Of each view, by name.
    """

    views: Sequence[View]
    shares: Mapping[str, float]
    means: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]

    @classmethod
    def of(cls, views: Sequence[View], shares: Mapping[str, float], x: Tensor) -> VectorSpace:
        """The space of examples (n, d)."""
        parts = split_views(views, x)
        means = {name: parts[name].mean(0) for name in shares}
        scales = {name: torch.ones_like(mean) for name, mean in means.items()}
        for view in views:
            if view.heads == "columns":
                deviation = parts[view.name].std(0, correction=0)
                scales[view.name] = torch.where(deviation > 1e-8, deviation, 1.0)
        return cls(views, shares, means, scales)

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors of examples (m, d), in float32."""
        parts = split_views(self.views, x)
        vectors = []
        for name, share in self.shares.items():
            z = (parts[name] - self.means[name]) / self.scales[name]
            z = F.normalize(z.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS), dim=1)
            vectors.append(share**0.5 * z.float())
        return torch.cat(vectors, dim=1)


def view_shares(
    views: Sequence[View], weights: Mapping[tuple[str, str], float] | None = None
) -> dict[str, float]:
    """What each view that classifies counts for: the sum of the weights of its heads, with those of
    all embeddings joined in equal parts; without weights, all alike."""
    able = [view for view in views if view.heads]
    shares = {view.name: 1.0 / len(able) for view in able}
    if weights is None:
        return shares
    shares = dict.fromkeys(shares, 0.0)
    for (view, _), weight in weights.items():
        parts = [v.name for v in able if v.heads == "embedding"] if view == JOINED else [view]
        for part in parts:
            shares[part] += weight / len(parts)
    return shares


@dataclass(frozen=True)
class Refinement:
    """A pool, what was decided about it, and how it changes a blend's answers.

    The answer is the logarithmic opinion pool of three, weighed by a gate: the blend's own, and for
    each way to learn from the pool the geometric mean of its probabilities and the blend's.

    Args:
        n_unlabelled, n_used: Of the pool, and how many of it were used.
        weights: Of each use, by name; they sum to 1.
        reason: Why, in words.
        space: Where the uses compare examples.
        fitted: The uses that learn from the pool, by name.
        left_out_log_probabilities: Of support examples left out, each by a model of the others
            and the pool; shape (n_left_out, c).
    """

    n_unlabelled: int
    n_used: int
    weights: dict[str, float]
    reason: str
    space: VectorSpace
    fitted: dict[str, FittedUse]
    left_out_log_probabilities: Tensor

    def __call__(self, scores: Tensor, x: Tensor) -> Tensor:
        """Scores (m, c) of the blend for queries (m, d), refined; their logsumexp stays."""
        if not self.fitted:
            return scores
        by_use = _log_probabilities(self.fitted, self.space(x), scores.log_softmax(1))
        weights = torch.tensor(list(self.weights.values()))
        return average(weights, by_use) + scores.logsumexp(1, keepdim=True)

    def left_out(self, scores: Tensor) -> Tensor:
        """Scores (n_left_out, c) of the blend for support examples left out, refined."""
        if not self.fitted:
            return scores
        return self.left_out_log_probabilities + scores.logsumexp(1, keepdim=True)


@dataclass(frozen=True)
class FittedPool:
    """The uses of a pool, fitted, and what is known of them before any query.

    Args:
        n_used: How many of the pool they were fitted to.
        space: Where they compare examples.
        fitted: Those that learn from the pool, by name.
        evidence: For the gate.
    """

    n_used: int
    space: VectorSpace
    fitted: dict[str, FittedUse]
    evidence: PoolEvidence

    def by_use(self, scores: Tensor, x: Tensor) -> Tensor:
        """Log-probabilities (k, m, c) of each use for queries (m, d), whose scores by the blend are
        (m, c)."""
        return _log_probabilities(self.fitted, self.space(x), scores.log_softmax(1))


def fit_pool(
    views: Sequence[View],
    shares: Mapping[str, float],
    support: Support,
    left_out: Tensor,
    blend: Callable[[Tensor], Tensor],
) -> FittedPool:
    """Fit each use of a pool to the support set, and to what is left of it without each fold.

    Args:
        views: The parts of an example.
        shares: Of each view, see `view_shares`.
        support: Of vectors (n, d), with an unlabelled pool (p, d).
        left_out: The blend's log-probabilities (n_left_out, c) of the examples left out, in the
            order of `Folds`.
        blend: Its scores (m, c) of vectors (m, d).
    """
    pool, n_way = support.unlabelled, support.n_way or 0
    assert pool is not None
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
    pool = pool[order[:MAX_POOL]]
    space = VectorSpace.of(views, shares, torch.cat([support.x, pool]))
    z, u = space(support.x), space(pool)
    targets = encode_targets(support.y, n_way, like=z)
    fitted = {name: use(z, targets, u) for name, use in SEMI_SUPERVISED.items()}
    some = slice(MAX_LOOKED_AT)
    on_pool = _log_probabilities(fitted, u[some], blend(pool[some]).log_softmax(1))
    held_out = torch.zeros(len(USES), 0, n_way)
    labels = support.y[:0]
    if len(left_out):
        held_out, labels = _cross_validated(views, shares, support, pool, left_out)
    of_columns = sum(shares[v.name] for v in views if v.heads == "columns")
    evidence = PoolEvidence(n_way, z, u[some], of_columns, _shift(z, u), on_pool, held_out, labels)
    return FittedPool(len(pool), space, fitted, evidence)


def refine(
    views: Sequence[View],
    shares: Mapping[str, float],
    support: Support,
    left_out: Tensor,
    blend: Callable[[Tensor], Tensor],
    gate: PoolGate,
) -> Refinement:
    """Decide how a pool is used, and fit that: as the gate has learned from other tasks to weigh
    each use. A pool whose mean is far from that of the examples is left out.

    Args:
        gate: Of pools.
    """
    assert support.unlabelled is not None
    n_unlabelled = len(support.unlabelled)
    pool = fit_pool(views, shares, support, left_out, blend)
    evidence = pool.evidence
    if evidence.shift > MAX_SHIFT:
        weights = dict(zip(USES, (1.0, 0.0, 0.0), strict=True))
        reason = f"their mean is {evidence.shift:.1f} times as far from the examples' as chance"
        return Refinement(n_unlabelled, 0, weights, f"{reason} puts it", pool.space, {}, left_out)
    weights = gate(evidence.features()).exp().float()  # (k,)
    reason = "as learned from other tasks; no example could be held out"
    if n := len(evidence.labels):
        right = (evidence.held_out.argmax(2) == evidence.labels).sum(1).tolist()
        counts = ", ".join(f"{name} {k}" for name, k in zip(USES, right, strict=True))
        reason = f"as learned from other tasks; right of {n} examples held out: {counts}"
    return Refinement(
        n_unlabelled,
        pool.n_used,
        dict(zip(USES, weights.tolist(), strict=True)),
        reason,
        pool.space,
        pool.fitted,
        average(weights, evidence.held_out) if n else left_out,
    )


def average(weights: Tensor, by_use: Tensor) -> Tensor:
    """The logarithmic opinion pool (m, c) of log-probabilities (k, m, c)."""
    return torch.einsum("k,kmc->mc", weights, by_use).log_softmax(1)


def _cross_validated(
    views: Sequence[View],
    shares: Mapping[str, float],
    support: Support,
    pool: Tensor,
    left_out: Tensor,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (k, n_left_out, c) of each use for the examples left out, and their
    labels; nothing is taken of an example left out, neither its label nor its place."""
    folds = Folds(support.y, support.n_way or 0)
    parts = []
    for fold, trains in enumerate(folds.trains[:-1]):
        x, here = support.x[trains], folds.fold == fold
        space = VectorSpace.of(views, shares, torch.cat([x, pool]))
        z, u = space(x), space(pool)
        targets = folds.targets(like=z)[trains]
        fitted = {name: use(z, targets, u) for name, use in SEMI_SUPERVISED.items()}
        queries = space(support.x[folds.row[here]])
        parts.append(_log_probabilities(fitted, queries, left_out[here]))
    return torch.cat(parts, dim=1), folds.left_out_labels


def _log_probabilities(fitted: Mapping[str, FittedUse], z: Tensor, blend: Tensor) -> Tensor:
    """Of each use, shape (k, m, c): the blend's own (m, c), and the geometric means with it."""
    blend = blend.float()
    return torch.stack([blend, *((blend + f(z)).div(2).log_softmax(1) for f in fitted.values())])


def _shift(z: Tensor, u: Tensor) -> float:
    """The squared distance between the means of examples (n, d) and of the pool (p, d), as a
    multiple of what it is on average for as many drawn from one distribution, or for `N_SAMPLED`,
    if there are more: the pool may well have other shares of the classes."""
    if len(u) < 2 or len(z) < 2:
        return 0.0
    sampling = z.var(0).sum() / min(len(z), N_SAMPLED) + u.var(0).sum() / len(u)
    return float((z.mean(0) - u.mean(0)).square().sum() / sampling.clamp_min(1e-12))
