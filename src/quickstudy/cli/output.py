"""How the commands speak: a table for people, or JSON for programs."""

from __future__ import annotations

import json
import math
import os
from typing import Annotated, Any

import typer

from quickstudy.errors import UsageError

__all__ = ["Json", "say", "seconds_in", "table"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def say(result: Any, as_json: bool, text: str) -> None:
    """Print a result, as JSON or as its text."""
    if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
        print(json.dumps(result, indent=1) if as_json else text)


def table(head: list[str], *rows: list[str]) -> str:
    """Lay out rows in aligned columns under a head.

    Example:
        >>> print(table(["data set", "here"], ["omniglot", "no"]))
        data set  here
        --------  ----
        omniglot  no
    """
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines
    )


def seconds_in(text: str) -> float:
    """The seconds in "90s", "10m" or "1h".

    Raises:
        UsageError: If it is no such time.

    Example:
        >>> seconds_in("1.5m")
        90.0
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        return float(text[:-1]) * (unit or math.nan)
    except ValueError:
        raise UsageError(f"expected a time such as 90s, 10m or 1h, got {text!r}") from None
