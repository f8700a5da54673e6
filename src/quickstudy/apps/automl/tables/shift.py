"""Whether new rows differ from those that were learned from, column by column.

Needs pandas and SciPy, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from quickstudy.apps.automl.tables.columns import Column
from quickstudy.errors import require

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["TrainingCells", "shift_line"]

MIN_ROWS = 30
"""Fewest new rows to compare."""

MAX_CELLS = 2000
"""Cells of a column that are kept, of rows drawn at random: evenly spaced ones would miss what
comes and goes with the rows."""

LEVEL, LEAST = 0.001, 0.2
"""A column has shifted if a difference as large comes in fewer than one of a thousand tables by
chance, and if it is at least this large on a scale from 0 to 1."""

MAX_NAMED = 3


class TrainingCells:
    """Some cells of each column of numbers and of categories that was learned from.

    Dates are passed over, since new rows are often later, and texts.

    Args:
        table: As `read_columns` gave it.
        columns: As `learn_columns` gave them.

    Example:
        >>> from quickstudy.apps.automl.tables.column_inference import learn_columns
        >>> table = pd.DataFrame({"age": np.arange(100.0) % 37})
        >>> kept = TrainingCells(table, learn_columns(table))
        >>> [round(size, 2) for size in kept.shifts(table + 30).values()]
        [0.86]
    """

    def __init__(self, table: pd.DataFrame, columns: Sequence[Column]) -> None:
        rows = np.random.default_rng(0).permutation(len(table))[:MAX_CELLS]
        self._kinds = {c.name: c.kind for c in columns if c.kind in ("number", "category")}
        self._cells = {name: _cells(table[name].iloc[rows]) for name in self._kinds}

    def shifts(self, table: pd.DataFrame) -> dict[str, float]:
        """The columns that have shifted, the most shifted first, with how far they have: the
        largest difference of the cumulative distributions of numbers (Kolmogorov-Smirnov), or half
        of the summed differences of the shares of categories. Missing cells are a value too.

        Args:
            table: New rows, as `read_columns` gave them.
        """
        if len(table) < MIN_ROWS:
            return {}
        found = {}
        for name, kind in self._kinds.items():
            test = _of_numbers if kind == "number" else _of_categories
            size, p = test(self._cells[name], _cells(table[name]))
            if size >= LEAST and p * len(self._kinds) < LEVEL:
                found[name] = size
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def shift_line(shifts: Mapping[str, float]) -> str:
    """What to say of columns that have shifted.

    Example:
        >>> print(shift_line({"age": 0.81, "town": 0.4}).partition(", so")[0])
        the rows to predict differ from those of training in age (0.81 of 1) and town (0.40 of 1)
    """
    named = [f"{name} ({size:.2f} of 1)" for name, size in list(shifts.items())[:MAX_NAMED]]
    if more := len(shifts) - len(named):
        named.append(f"{more} other column{'s' * (more > 1)}")
    *first, last = named
    listing = f"{', '.join(first)} and {last}" if first else last
    return (
        f"the rows to predict differ from those of training in {listing}, so predictions may be "
        "worse than the scores say"
    )


def _cells(column: pd.Series) -> np.ndarray:
    """Numbers, with missing ones below all others; or categories, "" where missing."""
    if pd.api.types.is_numeric_dtype(column):
        return np.nan_to_num(column.to_numpy(np.float64, na_value=np.nan), nan=-np.inf)
    return column.fillna("").astype(str).to_numpy(object)


def _of_numbers(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Kolmogorov and Smirnov's statistic of two samples, and its p-value."""
    ranks = stats.rankdata(np.concatenate([before, after]), "dense")  # which takes infinity
    found: Any = stats.ks_2samp(ranks[: len(before)], ranks[len(before) :], method="asymp")
    return float(found.statistic), float(found.pvalue)


def _of_categories(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The total variation distance of two samples, and the p-value of the chi-squared test. Levels
    too rare for that test count as one."""
    levels, codes = np.unique(np.concatenate([before, after]), return_inverse=True)
    counts = np.stack(
        [
            np.bincount(part, minlength=len(levels))
            for part in (codes[: len(before)], codes[len(before) :])
        ]
    )  # (2, levels)
    is_rare = counts.sum(0) * counts.sum(1).min() / counts.sum() < 5  # of expected counts
    tested = np.column_stack([counts[:, ~is_rare], counts[:, is_rare].sum(1)])
    tested = tested[:, tested.sum(0) > 0]
    if tested.shape[1] < 2:
        return 0.0, 1.0
    shares = tested / tested.sum(1, keepdims=True)
    found: Any = stats.chi2_contingency(tested)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(found.pvalue)
