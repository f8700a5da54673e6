"""What a column of a table holds, and how its cells are read.

Needs pandas and PyArrow, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import difflib
import numbers
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from quickstudy.apps.automl.tables.date_formats import DateFormat
from quickstudy.apps.automl.tables.frames import as_frame, is_frame
from quickstudy.apps.automl.tables.number_formats import NumberFormat
from quickstudy.errors import DataError, require

require("pandas", "automl")
require("pyarrow", "automl")
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

__all__ = [
    "MAX_NUMBER",
    "Column",
    "Kind",
    "as_numbers",
    "cell_text",
    "check_cells",
    "columns_from_json",
    "columns_to_json",
    "is_strings",
    "match_columns",
    "read_columns",
    "read_each",
]

MAX_NUMBER = 1e30
"""Larger numbers are cut off at this one: trees take 32 bits, and models square their targets."""

Kind = Literal["number", "category", "date", "text", "identifier", "empty"]

FLAG_LEVELS = {"true": "True", "false": "False", "1": "True", "0": "False"}
"""How a column of flags may be written, in lower case."""


@dataclass(frozen=True)
class Column:
    """What a column holds and how its cells are read, as learned from all of its cells.

    Args:
        name: Of the column.
        kind: What it holds.
        number: How its numbers are written.
        date: How its dates are written.
        flag: Whether it holds true and false, or 1 and 0, alone.
        reason: Why it is left out, or attention is due; for people.

    Example:
        >>> from quickstudy.apps.automl.tables.column_inference import learn_columns
        >>> (prices,) = learn_columns(as_frame([["$1,234.50"], ["$7"]]))
        >>> prices.kind, prices.read(pd.Series(["$2,000", "many", None])).tolist()
        ('number', [2000.0, nan, nan])
    """

    name: str
    kind: Kind
    number: NumberFormat | None = None
    date: DateFormat | None = None
    flag: bool = False
    reason: str = ""

    @property
    def is_used(self) -> bool:
        """Whether something is learned from it."""
        return self.kind not in ("identifier", "empty")

    def read(self, column: pd.Series) -> pd.Series:
        """Cells as float64, times in UTC, or strings; missing where they cannot be read.

        Numbers that are infinite are missing. What was read may be read again.
        """
        if self.kind == "number":
            values = self._numbers(column)
        elif self.kind == "date":
            values = self._dates(column)
        elif self.kind == "category":
            values = read_each(column, self._level)
        elif self.kind == "text":
            values = read_each(column, cell_text)
        else:
            return column
        return pd.Series(values, index=column.index, name=column.name)

    def _numbers(self, column: pd.Series) -> np.ndarray:
        if pd.api.types.is_timedelta64_dtype(column):
            return column.dt.total_seconds().to_numpy(np.float64)
        if pd.api.types.is_numeric_dtype(column):
            return as_numbers(column)
        form = self.number or NumberFormat()
        if form.is_plain and not self.flag and is_strings(column):
            values = as_numbers(column)
            unread = np.isnan(values) & column.notna().to_numpy()
            if unread.any():
                values[unread] = read_each(column[unread], self._number).astype(np.float64)
        else:
            values = read_each(column, self._number).astype(np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def _number(self, value: Any) -> float:
        if isinstance(value, str):
            if self.flag and (word := FLAG_LEVELS.get(value.strip().lower())):
                return float(word == "True")
            return (self.number or NumberFormat()).read(value)
        if isinstance(value, numbers.Number | Decimal | np.bool_):
            return float(value)
        seconds = getattr(value, "total_seconds", None)
        return seconds() if seconds else np.nan

    def _dates(self, column: pd.Series) -> np.ndarray:
        if pd.api.types.is_datetime64_any_dtype(column):
            return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")
        if isinstance(column.dtype, pd.PeriodDtype):
            return column.dt.to_timestamp().to_numpy("datetime64[us]")
        form = self.date or DateFormat()
        missing = np.datetime64("NaT", "us")
        times = read_each(column, lambda value: form.read(cell_text(value)))
        return np.array([missing if t is None else t for t in times], dtype="datetime64[us]")

    def _level(self, value: Any) -> str | None:
        level = cell_text(value)
        return FLAG_LEVELS.get(level.lower(), level) if self.flag else level


def match_columns(X: Any, columns: Sequence[Column]) -> tuple[pd.DataFrame, list[str]]:
    """The columns of a new table that were fitted, and the names of its other columns.

    Columns go by their names, those of an array by their position. Columns that were left out at
    fit may be missing.

    Args:
        X: The new table, as `as_frame` takes it.
        columns: As `learn_columns` gave them for the table that was fitted.

    Raises:
        DataError: If a column is missing, or an array has another number of columns.
    """
    frame = as_frame(X)
    names = [column.name for column in columns]
    if not is_frame(X):
        if frame.shape[1] != len(names):
            raise DataError(
                f"expected {len(names)} columns, as were fitted, got an array of {frame.shape[1]}"
            )
        frame.columns = names
    missing = [c.name for c in columns if c.is_used and c.name not in frame.columns]
    known = set(names)
    others = [name for name in frame.columns if name not in known]
    if missing:
        lower = {name.lower(): name for name in others}
        near = difflib.get_close_matches(missing[0].lower(), lower, n=1)
        hint = f" (is it {lower[near[0]]!r}?)" if near else ""
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"expected the columns that were fitted, got none called {missing[0]!r}{more}{hint}"
        )
    return frame[[name for name in names if name in frame.columns]], others


def read_columns(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """A table with its cells read: numbers, times and strings; columns left out stay as they are.

    Args:
        frame: With the columns that are used.
        columns: As `learn_columns` gave them.
    """
    return pd.DataFrame(
        {c.name: c.read(frame[c.name]) for c in columns if c.is_used or c.name in frame.columns},
        index=frame.index,
    )


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Columns as JSON takes them."""
    return [asdict(column) for column in columns]


