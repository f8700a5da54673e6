"""A classifier of vectors that weighs many heads by what it has learned from other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError
from quickstudy.learners.base import Learner, check_every_class
from quickstudy.learners.transfer.blend.accuracy import AccuracyModel, ExpectedAccuracy
from quickstudy.learners.transfer.blend.candidates import (
    HEADS,
    Candidates,
    Kind,
    View,
    fit_candidates,
    views_known,
    with_joined,
)
from quickstudy.learners.transfer.blend.features import TaskFeatures, describe, temper
from quickstudy.learners.transfer.blend.gate import Gate, GateDecision, pool
from quickstudy.learners.transfer.blend.pool_gate import PoolGate
from quickstudy.learners.transfer.blend.refinement import USES, Refinement, refine, view_shares
from quickstudy.nn import widen
from quickstudy.tasks import Support

__all__ = ["BlendedTask", "LearnedBlend", "threads_for"]

MAX_NUMBER = 1e15
"""What numbers may be at most: squared distances of larger ones overflow."""

FAMILIARITY = 16.0
"""Factor on how familiar a query looks, beside its log-probabilities."""

SIGNIFICANCE = 0.05
"""Of the test whether examples left out are right more often than by chance."""

SMALL = 10_000_000
"""Numbers of a support set times its classes up to which one thread is as fast as several."""

FAMILIARITY_HEADS = {
    "embedding": "ridge 0.1, direction",
    "columns": "nearest neighbours, standardised",
}
"""For each kind of view, the head whose greatest score falls with the distance from all examples.
Columns have no direction that says so: far numbers may lie in that of an example."""


class LearnedBlend(Learner):
    """Heads on views of the examples, weighed by a gate that was meta-trained over many tasks.

    Which algorithm suits a task is learned from others (Rice, "The Algorithm Selection Problem",
    1976): a small network sees, for each candidate, how it did on examples left out, what its view
    looks like, and the task's ways, shots and kind. It weighs all candidates, and their
    log-probabilities are averaged, as a mixture of experts does (Jacobs, Jordan, Nowlan & Hinton,
    "Adaptive Mixtures of Local Experts", 1991) whose experts need no training.

    Unlabelled examples beside the support set are used as far as they help, see `refine`.

    Scores are log-probabilities plus, for each query, how familiar it looks: softmax gives
    calibrated probabilities, and the greatest score is low for a query like none of the examples.

    Args:
        backbone: Maps inputs (n, ...) to the views' vectors side by side, (n, d).
        views: The parts of these vectors.
        kind: What the examples are.
        gate, accuracy, pool_gate: Meta-trained; see `shipped_gate`. New ones weigh all candidates,
            and all uses of unlabelled examples, alike.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> x, y = torch.randn(10, 3), torch.arange(10) % 2
        >>> blend = LearnedBlend(Flatten((3,)), [View("raw", 3, "columns")], "numbers").eval()
        >>> blend.adapt(Support(x + 5 * y[:, None], y, n_way=2))(torch.zeros(1, 3)).argmax(1)
        tensor([0])
    """

    uses_unlabelled = True

    def __init__(
        self,
        backbone: nn.Module,
        views: Sequence[View],
        kind: Kind = "numbers",
        *,
        gate: Gate | None = None,
        accuracy: AccuracyModel | None = None,
        pool_gate: PoolGate | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.views = backbone, list(views)
        self.kind: Kind = kind
        self.gate = gate or Gate([], HEADS)
        self.accuracy = accuracy or AccuracyModel()
        self.pool_gate = pool_gate or PoolGate(len(USES))

    def check(self, support: Support) -> None:
        check_every_class(support)

    def adapt(self, support: Support) -> BlendedTask:
        self.check(support)
        with torch.no_grad(), threads_for(support.x.numel() * (support.n_way or 0)):
            x, unlabelled = self._vectors(support.x), None
            if support.unlabelled is not None:
                unlabelled = self._vectors(support.unlabelled)
            support = Support(x, support.y.cpu(), support.n_way, unlabelled=unlabelled)
            candidates = fit_candidates(self.views, support)
            usual = self.gate.usual_scales(candidates.names)
            n_way = support.n_way or 0
            features = describe(candidates, support.y, n_way, self.kind, usual)
            views, heads = self.gate.ids(candidates.names)
            there = torch.ones(1, len(views), dtype=torch.bool)
            decision = self.gate(features.values[None], views[None], heads[None], there)
            task = BlendedTask(self, support, candidates, features, decision)
            if unlabelled is None:
                return task
            left_out = task.left_out()[0].log_softmax(1)
            shares = view_shares(self.views, task.weights)
            refinement = refine(
                self.views, shares, support, left_out, task.own_scores, self.pool_gate
            )
            return replace(task, refinement=refinement)

    def _vectors(self, x: Tensor) -> Tensor:
        """The views' vectors (n, d) of examples (n, ...)."""
        x = widen(self.backbone(x)).cpu()
        if not bool(x.abs().max() <= MAX_NUMBER):
            raise DataError(
                f"expected numbers of {MAX_NUMBER:g} at most, got {float(x.abs().max()):g}: "
                "scale the inputs"
            )
        return x


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """One thread for small tasks, whose many small steps several threads only hold up.

    Args:
        size: Numbers of the support set times its targets.
    """
    before = torch.get_num_threads()
    if size < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class BlendedTask:
    """A blend adapted to a task: its predictor, and what it is made of.

    Args:
        blend: The learner.
        support: Of the views' vectors.
        candidates, features, decision: What was fitted, seen and decided.
        refinement: What unlabelled examples change; None without any.
    """

    blend: LearnedBlend
    support: Support
    candidates: Candidates
    features: TaskFeatures
    decision: GateDecision
    refinement: Refinement | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Scores (m, c) of queries (m, ...)."""
        with threads_for(self.support.x.numel() * (self.support.n_way or 0)):
            vectors = widen(self.blend.backbone(x)).cpu()
            scores = self.own_scores(vectors)
            if self.refinement is not None:
                scores = self.refinement(scores, vectors)
            return scores.to(x)

    def own_scores(self, x: Tensor) -> Tensor:
        """Scores (m, c) of the views' vectors (m, d), without what unlabelled examples change."""
        known = views_known(self.blend.views, x, self.candidates.names)
        return self._blend(self.candidates.predict(x), known)

    @torch.no_grad()
    def left_out(self) -> tuple[Tensor, Tensor]:
        """Cross-validated scores (n_left_out, c) of support examples, and their labels."""
        known = torch.ones(self.candidates.left_out.shape[:2], dtype=torch.bool)
        scores = self._blend(self.candidates.left_out, known)
        if self.refinement is not None:
            scores = self.refinement.left_out(scores)
        return scores, self.candidates.labels

    def _blend(self, scores: Tensor, known: Tensor) -> Tensor:
        """Scores (m, c) of those of the candidates, whose views may not know a query, (k, m)."""
        log_probabilities = temper(scores, self.features.log_scales)
        weights = self.decision.weights[0][:, None] * (known | ~known.any(0))  # (k, m)
        weights = weights / weights.sum(0).clamp_min(1e-12)
        decision = replace(self.decision, weights=weights[None])
        pooled = pool(log_probabilities[None], decision)[0]
        return pooled + FAMILIARITY * self._familiarity(scores, weights)[:, None]

    def _familiarity(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Of queries, shape (m,), by the most trusted candidate that can say, whose weight for the
        query (k, m) is not zero."""
        heads = {view.name: FAMILIARITY_HEADS.get(view.heads or "") for view in self._views}
        able = torch.tensor([head == heads[view] for view, head in self.candidates.names])
        best = torch.where(able[:, None], weights, -1.0).argmax(0)  # (m,)
        return scores.amax(2).gather(0, best[None])[0]

    @property
    def _views(self) -> list[View]:
        return with_joined(self.blend.views)

    @property
    def weights(self) -> dict[tuple[str, str], float]:
        """Of each view and head, the greatest first."""
        pairs = zip(self.candidates.names, self.decision.weights[0].tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    @torch.no_grad()
    def expected_accuracy(self) -> ExpectedAccuracy:
        """The accuracy to expect on queries like the examples."""
        from scipy import stats  # its import takes a sixth of a second

        scores, labels = self.left_out()
        inputs = AccuracyModel.inputs(
            self.features.values, self.decision.weights[0], scores.log_softmax(1), labels
        )
        alpha, beta = (float(p) for p in self.blend.accuracy(inputs))
        low, high = (float(q) for q in stats.beta.ppf([0.05, 0.95], alpha, beta))
        chance = float(self.support.y.bincount().max()) / len(self.support)
        n_right = int((scores.argmax(1) == labels).sum())
        by_chance = stats.binom.sf(n_right - 1, len(labels), chance) if len(labels) else 0.0
        significant = bool(by_chance < SIGNIFICANCE)
        return ExpectedAccuracy(alpha / (alpha + beta), low, high, chance, significant)
