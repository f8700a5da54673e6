"""Tables in files: the names of their columns, and their rows."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from quickstudy.errors import DataError, MissingError, require
from quickstudy.text_files import (
    check_bytes,
    check_decoded_bytes,
    decimal_point,
    encoding_of,
    first_lines,
    not_csv,
    open_text,
    separator_of,
)

__all__ = [
    "TABLE_FORMATS",
    "as_csv",
    "check_cells",
    "check_decoded",
    "format_of",
    "open_parquet",
    "read_parquet",
    "read_rows",
    "stream_rows",
]

MAX_CELLS, MAX_COLUMNS = 200_000_000, 100_000
"""Of a table."""


def check_cells(path: Path, n_rows: int, n_columns: int) -> None:
    """Refuse a table that is too large for memory, by its numbers of rows and columns.

    Raises:
        DataError: If it is.
    """
    if n_columns > MAX_COLUMNS or n_rows * n_columns > MAX_CELLS:
        raise DataError(
            f"expected {MAX_CELLS:,} cells and {MAX_COLUMNS:,} columns at most, got {n_rows:,} "
            f"rows of {n_columns:,} columns in {path}: draw rows, or leave out columns"
        )


@contextlib.contextmanager
def open_parquet(path: Path, *, lists: bool = False) -> Iterator[tuple[Any, list[str]]]:
    """Open a Parquet file of numbers, texts, dates and times: a file of pyarrow, and the names of
    the columns of texts.

    What the file says of its sizes is checked before anything is decoded. Columns of texts are read
    as dictionaries, which hold a repeated text once; `check_decoded` says whether memory can hold
    all of them.

    Args:
        lists: Whether a cell may be a list of these, as the genres of a film.

    Raises:
        DataError: If it is too large for memory, has a column twice, or holds structures, bytes, or
            unexpected lists.
        pyarrow.ArrowException, OSError, ValueError, OverflowError: If it is damaged.
    """
    from pyarrow import parquet, types

    check_bytes(path)
    with parquet.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    check_cells(path, metadata.num_rows, len(schema))
    _each_once(schema.names, path)
    for column in schema:
        kind = column.type
        if types.is_dictionary(kind) or (lists and types.is_list(kind)):
            kind = kind.value_type
        if not (types.is_primitive(kind) or types.is_null(kind) or _is_text(kind)) and not (
            types.is_decimal(kind)
        ):
            raise DataError(
                f"expected numbers, texts or dates in the column {column.name!r} of {path}, "
                f"got {kind}: write it as one of these, or leave it out"
            )
    check_decoded_bytes(path, sum(group.total_byte_size for group in groups))
    texts = [column.name for column in schema if _is_text(column.type)]
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        yield file, texts


def check_decoded(path: Path, table: Any, n_bytes_before: int = 0) -> int:
    """Refuse a table of pyarrow that is too large for memory once its dictionaries of texts are
    written out.

    Args:
        n_bytes_before: What other parts of the file take.

    Returns:
        What this table and those parts take, in bytes.

    Raises:
        DataError: If it is.
    """
    from pyarrow import compute, types

    size = n_bytes_before
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        if types.is_dictionary(chunk.type) and _is_text(chunk.dictionary.type):
            lengths = compute.binary_length(chunk.dictionary)  # pyright: ignore
            size += compute.sum(lengths.take(chunk.indices)).as_py() or 0  # pyright: ignore
            size += chunk.indices.nbytes
        else:
            size += chunk.nbytes
    check_decoded_bytes(path, size)
    return size


def read_parquet(path: Path, *, lists: bool = False) -> Any:
    """A Parquet file of numbers, texts, dates and times, as a table of pyarrow.

    Args:
        lists: Whether a cell may be a list of these.

    Raises:
        DataError: If it is damaged, or `open_parquet` or `check_decoded` refuses it.
    """
    import pyarrow

    try:
        with open_parquet(path, lists=lists) as (file, texts):
            table = file.read()
        check_decoded(path, table)
        for i, name in enumerate(table.column_names):
            if name in texts:
                plain = table.column(i).cast(pyarrow.large_string())
                table = table.set_column(i, name, plain)
        return table
    except DataError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}): write it again") from None


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes spreadsheets take a cell for a formula, which may run programs; the full-width forms
of these do so too."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def as_csv(table: Mapping[str, Iterable[Any]]) -> str:
    """Columns as CSV that is safe to open in a spreadsheet.

    A cell or column name that a spreadsheet would take for a formula gets an apostrophe before it;
    numbers stay as they are.

    Example:
        >>> print(as_csv({"label": ["=1+1", "-1.5", "cat"], "p": [0.5, -0.5, 1.0]}), end="")
        label,p
        '=1+1,0.5
        -1.5,-0.5
        cat,1.0
    """
    rows = [list(map(_no_formula, row)) for row in (table, *zip(*table.values(), strict=True))]
    # csv.writer leaves "\r" unquoted, which readers take for the end of a row
    has_return = any(isinstance(cell, str) and "\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()


def _no_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    start = unicodedata.normalize("NFKC", cell[:1])  # full-width forms become plain ones
    return f"'{cell}" if start in FORMULA_STARTS else cell


Unequal = Literal["raise", "ignore"]
"""What to do about lines with more or fewer cells than columns have names."""

MAX_UNEQUAL_SHARE = 0.1
"""Of lines that may be left out; if there are more, cells are separated by something else."""

UNIT_SEPARATOR = "\x1f"
"""The control character that ASCII has for this."""


def read_rows(
    path: Path,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
    *,
    lists: bool = False,
) -> tuple[list[str], list[list[Any]]]:
    """Read a table whose first line, or schema, names its columns.

    Args:
        path: CSV, which gzip may have packed (see `encoding_of`); tab-separated if it ends in .tsv.
            Parquet if it ends in .parquet.
        delimiter: Between cells, whatever the name says; it may have several characters. Without,
            `separator_of` the first line says it. After semicolons, decimal commas become points.
        names: Of the columns, where the first line of the text is a row as all others.
        lists: Whether a cell of Parquet may be a list.

    Returns:
        The names, and the rows: cells are text, or from Parquet what it holds, None where nothing.

    Raises:
        MissingError: If there is no such file, or Parquet cannot be read without pyarrow.
        DataError: If it is damaged, empty, has a column twice, or rows of other numbers of cells.
    """
    if format_of(path) == "parquet" and path.is_file():
        require("pyarrow", "experience")
        table = read_parquet(path, lists=lists)
        columns = [column.to_pylist() for column in table.columns]
        return table.column_names, list(map(list, zip(*columns, strict=True)))
    head, rows = stream_rows(path, delimiter, names)
    return head, list(rows)


def stream_rows(
    path: Path,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
    *,
    unequal: Unequal = "raise",
) -> tuple[list[str], Iterator[list[str]]]:
    """Read a table of text row by row, so that it need not fit into memory.

    Args:
        path, delimiter, names: As in `read_rows`; the delimiter " " is any white space.
        unequal: "ignore" leaves out rows of other numbers of cells, with a warning at the end.

    Returns:
        The names of the columns, and an iterator over the rows.

    Raises:
        MissingError, DataError: As `read_rows`; what is wrong with a row, when it is reached.
    """
    if not path.is_file():
        raise MissingError(f"expected a CSV or Parquet file at {path}, found none")
    check_bytes(path)
    _check_format(path)
    if delimiter is None:
        delimiter = "\t" if format_of(path) == "tsv" else separator_of(first_lines(path))
    rows = _checked(_cells(path, delimiter), path)
    if delimiter == ";":
        rows = (list(map(decimal_point, row)) for row in rows)
    first = next(rows, None)
    if first is None:
        raise DataError(f"expected column names in the first line of {path}, got an empty file")
    if names is not None:
        rows = itertools.chain([first], rows)
    head = _each_once(first if names is None else list(names), path)
    return head, _of_equal_length(rows, len(head), path, unequal)


def format_of(path: Path) -> str:
    """How a table is written, by the end of its name: "csv", "tsv", "parquet" or another.

    Example:
        >>> format_of(Path("a.tsv.gz")), format_of(Path("a.PARQUET")), format_of(Path("a"))
        ('tsv', 'parquet', '')
    """
    is_packed = path.suffix.lower() == ".gz"
    return (path.with_suffix("") if is_packed else path).suffix.lower().removeprefix(".")


TABLE_FORMATS = ("csv", "tsv", "parquet")
"""Of the tables that are read."""

NO_TABLES = ("json", "jsonl", "xlsx", "xls", "ods", "feather", "arrow", "pkl", "npz", "npy", "zip")
"""Ends of names of files that are written in another way."""


def _check_format(path: Path) -> None:
    if format_of(path) in NO_TABLES:
        raise DataError(f"expected CSV or Parquet, got {path}: save it as one of these")


def _cells(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The cells of each line."""
    is_simple = len(delimiter) == 1 and delimiter != " "
    quoting = csv.QUOTE_MINIMAL if is_simple and delimiter != "\t" else csv.QUOTE_NONE
    try:
        with open_text(path, encoding_of(path)) as file:
            lines: Iterable[str] = file
            if delimiter == " ":
                lines = (UNIT_SEPARATOR.join(line.split()) for line in file)
            elif not is_simple:  # which the csv module does not take
                lines = (line.replace(delimiter, UNIT_SEPARATOR) for line in file)
            separator = delimiter if is_simple else UNIT_SEPARATOR
            yield from csv.reader(lines, delimiter=separator, quoting=quoting)
    except (csv.Error, UnicodeError) as error:
        raise not_csv(path, error) from None


