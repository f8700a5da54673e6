"""Tables in files: the names of their columns, and their rows."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quickstudy.errors import DataError, MissingError, require

__all__ = [
    "as_csv",
    "check_bytes",
    "check_cells",
    "check_decoded",
    "decimal_point",
    "open_parquet",
    "read_parquet",
    "read_rows",
    "separator_of",
    "stream_rows",
]

MAX_BYTES = 4 * 2**30
"""Of a file, and of what a Parquet file holds when it is decoded."""

MAX_CELLS, MAX_COLUMNS = 200_000_000, 100_000
"""Of a table."""


def check_bytes(path: Path) -> None:
    """Refuse a file that is too large for memory.

    Raises:
        DataError: If it is.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise DataError(
            f"expected a table of {MAX_BYTES:,} bytes at most, got {size:,} in {path}: draw rows, "
            "or leave out columns"
        )


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
    _check_decoded_bytes(path, sum(group.total_byte_size for group in groups))
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
    _check_decoded_bytes(path, size)
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


def _check_decoded_bytes(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"expected a table of {MAX_BYTES:,} bytes at most, got {size:,} in {path} when it is "
            "decoded: draw rows, or leave out columns"
        )


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


DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def separator_of(text: str) -> str:
    """What separates the cells of CSV: a semicolon, as spreadsheets write where the comma is
    decimal, if the first line has semicolons and no comma; else a comma.

    Example:
        >>> separator_of("height;label\\n1,5;x\\n"), separator_of("height,label")
        (';', ',')
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    return ";" if ";" in first and "," not in first else ","


def decimal_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; any other cell as it is.

    Example:
        >>> decimal_point("-1,5"), decimal_point("a,b")
        ('-1.5', 'a,b')
    """
    return cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell.strip()) else cell


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
        path: CSV in UTF-8, tab-separated if it ends in .tsv, or Parquet if in .parquet.
        delimiter: Between cells, whatever the name says; it may have several characters. Without,
            `separator_of` the first line says it; after semicolons, decimal commas become points.
        names: Of the columns, where the first line of the text is a row as all others.
        lists: Whether a cell of Parquet may be a list.

    Returns:
        The names, and the rows: cells are text, or from Parquet what it holds, None where nothing.

    Raises:
        MissingError: If there is no such file, or Parquet cannot be read without pyarrow.
        DataError: If it is damaged, empty, has a column twice, or rows of other numbers of cells.
    """
    if path.suffix.lower() == ".parquet" and path.is_file():
        require("pyarrow", "experience")
        table = read_parquet(path, lists=lists)
        columns = [column.to_pylist() for column in table.columns]
        return table.column_names, list(map(list, zip(*columns, strict=True)))
    head, rows = stream_rows(path, delimiter, names)
    return head, list(rows)


def stream_rows(
    path: Path, delimiter: str | None = None, names: Sequence[str] | None = None
) -> tuple[list[str], Iterator[list[str]]]:
    """Read a table of text row by row, so that it need not fit into memory.

    Args:
        path, delimiter, names: As in `read_rows`; the delimiter " " is any white space.

    Returns:
        The names of the columns, and an iterator over the rows.

    Raises:
        MissingError, DataError: As `read_rows`; what is wrong with a row, when it is reached.
    """
    if not path.is_file():
        raise MissingError(f"expected a CSV or Parquet file at {path}, found none")
    check_bytes(path)
    has_decimal_commas = False
    if delimiter is None:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else separator_of(_first_line(path))
        has_decimal_commas = delimiter == ";"
    rows = _checked(_cells(path, delimiter), path)
    if has_decimal_commas:
        rows = (list(map(decimal_point, row)) for row in rows)
    first = next(rows, None)
    if first is None:
        raise DataError(f"expected column names in the first line of {path}, got an empty file")
    if names is not None:
        rows = itertools.chain([first], rows)
    head = _each_once(first if names is None else list(names), path)
    return head, _of_equal_length(rows, len(head), path)


def _first_line(path: Path) -> str:
    """The first line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next((line for line in file if line.strip()), "")
    except UnicodeDecodeError as error:
        raise _no_csv(path, error) from None


def _cells(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The cells of each line."""
    is_simple = len(delimiter) == 1 and delimiter != " "
    quoting = csv.QUOTE_MINIMAL if is_simple and delimiter != "\t" else csv.QUOTE_NONE
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines: Iterable[str] = file
            if delimiter == " ":
                lines = (UNIT_SEPARATOR.join(line.split()) for line in file)
            elif not is_simple:  # which the csv module does not take
                lines = (line.replace(delimiter, UNIT_SEPARATOR) for line in file)
            separator = delimiter if is_simple else UNIT_SEPARATOR
            yield from csv.reader(lines, delimiter=separator, quoting=quoting)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _no_csv(path, error) from None


def _no_csv(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read, it is not CSV in UTF-8 ({error}): save it as that")


def _of_equal_length(rows: Iterable[list[str]], n: int, path: Path) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) != n:
            raise DataError(
                f"expected {n} cells in each line of {path}, as column names, got {len(row)} in "
                f"row {number}: {row!r}"
            )
        yield row


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
