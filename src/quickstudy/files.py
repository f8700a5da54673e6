"""Writing files so that nothing is ever half-written, folders of the user's own, and names of files
as text."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from quickstudy.errors import DiskError, RunError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ESCAPE_UNENCODABLE",
    "check_output_file",
    "check_writable",
    "disk_errors",
    "escape_unencodable",
    "locked",
    "make_folder",
    "make_private",
    "only_user_writes",
    "read_json",
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


MAX_JSON_BYTES = 100_000_000
"""Of a JSON file that is read: reports with the scores of all tasks have some megabytes."""

PROBE_BYTES = 4096
"""Bytes that are written to learn whether a place can be written."""


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


@contextlib.contextmanager
def locked(folder: Path, message: str, *, seconds: float = 0.0) -> Iterator[None]:
    """Make a folder if there is none, and hold its lock file, which the end of a process frees.

    Args:
        message: What to say if another process holds it.
        seconds: To wait for that process.

    Raises:
        RunError: If it still does.
        DiskError: If the folder cannot be written.
    """
    lock = FileLock(folder / ".lock")
    with disk_errors(folder):
        make_folder(folder)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise RunError(message) from None
    try:
        yield
    finally:
        lock.release()


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written into; nothing is made.

    To be called before the work whose results go there.

    Raises:
        DiskError: If the disk is full or read-only, writing is not allowed, or a file is there.
    """
    with disk_errors(folder):
        place = folder.absolute()
        while not _exists(place) and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())


def _exists(path: Path) -> bool:
    """Whether something is at a path; a name that no file can have raises OSError.

    From Python 3.14 on, `Path.exists` and `Path.is_dir` say no of such a name.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def check_output_file(path: Path) -> None:
    """Refuse a file that cannot be written, as `check_writable` does.

    Raises:
        UsageError: If its folder is not there, or it is a folder itself.
        DiskError: As `check_writable`.
    """
    with disk_errors(path):
        if _exists(path) and path.is_dir():
            raise UsageError(f"expected a file to write to, got the folder {path}")
        if not path.parent.is_dir():
            raise UsageError(
                f"expected a folder at {path.parent} to write {path.name} into, found none"
            )
    check_writable(path.parent)


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that it is either the old one or the new one, also after a power cut.

    Args:
        content: Its bytes, or the parts of them in turn.

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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one if there is no file.

    Raises:
        RunError: If it holds no object, or more than `MAX_JSON_BYTES`.
    """
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"over {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("expected an object")
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}): train the run anew") from None
    return content


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written; only for a folder no other writes to."""
    for left in folder.glob(".tmp-*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def write_durably(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a new file, and return once it is on the disk."""
    with path.open("xb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, and return once they are on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def make_private(folder: Path) -> None:
    """Make a folder for files that are run later: only the user can open it (mode 700).

    A folder that others could have written into is removed first, with all that is in it.

    Raises:
        DiskError: If it cannot be made, or others can replace it or a folder above it.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(folder) and not only_user_writes(folder):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
        folder.mkdir(mode=0o700, exist_ok=True)
        if not only_user_writes(folder):
            raise PermissionError(errno.EPERM, "other users can write there")
        folder.chmod(0o700)


def only_user_writes(folder: Path) -> bool:
    """Whether no other user but the administrator can put files into a folder, or replace it.

    Groups of one user, whose number is that of the user, count as the user. Where there are no
    POSIX permissions it is taken to be so.
    """
    if os.name != "posix":
        return True
    own = folder.lstat()
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != os.getuid() or _others_write(own):
        return False
    above = {*folder.absolute().parents, *folder.resolve().parents}  # also where links lie
    return all(
        s.st_uid in (0, os.getuid()) and (s.st_mode & stat.S_ISVTX or not _others_write(s))
        for s in (parent.stat() for parent in above)
    )


def _others_write(status: os.stat_result) -> bool:
    of_one_user = status.st_gid == status.st_uid == os.getuid()
    return bool(status.st_mode & (stat.S_IWOTH if of_one_user else stat.S_IWOTH | stat.S_IWGRP))


def sync_folder(folder: Path) -> None:
    """Return once the folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
