"""How the commands speak: a table for people, or JSON for programs."""

from __future__ import annotations

import codecs
import itertools
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from quickstudy.errors import RunError, UsageError
from quickstudy.files import check_writable

__all__ = [
    "MAX_SEED",
    "Json",
    "Overwrite",
    "check_new",
    "json_text",
    "results_text",
    "say",
    "seconds_in",
    "table",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

MAX_SEED = 2**32 - 1
"""What NumPy and scikit-learn take."""

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")
]


def check_new(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that an earlier call of a command has filled, or that cannot be written.

    Raises:
        RunError: If there is something in it and `overwrite` is false.
        DiskError: If it cannot be written.
    """
    written = folder.iterdir() if folder.is_dir() else ()
    if not overwrite and any(path.name != ".lock" for path in written):
        raise RunError(
            f"{folder} holds a run already: name another folder with --run, or add --overwrite"
        )
    check_writable(folder)


def say(result: Any, as_json: bool, text: str) -> None:
    """Print a result, as JSON or as its text."""
    if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
        print(json_text(result, sys.stdout.encoding) if as_json else text)


def json_text(value: Any, encoding: str = "utf-8") -> str:
    """A value as JSON, with letters as they are in UTF-8, or escaped in any other encoding, since
    readers of JSON expect UTF-8.

    Example:
        >>> print(json_text("Żółw"), json_text("Żółw", "cp1252"))
        "Żółw" "\\u017b\\u00f3\\u0142w"
    """
    text = json.dumps(value, indent=1, ensure_ascii=False)
    try:
        text.encode("utf-8" if codecs.lookup(encoding).name == "utf-8" else "ascii")
    except UnicodeEncodeError:
        return json.dumps(value, indent=1)
    return text


def table(head: list[str], *rows: list[str]) -> str:
    """Lay out rows in aligned columns under a head; on a terminal, cells wrap to its width.

    A word is never broken, so a name can be copied; columns that are too wide even so stay.

    Example:
        >>> print(table(["data set", "here"], ["omniglot", "no"]))
        data set  here
        --------  ----
        omniglot  no
    """
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if sys.stdout.isatty():
        longest = [max(len(word) for cell in c for word in (cell.split() or [""])) for c in columns]
        over = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
        while over > 0 and (wide := [i for i, w in enumerate(widths) if w > longest[i]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
            over -= 1
    lines: list[Sequence[str]] = []
    for row in [head, ["-" * w for w in widths], *rows]:
        cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines += itertools.zip_longest(*cells, fillvalue="")
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines
    )


def _wrapped(cell: str, width: int) -> list[str]:
    return [cell] if len(cell) <= width else textwrap.wrap(cell, width, break_on_hyphens=False)


def seconds_in(text: str) -> float:
    """The seconds in "90s", "10m" or "1h".

    Raises:
        UsageError: If it is no such time.

    Example:
        >>> seconds_in("1.5m")
        90.0
    """
    if not re.fullmatch(r"(\d+(\.\d*)?|\.\d+)[smh]", text, re.ASCII):
        raise UsageError(f"expected a time such as 90s, 10m or 1h, got {text!r}")
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def results_text(results: dict[str, Any], absent: list[str]) -> str:
    """A table of the results of meta-testing, and what was left out."""
    from quickstudy.experiments.report import INTERVALS, result_rows

    lines = [table(*result_rows(results)), INTERVALS]
    lines += [f"Left out, as its data is not here: {title}" for title in absent]
    return "\n".join(lines)
