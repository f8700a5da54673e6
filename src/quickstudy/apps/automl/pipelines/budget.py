"""Time of a search: fits that end when it is over, and how long the next one will take.

Needs scikit-learn and LightGBM, which quickstudy's extra `automl` installs.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from lightgbm import LGBMModel
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

__all__ = [
    "OUT_OF_TIME",
    "Deadline",
    "OutOfTime",
    "fit_pipeline",
    "forecast",
    "predict_in_parts",
]

OUT_OF_TIME = "out of time"
"""How the failure of a pipeline begins that the time did not suffice for."""

FORESTS = (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

ROWS_AT_ONCE = 10_000
"""Rows that are predicted between two looks at the clock."""


class OutOfTime(Exception):
    """A fit or prediction that was ended because its time was over, or would not have sufficed."""


class Deadline:
    """A moment at which work has to be done.

    Args:
        seconds: From now on; None for no limit.

    Example:
        >>> Deadline(None).left, Deadline(0).passed
        (inf, True)
    """

    def __init__(self, seconds: float | None) -> None:
        self.at = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, negative when it has passed."""
        return self.at - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0

    @property
    def is_finite(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self.at)

    def before(self, seconds: float) -> Deadline:
        """The moment so many seconds earlier."""
        return self._at(self.at - seconds)

    def share(self, part: float) -> Deadline:
        """The moment at which this part of the time left is spent."""
        return self._at(time.monotonic() + part * max(self.left, 0.0)) if self.is_finite else self

    def check(self) -> None:
        """End the work if no time is left.

        Raises:
            OutOfTime: If it has passed.
        """
        if self.passed:
            raise OutOfTime

    @staticmethod
    def _at(moment: float) -> Deadline:
        deadline = Deadline(None)
        deadline.at = moment
        return deadline


def forecast(times: Sequence[tuple[int, float]], n_rows: int, growth: float = 1.0) -> float:
    """Seconds of a fit on so many rows: a fixed part, and one that grows with a power of the rows.

    Args:
        times: Rows and seconds of fits before, from few to many; of one alone, all grows.
        n_rows: Of the next fit.
        growth: The power.

    Example:
        >>> round(forecast([(1000, 0.3), (4000, 0.4)], 160_000), 1)
        5.6
    """
    (few, short), (many, long) = times[0], times[-1]
    slope = long / many**growth
    if many > few:  # of times that are alike by chance, a quarter grows
        slope = max((long - short) / (many**growth - few**growth), 0.25 * slope)
    return max(long + slope * (n_rows**growth - many**growth), 0.0)


def fit_pipeline(model: Pipeline, frame: Any, target: np.ndarray, deadline: Deadline) -> Pipeline:
    """Fit a pipeline as its own `fit` does, but look at the clock between steps, and in a model of
    trees between trees.

    Without the warnings of a search, as of steps that were too few. On one core: products of small
    matrices are slower on more (a Gaussian process of 142 rows took six times as long on two), and
    a search is spread by processes.

    Raises:
        OutOfTime: If the deadline passes.
    """
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        deadline.check()
        x = frame
        for _, step in model.steps[:-1]:
            x = step.fit_transform(x, target)
            deadline.check()
        _fit_model(model[-1], x, target, deadline)
    return model


def _fit_model(model: Any, x: np.ndarray, y: np.ndarray, deadline: Deadline) -> None:
    if not deadline.is_finite:
        model.fit(x, y)
    elif isinstance(model, LGBMModel):
        model.fit(x, y, callbacks=[lambda _: deadline.check()])
    elif isinstance(model, FORESTS):
        _grow(model, x, y, deadline)
    else:
        model.fit(x, y)


def _grow(forest: Any, x: np.ndarray, y: np.ndarray, deadline: Deadline) -> None:
    """Fit a forest 1, 2, 4, ... trees at a time, which makes the same trees as all at once."""
    n_trees, began = forest.n_estimators, time.monotonic()
    forest.set_params(warm_start=True, n_estimators=0)
    while forest.n_estimators < n_trees:
        forest.set_params(n_estimators=min(max(1, 2 * forest.n_estimators), n_trees))
        forest.fit(x, y)
        share = forest.n_estimators / n_trees
        if (time.monotonic() - began) * (1 - share) / share > deadline.left:
            raise OutOfTime
    forest.set_params(warm_start=False)


def predict_in_parts(predict: Any, x: np.ndarray, deadline: Deadline) -> np.ndarray:
    """What `predict` makes of rows, some at a time if there is a limit.

    Raises:
        OutOfTime: If the deadline passes.
    """
    if not deadline.is_finite:
        return predict(x)
    parts = []
    for start in range(0, len(x), ROWS_AT_ONCE):
        deadline.check()
        parts.append(predict(x[start : start + ROWS_AT_ONCE]))
    return np.concatenate(parts)
