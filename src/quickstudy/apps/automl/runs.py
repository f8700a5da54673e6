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
import importlib.util
import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quickstudy.apps.automl.columns import (
    as_frame,
    as_numbers,
    columns_from_json,
    columns_to_json,
    number_format_of,
)
from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor, LeaderboardEntry
from quickstudy.apps.automl.importance import column_importance
from quickstudy.apps.automl.metafeatures import Goal
from quickstudy.apps.run import provenance, read_json
from quickstudy.apps.tables import check_bytes, check_cells, read_parquet
from quickstudy.errors import DataError, MissingError, RunError, UsageError, require, unknown
from quickstudy.files import make_folder, remove_leftovers, write_atomically

__all__ = ["goal_of", "load_automl", "read_frame", "save_automl", "split_target"]

AutoML = AutoMLClassifier | AutoMLRegressor

PICTURES = [
    f"{name}.png" for name in ("search", "leaderboard", "confusion", "predictions", "importance")
]
"""Of a run folder; which of them, its report says."""

TABLES = ("table.csv", "table.tsv", "table.parquet")
"""What a run folder may call the table it keeps."""

FEW_NUMBERS = 20
"""A target of up to so many different whole numbers is one of classes."""


def read_frame(path: str | Path) -> pd.DataFrame:
    """A table from a .csv, .tsv or .parquet file.

    Cells of .csv and .tsv files are strings, as they are written; an empty one alone is missing.
    `learn_columns` decides what a column of them holds.

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
    separator = "\t" if suffix == ".tsv" else ","
    check_bytes(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines, first = csv.reader(file, delimiter=separator), []
            head = next(lines, [])
            with contextlib.suppress(csv.Error):  # of a text as long as pandas alone takes
                first = next((line for line in lines if line), first)
        names = [name.strip() for name in head]
        if len(names) == 1 and ";" in names[0]:
            raise DataError(f"expected columns apart by commas in {path}, got {names[0]!r}")
        if twice := [name for name, n in Counter(names).items() if name and n > 1]:
            raise DataError(f"expected each column of {path} once, got {twice[0]!r} more often")
        if len(first) > len(names):  # pandas would take the first cells for names of rows
            raise DataError(
                f"expected {len(names)} cells in each line of {path}, as column names, got "
                f"{len(first)}: name each column, and leave out commas at the ends of lines"
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


def save_automl(
    model: AutoML, X: pd.DataFrame, y: pd.Series, table: Path, target: str, folder: Path
) -> dict[str, Any]:
    """Write a run folder, with pictures where there is matplotlib, and give back its report.

    Args:
        model: After `fit`.
        X, y: What it was fitted on.
        table: The file it was fitted on.
        target: The column that was the target.
        folder: A new or empty one, or one that a search of before left.

    Raises:
        RunError: If the folder holds something else.
        DiskError: If it cannot be written.
    """
    check_folder(folder)
    make_folder(folder)
    try:
        importance = column_importance(model, X, y)
    except Exception as error:  # three quarters of few rows may be too few, whatever it says then
        importance, reason = {}, str(error).partition("\n")[0]
        model.notes_.append(f"what each column is worth is not known: {reason}")
    remove_leftovers(folder)
    for name in ("automl.json", *PICTURES):  # of a search of before, maybe of another table
        (folder / name).unlink(missing_ok=True)
    pictures: list[Path] = []
    if importlib.util.find_spec("matplotlib"):
        from quickstudy.apps.automl.pictures import draw_automl

        pictures = draw_automl(model, y, importance, folder)
    report = {
        "estimator": type(model).__name__,
        "options": {k: v for k, v in model.get_params().items() if k not in ("storage", "history")},
        "metric": model.metric_,
        "target": target,
        "table": f"table{table.suffix.lower()}",
        "kinds": model.kinds_,
        "columns": columns_to_json(model.columns_),
        "notes": model.notes_,
        "leaderboard": [
            {**asdict(entry), "mean": None if math.isinf(entry.mean) else entry.mean}
            for entry in model.leaderboard_
        ],
        "ensemble": model.out_of_fold_score_,
        "importance": importance,
        "pictures": [path.name for path in pictures],
        "about": provenance(model.seed),
    }
    write_atomically(folder / report["table"], table.read_bytes())
    text = json.dumps(report, indent=1)
    write_atomically(folder / "automl.json", f"{text}\n".encode())
    return report


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than a run of AutoML.

    Raises:
        RunError: If it does.
    """
    ours = {"automl.json", *TABLES, *PICTURES}
    if folder.exists() and not (
        folder.is_dir()
        and all(path.name in ours or path.name.startswith(".tmp-") for path in folder.iterdir())
    ):
        raise RunError(f"{folder} is there already, and no run of automl: name another")


def load_automl(folder: str | Path) -> AutoML:
    """The estimator of a run folder, fitted again on the table kept there.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    folder = Path(folder)
    report = read_report(folder)
    try:
        kind = {"AutoMLClassifier": AutoMLClassifier, "AutoMLRegressor": AutoMLRegressor}
        model = kind[report["estimator"]](**report["options"])
        entries = [
            LeaderboardEntry(**{k: v for k, v in entry.items() if k != "mean"})
            for entry in report["leaderboard"]
        ]
        columns = columns_from_json(report["columns"]) if "columns" in report else None
        X, y, _ = split_target(read_frame(folder / report["table"]), report["target"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder} is damaged: {error}") from error
    return model.refit(X, y, entries, columns)


def read_report(folder: Path) -> dict[str, Any]:
    """What `save_automl` wrote.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    if not (folder / "automl.json").exists():
        raise MissingError(f"expected a run of automl at {folder}, found none")
    report = read_json(folder / "automl.json")
    if absent := {"target", "table", "leaderboard"} - report.keys():
        raise RunError(f"{folder} is damaged: its report has no {min(absent)}")
    if report["table"] not in TABLES:  # a path to elsewhere is not followed
        raise RunError(f"{folder} is damaged: expected a table of its own, got {report['table']!r}")
    return report
