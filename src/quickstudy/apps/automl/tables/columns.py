"""What a table's columns hold, and how their cells are read.

Needs pandas and Narwhals, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import difflib
import numbers
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from quickstudy.apps.automl.tables.formats import (
    MISSING_WORDS,
    DateFormat,
    NumberFormat,
    clean,
    guess_date_format,
    guess_number_format,
)
from quickstudy.errors import DataError, require

require("pandas", "automl")
require("narwhals", "automl")
require("pyarrow", "automl")
import narwhals as nw  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

__all__ = [
    "Column",
    "Kind",
    "as_column",
    "as_frame",
    "as_numbers",
    "as_target_numbers",
    "column_notes",
    "columns_from_json",
    "columns_to_json",
    "learn_columns",
    "match_columns",
    "number_format_of",
    "read_columns",
    "unreadable_cells",
]

Kind = Literal["number", "category", "date", "text", "identifier", "empty"]

LOOKED_AT = 5000
"""Cells of a column that decide what it holds, evenly spaced."""

MOST = 0.95
"""Share of different strings among a column's cells that makes it one of identifiers."""

FEWEST_IDS = 20
"""Cells of which nearly all must differ for a column to be one of identifiers."""

DENSE = 0.5
"""Share of the whole numbers from the least to the greatest that row numbers take, each once."""

YEARS = (1500, 2100)
"""Whole numbers within these can be years, which differ in each row of a table of years."""

ID_NAME = re.compile(
    r"(.*[^a-z])?(id|ids|uid|uuid|guid|pk|rowid|row[ _.-]?(id|index|no|nr|num|number))|"
    r"(unnamed: ?\d+|__index_level_\d+__|index|row|idx)?",
    re.IGNORECASE,
)
CAMEL_ID_NAME = re.compile(r".*[a-z](Id|ID)")

DIFFERENT = "left out, as nearly all of their values differ"
EMPTY = "left out, as they hold fewer than two values"
CALLED = "left out, as they differ in every row and are called identifiers"
NUMBERED = "left out, as they number the rows (floats would be learned from)"
ONLY_NUMBERED = "they number the rows, and are used as there is nothing else to learn from"
"""Reasons of columns."""

FLAGS = {"true": "True", "false": "False", "1": "True", "0": "False"}


# Frames


def as_frame(X: Any) -> pd.DataFrame:
    """A table as a data frame of pandas whose columns have names, each once.

    Args:
        X: An array of two dimensions, whose columns are called "0", "1" and so on, or a frame of
            pandas, Polars, PyArrow or another library that Narwhals supports.

    Raises:
        DataError: If it has no rows or no columns, or a name is there twice.

    Example:
        >>> as_frame([[1, "a"], [2, "b"]]).columns.tolist()
        ['0', '1']
    """
    frame = X if isinstance(X, pd.DataFrame) else _from_narwhals(X)
    if frame is None:
        if hasattr(X, "toarray"):
            raise DataError("expected a dense table, got a sparse matrix: use X.toarray()")
        shape = np.shape(X)
        if len(shape) != 2:
            raise DataError(f"expected a table of rows and columns, got shape {shape}")
        frame = pd.DataFrame(X)
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    if not frame.shape[0] or not frame.shape[1]:
        raise DataError(f"expected rows and columns, got a table of shape {frame.shape}")
    if (twice := frame.columns[frame.columns.duplicated()]).size:
        raise DataError(f"expected each column once, got {twice[0]!r} more often: rename one")
    return frame


def _from_narwhals(X: Any) -> pd.DataFrame | None:
    """A frame of another library in pandas; None if it is no frame."""
    try:
        frame = nw.from_native(X, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        return frame.to_pandas() if isinstance(frame, nw.DataFrame) else None
    except nw.exceptions.DuplicateError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"expected each column once, got some more often ({reason})") from None


