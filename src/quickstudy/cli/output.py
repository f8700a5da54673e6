"""How the commands speak: a table for people, or JSON for programs."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

__all__ = ["Json", "say", "table"]

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
