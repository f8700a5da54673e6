"""Learning curves: what more shots, classes or tasks would bring, by a fitted power law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError

__all__ = ["PowerLaw", "fit_power_law", "size_to_target"]

Array = NDArray[np.floating]

EXPONENTS = (0.1, 2.0)
"""What an exponent may be; those of Viering & Loog's survey lie between."""

PRIOR = (math.log(0.6), 0.5)
"""Mean and deviation of the normal prior of an exponent's logarithm, since four points do not
decide between slow curves with a low floor and fast ones with a high floor."""

SHAPE_ERROR = 0.3
"""Standard deviation of the logarithm of a predicted size, over that of the size by how much it
exceeds what was measured: chosen on curves of digits and characters of
`benchmarks/learning_curves.py`, which judges it on others."""

DRAWS = 200


@dataclass(frozen=True)
class PowerLaw:
    """score(n) = limit - amplitude n^-exponent, with draws of the same for intervals.

    Viering & Loog, "The Shape of Learning Curves: a Review", TPAMI 2023, section 4.

    Args:
        limit, amplitude, exponent: The fit.
        draws: Fits to scores redrawn within their errors, (draws, 3), in that order.
        sizes: That were measured.
    """

    limit: float
    amplitude: float
    exponent: float
    draws: Array
    sizes: tuple[float, ...]

    def score(self, n: float) -> float:
        """At size n."""
        return self.limit - self.amplitude * n**-self.exponent

    def interval(self, n: float) -> tuple[float, float]:
        """That holds the score at size n in 95 of 100 cases."""
        limit, amplitude, exponent = self.draws.T
        low, high = np.quantile(limit - amplitude * n**-exponent, [0.025, 0.975])
        return float(low), float(high)

    def size(self, target: float) -> float:
        """At which the score reaches a target; infinite if it never does."""
        return float(_sizes(np.array([[self.limit, self.amplitude, self.exponent]]), target)[0])

    def size_interval(self, target: float) -> tuple[float, float]:
        """That holds the size at which the target is reached in 95 of 100 cases.

        The logarithm of the size has two errors: that of the score there, by the draws, over the
        slope of the curve; and that of the power law itself, `SHAPE_ERROR` of the way beyond what
        was measured. The interval of a target that is never reached is open.
        """
        value = self.size(target)
        if not math.isfinite(value):
            sizes = _sizes(self.draws, target)
            return float(np.quantile(sizes, 0.025, method="closest_observation")), math.inf
        limit, amplitude, exponent = self.draws.T
        error = float(np.std(limit - amplitude * value**-exponent))
        slope = max(self.amplitude * self.exponent * value**-self.exponent, 1e-12)
        beyond = max(math.log(value / max(self.sizes)), 0.0)
        spread = math.exp(min(1.96 * math.hypot(error / slope, SHAPE_ERROR * beyond), 700.0))
        return value / spread, value * spread


def fit_power_law(
    sizes: Sequence[float], scores: Sequence[float], errors: Sequence[float], *, seed: int = 0
) -> PowerLaw:
    """Fit a power law to accuracies at several sizes.

    Least squares with each score weighed by its standard error, a limit of 1 at most, and a prior
    of the exponent. Intervals are those of refits to scores redrawn within their errors (the
    parametric bootstrap), the exponent's prior redrawn too.

    Args:
        sizes: Shots, classes or tasks, three or more that differ.
        scores: Mean accuracy at each, 0 to 1.
        errors: Their standard errors.
        seed: Of the redrawn scores.

    Raises:
        DataError: With fewer than three sizes, or values out of range.

    Example:
        >>> sizes = [1, 2, 4, 8, 16]
        >>> law = fit_power_law(sizes, [0.9 - 0.4 * n**-0.6 for n in sizes], [0.002] * 5)
        >>> round(law.score(32), 2)
        0.85
    """
    n, y = np.asarray(sizes, float), np.asarray(scores, float)
    se = np.maximum(np.asarray(errors, float), 1e-3)
    if len(set(sizes)) < 3 or not len(n) == len(y) == len(se):
        raise DataError(f"expected scores at three sizes or more, got {len(set(sizes))}")
    if not (np.isfinite(y).all() and (y >= 0).all() and (y <= 1).all() and (n > 0).all()):
        raise DataError("expected positive sizes and accuracies from 0 to 1")
    rng = np.random.default_rng(seed)
    best = _fit(n, y, se, PRIOR[0])
    redrawn = [
        _fit(n, y + se * rng.standard_normal(len(y)), se, rng.normal(*PRIOR), best)
        for _ in range(DRAWS)
    ]
    limit, amplitude, exponent = map(float, best)
    return PowerLaw(limit, amplitude, exponent, np.array(redrawn), tuple(map(float, n)))


def size_to_target(
    law: PowerLaw, target: float, *, what: str = "examples a class", have: float | None = None
) -> Finding:
    """How many examples, classes or tasks it takes to a target accuracy.

    Args:
        law: Fitted to measured scores.
        target: Accuracy, 0 to 1.
        what: Sizes in words.
        have: How many there are; more than four times of what was measured is an extrapolation
            that the verdict warns of.
    """
    value, interval = law.size(target), law.size_interval(target)
    reach = 4 * max(law.sizes)
    if not math.isfinite(value):
        verdict = (
            f"{target:.0%} is out of reach: the curve levels off at {law.limit:.0%}, however many "
            f"{what} there are."
        )
    else:
        high = f"{interval[1]:.0f}" if interval[1] < 1e6 else "no bound"
        verdict = (
            f"{target:.0%} takes about {max(1, math.ceil(value)):,} {what} "
            f"(95 % interval {max(1, math.ceil(interval[0])):,} to {high})."
        )
        if value > reach:
            verdict += " That is far beyond what was measured: take it for a guess."
    lacking = have is not None and value > have
    advice = ""
    if lacking:
        advice = (
            f"Collect more {what}."
            if math.isfinite(value)
            else "Use other features or another learner: more of the same will not do."
        )
    return Finding(
        f"{what} for {target:.0%}",
        "warning" if lacking and not math.isfinite(value) else "information",
        value,
        verdict,
        advice,
        interval,
        None if have is None else Threshold(have, f"{what} at hand"),
        {
            "limit": law.limit,
            "amplitude": law.amplitude,
            "exponent": law.exponent,
            "sizes": list(law.sizes),
        },
    )


def _fit(n: Array, y: Array, se: Array, prior: float, start: Array | None = None) -> Array:
    """Limit, amplitude and exponent."""
    begin = start if start is not None else np.array([min(0.99, y.max() + 0.05), 0.3, 0.6])

    def residuals(p: Array) -> Array:
        misfit = (p[0] - p[1] * n ** -p[2] - y) / se
        return np.append(misfit, (math.log(p[2]) - prior) / PRIOR[1])

    bounds = ([0.0, 0.0, EXPONENTS[0]], [1.0, 2.0, EXPONENTS[1]])
    begin = np.clip(begin, np.array(bounds[0]) + 1e-6, np.array(bounds[1]) - 1e-6)
    return optimize.least_squares(residuals, begin, bounds=bounds, max_nfev=100).x


def _sizes(laws: Array, target: float) -> Array:
    """Sizes (k,) at which laws (k, 3) reach a target."""
    limit, amplitude, exponent = laws.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sizes = (amplitude / (limit - target)) ** (1 / exponent)
    return np.where(limit > target, sizes, np.inf)
