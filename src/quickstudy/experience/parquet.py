"""Records in Parquet files, which pandas, Polars, DuckDB and R read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from quickstudy.errors import DataError, MissingError, require
from quickstudy.experience.records import Trial, as_record, canonical_json
from quickstudy.experience.schema import SCHEMA
from quickstudy.table_files import check_decoded, open_parquet

__all__ = ["SCHEMA_KEY", "TABLE_COLUMNS", "read_records", "write_rows"]

ROWS_PER_BATCH = 500
"""Rows that are in memory at once."""

SCHEMA_KEY = "quickstudy.experience"
"""The key of the file's metadata that says of which schema its records are."""

TABLE_COLUMNS = {
    "trial": "Id",
    "at": "datetime",
    "run": "Id",
    "task": "Fingerprint",
    "task_kind": "str",
    "task_name": "str",
    "features": "dict",
    "strategy": "Fingerprint",
    "strategy_kind": "str",
    "strategy_name": "str",
    "configuration": "dict",
    "metric": "str",
    "mean": "float",
    "scores": "list[float]",
    "seconds": "float",
    "cost": "dict",
    "failure": "str",
}
"""The columns of trials joined with their task and strategy, and their types."""


def types_of(kind: type[Any]) -> dict[str, str]:
    """The columns of a kind of record, and their types."""
    return {part.name: str(part.type).removesuffix(" | None") for part in fields(kind)}


def write_rows(
    path: Path, types: dict[str, str], batches: Iterable[Sequence[Mapping[str, Any]]]
) -> None:
    """Write a new Parquet file, and return once it is on the disk; dicts become JSON."""
    require("pyarrow", "experience")
    import pyarrow as pa
    from pyarrow import parquet

    with path.open("xb") as file:
        with parquet.ParquetWriter(file, _schema(types), compression="zstd") as writer:
            for rows in batches:
                coded = [{n: _code(row[n]) for n in types} for row in rows]
                writer.write_batch(pa.RecordBatch.from_pylist(coded, writer.schema))
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path, kind: type[Any]) -> Iterator[list[Any]]:
    """Read the records that a file was written with, batch after batch.

    Raises:
        MissingError: If the file is not there.
        DataError: If it is damaged, of another schema, or too large for memory when decoded.
    """
    require("pyarrow", "experience")
    import pyarrow as pa

    if not path.is_file():
        raise MissingError(
            f"expected {path}, found none: give a folder that `quickstudy experience export` wrote"
        )
    types = types_of(kind)
    try:
        n_bytes = 0
        with open_parquet(path, lists=True) as (file, _):
            known = (file.schema_arrow.metadata or {}).get(SCHEMA_KEY.encode(), b"none").decode()
            if known != SCHEMA:
                raise DataError(
                    f"expected records of schema {SCHEMA} in {path}, got {known}: export them "
                    "again with the quickstudy that is to import them"
                )
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=list(types)):
                n_bytes = check_decoded(path, pa.Table.from_batches([batch]), n_bytes)
                rows = [{n: _decode(row[n], types[n]) for n in types} for row in batch.to_pylist()]
                yield [as_record(kind, row) for row in rows]
    except DataError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is damaged ({reason}): export it again") from None


def joined(trial: Trial, names: dict[str, Any]) -> dict[str, Any]:
    """A row of the table: a trial with what `names` says of its task and strategy."""
    own = {n: getattr(trial, n) for n in TABLE_COLUMNS if n not in names and n != "trial"}
    return {n: {**own, **names, "trial": trial.id}[n] for n in TABLE_COLUMNS}


def _schema(types: dict[str, str]) -> Any:
    import pyarrow as pa

    arrow = {
        "float": pa.float64(),
        "list[float]": pa.list_(pa.float64()),
        "datetime": pa.timestamp("us", tz="UTC"),
    }
    columns = [(name, arrow.get(kind, pa.string())) for name, kind in types.items()]
    return pa.schema(columns, metadata={SCHEMA_KEY: SCHEMA})


def _code(value: Any) -> Any:
    return canonical_json(value) if isinstance(value, dict) else value


def _decode(value: Any, kind: str) -> Any:
    return json.loads(value) if kind.startswith("dict") else value
