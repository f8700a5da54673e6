"""The accuracy to expect on a new task, from its support set and what is kept of the training.

Accuracies of tasks of other ways and shots are brought to one scale, the sensitivity d' of a
forced choice: how many deviations the score of the right class lies above those of the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from quickstudy.diagnostics.finding import Finding, Skipped, Threshold
from quickstudy.diagnostics.training_statistics import TrainingStatistics
from quickstudy.diagnostics.training_statistics import novelty as measure_novelty
from quickstudy.learners import Learner, Predictor
from quickstudy.tasks import Batch, Episode, Support

__all__ = ["Evidence", "TransferModel", "expected_accuracy", "forced_choice", "log_likelihood"]

Array = NDArray[Any]

SENSITIVITIES = np.linspace(0, 9, 91)
"""Where distributions of a sensitivity are computed."""

SCORES = np.linspace(-8, 17, 401)
"""Of the right class, in deviations: where `forced_choice` integrates."""

MAX_NOVELTY = 10.0
"""From here on examples are new, and how new says no more."""

MAX_FOLDS = 10
N_QUERIES = 100
"""Whose accuracy an interval is of."""


def forced_choice(sensitivity: Array, n_way: int) -> Array:
    """The accuracy of a choice among `n_way` classes at a sensitivity d', of any shape.

    Each class has a normal score of variance 1, that of the right class with mean d', and the
    greatest is chosen: the integral of phi(z - d') Phi(z)^(n_way - 1) (Hacker & Ratcliff, "A
    Revised Table of d' for M-Alternative Forced Choice", Perception & Psychophysics 1979).

    Example:
        >>> forced_choice(np.array([0.0, 1.0, 3.0]), 5).round(2)
        array([0.2 , 0.49, 0.95])
    """
    density = np.exp(-((SCORES - np.asarray(sensitivity)[..., None]) ** 2) / 2)
    density *= (SCORES[1] - SCORES[0]) / math.sqrt(2 * math.pi)
    return density @ special.ndtr(SCORES) ** (n_way - 1)


@cache
def accuracies(n_way: int, n_shot: float) -> Array:
    """At each of `SENSITIVITIES`, which is that with unlimited examples: k examples a class leave
    an error in the place of the class, of a k-th of the variance of a query."""
    return forced_choice(SENSITIVITIES / math.sqrt(1 + 1 / n_shot), n_way)


@dataclass(frozen=True)
class Evidence:
    """What is known of a new task before any query is seen.

    Args:
        n_way: Classes.
        n_shot: Mean number of examples a class.
        novelty: How many times as far the examples lie from training as new classes of its domain.
        reference: The learner's sensitivity on tasks of these, see `sensitivity`.
        left_out: How many examples were right when left out, and of how many; None where a class
            has one example.
    """

    n_way: int
    n_shot: float
    novelty: float
    reference: float
    left_out: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        statistics: TrainingStatistics,
        learner: Learner,
        support: Support,
        *,
        novelty: Finding | None = None,
        always_folds: bool = True,
        embedded: Tensor | None = None,
    ) -> Evidence:
        """Measure it.

        Args:
            statistics: Kept at training, with accuracies of reference tasks.
            novelty: Of the same support set, if it is known.
            always_folds: Whether examples are left out too where the learner has to embed them
                anew for each fold, which takes up to ten adaptations.
            embedded: What `embed_as_is` made of the examples, if that is known.
        """
        n_way = len(support.y.unique())
        found = novelty or measure_novelty(statistics, learner, support)
        return cls(
            n_way,
            len(support) / n_way,
            (found.value or 0.0) / found.details["median_of_reference"],
            sensitivity(*statistics.scored.double().numpy().T),
            left_out_right(learner, support, always=always_folds, embedded=embedded),
        )


def sensitivity(accuracy: Array, n_way: Array, n_shot: Array) -> float:
    """That at which tasks of these ways and shots have these accuracies in the mean, (tasks,)
    each, if examples were unlimited."""
    shapes, counts = np.unique(np.stack([n_way, n_shot]), axis=1, return_counts=True)
    shares = counts / counts.sum()
    means = sum(
        share * accuracies(int(ways), float(shots))
        for share, ways, shots in zip(shares, *shapes, strict=True)
    )
    return float(np.interp(accuracy.mean(), means, SENSITIVITIES))


def left_out_right(
    learner: Learner, support: Support, *, always: bool = True, embedded: Tensor | None = None
) -> tuple[int, int] | None:
    """How many examples are right when they are left out of adaptation, and of how many.

    Args:
        always: Whether to do so too where each fold has to embed all examples anew.
        embedded: What the learner's backbone makes of the examples, if that is known.

    Returns:
        None where a class has one example, which no other could stand for.
    """
    if int(support.y.bincount().min()) < 2:
        return None
    with torch.no_grad():
        adapt, tasks = learner.on(_OneTask(support, embedded))
        once = tasks[0].support
        if once is support and not always:
            return None
        return right_of_left_out(adapt, once)


def right_of_left_out(adapt: Callable[[Support], Predictor], support: Support) -> tuple[int, int]:
    """How many examples are right by `adapt` to the other folds, and of how many."""
    right = sum(
        int((adapt(rest)(left_out.x).argmax(1) == left_out.y).sum())
        for rest, left_out in balanced_folds(support)
    )
    return right, len(support)


def balanced_folds(support: Support) -> Iterator[tuple[Support, Batch]]:
    """Each fold leaves out as many examples of each class, so that what is left favours none: the
    support set without it, and the examples left out."""
    n_folds = fold_count(int(support.y.bincount().min()))
    ranks = torch.empty_like(support.y)
    for label in support.y.unique():
        of_class = support.y == label
        ranks[of_class] = torch.arange(int(of_class.sum()), device=ranks.device)
    for fold in range(n_folds):
        left_out = ranks % n_folds == fold
        x, y = support.x[~left_out], support.y[~left_out]
        rest = Support(x, y, support.n_way, support.attributes)
        yield rest, Batch(support.x[left_out], support.y[left_out])


def fold_count(n_shot: float) -> int:
    return max(2, min(int(n_shot), MAX_FOLDS))


class _OneTask:
    """A support set as a family of one task, whose examples a learner may embed once, unless they
    are embedded already."""

    def __init__(self, support: Support, embedded: Tensor | None = None) -> None:
        self.support, self.embedded = support, embedded

    def __getitem__(self, index: int) -> Episode:
        return Episode(self.support, Batch(self.support.x, self.support.y))

    def map_examples(self, f: Callable[[Tensor], Tensor], computed: Any = None) -> _OneTask:
        x, known = self.support.x, self.embedded
        if known is not None and len(known) == len(x):
            first = f(x[:1])  # a learner may embed by more than its backbone
            if first.shape[1:] == known.shape[1:] and torch.allclose(first, known[:1], atol=1e-4):
                return _OneTask(replace(self.support, x=known))
        return _OneTask(replace(self.support, x=f(x)))


@dataclass(frozen=True)
class TransferModel:
    """From evidence to a distribution of the accuracy, learned over many sources and targets.

    The sensitivity is normal, with a mean that is linear in reference and novelty; the examples
    left out update that by Bayes' rule.

    Args:
        weights: Of a constant, the reference, and the logarithm of the novelty.
        deviation: Of the normal distribution.
        level: Of each tail beyond the interval, such that it holds the accuracy nine times in ten
            on data sets left out (split conformal prediction: Vovk, Gammerman & Shafer,
            "Algorithmic Learning in a Random World", 2005).
    """

    weights: tuple[float, float, float]
    deviation: float
    level: float

    @staticmethod
    def inputs(evidence: Evidence) -> list[float]:
        """What the mean is linear in."""
        novelty = math.log(min(max(evidence.novelty, 1.0), MAX_NOVELTY))
        return [1.0, evidence.reference, novelty]

    def posterior(self, evidence: Evidence) -> Array:
        """Probabilities of `SENSITIVITIES`."""
        mean = float(np.dot(self.weights, self.inputs(evidence)))
        log = -(((SENSITIVITIES - mean) / self.deviation) ** 2) / 2
        log = log + log_likelihood(evidence)
        p = np.exp(log - log.max())
        return p / p.sum()

    def counts(self, evidence: Evidence, n_queries: int) -> Array:
        """Probabilities that at most 0, 1, ..., n_queries of so many queries are right."""
        accuracy = accuracies(evidence.n_way, evidence.n_shot)
        at_most = special.bdtr(
            np.arange(n_queries + 1)[:, None], n_queries, np.minimum(accuracy, 1 - 1e-9)
        )
        return at_most @ self.posterior(evidence)  # (n_queries + 1,)

    def predict(self, evidence: Evidence, n_queries: int = N_QUERIES) -> tuple[float, float, float]:
        """The accuracy to expect, and the interval that holds that of `n_queries` queries."""
        mean = float(accuracies(evidence.n_way, evidence.n_shot) @ self.posterior(evidence))
        at_most = self.counts(evidence, n_queries)
        low, high = np.searchsorted(at_most, [self.level, 1 - self.level])
        return mean, float(low) / n_queries, float(min(high, n_queries)) / n_queries


def log_likelihood(evidence: Evidence) -> Array:
    """Of what came of the examples left out, at each of `SENSITIVITIES`."""
    if evidence.left_out is None:
        return np.zeros(len(SENSITIVITIES))
    right, n = evidence.left_out
    shots = evidence.n_shot * (1 - 1 / fold_count(evidence.n_shot))
    p = np.clip(accuracies(evidence.n_way, shots), 1e-6, 1 - 1e-6)
    return right * np.log(p) + (n - right) * np.log1p(-p)


@cache
def shipped_model() -> TransferModel:
    """The model that comes with the package, made by `benchmarks/expectation.py`."""
    values = json.loads((Path(__file__).parents[1] / "shipped" / "expectation.json").read_text())
    return TransferModel(**values["model"])


def expected_accuracy(
    statistics: TrainingStatistics,
    learner: Learner,
    support: Support,
    *,
    novelty: Finding | None = None,
    always_folds: bool = True,
    embedded: Tensor | None = None,
) -> Finding | Skipped:
    """The accuracy to expect on queries of the classes of a support set.

    The interval holds the accuracy on 100 queries, of all classes alike, nine times in ten. A
    warning says that it holds guessing too.

    Args:
        statistics: Kept at training.
        learner: The same.
        support: Of a classification task.
        novelty: Of the same, if it is known.
        always_folds, embedded: As of `Evidence.of`.

    Raises:
        DataError: If the examples are of another shape than those of training.
    """
    name = "expected accuracy"
    if support.n_way is None or len(support.y.unique()) < 2:
        return Skipped(name, "it needs examples of two classes")
    if not len(statistics.scored):
        return Skipped(
            name,
            "the run is from before accuracies were kept with its statistics: continue it with "
            "`quickstudy train --resume` and one step more, or train it anew",
        )
    evidence = Evidence.of(
        statistics,
        learner,
        support,
        novelty=novelty,
        always_folds=always_folds,
        embedded=embedded,
    )
    mean, low, high = shipped_model().predict(evidence)
    chance = 1 / evidence.n_way
    may_guess = low <= chance
    return Finding(
        name,
        "warning" if may_guess else "fine",
        mean,
        f"Expect {mean:.0%} of new examples to be right ({low:.0%} to {high:.0%}, nine times in "
        "ten)" + (", which guessing may reach too." if may_guess else "."),
        "Add examples, or leave out the learner's name to use the default learner."
        if may_guess
        else "",
        (low, high),
        Threshold(chance, "and below, for the low end: guessing"),
        vars(evidence),
    )
