"""What each column of a table holds and how it is written, learned from its cells.

Needs pandas, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal as PythonDecimal
from typing import Literal

import numpy as np

from quickstudy.apps.automl.tables.columns import (
    Column,
    as_numbers,
    cell_text,
    check_cells,
    is_strings,
    read_each,
)
from quickstudy.apps.automl.tables.date_formats import DateFormat, Order, guess_date_format
from quickstudy.apps.automl.tables.number_formats import Decimal, NumberFormat, guess_number_format
from quickstudy.apps.automl.tables.text import MISSING_WORDS, clean
from quickstudy.errors import require

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["learn_columns", "number_format_of"]

MAX_SAMPLED_CELLS = 5000
"""Cells of a column that decide what it holds, evenly spaced."""

IDENTIFIER_SHARE = 0.95
"""Share of different strings among a column's cells that makes it one of identifiers."""

MIN_IDENTIFIERS = 20
"""Cells of which nearly all must differ for a column to be one of identifiers."""

ROW_NUMBER_DENSITY = 0.5
"""Share of the whole numbers from the least to the greatest that row numbers take, each once."""

YEAR_RANGE = (1500, 2100)
"""Whole numbers within these can be years, which differ in each row of a table of years."""

ID_NAME = re.compile(
    r"(.*[^a-z])?(id|ids|uid|uuid|guid|pk|rowid|row[ _.-]?(id|index|no|nr|num|number))|"
    r"(unnamed: ?\d+|__index_level_\d+__|index|row|idx)?",
    re.IGNORECASE,
)
CAMEL_ID_NAME = re.compile(r".*[a-z](Id|ID)")

MOSTLY_DIFFERENT = "left out, as nearly all of their values differ"
TOO_FEW_VALUES = "left out, as they hold fewer than two values"
NAMED_IDENTIFIER = "left out, as they differ in every row and are called identifiers"
ROW_NUMBERS = "left out, as they number the rows (floats would be learned from)"
ONLY_ROW_NUMBERS = "they number the rows, and are used as there is nothing else to learn from"
"""Reasons of columns."""

