"""The ensemble of the pipelines that were tried: selected greedily, and fitted in the time left.

R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: "Ensemble selection from libraries of models",
ICML 2004.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.pipeline import Pipeline

from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime, forecast
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.metrics import Metric
from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry, ranked
from quickstudy.apps.automl.search.problem import Problem
from quickstudy.apps.automl.search.trial import TrialResult

__all__ = [
    "FittedEnsemble",
    "ModelLibrary",
    "Selection",
    "fit_ensemble",
    "fit_on_more_rows",
    "greedy_weights",
]

ENSEMBLE_ROUNDS = 25
"""Members of an ensemble, with repetition."""

MAX_SELECTION_ROWS = 20_000
"""Rows at most by which the members of the ensemble are chosen."""


@dataclass(frozen=True)
class Selection:
    """An ensemble that is chosen, and not fitted yet.

    Args:
        leaderboard: All pipelines, the best first, with their weights in the ensemble.
        n_rows: Rows to fit it on in the time for that.
        out_of_fold: Its predictions for the rows that pipelines were tried on, by what was not
            fitted on them.
        score: Of these.
    """

    leaderboard: list[LeaderboardEntry]
    n_rows: int
    out_of_fold: np.ndarray
    score: float


class ModelLibrary:
    """The pipelines that were tried, from which the ensemble is selected.

    Args:
        target: Of the n rows that pipelines are tried on, of shape (n,).
        metric: From target and predictions to a score.
        fit_seconds: Seconds to fit the ensemble in.
        n_rows: Rows to fit it on.
    """

    def __init__(self, target: np.ndarray, metric: Metric, fit_seconds: float, n_rows: int) -> None:
        self.entries: list[LeaderboardEntry] = []
        self.finished: list[int] = []
        self.has_new = False
        self.selected_seconds = 0.0
        self._target, self._metric = target, metric
        self._fit_seconds, self._n_rows = fit_seconds, n_rows
        self._predictions: list[np.ndarray] = []
        self._times: list[list[tuple[int, float]]] = []
        self._last_selection, self._selection_seconds = -math.inf, 0.0
        self._rows = np.arange(len(target))
        if len(target) > MAX_SELECTION_ROWS:
            rng = np.random.default_rng(0)
            self._rows = rng.choice(len(target), MAX_SELECTION_ROWS, replace=False)

    def add(self, result: TrialResult) -> None:
        """Add a pipeline, with its predictions for rows it was not fitted on."""
        if result.entry.failure is None:
            self.finished.append(len(self.entries))
            self.has_new = True
        self.entries.append(result.entry)
        self._predictions.append(result.predictions)
        self._times.append(result.times)

    @property
    def is_cheap_to_select(self) -> bool:
        """Whether selecting takes a twentieth of the time at most."""
        return time.monotonic() - self._last_selection >= 20 * self._selection_seconds

    def select(self) -> Selection:
        """The ensemble of those finished that can be fitted in the time for that."""
        began, self.has_new = time.monotonic(), False
        predictions = [self._predictions[i][self._rows] for i in self.finished]
        greedy = greedy_weights(predictions, self._target[self._rows], self._metric)
        weights = {i: w for i, w in zip(self.finished, greedy, strict=True) if w}
        n_rows = self._shrink(weights)
        total = sum(weights.values())
        entries = [
            replace(entry, weight=weights.get(i, 0.0) / total)
            for i, entry in enumerate(self.entries)
        ]
        self._last_selection = time.monotonic()
        self._selection_seconds = self._last_selection - began
        out_of_fold = np.sum(
            [e.weight * p for e, p in zip(entries, self._predictions, strict=True) if e.weight],
            axis=0,
        )
        score = self._metric(self._target, out_of_fold)
        return Selection(ranked(entries), n_rows, out_of_fold, score)

    def _shrink(self, weights: dict[int, float]) -> int:
        """Drop members that cost most for their weight, then rows, until the rest can be fitted in
        the time for that; the number of rows.
        """
        n_tried, n_rows = len(self._target), self._n_rows
        while len(weights) > 1 and self._seconds(weights, n_tried) > self._fit_seconds:
            weights.pop(
                min(weights, key=lambda i: weights[i] / max(self._seconds([i], n_tried), 1e-9))
            )
        while n_rows > n_tried and self._seconds(weights, n_rows) > self._fit_seconds:
            n_rows = max(int(0.8 * n_rows), n_tried)
        self.selected_seconds = self._seconds(weights, n_rows)
        return n_rows

    def _seconds(self, numbers: Iterable[int], n_rows: int) -> float:
        """What fitting these pipelines on so many rows will take."""
        growths = {i: FAMILIES[self.entries[i].family].growth for i in numbers}
        return sum(forecast(self._times[i], n_rows, growth) for i, growth in growths.items())


def greedy_weights(
    predictions: Sequence[np.ndarray], target: np.ndarray, metric: Metric
) -> list[float]:
    """Weights of models, in sum 1: each round adds the one that makes the mean best.

    Args:
        predictions: One a model, of shape (n,) or (n, n_classes).
        target: Of shape (n,).
        metric: From target and predictions to a score.

    Example:
        >>> target = np.array([0.0, 1.0])
        >>> greedy_weights([target - 1, target + 1], target, lambda y, p: -abs(y - p).sum())
        [0.5, 0.5]
    """
    total = np.zeros_like(predictions[0])
    counts, best, best_counts = [0] * len(predictions), -math.inf, []
    for size in range(1, ENSEMBLE_ROUNDS + 1):
        scores = [metric(target, (total + p) / size) for p in predictions]
        added = int(np.argmax(scores))
        counts[added] += 1
        total = total + predictions[added]
        if scores[added] > best:
            best, best_counts = scores[added], list(counts)
    return [count / sum(best_counts) for count in best_counts]


@dataclass(frozen=True)
class FittedEnsemble:
    """An ensemble that can predict.

    Args:
        members: Weights and fitted pipelines.
        leaderboard: All pipelines, the best first, with the weights of those that were fitted.
        n_rows: Rows that it was fitted on.
        seconds: That this took.
        n_late: Members that are left out, since the time did not suffice to fit them.
    """

    members: list[tuple[float, Pipeline]]
    leaderboard: list[LeaderboardEntry]
    n_rows: int
    seconds: float
    n_late: int


def fit_ensemble(
    problem: Problem, leaderboard: Sequence[LeaderboardEntry], n_rows: int, deadline: Deadline
) -> FittedEnsemble | None:
    """Fit the pipelines with a weight, the greatest first, as far as the time suffices.

    Args:
        problem: All rows; so many as `n_rows` are drawn.
        leaderboard: Pipelines with their weights.
        n_rows: Rows to fit on.
        deadline: When to be done.

    Returns:
        None if not even one was fitted in time.
    """
    began, members, late = time.monotonic(), [], []
    rows = problem.draw(n_rows)
    part = problem.at(rows) if len(rows) < problem.n_rows else problem
    for entry in sorted((e for e in leaderboard if e.weight), key=lambda e: -e.weight):
        try:
            model = part.fit(PipelineConfig(entry.family, entry.options), deadline)
            members.append((entry.weight, model))
        except OutOfTime:
            late.append(entry.number)
    if not members:
        return None
    if late:
        total = sum(weight for weight, _ in members)
        leaderboard = [
            replace(e, weight=0.0 if e.number in late else e.weight / total) for e in leaderboard
        ]
    seconds = time.monotonic() - began
    return FittedEnsemble(members, list(leaderboard), n_rows, seconds, len(late))


def fit_on_more_rows(
    problem: Problem, fitted: FittedEnsemble, deadline: Deadline
) -> FittedEnsemble:
    """Fit an ensemble again on more rows, while there are more and the time suffices."""
    while fitted.n_rows < problem.n_rows:
        affordable = int(0.7 * fitted.n_rows * deadline.left / max(fitted.seconds, 1e-6))
        n_rows = min(problem.n_rows, 4 * fitted.n_rows, affordable)
        if n_rows < 1.5 * fitted.n_rows:
            break
        larger = fit_ensemble(problem, fitted.leaderboard, n_rows, deadline)
        if larger is None or larger.n_late:
            break
        fitted = larger
    return fitted
