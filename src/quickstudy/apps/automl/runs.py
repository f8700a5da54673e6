"""Folders of AutoML runs.

A folder holds a copy of the table and the ensemble's pipelines with their options, and no fitted
model: loading fits them again, which gives the same predictions, since all seeds are stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pandas as pd

from quickstudy.apps.automl.estimators import AutoML, AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.importance import column_importance
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime
from quickstudy.apps.automl.reports import PICTURES, TABLE_NAME, read_report
from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry, Outcome
from quickstudy.apps.automl.tables.columns import columns_from_json, columns_to_json
from quickstudy.apps.automl.tables.files import read_frame
from quickstudy.apps.automl.tables.targets import split_target
from quickstudy.errors import DataError, RunError, UsageError
from quickstudy.experiments.provenance import provenance
from quickstudy.files import disk_errors, locked, remove_leftovers, write_atomically

__all__ = ["RunWriter", "check_folder", "load_automl"]

IMPORTANCE_SHARE = 0.7
"""Of the time after the search, for the importance of columns; pictures get the rest."""


class RunWriter:
    """Writes a run folder, as soon as a search knows an ensemble and whenever it knows another.

    The report is the last file written, and names the table and the pictures that belong to it, so
    the folder holds the run of before or the new one, whole, at every moment. No other process can
    write to the folder meanwhile.

    Args:
        folder: A new or empty one, or one with a run of before, which is replaced.
        table: The file that is searched.
        target: The column that is the target.

    Raises:
        RunError: If the folder holds something else, or another process writes to it.
        DiskError: If it cannot be written.
    """

    def __init__(self, folder: Path, table: Path, target: str) -> None:
        self.folder = folder
        self._source, self._target = table, target
        self._table: str | None = None
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        check_folder(self.folder)
        self._is_new, self._before = not self.folder.exists(), self._report()
        busy = f"another process searches for {self.folder}: wait, or name another folder"
        self._lock.enter_context(locked(self.folder, busy))
        with disk_errors(self.folder):
            remove_leftovers(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()
        if self._is_new and not self.saved:
            with contextlib.suppress(OSError):
                (self.folder / ".lock").unlink(missing_ok=True)
                self.folder.rmdir()

    @property
    def saved(self) -> bool:
        """Whether the folder has a report of this search."""
        return self._report() != self._before

    def _report(self) -> tuple[int, int] | None:
        """The identity of the report that is there; None without one."""
        path = self.folder / "automl.json"
        if not path.exists():
            return None
        return path.stat().st_ino, path.stat().st_mtime_ns

    def save(
        self,
        model: AutoML,
        importance: Mapping[str, tuple[float, float]] | None = None,
        pictures: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Write what is known so far, and give back the report.

        Args:
            model: In or after `fit`.
            importance: Of `column_importance`.
            pictures: Names of files in the folder.
        """
        report = {
            "estimator": type(model).__name__,
            "options": {
                k: v for k, v in model.get_params().items() if k not in ("storage", "history")
            },
            "metric": model.metric_,
            "target": self._target,
            "table": self._copy_table(),
            "rows": model.n_fitted_rows_,
            "kinds": model.kinds_,
            "columns": columns_to_json(model.columns_),
            "notes": model.notes_,
            "leaderboard": [
                {**asdict(entry), "mean": None if math.isinf(entry.mean) else entry.mean}
                for entry in model.leaderboard_
            ],
            "ensemble": model.out_of_fold_score_,
            "importance": importance or {},
            "pictures": list(pictures),
            "about": provenance(model.seed),
        }
        text = json.dumps(report, indent=1)
        write_atomically(self.folder / "automl.json", f"{text}\n".encode())
        with disk_errors(self.folder):
            for path in self.folder.iterdir():
                if _is_ours(path) and path.name not in ("automl.json", self._table, *pictures):
                    path.unlink()
        return report

    def finish(
        self, model: AutoML, X: pd.DataFrame, y: pd.Series, deadline: Deadline
    ) -> dict[str, Any]:
        """Write the run with the importance of each column, and pictures where there is matplotlib,
        as far as the time suffices; give back the report.

        Args:
            model: After `fit`.
            X, y: What it was fitted on.
            deadline: When nothing further is begun.
        """
        self.save(model)
        importance = self._importance(model, X, y, deadline)
        pictures = self._draw(model, y, importance, deadline)
        return self.save(model, importance, [path.name for path in pictures])

    def _importance(
        self, model: AutoML, X: pd.DataFrame, y: pd.Series, deadline: Deadline
    ) -> dict[str, tuple[float, float]]:
        """The importance of each column; empty without time, which is noted."""
        try:
            return column_importance(model, X, y, deadline.share(IMPORTANCE_SHARE))
        except OutOfTime:
            model.notes_.append("no time was left for the importance of columns")
        except Exception as error:  # three quarters of few rows may be too few, whatever it says
            reason = str(error).partition("\n")[0]
            model.notes_.append(f"the importance of columns is not known: {reason}")
        return {}

    def _draw(
        self,
        model: AutoML,
        y: pd.Series,
        importance: Mapping[str, tuple[float, float]],
        deadline: Deadline,
    ) -> list[Path]:
        """The pictures; none without matplotlib, fewer without time, which is noted."""
        if not importlib.util.find_spec("matplotlib"):
            return []
        if deadline.passed:
            model.notes_.append("no time was left to draw pictures")
            return []
        from quickstudy.apps.automl.pictures import draw_automl

        pictures = draw_automl(model, y, importance, self.folder, deadline)
        if len(pictures) < 3 + bool(importance):
            model.notes_.append("no time was left to draw all pictures")
        return pictures

    def _copy_table(self) -> str:
        """The name of the copy of the table, by its content; it is written once."""
        if self._table is None:
            content = self._source.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            name = f"table-{digest}{self._source.suffix.lower()}"
            write_atomically(self.folder / name, content)
            self._table = name
        return self._table


def _is_ours(path: Path) -> bool:
    """Whether a file is of a run of AutoML."""
    return path.name in PICTURES or re.fullmatch(TABLE_NAME, path.name) is not None


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than a run of AutoML.

    Raises:
        RunError: If it does.
    """

    def belongs(path: Path) -> bool:
        return (
            path.name in ("automl.json", ".lock") or path.name.startswith(".tmp-") or _is_ours(path)
        )

    if folder.exists() and not (folder.is_dir() and all(map(belongs, folder.iterdir()))):
        raise RunError(f"{folder} exists and is not a run of automl: name another")


def load_automl(folder: str | Path) -> AutoML:
    """The estimator of a run folder, fitted again on the copy of the table there.

    Args:
        folder: That `RunWriter` wrote.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    folder = Path(folder)
    report = read_report(folder)
    estimators = {"AutoMLClassifier": AutoMLClassifier, "AutoMLRegressor": AutoMLRegressor}
    entries = [
        LeaderboardEntry(
            **{k: v for k, v in entry.items() if k not in ("mean", "outcome")},
            outcome=Outcome(entry["outcome"]),
        )
        for entry in report["leaderboard"]
    ]
    try:
        model = estimators[report["estimator"]](**report["options"])
        columns = columns_from_json(report["columns"]) if "columns" in report else None
        X, y, _ = split_target(read_frame(folder / report["table"]), report["target"])
        return model.refit(X, y, entries, columns, n_rows=report["rows"])
    except (UsageError, DataError) as error:
        raise RunError(f"{folder} is damaged: {error}") from error
