"""Scores of pipelines on other tables: files of `quickstudy automl learn`, one of which ships.

Needs pyarrow to be read, which quickstudy's extra `automl` installs.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import quickstudy
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.errors import DataError, MissingError, check_option, require
from quickstudy.files import write_atomically
from quickstudy.table_files import read_parquet

__all__ = [
    "SHIPPED",
    "Knowledge",
    "read_knowledge",
    "shipped_meta_learner",
    "write_knowledge",
]

SHIPPED = Path(quickstudy.__file__).parent / "shipped" / "automl.parquet"
"""What comes with quickstudy."""

METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "neg_log_loss"),
    "regression": ("r2", "neg_root_mean_squared_error", "neg_mean_absolute_error"),
}
PARTS = ("valid", "test")

WORST_QUANTILE = 0.25
"""Scores of a table below this quantile count as that: how bad is bad does not matter."""


class Knowledge:
    """Scores of pipelines on tables, with the tables' meta-features.

    Args:
        tables: One a table: "table" and "goal", which together name it, "family_of_tables",
            "origin" and "features".
        cells: One a table, pipeline and split: "table", "goal", "split", "pipeline" (its name),
            "valid" and "test" (scores by metric), "seconds" and "failure".
        about: How it was made, and what meta-learners learned from it.
    """

    def __init__(
        self,
        tables: Sequence[Mapping[str, Any]],
        cells: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:
        self.tables = list(tables)
        self.cells = list(cells)
        self.about = dict(about)

    @property
    def families(self) -> dict[str, str]:
        """The family of each table, by its name."""
        return {table["table"]: table["family_of_tables"] for table in self.tables}

    def history(
        self,
        goal: str,
        metric: str,
        *,
        without: Collection[str] = (),
        parts: Sequence[str] = PARTS,
        worst: float = WORST_QUANTILE,
    ) -> History:
        """The mean scores over splits, as a history of configurations that `PipelineConfig` names.

        Args:
            goal, metric: Of the tables, and of the scores.
            without: Families of tables to leave out.
            parts: "valid", "test" or both: rows that the scores are on.
            worst: A table's scores below this quantile count as that.

        Raises:
            UsageError: If the goal or metric is unknown.
        """
        check_option("goal", goal, METRICS)
        check_option("metric", metric, METRICS[goal])
        families = self.families
        left_out = set(without)
        scores: dict[str, dict[str, list[float]]] = {}  # by table and pipeline
        pipelines: dict[str, None] = {}
        for cell in self.cells:
            if cell["goal"] != goal or families[cell["table"]] in left_out or cell["failure"]:
                continue
            pipelines[cell["pipeline"]] = None
            row = scores.setdefault(cell["table"], {})
            row.setdefault(cell["pipeline"], []).extend(cell[part][metric] for part in parts)
        matrix = np.full((len(scores), len(pipelines)), np.nan)
        for i, row in enumerate(scores.values()):
            for j, pipeline in enumerate(pipelines):
                if pipeline in row:
                    matrix[i, j] = np.mean(row[pipeline])
        if len(matrix):
            matrix = np.maximum(matrix, np.nanquantile(matrix, worst, axis=1, keepdims=True))
        features = {t["table"]: t["features"] for t in self.tables if t["goal"] == goal}
        return History(list(scores), list(pipelines), matrix, features)

    def meta_learner(self, goal: str, metric: str) -> MetaLearner:
        """A meta-learner fitted to all tables, with what was learned when the file was made.

        Raises:
            UsageError: If the goal or metric is unknown.
        """
        history = self.history(goal, metric)
        learned = self.about.get("learned", {}).get(metric)
        return (
            MetaLearner().fit(history) if learned is None else MetaLearner.restore(learned, history)
        )


def write_knowledge(
    path: Path,
    lines: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Knowledge:
    """Write the lines of a log of `learn` as Parquet, with what meta-learners learn from them.

    Args:
        path: The file; a whole one is replaced by a whole one.
        lines: Of the log: tables, and cells with "family" and "options".
        about: Where it comes from.

    Raises:
        MissingError: Without pyarrow.
        DiskError: If it cannot be written.
    """
    require("pyarrow", "automl")
    import pyarrow as pa
    from pyarrow import parquet

    tables = [dict(line) for line in lines if "features" in line]
    cells = [
        {**line, "pipeline": PipelineConfig(line["family"], line["options"]).name}
        for line in lines
        if "split" in line
    ]
    knowledge = Knowledge(tables, cells, about)
    present = {table["goal"] for table in tables}
    knowledge.about["learned"] = {
        metric: MetaLearner().fit(knowledge.history(goal, metric)).learned()
        for goal in METRICS
        if goal in present
        for metric in METRICS[goal]
    }
    columns: dict[str, Any] = {
        name: pa.array([cell[name] for cell in cells], pa.string())
        for name in ("table", "goal", "pipeline", "failure")
    }
    columns["split"] = pa.array([cell["split"] for cell in cells], pa.int8())
    columns["seconds"] = pa.array([cell["seconds"] for cell in cells], pa.float32())
    for part in PARTS:
        for metric in sum(METRICS.values(), ()):
            scores = [cell[part].get(metric) for cell in cells]
            columns[f"{part} {metric}"] = pa.array(scores, pa.float64())
    metadata = json.dumps({"tables": tables, "about": knowledge.about})
    table = pa.table(columns).replace_schema_metadata({"quickstudy": metadata})
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    write_atomically(path, file.getvalue())
    return knowledge


def read_knowledge(path: Path = SHIPPED) -> Knowledge:
    """Read what `write_knowledge` wrote, by default what comes with quickstudy.

    Raises:
        MissingError: If there is no such file, or no pyarrow.
        DataError: If it is damaged, or another file.
    """
    if not path.is_file():
        raise MissingError(f"expected what `quickstudy automl learn` writes at {path}, found none")
    require("pyarrow", "automl")
    try:
        table = read_parquet(path)
        metadata = json.loads((table.schema.metadata or {})[b"quickstudy"])
        rows = table.to_pylist()
        cells = [
            {
                **{k: row[k] for k in ("table", "goal", "pipeline", "split", "seconds", "failure")},
                **{
                    part: {
                        metric: row[f"{part} {metric}"]
                        for metric in METRICS[row["goal"]]
                        if row[f"{part} {metric}"] is not None
                    }
                    for part in PARTS
                },
            }
            for row in rows
        ]
        return Knowledge(metadata["tables"], cells, metadata["about"])
    except (DataError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged, or not of `quickstudy automl learn`: {error!r}"
        ) from None


@functools.cache
def shipped_meta_learner(goal: str, metric: str) -> MetaLearner:
    """The meta-learner of what comes with quickstudy, read once.

    Raises:
        UsageError: If the goal or metric is unknown.
        MissingError: Without pyarrow.
    """
    return _shipped().meta_learner(goal, metric)


@functools.cache
def _shipped() -> Knowledge:
    return read_knowledge()
