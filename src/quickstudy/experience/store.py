"""The store of experience: a SQLite file, or a PostgreSQL database that many machines share."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from quickstudy.errors import (
    DataError,
    MissingError,
    QuickstudyError,
    UsageError,
    hide_passwords,
)
from quickstudy.experience.database import (
    RESTORE_ADVICE,
    check_file,
    database_url,
    experience_place,
    explained,
    is_transient,
    make_engine,
    revision_of,
)
from quickstudy.experience.parquet import (
    ROWS_PER_BATCH,
    TABLE_COLUMNS,
    joined,
    read_records,
    types_of,
    write_rows,
)
from quickstudy.experience.records import Run, Strategy, Task, Trial, as_record
from quickstudy.experience.schema import RECORDS, SCHEMA, UPGRADES, key_of
from quickstudy.files import check_writable, disk_errors, make_folder, sync_folder

__all__ = ["ExperienceStore", "experience_place"]

T = TypeVar("T")
Record = Run | Task | Strategy | Trial

ATTEMPTS = 10
"""How often a transaction is tried that another one is in the way of."""

MIGRATIONS = Path(__file__).parent / "migrations"


class ExperienceStore:
    """Tasks, strategies, runs and trials, stored across runs and processes.

    What is in the store is never changed: a record whose id or fingerprint is there already is
    passed over, so writing again after a doubt is safe. Every write is one transaction, which is on
    the disk when the call returns, or leaves nothing. Any number of processes may write.

    Args:
        place: A SQLite file, or a URL such as "postgresql://user@host/database"; by default
            `experience_place()`. An older store is upgraded.
        create: Whether to make a store where there is none.

    Raises:
        MissingError: If there is no store and `create` is false, or its server cannot be reached.
        DataError: If it is damaged, no store, or of a newer quickstudy.
        DiskError: If it cannot be written, as any method that writes.
        UsageError: If `place` cannot be one.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = ExperienceStore(Path(folder.name) / "experience.db")
        >>> maml, task = Strategy("learner", "maml"), Task("0" * 64, "few-shot", "glyphs")
        >>> trial = Trial(task.fingerprint, maml.fingerprint, metric="accuracy", scores=[0.5, 1])
        >>> store.record(tasks=[task], strategies=[maml], trials=[trial])
        {'runs': 0, 'tasks': 1, 'strategies': 1, 'trials': 1}
        >>> [(row["strategy_name"], row["mean"]) for row in store.table(task="glyphs")]
        [('maml', 0.75)]
        >>> folder.cleanup()
    """

    def __init__(self, place: str | Path | None = None, *, create: bool = True) -> None:
        url = database_url(experience_place() if place is None else place)
        self.place = url.database or ""
        if url.drivername != "sqlite":
            self.place = hide_passwords(url.render_as_string())
        if url.drivername == "sqlite":
            check_file(Path(self.place), create)
        self._engine = make_engine(url)
        revision = self._read(revision_of)
        if revision is None and not create:
            raise MissingError(f"expected an experience store at {self.place}, found none")
        if revision != SCHEMA:
            self._write(self._upgrade)

    def __repr__(self) -> str:
        return f"ExperienceStore({self.place!r})"

    def record(
        self,
        *,
        run: Run | None = None,
        tasks: Iterable[Task] = (),
        strategies: Iterable[Strategy] = (),
        trials: Iterable[Trial] = (),
    ) -> dict[str, int]:
        """Keep a run and all that belongs to it: all of it, or nothing.

        Returns:
            How many of each kind were new.

        Raises:
            UsageError: If a trial is of a task, strategy or run that is not in the store.
        """
        given = [*([run] if run else []), *tasks, *strategies, *trials]
        batches: list[tuple[type[Record], Sequence[Record]]] = [
            (kind, [record for record in given if isinstance(record, kind)]) for kind in RECORDS
        ]
        return self._write(lambda conn: _insert(conn, batches))

    def runs(self) -> list[Run]:
        """All runs, in the order they finished."""
        table = RECORDS[Run]
        return self._records(Run, sa.select(table).order_by(table.c.finished, table.c.id))

    def tasks(self) -> list[Task]:
        """All tasks, by kind and name."""
        return self._records(Task, _by_name(RECORDS[Task]))

    def strategies(self) -> list[Strategy]:
        """All strategies, by kind and name."""
        return self._records(Strategy, _by_name(RECORDS[Strategy]))

    def trials(
        self,
        *,
        kind: str | None = None,
        task: str | None = None,
        strategy: str | None = None,
        metric: str | None = None,
    ) -> list[Trial]:
        """The trials that fit, in the order they ended.

        Args:
            kind: Of the task.
            task: Its name, or the beginning of its fingerprint.
            strategy: Its name, or the beginning of its fingerprint.
            metric: Of the scores.
        """
        return self._records(Trial, _chosen(kind, task, strategy, metric))

    def table(
        self,
        *,
        kind: str | None = None,
        task: str | None = None,
        strategy: str | None = None,
        metric: str | None = None,
    ) -> list[dict[str, Any]]:
        """A row a trial, joined with its task and strategy; arguments as for `trials`."""
        query = _chosen(kind, task, strategy, metric)
        return self._read(lambda conn: list(itertools.chain(*_joined_rows(conn, query))))

    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]:
        """What a query on the tables of `quickstudy.experience.schema` finds: a quick look at much,
        which is not checked as records are.
        """
        return self._read(lambda conn: [tuple(row) for row in conn.execute(query)])

    def show(self, id: str) -> Record:
        """The record with an id or fingerprint, or the only one that begins so.

        Raises:
            UsageError: If there is none, or more than one.
        """

        def work(conn: sa.Connection) -> list[Record]:
            matches: list[Record] = []
            for kind, table in RECORDS.items():
                query = sa.select(table).where(key_of(table).startswith(id, autoescape=True))
                matches += [as_record(kind, row) for row in conn.execute(query.limit(2)).mappings()]
            return matches

        matches = self._read(work) if id and "\0" not in id else []
        if len(matches) != 1:
            what = "several" if matches else "none"
            raise UsageError(
                f"expected the beginning of one id in {self.place}, got {id!r}, which is that of "
                f"{what}: `quickstudy experience list` lists them"
            )
        return matches[0]

    def export(self, place: str | Path) -> Path:
        """Write the store as it is now into a new folder, a Parquet file a kind of record; or,
        if `place` ends in .parquet, the table of trials alone into that file.

        A folder can be imported; the one file is for reading elsewhere.

        Raises:
            UsageError: If the folder is there already.
        """
        place = Path(place)
        is_table = place.suffix == ".parquet"
        if place.is_dir() or (place.exists() and not is_table):
            raise UsageError(f"{place} is there already: name another place to export to")

        with disk_errors(place):
            make_folder(place.parent)
        check_writable(place.parent)

        def work(conn: sa.Connection) -> Path:
            made = place.with_name(f".tmp-{uuid.uuid4().hex}")
            with disk_errors(place):
                try:
                    if is_table:
                        write_rows(made, TABLE_COLUMNS, _joined_rows(conn, _chosen()))
                        return made
                    made.mkdir()
                    for kind, table in RECORDS.items():
                        rows = (list(map(vars, batch)) for batch in _batches(conn, kind, table))
                        write_rows(made / _file(table), types_of(kind), rows)
                    sync_folder(made)
                    return made
                except BaseException:
                    _remove(made)
                    raise

        made = self._read(work)
        with disk_errors(place):
            try:
                made.rename(place)
            finally:
                _remove(made)
            sync_folder(place.parent)
        return place

    def import_(self, folder: str | Path) -> dict[str, int]:
        """Take in what `export` wrote into a folder: all of it, or nothing.

        Returns:
            How many records of each kind were new.

        Raises:
            MissingError, DataError: If it is not such a folder, or damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MissingError(
                f"expected a folder that `quickstudy experience export` wrote at {folder}"
            )

        def work(conn: sa.Connection) -> dict[str, int]:
            files = ((kind, folder / _file(table)) for kind, table in RECORDS.items())
            return _insert(
                conn, ((kind, b) for kind, file in files for b in read_records(file, kind))
            )

        try:
            return self._write(work)
        except UsageError:
            raise DataError(
                f"{folder} is not whole: it has trials of tasks, strategies or runs that it has "
                "not: export it again"
            ) from None

    def merge(self, other: str | Path) -> dict[str, int]:
        """Take in another store, which is left as it is (or upgraded): all of it, or nothing.

        Returns:
            How many records of each kind were new.
        """
        with tempfile.TemporaryDirectory() as scratch:  # so that never two stores are locked
            copy = ExperienceStore(other, create=False).export(Path(scratch) / "other")
            return self.import_(copy)

    def _records(self, kind: type[Any], query: sa.Select[Any]) -> list[Any]:
        return self._read(
            lambda conn: [as_record(kind, row) for row in conn.execute(query).mappings()]
        )

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        """Call `work` on one state of the store."""
        options: dict[str, Any] = {}
        if self._engine.dialect.name == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return self._try(self._engine.execution_options(**options), work)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """Call `work` in a transaction that is on the disk afterwards, or leaves nothing."""
        return self._try(self._engine.execution_options(writes=True), work)

    def _try(self, engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
        """Call `work` in a transaction, and again if another one was in its way."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with engine.begin() as conn:
                    return work(conn)
            except DBAPIError as error:
                if attempt == ATTEMPTS or not is_transient(error):
                    raise explained(error, self.place) from error
                time.sleep(random.uniform(0, 0.05 * attempt))
            except QuickstudyError:
                raise
            except (SQLAlchemyError, ValueError, TypeError) as error:
                reason = str(error).partition("\n")[0]
                raise DataError(f"{self.place} is damaged ({reason}): {RESTORE_ADVICE}") from error
        raise AssertionError

    def _upgrade(self, conn: sa.Connection) -> None:
        """Bring the store to the newest schema, unless another process just has."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        if conn.dialect.name == "postgresql":
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('quickstudy'))"))
        revision = revision_of(conn)
        if revision == SCHEMA:
            return
        if revision is not None and revision > SCHEMA:
            made_by = conn.scalar(
                sa.select(UPGRADES.c.quickstudy).where(UPGRADES.c.revision == revision)
            )
            raise DataError(
                f"expected schema {SCHEMA} or older in {self.place}, got {revision} of quickstudy "
                f"{made_by}: upgrade quickstudy to that version or newer, or name another store in "
                "QUICKSTUDY_EXPERIENCE"
            )
        if (
            revision is None
            and conn.dialect.name == "sqlite"
            and sa.inspect(conn).get_table_names()
        ):
            raise DataError(f"expected an experience store in {self.place}, got another database")
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = conn
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DataError(f"{self.place} is damaged ({error}): {RESTORE_ADVICE}") from None
        now = {"quickstudy": version("quickstudy"), "at": datetime.now(UTC)}
        conn.execute(sa.insert(UPGRADES), {"revision": SCHEMA, **now})


