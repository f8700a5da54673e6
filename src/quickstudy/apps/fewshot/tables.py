"""Tables of examples: a column of labels, and one of texts or several of numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.table_files import read_rows

__all__ = ["is_number", "label_column", "numbers", "read_table"]

LABEL_COLUMNS = ("label", "class")
"""Names that the column of labels has, if none is given."""

MAX_NUMBER = 1e30
"""What numbers may be at most: products of larger ones overflow."""


def read_table(path: Path) -> dict[str, list[str]]:
    """The columns of a table by name, their cells as text."""
    names, rows = read_rows(path)
    if not rows:
        raise DataError(f"expected at least one row below the column names of {path}, got none")
    columns = ([_cell(value) for value in column] for column in zip(*rows, strict=True))
    return dict(zip(names, columns, strict=True))


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def label_column(table: dict[str, list[str]], label: str | None, path: Path) -> str:
    """The name of the column of labels, as given or by its usual names."""
    candidates = [label] if label else [name for name in table if name.lower() in LABEL_COLUMNS]
    if len(candidates) != 1 or candidates[0] not in table:
        raise UsageError(
            f"expected a column {label or 'label'!r} in {path}, got {', '.join(table)}: name the "
            "column of labels with --label"
        )
    if len(table) < 2:
        raise DataError(f"expected columns beside {candidates[0]!r} in {path}, got none")
    return candidates[0]


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def numbers(table: dict[str, list[str]], columns: list[str], path: Path) -> Tensor:
    """Columns of numbers as a tensor (n, d)."""
    for name in columns:
        for i, cell in enumerate(table[name]):
            if not is_number(cell) or not math.isfinite(float(cell)):
                raise DataError(
                    f"expected numbers, or one column of texts, beside the labels, got {cell!r} in "
                    f"column {name!r}, row {i + 1} of {path}"
                )
            if abs(float(cell)) > MAX_NUMBER:
                raise DataError(
                    f"expected numbers of {MAX_NUMBER:g} at most, got {cell} in column {name!r}, "
                    f"row {i + 1} of {path}: scale the column"
                )
    return torch.tensor([[float(c) for c in table[name]] for name in columns]).T.double()
