"""The column to predict: taken out of a table, checked, and turned into numbers.

Needs pandas, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from quickstudy.apps.automl.tables.column_inference import number_format_of
from quickstudy.apps.automl.tables.columns import MAX_NUMBER, Column, as_numbers
from quickstudy.apps.automl.tables.frames import as_column, as_frame
from quickstudy.errors import DataError, require, unknown

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = [
    "Goal",
    "as_target_numbers",
    "check_target",
    "class_target",
    "goal_of",
    "number_target",
    "split_target",
]

Goal = Literal["classification", "regression"]

MAX_NUMBER_CLASSES = 20
"""A target of up to so many different whole numbers is one of classes."""


def split_target(frame: pd.DataFrame, target: str) -> tuple[pd.DataFrame, pd.Series, int]:
    """A table's other columns, its target, and how many rows had none and were left out.

    A target is missing only where its cell is empty. Strings that are plain numbers become numbers,
    whole ones integers.

    Raises:
        UsageError: If there is no such column.
        DataError: If there is no other, or no row has a target.
    """
    if target not in frame.columns:
        raise unknown("column", target, frame.columns)
    has_target = frame[target].notna()
    if not pd.api.types.is_numeric_dtype(frame[target]):
        has_target &= frame[target].astype(str).str.strip() != ""
    if not has_target.any():
        raise DataError(f"expected a target in some row, got none in the column {target!r}")
    if frame.shape[1] < 2:
        raise DataError(f"expected columns besides the target {target!r}, got none")
    X = as_frame(frame.loc[has_target].drop(columns=target))
    y = frame.loc[has_target, target].reset_index(drop=True)
    if pd.api.types.is_string_dtype(y):
        y = _plain_numbers(y)
    elif not has_target.all() and pd.api.types.is_float_dtype(y):
        is_whole = np.isfinite(y) & (y == y.round()) & (y.abs() < 2**53)
        y = y.astype(np.int64) if is_whole.all() else y
    return X, y, int((~has_target).sum())


def _plain_numbers(y: pd.Series) -> pd.Series:
    """Strings as numbers if all of them are plain ones; else as they are."""
    form, numbers = number_format_of(y), as_numbers(y)
    if form is None or not form.is_plain or not np.isfinite(numbers).all():
        return y
    if not y.str.strip().str.fullmatch(r"[+-]?\d+").all():
        return pd.Series(numbers, name=y.name)
    is_exact = bool((np.abs(numbers) < 2**53).all())
    return pd.Series(numbers.astype(np.int64), name=y.name) if is_exact else y


def goal_of(target: pd.Series) -> Goal:
    """Regression for numbers, but for a few different whole ones, which are classes.

    Numbers may be written with units, as $1,234.

    Example:
        >>> goal_of(pd.Series([0, 1, 1])), goal_of(pd.Series([0.5, 1, 1]))
        ('classification', 'regression')
    """
    if pd.api.types.is_bool_dtype(target):
        return "classification"
    if not pd.api.types.is_numeric_dtype(target):
        form = number_format_of(target)
        if form is None:
            return "classification"
        target = pd.Series([form.read(str(value)) for value in target])
    numbers = as_numbers(target)
    finite = numbers[~np.isnan(numbers)]
    are_whole = bool((finite == finite.round()).all())
    is_class = are_whole and target.nunique() <= MAX_NUMBER_CLASSES
    return "classification" if is_class else "regression"


def as_target_numbers(column: pd.Series) -> np.ndarray:
    """A target of numbers as float64, which may be written with units ("$1,234"); NaN where it
    cannot be read. Limits such as "<5" are no numbers here.
    """
    target = as_numbers(column)
    if np.isnan(target).any() and (form := number_format_of(column)):
        exact = replace(form, compared=False)
        target = Column("", "number", number=exact).read(column).to_numpy()
    return target


def check_target(y: Any, n_rows: int) -> pd.Series:
    """A target as a series of objects with a value in each row.

    Raises:
        DataError: If it is of another length, or a value is missing.
    """
    column = as_column(y)
    if len(column) != n_rows:
        raise DataError(f"expected a target for each of {n_rows} rows, got {len(column)}")
    if n_missing := int(column.isna().sum()):
        raise DataError(f"expected a target in each row, got none in {n_missing}: leave these out")
    return column


def class_target(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a target, of shape (n_classes,), and the number of each row's, shape (n,).

    Raises:
        DataError: If a label is infinite, all are the same, or there are too many to learn.
    """
    labels = column.infer_objects()
    if pd.api.types.infer_dtype(column) in ("mixed", "mixed-integer"):
        labels = column.astype(str)
    if pd.api.types.is_float_dtype(labels) and not np.isfinite(labels).all():
        raise DataError("expected labels, got an infinite number as target")
    classes, target = np.unique(labels.to_numpy(), return_inverse=True)
    if len(classes) > max(2, len(column) // 2):
        is_number = not np.isnan(as_numbers(column)).any()
        raise DataError(
            f"expected classes with several rows each, got {len(classes)} classes in "
            f"{len(column)} rows: "
            + (
                "for a target of numbers, use AutoMLRegressor (--goal regression)"
                if is_number
                else "texts, names and dates cannot be predicted, name another column"
            )
        )
    _check_varies(column, target)
    return classes, target


def number_target(column: pd.Series) -> np.ndarray:
    """A target of numbers as float64, of shape (n,).

    Raises:
        DataError: If a value is no finite number or too large to be squared, or all are the same.
    """
    target = as_target_numbers(column)
    if (is_invalid := np.isnan(target)).any():
        raise DataError(
            f"expected finite numbers as target, got {column[int(is_invalid.argmax())]!r} in "
            f"{is_invalid.sum()} of {len(column)} rows: leave these out, or, for labels, use "
            "AutoMLClassifier"
        )
    if (largest := float(np.abs(target).max())) > MAX_NUMBER:
        raise DataError(
            f"expected a target of {MAX_NUMBER:g} at most, got {largest:g}: scale it, or take "
            "its logarithm"
        )
    _check_varies(column, target)
    return target


def _check_varies(column: pd.Series, target: np.ndarray) -> None:
    if (target == target[0]).all():
        raise DataError(f"expected a target that varies, got {column[0]!r} in all rows")
