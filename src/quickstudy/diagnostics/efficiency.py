"""How fast a learner learns within a task, and what accuracy costs.

Taylor & Stone, "Transfer Learning for Reinforcement Learning Domains: A Survey", JMLR 2009,
section 3: jump-start, asymptote, time to threshold, area under the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstudy.diagnostics.finding import Finding, Skipped, Threshold
from quickstudy.errors import DataError

__all__ = ["CostPoint", "adaptation_area", "frontier", "half_cost", "jump_start", "shots_to_score"]

Array = NDArray[np.floating]

DRAWS = 500


def adaptation_area(shots: Sequence[float], scores: Sequence[Sequence[float]]) -> Finding:
    """The area under the adaptation curve: the mean score over the logarithm of the shots.

    1 is right from the first example on. Comparable under the same shots alone.

    Args:
        shots: Two or more, increasing.
        scores: Of tasks at each.

    Raises:
        DataError: With fewer shots, or shots that do not increase.

    Example:
        >>> adaptation_area([1, 2, 4], [[0.5, 0.5], [0.7, 0.7], [0.9, 0.9]]).value
        0.7
    """
    x = _log_shots(shots, scores)

    def area(curve: Array) -> Array:
        steps = np.diff(x) / (x[-1] - x[0])
        return ((curve[..., 1:] + curve[..., :-1]) / 2 * steps).sum(-1)

    value, interval = _bootstrapped(scores, area)
    return Finding(
        "area under the adaptation curve",
        "information",
        value,
        f"The mean score from {shots[0]:g} to {shots[-1]:g} shots is {value:.0%}.",
        interval=interval,
        details={"shots": list(shots), "means": [float(np.mean(s)) for s in scores]},
    )


def jump_start(
    scores: Sequence[float], baseline: Sequence[float], *, than: str = "the baseline"
) -> Finding:
    """How much better the learner starts than a baseline, at the fewest shots, on the same tasks.

    Args:
        scores, baseline: Of the same tasks.
        than: The baseline in words.
    """
    difference = np.subtract(scores, baseline)
    value, interval = _bootstrapped([difference], lambda curve: curve[..., 0])
    useless = interval[1] <= 0
    return Finding(
        "jump-start",
        "warning" if useless else "fine",
        value,
        f"At the fewest shots it scores {value:+.1%} above {than} on the same tasks"
        + (": meta-training has not helped." if useless else "."),
        f"Use {than}, or train longer." if useless else "",
        interval,
        Threshold(0.0, "no better; the whole interval has to lie below"),
    )


def shots_to_score(
    shots: Sequence[float], scores: Sequence[Sequence[float]], threshold: float
) -> Finding:
    """The shots at which the mean score first reaches a threshold, between those measured.

    Args:
        shots: Two or more, increasing.
        scores: Of tasks at each.
        threshold: A score.

    Returns:
        Its value is infinite where the threshold is not reached.
    """
    x = _log_shots(shots, scores)

    def first(curves: Array) -> Array:
        found = np.full(curves.shape[:-1], np.inf)
        for i in range(curves.shape[-1] - 1, -1, -1):
            reached = curves[..., i] >= threshold
            at = np.full(found.shape, x[i])
            if i:
                rise = curves[..., i] - curves[..., i - 1]
                share = (threshold - curves[..., i - 1]) / np.where(rise > 0, rise, 1)
                at = np.where(rise > 0, x[i - 1] + np.clip(share, 0, 1) * (x[i] - x[i - 1]), x[i])
            found = np.where(reached, at, found)
        return np.exp(found)

    value, interval = _bootstrapped(scores, first)
    reached = np.isfinite(value)
    return Finding(
        f"shots to {threshold:.0%}",
        "information",
        value,
        f"It reaches {threshold:.0%} with {value:.1f} shots."
        if reached
        else f"It does not reach {threshold:.0%} with {shots[-1]:g} shots.",
        interval=interval,
    )


@dataclass(frozen=True)
class CostPoint:
    """What was tried on a task, its score, and what it cost.

    Args:
        name: Of the strategy.
        score: Greater is better.
        cost: In any one unit, greater is worse.
    """

    name: str
    score: float
    cost: float


def frontier(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Those that no other beats in both score and cost, the cheapest first.

    Example:
        >>> tried = [CostPoint("a", 0.9, 2), CostPoint("b", 0.8, 3), CostPoint("c", 0.7, 1)]
        >>> [point.name for point in frontier(tried)]
        ['c', 'a']
    """
    kept: list[CostPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return kept


def half_cost(points: Sequence[CostPoint], mine: CostPoint) -> Finding | Skipped:
    """What half of the cost would have lost: the best score for at most half of the cost.

    Args:
        points: All that was tried on the same task.
        mine: One of them.
    """
    cheaper = [p for p in points if p.cost <= mine.cost / 2]
    if not cheaper:
        return Skipped("half of the cost", "nothing as cheap was tried on this task")
    best = max(cheaper, key=lambda p: p.score)
    lost = mine.score - best.score
    return Finding(
        "half of the cost",
        "warning" if lost <= 0 else "information",
        lost,
        f"{best.name} took {best.cost / mine.cost:.0%} of the cost and scored {best.score:.1%}, "
        f"this run {mine.score:.1%}.",
        f"Use {best.name}: it is as good and cheaper." if lost <= 0 else "",
        threshold=Threshold(0.0, "a cheaper one that is as good"),
        details={"frontier": [vars(p) for p in frontier(points)]},
    )


def _log_shots(shots: Sequence[float], scores: Sequence[Sequence[float]]) -> Array:
    x = np.log(np.asarray(shots, float))
    if len(x) < 2 or len(x) != len(scores) or not (np.diff(x) > 0).all():
        raise DataError(f"expected scores at two increasing numbers of shots, got {list(shots)}")
    return x


def _bootstrapped(scores: Sequence[Sequence[float]] | Sequence[Array], function) -> tuple:
    """A function of the means at each shot, and its interval over tasks drawn again."""
    rng = np.random.default_rng(0)
    means = np.array([np.mean(s) for s in scores])
    drawn = np.stack(
        [np.asarray(s, float)[rng.integers(len(s), size=(DRAWS, len(s)))].mean(1) for s in scores],
        axis=1,
    )  # (DRAWS, shots)
    low, high = np.quantile(function(drawn), [0.025, 0.975], method="closest_observation")
    return round(float(function(means[None])[0]), 12), (float(low), float(high))