def _of_equal_length(
    rows: Iterable[list[str]], n: int, path: Path, unequal: Unequal
) -> Iterator[list[str]]:
    n_unequal = number = 0
    first = ""
    for number, row in enumerate(rows, 1):
        if len(row) == n:
            yield row
            continue
        n_unequal += 1
        first = first or f"got {len(row)} in row {number}: {row!r}"
        if unequal == "raise":
            break
    expected = f"expected {n} cells in each line of {path}, as column names, {first}"
    if unequal == "raise" and n_unequal:
        raise DataError(expected)
    if n_unequal > MAX_UNEQUAL_SHARE * number:
        raise DataError(f"{expected} ({n_unequal:,} of {number:,} rows are so)")
    if n_unequal:
        warnings.warn(f"{n_unequal:,} of {number:,} rows are left out: {expected}", stacklevel=2)


def _checked(rows: Iterable[list[str]], path: Path) -> Iterator[list[str]]:
    """The rows that are not empty, until memory cannot hold a table of so many."""
    n_columns = 0
    for n_rows, row in enumerate(filter(None, rows), 1):
        n_columns = max(n_columns, len(row))
        check_cells(path, n_rows, n_columns)
        yield row


def _each_once(names: list[str], path: Path) -> list[str]:
    if twice := next((name for name, n in Counter(names).items() if n > 1), None):
        raise DataError(f"expected every column name of {path} once, got {twice!r} twice")
    return names
