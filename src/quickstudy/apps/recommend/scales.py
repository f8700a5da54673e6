"""Scales of ratings: the levels that a recommender tells apart.

Shapes: n ratings, V levels.
"""

from __future__ import annotations

import warnings

import numpy as np

from quickstudy.errors import DataError

__all__ = ["MAX_LEVELS", "nearest_levels", "rating_levels"]

MAX_LEVELS = 20
"""Most different ratings that are told apart as they are."""

N_BINS = 10
"""Levels of a scale that has more."""


def rating_levels(ratings: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """The levels to tell apart, ascending, (V,): the different ratings and the ends of the scale;
    of many different ratings the means of ten equal parts, with a warning.

    Args:
        ratings: (n,).
        scale: The lowest and highest possible rating.

    Raises:
        DataError: If all ratings are the same.

    Example:
        >>> rating_levels(np.array([1.0, 4.0, 4.0]), (1, 5)).tolist()
        [1.0, 4.0, 5.0]
        >>> rating_levels(np.arange(-50.0, 50.0), (-50, 50)).round().tolist()[:3]
        [-46.0, -36.0, -26.0]
    """
    different = np.unique(ratings)
    if len(different) < 2:
        raise DataError(f"expected 2 different ratings or more, got {len(different)}: take clicks")
    if len(different) <= MAX_LEVELS:
        return np.union1d(different, scale)
    parts = np.array_split(np.sort(ratings), N_BINS)
    levels = np.unique([part.mean() for part in parts])
    warnings.warn(
        f"of {len(different)} different ratings, {len(levels)} levels are told apart, from "
        f"{levels[0]:.3g} to {levels[-1]:.3g}",
        stacklevel=4,
    )
    return levels


def nearest_levels(ratings: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The level nearest to each rating, (n,).

    Example:
        >>> nearest_levels(np.array([1.2, 9.0]), np.array([1.0, 4.0, 5.0])).tolist()
        [1.0, 5.0]
    """
    midpoints = (levels[:-1] + levels[1:]) / 2
    return levels[np.searchsorted(midpoints, ratings)]
