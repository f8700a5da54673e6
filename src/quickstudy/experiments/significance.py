"""Which of several learners is better, and how sure that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import special

from quickstudy.engine import TestReport
from quickstudy.engine.meta_test import clustered_error

__all__ = ["Pair", "compare_pairs", "holm"]


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