def columns_from_json(data: Any) -> tuple[Column, ...]:
    """Columns from what `columns_to_json` gave.

    Raises:
        DataError: If it is something else.

    Example:
        >>> from quickstudy.apps.automl.tables.column_inference import learn_columns
        >>> columns = learn_columns(as_frame([["1,5"], ["2,25"]]))
        >>> columns_from_json(columns_to_json(columns)) == columns
        True
    """
    try:
        return TypeAdapter(tuple[Column, ...]).validate_python(data)
    except ValidationError as error:
        (first, *_) = error.errors()
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"expected columns of a table, got {first['msg']} at {where}") from None


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
    numbers = _numbers_by_arrow(column) if is_strings(column) else None
    if numbers is None:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _numbers_by_arrow(strings: pd.Series) -> np.ndarray | None:
    """Strings as float64, much faster than pandas reads them; None if one is no number."""
    try:
        return pa.array(strings).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def read_each(column: pd.Series, read: Callable[[Any], Any]) -> np.ndarray:
    """What `read` makes of each cell, as objects; None for cells that are missing or blank.

    Equal cells are read once.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, levels = column.cat.codes.to_numpy(), list(column.cat.categories)
    elif is_strings(column):
        codes, levels = pd.factorize(column)
    else:  # objects: True equals 1, and is another level
        check_cells(column)
        codes_of: dict[tuple[type, Any], int] = {}
        is_missing = column.isna().to_numpy()
        codes = np.array(
            [
                -1 if missing else codes_of.setdefault((type(value), value), len(codes_of))
                for value, missing in zip(column.to_numpy(object), is_missing, strict=True)
            ],
            dtype=np.int64,
        )
        levels = [value for _, value in codes_of]
    values = np.empty(len(levels) + 1, dtype=object)  # the last is None, for what is missing
    for i, level in enumerate(levels):
        is_blank = isinstance(level, str) and not level.strip()
        values[i] = None if is_blank else read(level)
    return values[codes]


def check_cells(column: pd.Series) -> None:
    """Refuse cells that are lists, bytes or other collections.

    Raises:
        DataError: If there is one.
    """
    values = column.dropna()
    for value in values if values.dtype == object else values.iloc[:1]:
        if not isinstance(value, Hashable) or isinstance(value, bytes | tuple | complex):
            raise DataError(
                f"expected numbers, words, dates or texts in the column {column.name!r}, got "
                f"{type(value).__name__}: make columns of its parts, or leave it out"
            )


def cell_text(value: Any) -> str:
    """The one form of what may be written in several ways: 1, 1.0, "1" and "1.0" are "1"."""
    if isinstance(value, str):
        text = value.strip()
        return text[:-2] if text.endswith(".0") and _is_digits(text[:-2]) else text
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real | Decimal) and abs(value) < 2**53 and value == int(value):
        return str(int(value))
    return str(value)


def _is_digits(text: str) -> bool:
    return text.lstrip("+-").isdigit()


def is_strings(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.StringDtype)
