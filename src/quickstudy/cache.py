"""Caches in the user's cache folder: bounded in size, shared by processes, and skipped if they
cannot be read or written.

`QUICKSTUDY_CACHE=off` turns all of them off, and `QUICKSTUDY_CACHE=500` lets each take 500 MB; the
default is `DEFAULT_MEGABYTES`. What was used least recently goes first. The folder may be deleted
at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path

from quickstudy.errors import UsageError
from quickstudy.files import make_folder, write_atomically

__all__ = ["BlobCache", "FileCache", "cache_limit"]

DEFAULT_MEGABYTES = 2000

TIME_RESOLUTION = 60
"""Seconds before another use of an entry is recorded, so that most reads write nothing."""

MAX_VARIABLES = 500
"""Most variables of one SQL statement; SQLite before 2020 takes 999."""

EVICTED_ONE_IN = 10
"""A full cache loses one in this many entries at a time, so that few writes have to make room."""


def cache_limit() -> int:
    """The most bytes that each cache may take: 0 if caches are turned off.

    Raises:
        UsageError: If `QUICKSTUDY_CACHE` is neither "off" nor a number of megabytes.
    """
    setting = os.environ.get("QUICKSTUDY_CACHE", "").strip().lower()
    if setting == "off":
        return 0
    if setting and not (setting.isascii() and setting.isdigit()):
        raise UsageError(
            f'expected "off" or a number of megabytes in QUICKSTUDY_CACHE, got {setting!r}'
        )
    return int(setting or DEFAULT_MEGABYTES) * 1_000_000


class BlobCache:
    """Bytes by key, many small ones, in one SQLite file with an index.

    It holds no connection, so copies, forks and threads may use it alike. A process that is killed
    while it writes leaves the file as it was before.

    Args:
        name: Of the file.

    Example:
        >>> BlobCache("example").get([b"absent"])
        {}
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> Path:
        return user_cache_path("quickstudy") / f"{self.name}.sqlite"

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The entries of those keys that have one."""
        values: dict[bytes, bytes] = {}
        if not cache_limit() or not self.path.exists():
            return values
        now, stale = int(time.time()), []
        with self._ignore_errors(), self._connect("rw") as connection:
            remaining = iter(keys)
            while part := tuple(itertools.islice(remaining, MAX_VARIABLES)):
                marks = ", ".join("?" * len(part))
                rows = connection.execute(
                    f"SELECT key, value, used FROM entries WHERE key IN ({marks})", part
                )
                for key, value, used in rows:
                    values[key] = value
                    if used < now - TIME_RESOLUTION:
                        stale.append((now, key))
            if stale:
                with _transaction(connection):
                    connection.executemany("UPDATE entries SET used = ? WHERE key = ?", stale)
        return values

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep entries, and evict those used least recently if there is no room."""
        if not (limit := cache_limit()):
            return
        now = int(time.time())
        with contextlib.suppress(OSError):
            make_folder(self.path.parent)
        with self._ignore_errors(), self._connect("rwc") as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file
            with _transaction(connection):
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS entries "
                    "(key BLOB PRIMARY KEY, value BLOB NOT NULL, used INTEGER NOT NULL)"
                )
                connection.execute("CREATE INDEX IF NOT EXISTS by_use ON entries (used)")
                connection.executemany(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
                    ((key, value, now) for key, value in entries.items()),
                )
                evicted = False
                while _bytes_in_use(connection) > limit and _evict(connection):
                    evicted = True
            if evicted:
                connection.executescript("PRAGMA incremental_vacuum")  # to its end

    def _connect(self, mode: str) -> contextlib.closing[sqlite3.Connection]:
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        return contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=10, isolation_level=None)
        )

    @contextlib.contextmanager
    def _ignore_errors(self) -> Iterator[None]:
        """Ignore errors of SQLite. A damaged file is removed; the next write makes a new one."""
        try:
            yield
        except sqlite3.OperationalError:  # locked, read-only, no room, no table yet
            pass
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    def pragma(name: str) -> int:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")


def _evict(connection: sqlite3.Connection) -> int:
    """Remove the entries used least recently; returns how many."""
    (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    return connection.execute(
        "DELETE FROM entries WHERE rowid IN "
        "(SELECT rowid FROM entries ORDER BY used, rowid LIMIT ?)",
        (-(-count // EVICTED_ONE_IN),),
    ).rowcount


class FileCache:
    """Bytes by key, a few large ones, a file each.

    Args:
        name: Of the folder.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def folder(self) -> Path:
        return user_cache_path("quickstudy") / self.name

    def get(self, key: str) -> bytes | None:
        """The entry of a key, if there is one."""
        if not cache_limit():
            return None
        try:
            content = (self.folder / key).read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(self.folder / key)  # its last use
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep an entry, and evict those used least recently if there is no room."""
        limit = cache_limit()
        if len(content) > limit:
            return
        with contextlib.suppress(OSError):
            make_folder(self.folder)
            self._evict(limit - len(content))
            write_atomically(self.folder / key, content)

    def store(self, key: str, make: Callable[[], Iterable[bytes]], most: int) -> BinaryIO:
        """Open the entry of a key, after writing it part by part if there is none.

        Where there is no room in the cache, it is written to a temporary file.

        Args:
            make: Makes the parts.
            most: Bytes that the entry may have.

        Returns:
            A file to read, which stays readable when the entry is evicted.
        """
        limit = cache_limit()
        with contextlib.suppress(OSError):
            if limit:
                file = (self.folder / key).open("rb")
                os.utime(self.folder / key)  # its last use
                return file
        if most <= limit:
            with contextlib.suppress(OSError):
                make_folder(self.folder)
                self._evict(limit - most)
                write_atomically(self.folder / key, make())
                return (self.folder / key).open("rb")
        file = tempfile.TemporaryFile()  # noqa: SIM115
        for part in make():
            file.write(part)
        file.flush()
        return file

    def _evict(self, limit: int) -> None:
        """Remove files, those used least recently first, until at most `limit` bytes are left."""
        files = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # removed by another process meanwhile
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        size = sum(size for _, size, _ in files)
        for _, freed, path in sorted(files):
            if size <= limit:
                break
            path.unlink(missing_ok=True)
            size -= freed
