"""Times of any usual form, in seconds."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np

from quickstudy.errors import DataError

__all__ = ["seconds"]

UNITS_PER_SECOND = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (math.inf, 1e9))
"""Pairs (bound, units per second): numbers below the bound are in that unit. 1e11 seconds is the
year 5138, and 1e11 milliseconds is 1973."""


def seconds(
    values: Sequence[Any] | np.ndarray, *, invalid: Literal["raise", "nan"] = "raise"
) -> np.ndarray:
    """A column of times as seconds, of shape (n,).

    The column decides: all are numbers, whose unit follows from the largest, or all are dates.
    Small numbers are taken as they are, as only their order counts. A date without a zone is in
    UTC.

    Args:
        values: Numbers of seconds, milli-, micro- or nanoseconds since 1970 or in any unit; text of
            such numbers; ISO 8601 text; `datetime`, `date`, or what NumPy and pandas have for them.
        invalid: What becomes of a value that is no time: an error, or NaN if there are others.

    Raises:
        DataError: If one is no time, or not of the same form as the first; names its row.

    Example:
        >>> seconds(["1970-01-01T00:01:00Z", "1970-01-01 00:02"]).tolist()
        [60.0, 120.0]
        >>> seconds([1_700_000_000_000, 1_700_000_001_500]).tolist()
        [1700000000.0, 1700000001.5]
    """
    if not len(values):
        return np.zeros(0)
    first = _number(next((value for value in values if _is_given(value)), values[0]))
    are_numbers = first is not None
    times = _all_at_once(values)
    if times is None:
        parse = _number if are_numbers else _date
        parsed = (parse(value) for value in values)
        times = np.array([np.nan if time is None else time for time in parsed], float)
    is_time = np.isfinite(times)
    if not is_time.all() and (invalid == "raise" or not is_time.any()):
        place = int(is_time.argmin())
        form = f"as in row 1, {values[0]!r}"
        if place == 0:
            form = "a number or ISO 8601, such as 2024-05-31T12:00:00"
        raise DataError(
            f"row {place + 1}: expected a finite time, got {values[place]!r}: write it {form}"
        )
    times = np.where(is_time, times, np.nan)
    if not are_numbers:
        return times
    largest = np.nanmax(np.abs(times))
    return times / next(units for bound, units in UNITS_PER_SECOND if largest < bound)


def _is_given(value: Any) -> bool:
    return value is not None and value != "" and value == value


def _all_at_once(values: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """An array of numbers or dates as numbers, or seconds; None for other values."""
    if not isinstance(values, np.ndarray):
        return None
    if values.dtype.kind in "iuf":
        return values.astype(float)
    if values.dtype.kind == "M":
        is_missing = np.isnat(values)
        microseconds = values.astype("datetime64[us]").astype(np.int64)
        return np.where(is_missing, np.nan, microseconds / 1e6)
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _date(value: Any) -> float | None:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # pandas' NaT
        return None
