"""Tables in files, and folders that keep what AutoML found on one.

A folder holds a copy of the table and the ensemble's pipelines with their options, and no fitted
model: loading fits them again, which gives the same predictions, since all seeds are kept.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor, LeaderboardEntry
from quickstudy.apps.automl.importance import column_importance
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime
from quickstudy.apps.automl.tables.columns import (
    as_frame,
    as_numbers,
    columns_from_json,
    columns_to_json,
    number_format_of,
)
from quickstudy.apps.automl.tables.meta_features import Goal
from quickstudy.errors import DataError, MissingError, RunError, UsageError, require, unknown
from quickstudy.experiments.provenance import provenance
from quickstudy.files import disk_errors, locked, remove_leftovers, write_atomically
from quickstudy.table_files import (
    check_bytes,
    check_cells,
    decimal_point,
    read_parquet,
    separator_of,
)

__all__ = ["RunWriter", "goal_of", "load_automl", "read_frame", "read_report", "split_target"]

AutoML = AutoMLClassifier | AutoMLRegressor

PICTURES = [
    f"{name}.png" for name in ("search", "leaderboard", "confusion", "predictions", "importance")
]
"""Of a run folder; which of them, its report says."""

TABLE = r"table(-[0-9a-f]{16})?\.(csv|tsv|parquet)"
"""What a run folder may call the table it keeps: by its content, or, earlier, plainly."""

IMPORTANCE_SHARE = 0.7
"""Of the time after the search, to find what each column is worth; pictures get the rest."""

MOST_BYTES = 64 * 2**20
"""Of a report, which is read whole."""

FEW_NUMBERS = 20
"""A target of up to so many different whole numbers is one of classes."""


def read_frame(path: str | Path) -> pd.DataFrame:
    """A table from a .csv, .tsv or .parquet file.

    Cells of .csv and .tsv files are strings, as they are written; an empty one alone is missing.
    `learn_columns` decides what a column of them holds. Cells of .csv may be apart by semicolons;
    then commas are decimal.

    Args:
        path: The file.

    Raises:
        MissingError: If it is not there, or Parquet cannot be read without pyarrow.
        UsageError: If it is a file of another kind.
        DataError: If it is empty or damaged, in another encoding than UTF-8, has a column twice, or
            is too large for memory.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise UsageError(f"expected a .csv, .tsv or .parquet file, got {path}")
    if not path.is_file():
        raise MissingError(f"expected a table at {path}, found none")
    if suffix == ".parquet":
        require("pyarrow", "automl")
        return as_frame(read_parquet(path).to_pandas(ignore_metadata=True))
    check_bytes(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = "\t" if suffix == ".tsv" else separator_of(file.readline())
            file.seek(0)
            lines, first = csv.reader(file, delimiter=separator), []
            head = next(lines, [])
            with contextlib.suppress(csv.Error):  # of a text as long as pandas alone takes
                first = next((line for line in lines if line), first)
        names = [name.strip() for name in head]
        if twice := [name for name, n in Counter(names).items() if name and n > 1]:
            raise DataError(f"expected each column of {path} once, got {twice[0]!r} more often")
        if len(first) > len(names):  # pandas would take the first cells for names of rows
            raise DataError(
                f"expected {len(names)} cells in each line of {path}, as column names, got "
                f"{len(first)}: name each column, and end no line with {separator!r}"
            )
        with path.open("rb") as file:  # pandas fills short lines up
            n_lines = sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b""))
        check_cells(path, n_lines, len(names))
        frame = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
        )
        if separator == ";":
            frame = frame.map(decimal_point, na_action="ignore")
        return as_frame(frame.rename(columns=str.strip))
    except UnicodeDecodeError as error:
        raise DataError(f"expected {path} in UTF-8: save it as that ({error})") from error
    except pd.errors.EmptyDataError:
        raise DataError(f"expected a table in {path}, got an empty file") from None
    except (pd.errors.ParserError, csv.Error, OSError, ValueError) as error:
        raise (
            error if isinstance(error, DataError) else DataError(f"{path} cannot be read: {error}")
        ) from error


def split_target(frame: pd.DataFrame, target: str) -> tuple[pd.DataFrame, pd.Series, int]:
    """A table's other columns, its target, and how many rows had none and were left out.

    A target is missing where its cell is empty, and only there. Strings that are plain numbers
    become numbers; whole ones stay whole.

    Raises:
        UsageError: If there is no such column.
        DataError: If there is no other, or no row has a target.
    """
    if target not in frame.columns:
        raise unknown("column", target, frame.columns)
    known = frame[target].notna()
    if not pd.api.types.is_numeric_dtype(frame[target]):
        known &= frame[target].astype(str).str.strip() != ""
    if not known.any():
        raise DataError(f"expected a target in some row, got none in the column {target!r}")
    if frame.shape[1] < 2:
        raise DataError(f"expected columns besides the target {target!r}, got none")
    rest = as_frame(frame.loc[known].drop(columns=target))
    found = frame.loc[known, target].reset_index(drop=True)
    if pd.api.types.is_string_dtype(found):
        written = number_format_of(found)
        numbers = as_numbers(found)
        if written and written.is_plain and np.isfinite(numbers).all():
            is_whole = found.str.strip().str.fullmatch(r"[+-]?\d+").all()
            is_exact = bool((np.abs(numbers) < 2**53).all())
            if not is_whole or is_exact:
                found = pd.Series(numbers, name=target).astype(np.int64 if is_whole else np.float64)
    elif not known.all() and pd.api.types.is_float_dtype(found):
        whole = np.isfinite(found) & (found == found.round()) & (found.abs() < 2**53)
        found = found.astype(np.int64) if whole.all() else found
    return rest, found, int((~known).sum())


