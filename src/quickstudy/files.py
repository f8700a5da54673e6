"""Writing files so that nothing is ever half-written, and names of files as text."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.errors import DiskError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ESCAPE_UNENCODABLE",
    "disk_errors",
    "escape_unencodable",
    "make_folder",
    "readable",
    "remove_leftovers",
    "sync_folder",
    "write_atomically",
    "write_durably",
    "write_figure",
]


ESCAPE_UNENCODABLE = "quickstudy.escape_unencodable"
"""The name of `escape_unencodable` as an error handler of `str.encode` and of text streams."""


def escape_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode a character that an encoding does not have: a byte of a file name as that byte, any
    other as a backslash escape.

    Python reads a byte of a file name that is not text as a lone surrogate (PEP 383).

    Example:
        >>> "r\\udcff ±".encode("ascii", ESCAPE_UNENCODABLE)
        b'r\\xff \\\\xb1'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    error.end = error.start + 1
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error(ESCAPE_UNENCODABLE, escape_unencodable)


def readable(name: str) -> str:
    """A file name as text that UTF-8 can hold: its bytes read as UTF-8, or else escaped.

    Example:
        >>> readable("caf\\udcc3\\udca9"), readable("caf\\udce9")
        ('café', 'caf\\\\xe9')
    """
    return name.encode("utf-8", ESCAPE_UNENCODABLE).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Say of any error in writing what cannot be written, and what to do.

    Raises:
        DiskError: In place of another OSError.
    """
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(
            f"cannot write to {place} ({error.strerror or error}): make room or allow writing "
            "there, and try again, or name another place; what was written before is kept"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, also after a power cut.

    Raises:
        DiskError: If it cannot be written; then it is the old one.
    """
    made = path.with_name(f".tmp-{uuid.uuid4().hex}")
    with disk_errors(path):
        try:
            write_durably(made, content)
            made.rename(path)
        finally:
            made.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_figure(path: Path, figure: Figure) -> Path:
    """Write a figure to a .png file so that it is the whole picture or the old one.

    Raises:
        DiskError: If it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_atomically(path, picture.getvalue())
    return path


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written; only for a folder no other writes to."""
    for left in folder.glob(".tmp-*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file, and return once it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, and return once they are on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Return once the folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
