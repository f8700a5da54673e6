"""What is known of one user: ratings or clicks, as they are given to `Recommender.adapt`."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.bases.base import Matrix
from quickstudy.apps.recommend.checks import check_on_scale
from quickstudy.errors import DataError

__all__ = ["clicks_of", "ratings_of", "row_of"]


def ratings_of(
    history: Mapping[Any, float] | Sequence[Any], scale: tuple[float, float]
) -> list[tuple[Any, float]]:
    """Items with ratings.

    Raises:
        DataError: If there are other things, or a rating is off the scale.
    """
    entries = _entries(history)
    for entry in entries:
        if isinstance(entry, (str, bytes)) or not hasattr(entry, "__len__") or len(entry) != 2:
            raise DataError(f"expected items with ratings, got {entry!r}")
        item, rating = entry
        if not isinstance(rating, numbers.Real):
            raise DataError(f"expected a number as the rating of {item!r}, got {rating!r}")
    check_on_scale(np.array([rating for _, rating in entries], float), scale)
    return entries


def clicks_of(history: Mapping[Any, float] | Sequence[Any]) -> list[tuple[Any, float]]:
    """Items with their positions in the sequence, from 1.

    Raises:
        DataError: If there are other things than names of items.
    """
    entries = _entries(history)
    for entry in entries:
        if isinstance(entry, Sequence) and not isinstance(entry, (str, bytes)):
            raise DataError(
                f"expected the names of items in order, as there were no ratings in training, got "
                f"{entry!r}"
            )
    return [(item, float(position)) for position, item in enumerate(entries, 1)]


def row_of(
    items: Sequence[Any], positions: np.ndarray, values: Sequence[float], n_items: int
) -> Matrix:
    """The ratings or clicks of one user as a matrix (1, n_items).

    Args:
        items: As they were given, for the error.
        positions: Of the items; those of -1 are left out.
        values: Ratings, or positions of clicks.
        n_items: In training.

    Raises:
        DataError: If an item comes twice.
    """
    known = np.flatnonzero(positions >= 0)
    columns, index = np.unique(positions[known], return_index=True)
    if len(columns) < len(known):
        repeated = np.setdiff1d(np.arange(len(known)), index)
        item = items[int(known[repeated[0]])]
        raise DataError(f"expected each item once, got {item!r} twice: keep the newest")
    data = np.array(values, float)[known[index]]
    return sparse.csr_matrix((data, columns, np.array([0, len(columns)])), shape=(1, n_items))


def _entries(history: Mapping[Any, float] | Sequence[Any]) -> list[Any]:
    if isinstance(history, str):
        raise DataError(f"expected a list of items, got {history!r}: put it into a list")
    return list(history.items() if isinstance(history, Mapping) else history)
