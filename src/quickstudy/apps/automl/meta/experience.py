"""Tables as tasks of the experience store, and what it holds of them as a history.

Needs the packages of quickstudy's extras `automl` and `experience`.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.tables.column_inference import learn_columns
from quickstudy.apps.automl.tables.columns import Column, as_numbers, read_columns
from quickstudy.apps.automl.tables.frames import as_frame
from quickstudy.apps.automl.tables.meta_features import meta_features
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import check_option, require
from quickstudy.experience import ExperienceStore, Task, canonical_json, fingerprint_of

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["history_of", "table_task"]


def table_task(
    X: Any,
    y: Any,
    goal: Goal,
    *,
    name: str,
    features: Mapping[str, float] | None = None,
    columns: Sequence[Column] | None = None,
) -> Task:
    """A table with its target as a task of the experience store.

    Its identity is its content: the names and values of its columns in their order, the target's
    values and the goal. Its features are its meta-features.

    Args:
        X: A data frame or array of n rows.
        y: The target, of shape (n,).
        goal: "classification" or "regression".
        name: For people.
        features: Its meta-features; None to compute them.
        columns: What its columns hold; None to learn it (`learn_columns`).

    Raises:
        DataError: If the table or target cannot serve.

    Example:
        >>> rows, labels = [[1, "red"], [2, "blue"]], ["warm", "cold"]
        >>> task = table_task(rows, labels, "classification", name="colours")
        >>> task.kind, task.provenance["rows"]
        ('table', 2)
    """
    frame = as_frame(X)
    columns = learn_columns(frame) if columns is None else columns
    features = features or meta_features(frame, y, goal, columns=columns)
    digest = hashlib.sha256()
    table = read_columns(frame, columns)  # a file and a frame are the same table
    for column in (*(table[name] for name in frame), pd.Series(np.asarray(y), name="")):
        digest.update(canonical_json(str(column.name)).encode())
        digest.update(_content(column))
    provenance = {"rows": len(frame), "columns": list(frame), "goal": goal}
    fingerprint = fingerprint_of([digest.hexdigest(), goal])
    return Task(fingerprint, "table", name, dict(features), provenance)


def _content(column: pd.Series) -> bytes:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return as_numbers(column).tobytes()
    texts = column.astype(object).where(column.notna(), "").astype(str)
    return "\0".join(texts).encode("utf-8", "surrogatepass")


def history_of(store: ExperienceStore, metric: str, *, kind: str = "table") -> History:
    """The mean scores of the store's trials: tasks by strategies.

    Data sets are named by their task's fingerprint, configurations as `PipelineConfig` names them.
    Trials that failed or were pruned are left out. Scores that are minimised, as a study says in
    its task's provenance, are negated.

    Args:
        store: It is only read.
        metric: Of the scores, such as "accuracy" or "r2".
        kind: Of the tasks: "table", or "study" for those of Optuna.

    Raises:
        UsageError: If the kind is another one.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from quickstudy.experience import Strategy, Trial
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = ExperienceStore(Path(folder.name) / "experience.db")
        >>> task, svm = Task("0" * 64, "table", "iris"), Strategy("pipeline", "svm", {"C": 1.0})
        >>> trial = Trial(task.fingerprint, svm.fingerprint, metric="accuracy", scores=[0.8, 1])
        >>> new = store.record(tasks=[task], strategies=[svm], trials=[trial])
        >>> history = history_of(store, "accuracy")
        >>> history.configs, history.scores.tolist()
        (['["svm",{"C":1.0}]'], [[0.9]])
        >>> folder.cleanup()
    """
    check_option("kind", kind, ["table", "study"])  # of others less may be better
    tasks = {task.fingerprint: task for task in store.tasks() if task.kind == kind}
    scores_of: dict[tuple[str, str], list[float]] = {}  # by data set and configuration
    for row in store.table(kind=kind, metric=metric):
        if row["failure"] is None and row["mean"] is not None:
            directions = tasks[row["task"]].provenance.get("directions", {})
            is_cost = directions.get(metric) == "minimize"
            config = PipelineConfig(row["strategy_name"], row["configuration"]).name
            score = -row["mean"] if is_cost else row["mean"]
            scores_of.setdefault((row["task"], config), []).append(score)
    datasets = {name: i for i, name in enumerate(sorted({dataset for dataset, _ in scores_of}))}
    configs = {name: i for i, name in enumerate(sorted({config for _, config in scores_of}))}
    scores = np.full((len(datasets), len(configs)), np.nan)
    for (dataset, config), values in scores_of.items():
        scores[datasets[dataset], configs[config]] = np.mean(values)
    features = {name: tasks[name].features for name in datasets}
    return History(list(datasets), list(configs), scores, features)