def _insert(
    conn: sa.Connection, batches: Iterable[tuple[type[Record], Sequence[Record]]]
) -> dict[str, int]:
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    new = dict.fromkeys(map(_name, RECORDS.values()), 0)
    for kind, records in batches:
        table = RECORDS[kind]
        # In one order for all, so that no two transactions wait for each other.
        rows = sorted(map(vars, records), key=lambda row: row[key_of(table).name])
        if rows:
            statement = insert(table).on_conflict_do_nothing()
            counted = {"preserve_rowcount": True}
            new[_name(table)] += conn.execute(statement, rows, execution_options=counted).rowcount
    return new


def _batches(conn: sa.Connection, kind: type[Any], table: sa.Table) -> Iterator[list[Any]]:
    """All records of a kind, by key, some at a time."""
    query = sa.select(table).order_by(key_of(table)).execution_options(yield_per=ROWS_PER_BATCH)
    for rows in conn.execute(query).mappings().partitions():
        yield [as_record(kind, row) for row in rows]


def _joined_rows(conn: sa.Connection, query: sa.Select[Any]) -> Iterator[list[dict[str, Any]]]:
    task, strategy = RECORDS[Task].c, RECORDS[Strategy].c
    query = query.add_columns(
        task.kind.label("task_kind"),
        task.name.label("task_name"),
        task.features,
        strategy.kind.label("strategy_kind"),
        strategy.name.label("strategy_name"),
        strategy.configuration,
    )
    names = [str(column.key) for column in query.selected_columns][len(RECORDS[Trial].c) :]
    result = conn.execute(query.execution_options(yield_per=ROWS_PER_BATCH)).mappings()
    for rows in result.partitions():
        yield [joined(as_record(Trial, row), {n: row[n] for n in names}) for row in rows]


def _chosen(
    kind: str | None = None,
    task: str | None = None,
    strategy: str | None = None,
    metric: str | None = None,
) -> sa.Select[Any]:
    """The trials that fit."""
    trials, tasks, strategies = (RECORDS[kind] for kind in (Trial, Task, Strategy))
    query = sa.select(trials).select_from(trials.join(tasks).join(strategies))
    for value, table in ((task, tasks), (strategy, strategies)):
        if value is not None:
            begins = table.c.fingerprint.startswith(value, autoescape=True)
            query = query.where((table.c.name == value) | begins)
    if kind is not None:
        query = query.where(tasks.c.kind == kind)
    if metric is not None:
        query = query.where(trials.c.metric == metric)
    return query.order_by(trials.c.at, trials.c.id)


def _by_name(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).order_by(table.c.kind, table.c.name, table.c.fingerprint)


def _name(table: sa.Table) -> str:
    return table.name.removeprefix("experience_")


def _file(table: sa.Table) -> str:
    return f"{_name(table)}.parquet"


def _remove(made: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
