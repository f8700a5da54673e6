"""A progress bar for anything that takes more than a moment."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

__all__ = ["track"]

T = TypeVar("T")


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Go through `items` under a bar with time left, on standard error if it is a terminal.

    The bar disappears at the end.

    Example:
        >>> sum(track([1, 2, 3], "adding"))
        6
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(items, what, console=Console(stderr=True), transient=True)
