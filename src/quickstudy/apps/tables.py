"""Tables in files: the names of their columns, and their rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from quickstudy.errors import DataError, MissingError, require

__all__ = ["read_rows"]


def read_rows(path: Path, delimiter: str | None = None) -> tuple[list[str], list[list[Any]]]:
    """Read a table whose first line, or schema, names its columns.

    Args:
        path: CSV in UTF-8, tab-separated if it ends in .tsv, or Parquet if in .parquet.
        delimiter: Between cells, whatever the name says.

    Returns:
        The names, and the rows: cells are text, or from Parquet what it holds, None where nothing.

    Raises:
        MissingError: If there is no such file, or Parquet cannot be read without pyarrow.
        DataError: If it is damaged, empty, has a column twice, or rows of other numbers of cells.
    """
    if not path.is_file():
        raise MissingError(f"expected a CSV or Parquet file at {path}, found none")
    if path.suffix.lower() == ".parquet":
        require("pyarrow", "experience")
        import pyarrow
        from pyarrow import parquet

        try:
            table = parquet.read_table(path)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as Parquet ({error}): write it again") from None
        columns = [column.to_pylist() for column in table.columns]
        return _each_once(table.column_names, path), list(map(list, zip(*columns, strict=True)))
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        rows = [row for row in lines if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read, it is not CSV in UTF-8 ({error}): save it as that"
        ) from None
    if not rows:
        raise DataError(f"expected column names in the first line of {path}, got an empty file")
    head = rows.pop(0)
    if len(head) == 1 and ";" in head[0]:
        raise DataError(
            f"expected commas between the cells of {path}, got {head[0]!r}: save it with commas"
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(head):
            raise DataError(
                f"expected {len(head)} cells in each line of {path}, as column names, got "
                f"{len(row)} in row {number}: {row!r}"
            )
    return _each_once(head, path), rows


def _each_once(names: list[str], path: Path) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"expected every column name of {path} once, got {twice!r} twice")
    return names