def as_column(y: Any) -> pd.Series:
    """A target, of any kind of array, series or frame of one column, as a series of objects.

    Example:
        >>> as_column(np.array([[1], [2]])).tolist()
        [1, 2]
    """
    series = nw.from_native(y, pass_through=True, allow_series=True)
    if isinstance(series, nw.Series):
        y = series.to_pandas()
    elif (frame := _from_narwhals(y)) is not None:
        y = frame
    return pd.Series(np.asarray(y, dtype=object).ravel())


def match_columns(X: Any, columns: Sequence[Column]) -> tuple[pd.DataFrame, list[str]]:
    """The columns that were learned, of a new table, and the names of its others.

    Columns go by their names, those of an array by their position. Columns that were left out need
    not be there.

    Raises:
        DataError: If one is not there, or an array has another number of columns.
    """
    frame = as_frame(X)
    names = [column.name for column in columns]
    is_frame = isinstance(X, pd.DataFrame) or _is_frame(X)
    if not is_frame:
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


def _is_frame(X: Any) -> bool:
    return isinstance(nw.from_native(X, pass_through=True), nw.DataFrame | nw.LazyFrame)


# Columns


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
            values = _each(column, self._level)
        elif self.kind == "text":
            values = _each(column, _text)
        else:
            return column
        return pd.Series(values, index=column.index, name=column.name)

    def _numbers(self, column: pd.Series) -> np.ndarray:
        if pd.api.types.is_timedelta64_dtype(column):
            return column.dt.total_seconds().to_numpy(np.float64)
        if pd.api.types.is_numeric_dtype(column):
            return as_numbers(column)
        form = self.number or NumberFormat()
        if form.is_plain and not self.flag and _is_strings(column):
            found = as_numbers(column)
            rest = np.isnan(found) & column.notna().to_numpy()
            if rest.any():
                found[rest] = _each(column[rest], self._number).astype(np.float64)
        else:
            found = _each(column, self._number).astype(np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    def _number(self, value: Any) -> float:
        if isinstance(value, str):
            if self.flag and (word := FLAGS.get(value.strip().lower())):
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
        nothing = np.datetime64("NaT", "us")
        found = _each(column, lambda value: form.read(_text(value)))
        return np.array([nothing if v is None else v for v in found], dtype="datetime64[us]")

    def _level(self, value: Any) -> str | None:
        level = _text(value)
        return FLAGS.get(level.lower(), level) if self.flag else level


def _string(value: Any) -> str:
    return value.strip() if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
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


def _is_strings(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.StringDtype)


def _each(column: pd.Series, read: Callable[[Any], Any]) -> np.ndarray:
    """A function of each cell that is not missing or blank, as objects; each value is read once."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, levels = column.cat.codes.to_numpy(), list(column.cat.categories)
    elif _is_strings(column):
        codes, levels = pd.factorize(column)
    else:  # objects: True equals 1, and is another level
        _check_cells(column)
        place: dict[tuple[type, Any], int] = {}
        is_missing = column.isna().to_numpy()
        codes = np.array(
            [
                -1 if missing else place.setdefault((type(value), value), len(place))
                for value, missing in zip(column.to_numpy(object), is_missing, strict=True)
            ],
            dtype=np.int64,
        )
        levels = [value for _, value in place]
    values = np.empty(len(levels) + 1, dtype=object)  # the last is None, for what is missing
    for i, level in enumerate(levels):
        is_blank = isinstance(level, str) and not level.strip()
        values[i] = None if is_blank else read(level)
    return values[codes]


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
    numbers = _numbers_by_arrow(column) if _is_strings(column) else None
    if numbers is None:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _numbers_by_arrow(strings: pd.Series) -> np.ndarray | None:
    """Strings as float64, read many times as fast as by pandas; None if one is no number."""
    try:
        return pa.array(strings).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def learn_columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    """What each column of a table holds and how it is written, as one decision for all its cells.

    A column is empty if it has no two different values. Columns of strings are numbers or dates if
    nearly all of their cells are written in one format (`guess_number_format`,
    `guess_date_format`); text if they are long and mostly different; identifiers if nearly all are
    different; else categories. Where a column leaves its decimal mark, or the order of day and
    month, open, the other columns decide. Whole numbers that differ in every row are identifiers if
    they number the rows, or are called so; unless there is no other column.

    Args:
        frame: As `as_frame` gives it, all rows that are to be learned from.

    Raises:
        DataError: If a column holds lists, bytes or other parts.

    Example:
        >>> rows = [[1, "red", "31.01.2024", "7,5"], [2, "blue", "01.02.2024", "1.000,0"]]
        >>> [column.kind for column in learn_columns(as_frame(rows))]
        ['number', 'category', 'date', 'number']
    """
    columns = [_learn_column(frame[name]) for name in frame.columns]
    decimal, order = _conventions(frame, columns)
    for i, column in enumerate(columns):
        is_open = (column.number and column.number.ambiguous and decimal) or (
            column.date and column.date.ambiguous and order
        )
        if is_open:
            columns[i] = _learn_column(frame[column.name], decimal, order)
    if not any(column.is_used for column in columns):
        columns = [
            replace(c, kind="number", reason=ONLY_NUMBERED) if c.number else c for c in columns
        ]
    return tuple(columns)


def number_format_of(column: pd.Series) -> NumberFormat | None:
    """How a column of strings or numbers writes numbers; None if it holds no numbers.

    Example:
        >>> number_format_of(pd.Series(["1,5", "2,25"])).decimal
        ','
    """
    values = column.dropna()
    texts = pd.Series(_each(values, _string), dtype=object).dropna()
    return guess_number_format(texts.iloc[:: -(-len(texts) // LOOKED_AT) or 1])


def as_target_numbers(column: pd.Series) -> np.ndarray:
    """A target of numbers as float64, which may be written with units ("$1,234"); NaN where it
    cannot be read. Limits such as "<5" are no numbers here.
    """
    found = as_numbers(column)
    if np.isnan(found).any() and (written := number_format_of(column)):
        exact = replace(written, compared=False)
        found = Column("", "number", number=exact).read(column).to_numpy()
    return found


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


def unreadable_cells(
    frame: pd.DataFrame, table: pd.DataFrame, columns: Sequence[Column]
) -> list[str]:
    """A line for each column that has cells that could not be read, with an example.

    Empty cells and words for missing ("n/a") are none of them.

    Args:
        frame, table: Before and after `read_columns`.
        columns: As `learn_columns` gave them.
    """
    lines = []
    for column in columns:
        unreadable = _lost(frame, table, column)
        unreadable = unreadable[~unreadable.str.lower().isin(MISSING_WORDS)]
        if not len(unreadable):
            continue
        if unreadable.str.lower().str.fullmatch(r"[+-]?inf(inity)?").all():
            lines.append(f"infinite values are taken as missing: {column.name}")
        else:
            lines.append(
                f"{column.name}: {len(unreadable)} of {len(frame)} cells cannot be read as "
                f"{column.number or column.date} and count as missing, such as "
                f"{unreadable.iloc[0]!r}"
            )
    return lines


def _lost(frame: pd.DataFrame, table: pd.DataFrame, column: Column) -> pd.Series:
    """The cells of a column of numbers or dates that are missing after they were read."""
    if column.kind not in ("number", "date"):
        return pd.Series([], dtype=str)
    raw = frame[column.name]
    is_lost = (table[column.name].isna() & raw.notna()).to_numpy()
    texts = raw[is_lost].astype(object).map(str).map(clean).astype(str)
    return texts[texts != ""]


def column_notes(frame: pd.DataFrame, table: pd.DataFrame, columns: Sequence[Column]) -> list[str]:
    """What of a table is left out, and how its columns are read, in words.

    Args:
        frame, table: Before and after `read_columns`.
        columns: As `learn_columns` gave them.
    """
    notes: dict[str, list[str]] = {}
    for column in columns:
        number, date = column.number, column.date
        if column.reason:
            notes.setdefault(column.reason, []).append(column.name)
        if number and column.is_used and (number.ambiguous or not number.is_plain):
            ambiguity = ", though they leave the decimal mark open" if number.ambiguous else ""
            notes.setdefault(f"read as {number}{ambiguity}", []).append(column.name)
        if date and (date.numeric or date.compact):
            ambiguity = ", though they leave the order open" if date.ambiguous else ""
            notes.setdefault(f"read as {date}{ambiguity}", []).append(column.name)
        if len(_lost(frame, table, column)) and not unreadable_cells(frame, table, [column]):
            notes.setdefault(f"words among {column.kind}s are taken as missing", []).append(
                column.name
            )
    lines = [f"{reason}: {', '.join(names)}" for reason, names in notes.items()]
    return lines + unreadable_cells(frame, table, columns)


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Columns as JSON takes them."""
    return [asdict(column) for column in columns]


def columns_from_json(data: Any) -> tuple[Column, ...]:
    """Columns from what `columns_to_json` gave.

    Raises:
        DataError: If it is something else.

    Example:
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


def _learn_column(
    column: pd.Series, decimal: Literal[".", ",", ""] = "", order: Any = None
) -> Column:
    name, values = str(column.name), column.dropna()
    _check_cells(column)
    kinds = pd.api.types
    if kinds.is_timedelta64_dtype(values):
        is_empty = values.nunique() < 2
        return _empty(name) if is_empty else Column(name, "number", number=NumberFormat())
    if kinds.is_datetime64_any_dtype(values) or isinstance(values.dtype, pd.PeriodDtype):
        is_empty = values.nunique() < 2
        return _empty(name) if is_empty else Column(name, "date", date=DateFormat())
    is_number = kinds.is_numeric_dtype(values) and not kinds.is_bool_dtype(values)
    if not is_number and values.dtype == object and len(values) and _are_numbers(values):
        is_number, values = True, pd.to_numeric(values, errors="coerce")
    if is_number:
        return _number_column(column, as_numbers(values), NumberFormat())
    if _is_strings(values) and _are_plain_numbers(values):
        return _number_column(column, as_numbers(values), NumberFormat())
    texts = pd.Series(_each(values, _string), dtype=object).dropna()
    n_different = texts.nunique()
    if n_different < 2:
        return _empty(name)
    levels = {str(level).lower() for level in texts.unique()} if n_different <= 4 else set()
    is_flag = bool(levels) and levels <= {"true", "false"}
    if is_flag or isinstance(values.dtype, pd.CategoricalDtype):
        return Column(name, "category", flag=is_flag)
    looked_at = texts.iloc[:: -(-len(texts) // LOOKED_AT)]
    number = guess_number_format(looked_at, decimal)
    is_time = number is not None and (number.unit == "duration" or _may_be_compact(looked_at))
    if number is None or is_time:
        date = guess_date_format(looked_at, order)
        if date and (number is None or not _unread_dates(looked_at, date)):
            return Column(name, "date", date=date)
    if number:
        read = Column(name, "number", number=number).read(column).dropna().to_numpy()
        return _number_column(column, read, number)
    words = looked_at.str.count(r"\s+").mean() + 1
    is_long = words >= 4 or (words >= 2 and looked_at.str.len().mean() >= 30)
    if is_long and looked_at.nunique() > 0.5 * len(looked_at):
        return Column(name, "text")
    if len(texts) >= FEWEST_IDS and n_different >= MOST * len(texts):
        return Column(name, "identifier", reason=DIFFERENT)
    return Column(name, "category")


PLAIN_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
SURELY_DECIMAL = r"-?[0-9]+\.([0-9]{1,2}|[0-9]{4,})([eE][+-]?[0-9]+)?"
"""A point before three digits may stand between thousands."""


def _are_plain_numbers(values: pd.Series) -> bool:
    """Whether strings are all numbers with a decimal point, if any, beyond doubt; most files' are,
    and looking closely at each takes long."""
    if not len(values) or not values.iloc[:100].str.fullmatch(PLAIN_NUMBER).all():
        return False
    if not values.str.fullmatch(PLAIN_NUMBER).all():
        return False
    if values.str.contains(".", regex=False).any():
        return bool(values.str.fullmatch(SURELY_DECIMAL).any())
    return not _may_be_compact(values.iloc[:: -(-len(values) // LOOKED_AT)])


def _empty(name: str) -> Column:
    return Column(name, "empty", reason=EMPTY)


def _check_cells(column: pd.Series) -> None:
    """Refuse cells that are lists, bytes or other parts."""
    values = column.dropna()
    for value in values if values.dtype == object else values.iloc[:1]:
        if not isinstance(value, Hashable) or isinstance(value, bytes | tuple | complex):
            raise DataError(
                f"expected numbers, words, dates or texts in the column {column.name!r}, got "
                f"{type(value).__name__}: make columns of its parts, or leave it out"
            )


def _are_numbers(values: pd.Series) -> bool:
    return all(
        isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool | np.bool_)
        for value in values
    )


def _may_be_compact(texts: pd.Series) -> bool:
    return texts.iloc[0].isdigit() and len(texts.iloc[0]) in (8, 12, 14)


def _unread_dates(texts: pd.Series, date: DateFormat) -> bool:
    return any(
        np.isnat(date.read(text))
        for text in texts.unique()
        if clean(text).lower() not in MISSING_WORDS
    )


def _number_column(column: pd.Series, found: np.ndarray, number: NumberFormat) -> Column:
    name = str(column.name)
    found = found[~np.isnan(found)]
    if not len(found) or (found == found[0]).all():
        return _empty(name)
    whole = bool((found == found.round()).all())
    may_be_dates = whole and found.min() >= 18000101 and found.max() <= 21991231
    if may_be_dates and number.is_plain:
        days = pd.Series([str(int(day)) for day in np.unique(found)])
        if (date := guess_date_format(days)) and not _unread_dates(days, date):
            return Column(name, "date", date=date)
    flag = bool(np.isin(found, (0.0, 1.0)).all())
    read = Column(name, "number", number=number, flag=flag)
    is_float = pd.api.types.is_float_dtype(column)
    is_count = whole and number.is_plain and not is_float and len(found) == len(column)
    reason = _row_number_reason(name, found) if is_count else ""
    return replace(read, kind="identifier", reason=reason) if reason else read


def _row_number_reason(name: str, found: np.ndarray) -> str:
    """Why whole numbers, one for each row, are taken for numbers of the rows; empty if not."""
    n = len(found)
    if n < FEWEST_IDS or len(np.unique(found)) < n:
        return ""
    are_years = YEARS[0] <= found.min() and found.max() <= YEARS[1]
    if ID_NAME.fullmatch(name) or CAMEL_ID_NAME.fullmatch(name):
        return CALLED
    if not are_years and n >= DENSE * (found.max() - found.min() + 1):
        return NUMBERED
    return ""


def _conventions(
    frame: pd.DataFrame, columns: Sequence[Column]
) -> tuple[Literal[".", ",", ""], Any]:
    """The decimal mark and the order of dates of the unambiguous columns, if they agree."""
    decimals, orders = set[str](), set[str]()
    if any((c.number and c.number.ambiguous) or (c.date and c.date.ambiguous) for c in columns):
        for column in columns:
            number, date = column.number, column.date
            cells = frame[column.name]
            if number and not number.ambiguous and (number.decimal == "," or _has_fractions(cells)):
                decimals.add(number.decimal)
            if date and date.numeric and not date.ambiguous:
                orders.add(date.order)
    return (
        next(iter(decimals)) if len(decimals) == 1 else "",
        next(iter(orders)) if len(orders) == 1 else None,
    )


def _has_fractions(column: pd.Series) -> bool:
    texts = column.dropna()
    return (
        not pd.api.types.is_numeric_dtype(texts) and texts.astype(str).str.contains(r"\.\d").any()
    )
