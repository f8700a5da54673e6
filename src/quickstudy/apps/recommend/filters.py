"""Which items have an attribute."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quickstudy.apps.recommend.identifiers import plain
from quickstudy.apps.recommend.interactions import Columns
from quickstudy.errors import DataError, unknown

__all__ = ["matching_items", "words_of"]


def matching_items(columns: Columns, where: Mapping[str, Any]) -> np.ndarray:
    """Whether each item fulfils all conditions, (I,).

    Args:
        columns: Attributes, a value an item.
        where: Of an attribute a word, several words of which one will do, a number, or a pair of
            numbers (lowest, highest). Capitals and accents of words need not match.

    Raises:
        UsageError: For an attribute that no item has.
        DataError: If no item has the value.

    Example:
        >>> columns = {"genres": [["Drama"], ["War", "Drama"]], "year": [1999.0, 1950.0]}
        >>> matching_items(columns, {"genres": "drama", "year": (1900, 1960)}).tolist()
        [False, True]
    """
    all_of = []
    for name, value in where.items():
        if name not in columns:
            raise unknown("attribute of items", name, columns)
        matches = _matches(columns[name], value)
        if not matches.any():
            raise DataError(f"expected a value of {name!r} that an item has, got {value!r}")
        all_of.append(matches)
    return np.all(all_of, 0)


def _matches(column: Sequence[Any], value: Any) -> np.ndarray:
    bounds = value if isinstance(value, tuple) else (value, value)
    if len(bounds) == 2 and all(isinstance(bound, numbers.Real) for bound in bounds):
        low, high = bounds
        return np.array([isinstance(x, numbers.Real) and low <= x <= high for x in column])
    wanted = set(map(plain, words_of(value)))
    return np.array([not wanted.isdisjoint(map(plain, words_of(cell))) for cell in column])


def words_of(cell: Any) -> list[str]:
    """The words of an attribute: of one word, of several, or of none."""
    if cell is None:
        return []
    return list(map(str, cell)) if isinstance(cell, list | tuple) else [str(cell)]
