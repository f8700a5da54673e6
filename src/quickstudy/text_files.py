"""Files of text: their encoding and size, and what separates the cells of a table in one."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from quickstudy.errors import DataError

__all__ = [
    "SEPARATORS",
    "check_bytes",
    "check_decoded_bytes",
    "decimal_point",
    "encoding_of",
    "first_lines",
    "not_csv",
    "open_text",
    "separator_of",
]

MAX_BYTES = 4 * 2**30
"""Of a file, and of what a Parquet file holds when it is decoded."""

CHUNK = 2**20

NO_WINDOWS_1252 = bytes({*range(9), *range(14, 32), 0x7F, 0x81, 0x8D, 0x8F, 0x90, 0x9D})
"""Bytes that text in Windows-1252 does not have."""

MAX_LINE = 1_000_000
"""Characters of a line that are looked at to find what separates cells."""


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


def check_decoded_bytes(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"expected a table of {MAX_BYTES:,} bytes at most, got {size:,} in {path} when it is "
            "decoded: draw rows, or leave out columns"
        )


@contextlib.contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """Open a text file, which gzip may have packed. Lines end as they are written.

    Args:
        path: The file.
        encoding: As `encoding_of` the file; by default the one that it begins with the mark of, or
            UTF-8 with a mark in the place of what is none.
    """
    with _open_bytes(path) as file:
        errors = "strict" if encoding else "replace"
        yield io.TextIOWrapper(file, encoding or _marked(file), errors, newline="")


@contextlib.contextmanager
def _open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, or what gzip has packed in it."""
    with path.open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as packed:
            yield io.BufferedReader(_Bounded(packed, path))


def _marked(file: io.BufferedReader) -> str:
    """The encoding whose mark a file begins with; UTF-8 if it has none."""
    return (
        "utf-16" if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    )


def encoding_of(path: Path) -> str:
    """The encoding of a text file: UTF-16 if it has the mark of that, else UTF-8.

    What is not UTF-8 is taken for Windows-1252, which spreadsheets write in much of the world, with
    a warning; unless it has bytes that no such text has.

    Raises:
        DataError: If it is none of these.
    """
    with _open_bytes(path) as file:
        encoding = _marked(file)
        parts = iter(lambda: file.read(CHUNK), b"")
        decode = codecs.getincrementaldecoder(encoding)().decode
        try:
            for part in parts:
                decode(part)
            decode(b"", True)
            return encoding
        except UnicodeError as error:
            wrong = not_csv(path, error)
    with _open_bytes(path) as file:
        for part in iter(lambda: file.read(CHUNK), b""):
            if encoding == "utf-16" or part.translate(None, NO_WINDOWS_1252) != part:
                raise wrong
    warnings.warn(
        f"{path} is not UTF-8 and is read as Windows-1252: if letters with accents are wrong, save "
        "it as UTF-8",
        stacklevel=2,
    )
    return "cp1252"


class _Bounded(io.RawIOBase):
    """What a packed file holds, until it is larger than a file may be."""

    def __init__(self, file: gzip.GzipFile, path: Path) -> None:
        self._file, self._path, self._size = file, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._file.read(len(buffer))
        except (OSError, EOFError) as error:
            raise DataError(f"{self._path} cannot be unpacked ({error}): pack it again") from None
        self._size += len(part)
        check_decoded_bytes(self._path, self._size)
        buffer[: len(part)] = part
        return len(part)


def first_lines(path: Path) -> str:
    """The first two lines that are not empty; of very long ones the beginning."""
    with open_text(path) as file:
        lines = iter(lambda: file.readline(MAX_LINE), "")
        return "".join(itertools.islice(filter(str.strip, lines), 2))


def not_csv(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read, it is not CSV in UTF-8 ({error}): save it as that")


SEPARATORS = (",", ";", "\t", "|")
"""Between cells; the first of those that come equally often is taken."""


def separator_of(text: str, known: Sequence[str] = SEPARATORS) -> str:
    """What separates the cells of CSV: of what comes as often in the second line as in the first,
    outside quotes, the most frequent.

    Where that says nothing, it is a semicolon if the first line has semicolons and no comma, as
    spreadsheets write where the comma is decimal; else a comma.

    Example:
        >>> separator_of("height, m;label;place\\n1,5;x;y"), separator_of("height|label\\n2|x")
        (';', '|')
        >>> separator_of('"a;b",label\\n1,2'), separator_of("height;label")
        (',', ';')
    """
    lines = [QUOTED.sub("", line) for line in text.split("\n") if line.strip()]
    first, second = (*lines, "", "")[:2]
    alike = [mark for mark in known if 0 < first.count(mark) == second.count(mark)]
    if alike:
        return max(alike, key=first.count)
    return ";" if ";" in first and "," not in first else ","


QUOTED = re.compile('"[^"]*"')


DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def decimal_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; any other cell as it is.

    Example:
        >>> decimal_point("-1,5"), decimal_point("a,b")
        ('-1.5', 'a,b')
    """
    return cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell.strip()) else cell
