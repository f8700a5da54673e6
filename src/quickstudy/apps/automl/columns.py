"""What a table's columns hold: numbers, categories, dates, texts, identifiers.

Needs pandas, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from quickstudy.errors import DataError, require

require("pandas", "automl")
import pandas as pd  # noqa: E402
from pandas.tseries.api import guess_datetime_format  # noqa: E402

__all__ = ["Kind", "as_frame", "as_numbers", "column_kinds"]

Kind = Literal["number", "category", "date", "text", "identifier", "empty"]

LOOKED_AT, DATES_LOOKED_AT, LONGEST_DATE = 1000, 200, 50
"""Values of a column that decide what it holds, and whether it holds dates, which are no longer."""

MOST = 0.95
"""Share of a column's values that must be numbers, or dates, for it to be one of these."""

MANY, FEW_WORDS = 0.8, 3
"""The same of numbers, if the others are so few different words without a digit: for missing."""

TIME = r"\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp][Mm])?\s*"
"""A time without a day."""

FEWEST_IDS = 20
"""Values of which nearly all must differ for a column to be one of identifiers."""


def as_frame(X: Any) -> pd.DataFrame:
    """A table as a data frame whose columns have names, each once.

    Raises:
        DataError: If it has no rows or no columns, or a name is there twice.

    Example:
        >>> as_frame([[1, "a"], [2, "b"]]).columns.tolist()
        ['0', '1']
    """
    if isinstance(X, pd.DataFrame):
        frame = X.reset_index(drop=True)
    else:
        if hasattr(X, "toarray"):
            raise DataError("expected a dense table, got a sparse matrix: use X.toarray()")
        shape = np.shape(X)
        if len(shape) != 2:
            raise DataError(f"expected a table of rows and columns, got shape {shape}")
        frame = pd.DataFrame(X)
    frame.columns = [str(name) for name in frame.columns]
    if not frame.shape[0] or not frame.shape[1]:
        raise DataError(f"expected rows and columns, got a table of shape {frame.shape}")
    if (twice := frame.columns[frame.columns.duplicated()]).size:
        raise DataError(f"expected each column once, got {twice[0]!r} more often: rename one")
    return frame


def column_kinds(frame: pd.DataFrame) -> dict[str, Kind]:
    """What each column holds, by name; "empty" if it has no two different values.

    Columns of strings are numbers or dates if nearly all of their values are, and numbers too if
    most are and the rest is a word for missing; text if they are long and mostly different;
    identifiers if nearly all are different; else categories.

    Raises:
        DataError: If a column holds lists, or other parts.

    Example:
        >>> rows = [[1, "red", "2024-01-31", "7"], [2, "blue", "2024-02-01", "8.5"]]
        >>> list(column_kinds(as_frame(rows)).values())
        ['number', 'category', 'date', 'number']
    """
    return {str(name): _kind(frame[name]) for name in frame.columns}


def as_numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, of shape (n,): NaN for what is missing, infinite or no number.

    Dates become days since 1970.

    Example:
        >>> as_numbers(pd.Series(["1.5", "inf", None, "many"])).tolist()
        [1.5, nan, nan, nan]
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        stamps = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        start = pd.Timestamp(0).as_unit("s")  # of nanoseconds, years before 1678 are out of range
        return ((stamps - start) / pd.Timedelta(days=1)).to_numpy(np.float64)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def as_dates(column: pd.Series) -> pd.Series:
    """A column as times without zone; what is no date is missing.

    Each value is read by itself, the month before the day where both orders are possible. Those of
    the form that the first one has are read together, if that form leaves no doubt: it is faster.
    A time without a day is of the first of 1970, where pandas would take today.
    """
    known, form = column.dropna(), None
    if not pd.api.types.is_datetime64_any_dtype(known) and len(known):
        known = known.astype(str)
        known = known.where(~known.str.fullmatch(TIME), "1970-01-01 " + known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of days before months, which are in doubt
            form = guess_datetime_format(known.iloc[0])
    stamps = None
    # Days before months are in doubt, and pandas reads ISO 8601 fast as it is.
    if form and not 0 <= form.find("%d") < form.find("%m") and not form.startswith("%Y-"):
        stamps = pd.to_datetime(known, errors="coerce", format=form, utc=True)
        known = known[stamps.isna()]
    others = pd.to_datetime(known, errors="coerce", format="mixed", utc=True)
    stamps = others if stamps is None else stamps.fillna(others)
    return stamps.reindex(column.index).dt.tz_localize(None)


def _kind(column: pd.Series) -> Kind:
    values = column.dropna()
    if len(values) and not pd.api.types.is_hashable(values.iloc[0]):
        raise DataError(
            f"expected numbers, words, dates or texts in the column {column.name!r}, got "
            f"{type(values.iloc[0]).__name__}: make columns of its parts, or leave it out"
        )
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number:
        numbers = as_numbers(values)
        numbers = numbers[~np.isnan(numbers)]
        return "number" if len(numbers) and (numbers != numbers[0]).any() else "empty"
    texts = values.astype(str)
    n_different = texts.nunique()
    if n_different < 2:
        return "empty"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "date"
    if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(values):
        return "category"
    looked_at = texts.iloc[:: max(1, len(texts) // LOOKED_AT)]
    strange = looked_at[np.isnan(as_numbers(looked_at))]
    share = 1 - len(strange) / len(looked_at)
    are_words = strange.nunique() <= FEW_WORDS and not strange.str.contains(r"\d").any()
    if share >= MOST or (share >= MANY and are_words):
        return "number"
    few = looked_at.iloc[:: max(1, len(looked_at) // DATES_LOOKED_AT)]
    has_form = few.str.contains(r"\d.*[-/.: ].*\d") & (few.str.len() <= LONGEST_DATE)
    if has_form.mean() >= MOST and as_dates(few).notna().mean() >= MOST:
        return "date"
    words = looked_at.str.count(r"\s+").mean() + 1
    is_long = words >= 4 or (words >= 2 and looked_at.str.len().mean() >= 30)
    if is_long and looked_at.nunique() > 0.5 * len(looked_at):
        return "text"
    is_id = len(texts) >= FEWEST_IDS and n_different >= MOST * len(texts)
    return "identifier" if is_id else "category"
