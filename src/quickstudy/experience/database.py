"""The database behind the store of experience: where it is, a connection, and what its errors
mean."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from platformdirs import user_data_path
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError

from quickstudy.errors import (
    DataError,
    DiskError,
    MissingError,
    QuickstudyError,
    UsageError,
    hide_passwords,
    require,
)
from quickstudy.experience.records import canonical_json
from quickstudy.files import disk_errors, make_folder

__all__ = [
    "RESTORE_ADVICE",
    "check_file",
    "database_url",
    "experience_place",
    "explained",
    "is_transient",
    "make_engine",
    "revision_of",
]

BUSY_SECONDS = 60
"""How long SQLite waits for another process's transaction before it gives up once."""

URL_PATTERN = r"://|^\w*:?/{0,2}[^/]*:[^/]*@"
"""What is no path: a URL, or what looks like a misspelt one with a password."""

RESTORE_ADVICE = "restore a copy, or move it away and import an export"
"""What to do about a damaged store."""


def experience_place() -> str | None:
    """Where experience is stored: `QUICKSTUDY_EXPERIENCE` (a path or URL; None if it is "off"), or
    a file in the user's data folder.
    """
    named = os.environ.get("QUICKSTUDY_EXPERIENCE")
    if named == "off":
        return None
    return named or str(user_data_path("quickstudy") / "experience.db")


def database_url(place: str | Path | None) -> sa.URL:
    """The URL of a store from a path or URL.

    Raises:
        UsageError: If it is neither, or there is to be no store.
    """
    if place is None:
        raise UsageError(
            'expected a store, but QUICKSTUDY_EXPERIENCE is "off": unset it, or name one'
        )
    if isinstance(place, Path) or not re.search(URL_PATTERN, place):
        return sa.URL.create("sqlite", database=str(Path(place).absolute()))
    try:
        url = sa.make_url(place)
    except (ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise UsageError(
            "expected a path, or a URL such as postgresql://USER:PASSWORD@HOST/DATABASE, got what "
            "is neither (not printed, as a password may be in it): in a password write %40 for @, "
            "%2F for / and %3A for :"
        )
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        require("psycopg", "experience")
        return url.set(drivername="postgresql+psycopg")
    in_memory = not url.database or url.database == ":memory:"
    if backend != "sqlite" or in_memory or url.host or url.query:
        raise UsageError(
            "expected a path, sqlite:///FILE or postgresql://HOST/DATABASE, got "
            + hide_passwords(url.render_as_string())
        )
    return url.set(drivername="sqlite", database=str(Path(url.database or "").absolute()))


def check_file(path: Path, create: bool) -> None:
    """Refuse a file that cannot hold a store, or is not there.

    Raises:
        UsageError, MissingError, DiskError: If so.
    """
    if path.is_dir():
        raise UsageError(f"expected a file for the experience store, got the folder {path}")
    if create:
        with disk_errors(path):
            make_folder(path.parent)
    elif not path.exists():
        raise MissingError(
            f"expected an experience store at {path}, found none: `quickstudy train` and `test` "
            "make one"
        )


def make_engine(url: sa.URL) -> sa.Engine:
    """An engine with a connection a transaction: none goes stale, or is carried across a fork."""
    is_file = url.drivername == "sqlite"
    engine = sa.create_engine(
        url,
        poolclass=sa.NullPool,
        json_serializer=canonical_json,
        connect_args={"timeout": BUSY_SECONDS} if is_file else {"connect_timeout": BUSY_SECONDS},
    )
    if is_file:

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # the driver begins no transaction of its own
            # EXTRA: as FULL, and a committed journal's removal is on the disk too.
            for pragma in ("journal_mode = DELETE", "synchronous = EXTRA", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(conn: sa.Connection) -> None:
            writes = conn.get_execution_options().get("writes")
            conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def revision_of(conn: sa.Connection) -> str | None:
    """The schema of a store; None if there is no store yet."""
    if not sa.inspect(conn).has_table("experience_schema"):
        return None
    return conn.scalar(sa.text("SELECT version_num FROM experience_schema"))


def _codes(error: DBAPIError) -> tuple[int | None, str | None]:
    """SQLite's primary result code, or PostgreSQL's state."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF, getattr(error.orig, "sqlstate", None)


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed later: a lock, a deadlock, too many clients."""
    code, state = _codes(error)
    return code in (5, 6) or state in ("40001", "40P01", "53300", "55P03")


def explained(error: DBAPIError, place: str) -> QuickstudyError:
    """What happened in the database, why, and what to do."""
    code, state = _codes(error)
    reason = hide_passwords(str(error.orig).strip().partition("\n")[0])
    if code == 19 or state == "23503":
        return UsageError(
            f"expected trials of tasks, strategies and runs that are in {place} ({reason}): give "
            "them to record() together"
        )
    if is_transient(error):
        return DiskError(
            f"{place} is locked by another process ({reason}): end it, or try again later"
        )
    if code in (3, 8, 10, 13, 14) or state in ("25006", "42501", "53100"):
        return DiskError(
            f"cannot write to {place} ({reason}): make room or allow writing there, and try again, "
            "or name another place in QUICKSTUDY_EXPERIENCE; what was written before is kept"
        )
    is_file = isinstance(error.orig, sqlite3.Error)
    if not is_file and (state is None or state[:2] in ("08", "28", "3D", "57")):
        return MissingError(f"cannot reach {place} ({reason}): start its server, or mend the URL")
    return DataError(f"{place} is damaged or no experience store ({reason}): {RESTORE_ADVICE}")
