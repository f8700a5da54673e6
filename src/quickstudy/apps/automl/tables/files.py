"""Tables in files.

Needs pandas, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from pathlib import Path

from quickstudy.apps.automl.tables.frames import as_frame
from quickstudy.errors import DataError, MissingError, UsageError, require
from quickstudy.table_files import (
    TABLE_FORMATS,
    check_cells,
    format_of,
    read_parquet,
)
from quickstudy.text_files import (
    check_bytes,
    decimal_point,
    encoding_of,
    first_lines,
    open_text,
    separator_of,
)

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["read_frame"]


def read_frame(path: str | Path) -> pd.DataFrame:
    """A table from a .csv, .tsv or .parquet file; gzip may have packed the first two.

    Cells of .csv and .tsv files are strings, as they are written; only empty ones are missing.
    `learn_columns` decides what a column of them holds. A .csv file may have semicolons, tabs or |
    between cells; after semicolons, commas are decimal marks.

    Args:
        path: The file.

    Raises:
        MissingError: If it is not there, or Parquet cannot be read without pyarrow.
        UsageError: If it is a file of another kind.
        DataError: If it is empty or damaged, in an encoding that `encoding_of` does not find, has a
            column twice, or is too large for memory.
    """
    path = Path(path)
    written = format_of(path)
    if written not in TABLE_FORMATS:
        raise UsageError(f"expected a .csv, .tsv or .parquet file, got {path}")
    if not path.is_file():
        raise MissingError(f"expected a table at {path}, found none")
    if written == "parquet":
        require("pyarrow", "automl")
        return as_frame(read_parquet(path).to_pandas(ignore_metadata=True))
    check_bytes(path)
    try:
        separator = _check_head(path, written)
        with open_text(path, encoding_of(path)) as file:
            frame = pd.read_csv(
                file, sep=separator, dtype=str, keep_default_na=False, na_values=[""]
            )
        if separator == ";":
            frame = frame.map(decimal_point, na_action="ignore")
        return as_frame(frame.rename(columns=str.strip))
    except pd.errors.EmptyDataError:
        raise DataError(f"expected a table in {path}, got an empty file") from None
    except (pd.errors.ParserError, csv.Error, OSError, ValueError) as error:
        raise (
            error if isinstance(error, DataError) else DataError(f"{path} cannot be read: {error}")
        ) from error


def _check_head(path: Path, written: str) -> str:
    """The mark between cells, after a look at what pandas would read in a way nobody means."""
    separator = "\t" if written == "tsv" else separator_of(first_lines(path))
    with open_text(path) as file:
        lines, first = csv.reader(file, delimiter=separator), []
        names = [name.strip() for name in next(lines, [])]
        with contextlib.suppress(csv.Error):  # of a text as long as pandas alone takes
            first = next((line for line in lines if line), first)
    if twice := [name for name, n in Counter(names).items() if name and n > 1]:
        raise DataError(f"expected each column of {path} once, got {twice[0]!r} more often")
    if len(first) > len(names):  # pandas would take the first cells for names of rows
        raise DataError(
            f"expected {len(names)} cells in each line of {path}, as column names, got "
            f"{len(first)}: name each column, and end no line with {separator!r}"
        )
    with open_text(path) as file:  # pandas fills short lines up
        n_lines = sum(part.count("\n") for part in iter(lambda: file.read(2**20), ""))
    check_cells(path, n_lines, len(names))
    return separator
