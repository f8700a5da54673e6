"""Checks of the options of families and policies."""

from __future__ import annotations

import math

from quickstudy.errors import UsageError

__all__ = ["check_number", "check_whole"]


def check_whole(name: str, value: object, least: int = 1) -> int:
    """Refuse an option that is not a whole number of `least` or more.

    Example:
        >>> check_whole("n_arms", 5)
        5
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"expected {name} to be a whole number of {least} or more, got {value!r}")
    return value


def check_number(name: str, value: object, least: float, most: float = math.inf) -> float:
    """Refuse an option that is not a finite number from `least` to `most`.

    Example:
        >>> check_number("noise", 0.5, least=0)
        0.5
    """
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if not math.isfinite(number) or not least <= number <= most:
        bounds = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
        raise UsageError(f"expected {name} to be a number {bounds}, got {value!r}")
    return number
