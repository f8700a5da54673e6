"""Checks of ratings and scales."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quickstudy.errors import DataError, UsageError

__all__ = ["check_on_scale", "check_scale", "number"]


def check_scale(scale: tuple[float, float]) -> None:
    """Refuse a scale that is not a lowest and a higher highest rating."""
    low, high = scale
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"expected a scale from low to high, got {low:g} to {high:g}")


def check_on_scale(ratings: np.ndarray, scale: tuple[float, float]) -> None:
    """Refuse ratings that are not from the lowest to the highest of a scale."""
    low, high = scale
    off_scale = ~((ratings >= low) & (ratings <= high))
    if off_scale.any():
        first = ratings[off_scale.argmax()]
        raise DataError(
            f"expected ratings of {low:g} to {high:g}, got {first:g}: correct it, or give the "
            "scale of all ratings in training (scale=, --scale)"
        )


def number(value: Any, expected: str) -> float:
    """A finite number, or a `DataError` that begins with what was expected."""
    try:
        finite = float(value)
    except (TypeError, ValueError):
        finite = math.nan
    if not math.isfinite(finite):
        raise DataError(f"{expected}, got {value!r}")
    return finite