WARNED_REASONS = (NAMED_IDENTIFIER, ROW_NUMBERS, ONLY_ROW_NUMBERS)
"""Reasons that a user should know before trusting a search: they may be mistaken."""


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
        >>> from quickstudy.apps.automl.tables.frames import as_frame
        >>> rows = [[1, "red", "31.01.2024", "7,5"], [2, "blue", "01.02.2024", "1.000,0"]]
        >>> [column.kind for column in learn_columns(as_frame(rows))]
        ['number', 'category', 'date', 'number']
    """
    columns = [_learn_column(frame[name]) for name in frame.columns]
    conventions = _conventions(frame, columns)
    for i, column in enumerate(columns):
        is_number_decided = column.number and column.number.ambiguous and conventions.decimal
        is_date_decided = column.date and column.date.ambiguous and conventions.order
        if is_number_decided or is_date_decided:
            columns[i] = _learn_column(frame[column.name], conventions)
    if not any(column.is_used for column in columns):
        columns = [
            replace(c, kind="number", reason=ONLY_ROW_NUMBERS) if c.number else c for c in columns
        ]
    return tuple(columns)


def number_format_of(column: pd.Series) -> NumberFormat | None:
    """How a column of strings or numbers writes numbers; None if it holds no numbers.

    Example:
        >>> number_format_of(pd.Series(["1,5", "2,25"])).decimal
        ','
    """
    values = column.dropna()
    texts = pd.Series(read_each(values, _string), dtype=object).dropna()
    return guess_number_format(_sample(texts))


@dataclass(frozen=True)
class _Conventions:
    """What a table's unambiguous columns say of those that leave it open; empty or None if nothing.

    Args:
        decimal: The decimal mark.
        order: The order of day, month and year.
    """

    decimal: Decimal | Literal[""] = ""
    order: Order | None = None


NO_CONVENTIONS = _Conventions()


def _learn_column(column: pd.Series, conventions: _Conventions = NO_CONVENTIONS) -> Column:
    name, values = str(column.name), column.dropna()
    check_cells(column)
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
    if is_number or (is_strings(values) and _are_plain_numbers(values)):
        return _number_column(column, as_numbers(values), NumberFormat())
    texts = pd.Series(read_each(values, _string), dtype=object).dropna()
    n_different = texts.nunique()
    if n_different < 2:
        return _empty(name)
    levels = {str(level).lower() for level in texts.unique()} if n_different <= 4 else set()
    is_flag = bool(levels) and levels <= {"true", "false"}
    if is_flag or isinstance(values.dtype, pd.CategoricalDtype):
        return Column(name, "category", flag=is_flag)
    return _number_or_date(column, texts, conventions) or _words_column(name, texts, n_different)


def _number_or_date(
    column: pd.Series, texts: pd.Series, conventions: _Conventions
) -> Column | None:
    """A column of strings that are numbers or dates; None if they are neither."""
    name, sample = str(column.name), _sample(texts)
    number = guess_number_format(sample, conventions.decimal)
    may_be_time = number is not None and (number.unit == "duration" or _may_be_compact(sample))
    if number is None or may_be_time:
        date = guess_date_format(sample, conventions.order)
        if date and (number is None or not _unread_dates(sample, date)):
            return Column(name, "date", date=date)
    if number is None:
        return None
    values = Column(name, "number", number=number).read(column).dropna().to_numpy()
    return _number_column(column, values, number)


def _words_column(name: str, texts: pd.Series, n_different: int) -> Column:
    """A column of strings that are texts, identifiers or categories."""
    sample = _sample(texts)
    n_words = sample.str.count(r"\s+").mean() + 1
    is_long = n_words >= 4 or (n_words >= 2 and sample.str.len().mean() >= 30)
    if is_long and sample.nunique() > 0.5 * len(sample):
        return Column(name, "text")
    if len(texts) >= MIN_IDENTIFIERS and n_different >= IDENTIFIER_SHARE * len(texts):
        return Column(name, "identifier", reason=MOSTLY_DIFFERENT)
    return Column(name, "category")


def _sample(texts: pd.Series) -> pd.Series:
    """Evenly spaced cells by which a format is guessed."""
    return texts.iloc[:: -(-len(texts) // MAX_SAMPLED_CELLS) or 1]


def _string(value: object) -> str:
    return value.strip() if isinstance(value, str) else cell_text(value)


PLAIN_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
SURELY_DECIMAL = r"-?[0-9]+\.([0-9]{1,2}|[0-9]{4,})([eE][+-]?[0-9]+)?"
"""A point before three digits may be a mark between thousands."""


def _are_plain_numbers(values: pd.Series) -> bool:
    """Whether strings are all numbers with a decimal point, if any, beyond doubt.

    It saves time: most files' numbers are, and a closer look at each cell takes long.
    """
    if not len(values) or not values.iloc[:100].str.fullmatch(PLAIN_NUMBER).all():
        return False
    if not values.str.fullmatch(PLAIN_NUMBER).all():
        return False
    if values.str.contains(".", regex=False).any():
        some = (_sample(values), values)  # most often a few cells suffice
        return any(cells.str.fullmatch(SURELY_DECIMAL).any() for cells in some)
    return not _may_be_compact(_sample(values))


def _empty(name: str) -> Column:
    return Column(name, "empty", reason=TOO_FEW_VALUES)


def _are_numbers(values: pd.Series) -> bool:
    return all(
        isinstance(value, numbers.Real | PythonDecimal) and not isinstance(value, bool | np.bool_)
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


def _number_column(column: pd.Series, values: np.ndarray, number: NumberFormat) -> Column:
    """A column of these numbers: numbers, compact dates, numbers of the rows, or empty."""
    name, values = str(column.name), values[~np.isnan(values)]
    if not len(values) or (values == values[0]).all():
        return _empty(name)
    are_whole = bool((values == values.round()).all())
    may_be_dates = are_whole and values.min() >= 18000101 and values.max() <= 21991231
    if may_be_dates and number.is_plain:
        days = pd.Series([str(int(day)) for day in np.unique(values)])
        if (date := guess_date_format(days)) and not _unread_dates(days, date):
            return Column(name, "date", date=date)
    is_flag = bool(np.isin(values, (0.0, 1.0)).all())
    is_float = pd.api.types.is_float_dtype(column)
    is_count = are_whole and number.is_plain and not is_float and len(values) == len(column)
    if reason := _row_number_reason(name, values) if is_count else "":
        return Column(name, "identifier", number=number, flag=is_flag, reason=reason)
    return Column(name, "number", number=number, flag=is_flag)


def _row_number_reason(name: str, values: np.ndarray) -> str:
    """Why whole numbers, one for each row, are taken for row numbers; empty if they are not."""
    n = len(values)
    if n < MIN_IDENTIFIERS or len(np.unique(values)) < n:
        return ""
    are_years = YEAR_RANGE[0] <= values.min() and values.max() <= YEAR_RANGE[1]
    if ID_NAME.fullmatch(name) or CAMEL_ID_NAME.fullmatch(name):
        return NAMED_IDENTIFIER
    if not are_years and n >= ROW_NUMBER_DENSITY * (values.max() - values.min() + 1):
        return ROW_NUMBERS
    return ""


def _conventions(frame: pd.DataFrame, columns: Sequence[Column]) -> _Conventions:
    """The decimal mark and the order of dates of the unambiguous columns, if they agree."""
    decimals, orders = set[Decimal](), set[Order]()
    if any((c.number and c.number.ambiguous) or (c.date and c.date.ambiguous) for c in columns):
        for column in columns:
            number, date = column.number, column.date
            cells = frame[column.name]
            if number and not number.ambiguous and (number.decimal == "," or _has_fractions(cells)):
                decimals.add(number.decimal)
            if date and date.numeric and not date.ambiguous:
                orders.add(date.order)
    return _Conventions(
        next(iter(decimals)) if len(decimals) == 1 else "",
        next(iter(orders)) if len(orders) == 1 else None,
    )


def _has_fractions(column: pd.Series) -> bool:
    texts = column.dropna()
    return (
        not pd.api.types.is_numeric_dtype(texts) and texts.astype(str).str.contains(r"\.\d").any()
    )