def goal_of(target: pd.Series) -> Goal:
    """Regression for numbers, but for a few different whole ones, which are classes.

    Numbers may be written with units, as $1,234.

    Example:
        >>> goal_of(pd.Series([0, 1, 1])), goal_of(pd.Series([0.5, 1, 1]))
        ('classification', 'regression')
    """
    if pd.api.types.is_bool_dtype(target):
        return "classification"
    if not pd.api.types.is_numeric_dtype(target):
        written = number_format_of(target)
        if written is None:
            return "classification"
        target = pd.Series([written.read(str(value)) for value in target])
    numbers = as_numbers(target)
    known = numbers[~np.isnan(numbers)]
    is_whole = bool((known == known.round()).all())
    return "classification" if is_whole and target.nunique() <= FEW_NUMBERS else "regression"


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
        """What tells a report from another one."""
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
            "table": self._keep_table(),
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
        """Write the run with what each column is worth, and pictures where there is matplotlib, as
        far as the time suffices; give back the report.

        Args:
            model: After `fit`.
            X, y: What it was fitted on.
            deadline: When nothing further is begun.
        """
        self.save(model)
        importance: Mapping[str, tuple[float, float]] = {}
        try:
            importance = column_importance(model, X, y, deadline.share(IMPORTANCE_SHARE))
        except OutOfTime:
            model.notes_.append("no time was left to find what each column is worth")
        except Exception as error:  # three quarters of few rows may be too few, whatever it says
            reason = str(error).partition("\n")[0]
            model.notes_.append(f"what each column is worth is not known: {reason}")
        pictures: list[Path] = []
        if importlib.util.find_spec("matplotlib"):
            if deadline.passed:
                model.notes_.append("no time was left to draw pictures")
            else:
                from quickstudy.apps.automl.pictures import draw_automl

                pictures = draw_automl(model, y, importance, self.folder, deadline)
                if len(pictures) < 3 + bool(importance):
                    model.notes_.append("no time was left to draw all pictures")
        return self.save(model, importance, [path.name for path in pictures])

    def _keep_table(self) -> str:
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
    return path.name in PICTURES or re.fullmatch(TABLE, path.name) is not None


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
        raise RunError(f"{folder} is there already, and no run of automl: name another")


def load_automl(folder: str | Path) -> AutoML:
    """The estimator of a run folder, fitted again on the table kept there.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    folder = Path(folder)
    report = read_report(folder)
    kind = {"AutoMLClassifier": AutoMLClassifier, "AutoMLRegressor": AutoMLRegressor}
    entries = [
        LeaderboardEntry(**{k: v for k, v in entry.items() if k != "mean"})
        for entry in report["leaderboard"]
    ]
    try:
        model = kind[report["estimator"]](**report["options"])
        columns = columns_from_json(report["columns"]) if "columns" in report else None
        X, y, _ = split_target(read_frame(folder / report["table"]), report["target"])
        return model.refit(X, y, entries, columns, n_rows=report["rows"])
    except (UsageError, DataError) as error:
        raise RunError(f"{folder} is damaged: {error}") from error


Name = Annotated[str, Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    """A part of a report: no number in it is infinite or NaN."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")


class _Entry(_Part):
    family: Name
    options: dict[Name, int | float | Name] = Field(max_length=100)
    scores: list[float] = Field(max_length=10_000)
    seconds: float = Field(ge=0)
    weight: float = Field(ge=0, le=1)
    failure: Name | None
    number: Count
    reasons: list[Name] = Field(max_length=100)
    mean: float | None


class _Options(_Part):
    n_trials: int | None = Field(ge=1, le=2**53)
    time_budget: float | None = Field(gt=0)
    metric: Name | None
    families: list[Name] | None
    n_folds: int = Field(ge=2, le=2**53)
    study_name: Name | None
    seed: int = Field(ge=0, lt=2**32)


class _Report(_Part):
    """What `automl.json` may hold; later versions may hold more."""

    model_config = ConfigDict(extra="allow")

    estimator: Literal["AutoMLClassifier", "AutoMLRegressor"]
    options: _Options
    metric: Name
    target: Name
    table: Name
    rows: int | None = Field(default=None, ge=1, le=2**53)
    kinds: dict[Name, Name]
    notes: list[str]
    leaderboard: list[_Entry] = Field(min_length=1, max_length=100_000)
    ensemble: float
    importance: dict[Name, tuple[float, float]]
    pictures: list[Name] = Field(max_length=len(PICTURES))
    about: dict[Name, Any]


def read_report(folder: Path) -> dict[str, Any]:
    """What `RunWriter` wrote, after it was checked.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    path = folder / "automl.json"
    if not path.is_file():
        raise MissingError(f"expected a run of automl at {folder}, found none")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise RunError(
            f"{folder} is damaged: expected {MOST_BYTES} bytes at most in automl.json, got {size}"
        )
    try:
        report = _Report.model_validate_json(path.read_bytes()).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "automl.json"
        raise RunError(f"{folder} is damaged: {place}: {first['msg']}") from None
    if not re.fullmatch(TABLE, report["table"]):  # a path to elsewhere is not followed
        raise RunError(f"{folder} is damaged: expected a table of its own, got {report['table']!r}")
    if not any(entry["weight"] for entry in report["leaderboard"]):
        raise RunError(f"{folder} is damaged: expected a pipeline with a weight, got none")
    return report
