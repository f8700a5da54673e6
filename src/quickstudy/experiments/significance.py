"""Which of several learners is better, and how sure that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats

from quickstudy.engine import TestReport
from quickstudy.engine.meta_test import clustered_error

__all__ = ["InterquartileMean", "Pair", "compare_pairs", "holm", "interquartile_mean"]

N_RESAMPLES = 2000


@dataclass(frozen=True)
class Pair:
    """Two learners on the same tasks.

    Args:
        better, worse: Names, by mean score.
        difference: Mean difference of their scores, in the metric's unit.
        p: Of the paired t-test, two-sided, whose variance is clustered by class and by task,
            Holm-corrected over all pairs. None where one of the two took more than the budget or
            fewer than 50 steps, so that the difference says nothing.
    """

    better: str
    worse: str
    difference: float
    p: float | None


def compare_pairs(reports: dict[str, TestReport], enough: set[str]) -> list[Pair]:
    pairs, tested = [], {}
    for one, other in itertools.combinations(reports, 2):
        difference = reports[one].mean - reports[other].mean
        better, worse = (one, other) if difference >= 0 else (other, one)
        pairs.append((better, worse, abs(difference)))
        if {one, other} <= enough:
            tested[better, worse] = _p_value(reports[one], reports[other])
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [Pair(b, w, difference, adjusted.get((b, w))) for b, w, difference in pairs]


def _p_value(one: TestReport, other: TestReport) -> float:
    """Of the t-test that two learners score the same on the same tasks, two-sided, with the
    variance clustered by class and by task; by task alone where classes are not known."""
    if one.by_class is not None and other.by_class is not None:
        differences = one.by_class.scores - other.by_class.scores
        weights, *clusterings = one.by_class[1:]
    else:
        differences = torch.tensor(one.scores).double() - torch.tensor(other.scores).double()
        weights, clusterings = torch.ones(len(differences)), [torch.arange(len(differences))]
    error, freedom = clustered_error(differences, weights, *clusterings)
    mean = abs(float((weights * differences).sum() / weights.sum()))
    if error == 0:
        return 0.0 if mean else 1.0
    return 2 * float(special.stdtr(freedom, -mean / error)) if error < math.inf else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for being the smallest of several (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


@dataclass(frozen=True)
class InterquartileMean:
    """The mean of the middle half of scores of several runs on the same tasks, with 95 % intervals.

    Args:
        mean: Of the scores above a quarter of all, and below a quarter.
        stratified: Interval by a bootstrap that draws runs anew for each task, as papers publish
            it. It takes the scores of a run for independent, so it is too narrow where a run that
            is bad at one task is bad at others.
        interval: By a bootstrap that draws whole runs, so the one to print. Both are None with a
            single run.
    """

    mean: float
    stratified: tuple[float, float] | None
    interval: tuple[float, float] | None


def interquartile_mean(scores: np.ndarray, seed: int = 0) -> InterquartileMean:
    """Sum up scores (runs, tasks), less swayed by single ones than a mean, and less noisy than a
    median.

    Sources: Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the
    Edge of the Statistical Precipice", NeurIPS 2021, arXiv:2108.13264, section 4.

    Args:
        scores: Of each run on each task, (runs, tasks).
        seed: Of the bootstrap's draws.

    Example:
        >>> interquartile_mean(np.array([[0.0, 2.0, 3.0, 100.0]])).mean
        2.5
    """
    n_runs, n_tasks = scores.shape
    mean = float(stats.trim_mean(scores.ravel(), 0.25))
    if n_runs == 1:
        return InterquartileMean(mean, None, None)
    rng = np.random.default_rng(seed)

    def bootstrap(n_drawn: int) -> tuple[float, float]:
        runs = rng.integers(n_runs, size=(N_RESAMPLES, n_runs, n_drawn))
        drawn = scores[runs, np.arange(n_tasks)].reshape(N_RESAMPLES, -1)
        low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), (0.025, 0.975))
        return float(low), float(high)

    return InterquartileMean(mean, bootstrap(n_tasks), bootstrap(1))
