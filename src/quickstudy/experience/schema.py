"""The tables of the store, as the newest migration leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, Float, ForeignKey, MetaData, Table, Text
from sqlalchemy.types import TypeDecorator

from quickstudy.experience.records import Run, Strategy, Task, Trial

__all__ = ["METADATA", "RECORDS", "SCHEMA", "UPGRADES", "UtcTime", "key_of"]

SCHEMA = "0001"
"""The revision of the newest migration."""


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC, also where the database knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _refers(name: str, target: str, **options: Any) -> Column[Any]:
    return Column(name, Text, ForeignKey(f"experience_{target}"), index=True, **options)


_RUNS = Table(
    "experience_runs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("command", Text, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("commit", Text),
    Column("machine", Text),
    Column("started", UtcTime, nullable=False),
    Column("finished", UtcTime, nullable=False),
    Column("report", JSON, nullable=False),
)
_TASKS = Table(
    "experience_tasks",
    METADATA,
    Column("fingerprint", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("features", JSON, nullable=False),
    Column("provenance", JSON, nullable=False),
)
_STRATEGIES = Table(
    "experience_strategies",
    METADATA,
    Column("fingerprint", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("configuration", JSON, nullable=False),
)
_TRIALS = Table(
    "experience_trials",
    METADATA,
    Column("id", Text, primary_key=True),
    _refers("task", "tasks.fingerprint", nullable=False),
    _refers("strategy", "strategies.fingerprint", nullable=False),
    _refers("run", "runs.id"),
    Column("metric", Text),
    Column("scores", JSON, nullable=False),
    Column("seconds", Float),
    Column("cost", JSON, nullable=False),
    Column("failure", Text),
    Column("at", UtcTime, nullable=False),
)
UPGRADES = Table(
    "experience_upgrades",
    METADATA,
    Column("revision", Text, primary_key=True),
    Column("quickstudy", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)
"""Which quickstudy brought the store to which schema, for one that is too old to read it."""

RECORDS: dict[type[Any], Table] = {
    Run: _RUNS,
    Task: _TASKS,
    Strategy: _STRATEGIES,
    Trial: _TRIALS,
}
"""The table of each kind of record, those that others refer to first."""


def key_of(table: Table) -> Column[Any]:
    """The column that says which record a row is."""
    (key,) = table.primary_key
    return key
