"""Columns of interactions as arrays: names as codes, ratings and times as numbers.

A column of ten million cells has few different names and ratings, so each of these is read once.

Shapes: n rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from quickstudy.apps.recommend.identifiers import identifier
from quickstudy.apps.recommend.times import seconds
from quickstudy.errors import DataError

__all__ = [
    "CodedColumn",
    "Column",
    "InteractionColumns",
    "Unreadable",
    "newest_of_each",
    "readable_columns",
]

Unreadable = Literal["raise", "ignore"]
"""What to do about rows that cannot be read."""

MAX_UNREADABLE_SHARE = 0.1
"""Of the rows without an empty cell: if more cannot be read, a column is taken for another. Half of
all rows, with those of empty cells, are too many in any case."""


class CodedColumn:
    """A column as its different values, and the number of the value in each row.

    Example:
        >>> column = CodedColumn.of(["b", "a", "b"])
        >>> column.values, column.codes.tolist()
        (['b', 'a'], [0, 1, 0])
    """

    def __init__(self) -> None:
        self._code_of: dict[Any, int] = {}
        self._parts: list[np.ndarray] = []

    @classmethod
    def of(cls, cells: Column) -> CodedColumn:
        """Code a whole column."""
        if isinstance(cells, CodedColumn):
            return cells
        column = cls()
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "iu":
            values, codes = np.unique(cells, return_inverse=True)
            column._code_of = {value: i for i, value in enumerate(values.tolist())}
            column._parts = [codes.astype(np.int32)]
        else:
            column.extend(cells.tolist() if isinstance(cells, np.ndarray) else cells)
        return column

    def extend(self, cells: Sequence[Any]) -> None:
        """Add rows."""
        code_of = self._code_of
        try:
            codes = (code_of.setdefault(cell, len(code_of)) for cell in cells)
            self._parts.append(np.fromiter(codes, np.int32, len(cells)))
        except TypeError:
            cell = next(cell for cell in cells if not getattr(cell, "__hash__", None))
            raise DataError(f"expected a name or number in each cell, got {cell!r}") from None

    @property
    def values(self) -> list[Any]:
        return list(self._code_of)

    @property
    def codes(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.int32), *self._parts])

    def numbers(self) -> np.ndarray:
        """The cells as finite numbers, NaN for those that are none, (n,)."""
        return np.array([_number(value) for value in self.values], float)[self.codes]

    def names(self) -> tuple[list[str], np.ndarray]:
        """The different identifiers, and of each row the position of its own; -1 where missing."""
        position_of: dict[str, int] = {"": -1}
        positions = [
            position_of.setdefault(identifier(value), len(position_of) - 1) for value in self.values
        ]
        return list(position_of)[1:], np.array(positions, np.int64)[self.codes]


Column = Sequence[Any] | np.ndarray | CodedColumn


class InteractionColumns(NamedTuple):
    """Readable interactions: names of users and items, positions in these, ratings and times."""

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray | None


def readable_columns(
    user: Column,
    item: Column,
    rating: Column | None,
    time: Any,
    unreadable: Unreadable = "ignore",
) -> InteractionColumns:
    """Read the columns of interactions; rows that cannot be read are left out, with a warning.

    Args:
        user, item: Names.
        rating: Numbers; None for clicks.
        time: As `seconds` takes them; None if there are none.
        unreadable: "raise" refuses rows that cannot be read.

    Raises:
        DataError: If a row cannot be read and none may be left out, or too many; names the row.
    """
    user, item, rating, time = map(_plain, (user, item, rating, time))
    users, user_position = CodedColumn.of(user).names()
    items, item_position = CodedColumn.of(item).names()
    n = len(user_position)
    ratings = np.ones(n) if rating is None else _numbers(rating)
    times = None if time is None else seconds(time, invalid="nan" if n > 1 else "raise")
    has_names = (user_position >= 0) & (item_position >= 0)
    is_readable = has_names & np.isfinite(ratings)
    if times is not None:
        is_readable &= np.isfinite(times)
    n_unreadable = int(n - is_readable.sum())
    if n_unreadable:
        row = int(is_readable.argmin())
        cells = [_cell(column, row) for column in (user, item, rating, time) if column is not None]
        if not has_names[row]:
            problem = f"expected a user and an item, got {cells!r}"
        elif not np.isfinite(ratings[row]):
            problem = f"expected a finite rating, got {cells[2]!r}"
        else:
            assert time is not None
            problem = f"expected a finite time, got {cells[-1]!r}: write it as in row 1"
        if unreadable == "raise":
            raise DataError(f"row {row + 1}: {problem}")
        n_filled, n_wrong = _filled(is_readable, has_names, rating, time)
        if n_unreadable >= n / 2 or n_wrong > MAX_UNREADABLE_SHARE * n_filled:
            raise DataError(
                f"row {row + 1}: {problem} ({n_unreadable:,} of {n:,} rows cannot be read)"
            )
        warnings.warn(
            f"{n_unreadable:,} of {n:,} rows cannot be read and are left out; row {row + 1} for "
            f"one: {problem}",
            stacklevel=4,
        )
    users, user_position = _in_order(users, user_position[is_readable])
    items, item_position = _in_order(items, item_position[is_readable])
    return InteractionColumns(
        users,
        items,
        user_position,
        item_position,
        ratings[is_readable],
        None if times is None else times[is_readable],
    )


def _filled(
    is_readable: np.ndarray, has_names: np.ndarray, *columns: Column | None
) -> tuple[int, int]:
    """How many rows have no empty cell, and how many of these cannot be read."""
    is_filled = has_names.copy()
    for column in columns:
        if isinstance(column, np.ndarray) and column.dtype.kind == "f":
            is_filled &= ~np.isnan(column)
        elif column is not None and not isinstance(column, np.ndarray | CodedColumn):
            is_filled &= np.fromiter((identifier(cell) != "" for cell in column), bool)
        elif column is not None:
            is_filled &= CodedColumn.of(column).names()[1] >= 0
    return int(is_filled.sum()), int((is_filled & ~is_readable).sum())


def newest_of_each(pairs: np.ndarray, time: np.ndarray | None) -> np.ndarray:
    """The rows to keep, in the order in which their pair first comes: of rows with the same pair
    the newest, or the last if there are no times.

    Example:
        >>> newest_of_each(np.array([7, 5, 7]), np.array([3.0, 1.0, 2.0])).tolist()
        [0, 1]
    """
    rows = np.arange(len(pairs))
    order = np.lexsort((rows if time is None else time, pairs))
    is_last = np.append(np.diff(pairs[order]) != 0, True)[: len(order)]
    if is_last.all():
        return rows
    group = np.cumsum(np.append(0, is_last[:-1]))  # of each row in `order`
    first = np.full(group[-1] + 1, len(pairs))
    np.minimum.at(first, group, order)
    return order[is_last][np.argsort(first)]


def _in_order(names: list[str], position: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The names that occur, in the order in which they first come, and positions in these."""
    present, first, inverse = np.unique(position, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return [names[i] for i in present[order]], rank[inverse]


def _plain(column: Any) -> Any:
    """A series of pandas, Polars or PyArrow as an array."""
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def _numbers(column: Column) -> np.ndarray:
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return column.astype(float)
    return CodedColumn.of(column).numbers()


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _cell(column: Column, row: int) -> Any:
    if isinstance(column, CodedColumn):
        return column.values[column.codes[row]]
    return column[row]
