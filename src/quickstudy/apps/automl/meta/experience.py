"""From experience to what AutoML learns from, and from Optuna's studies to experience.

Needs the packages of quickstudy's extras `automl` and `experience`.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.knowledge import pipeline_name
from quickstudy.apps.automl.tables.columns import as_frame, as_numbers, learn_columns, read_columns
from quickstudy.apps.automl.tables.meta_features import Goal, meta_features
from quickstudy.errors import (
    DataError,
    MissingError,
    UsageError,
    check_option,
    hide_passwords,
    require,
    unknown,
)
from quickstudy.experience import (
    ExperienceStore,
    Strategy,
    Task,
    Trial,
    canonical_json,
    fingerprint_of,
)

require("optuna", "automl")
import optuna  # noqa: E402
import pandas as pd  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from optuna.storages import BaseStorage, JournalStorage, RDBStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

__all__ = ["history_of", "import_studies", "table_task"]

STUDIES = uuid.UUID("5b0f4c86-2a52-4d0c-9d5e-0d6b6c7f7a11")
"""The namespace of the ids of trials that studies hold: the same trial is kept once."""


def table_task(
    X: Any, y: Any, goal: Goal, *, name: str, features: Mapping[str, float] | None = None
) -> Task:
    """A table with its target as a task of the experience store.

    Its identity is its content: the names and values of its columns in their order, the target's
    values and the goal. Its features are its meta-features.

    Args:
        X: A data frame or array of n rows.
        y: The target, of shape (n,).
        goal: "classification" or "regression".
        name: For people.
        features: Its meta-features, where they are known; None to find them.

    Raises:
        DataError: If the table or target cannot serve.

    Example:
        >>> rows, labels = [[1, "red"], [2, "blue"]], ["warm", "cold"]
        >>> task = table_task(rows, labels, "classification", name="colours")
        >>> task.kind, task.provenance["rows"]
        ('table', 2)
    """
    frame = as_frame(X)
    if not features:
        features = meta_features(frame, y, goal)
    digest = hashlib.sha256()
    table = read_columns(frame, learn_columns(frame))  # a file and a frame are the same table
    for column in (*(table[name] for name in frame), pd.Series(np.asarray(y), name="")):
        digest.update(canonical_json(str(column.name)).encode())
        digest.update(_content(column))
    told = {"rows": len(frame), "columns": list(frame), "goal": goal}
    return Task(fingerprint_of([digest.hexdigest(), goal]), "table", name, dict(features), told)


def _content(column: pd.Series) -> bytes:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return as_numbers(column).tobytes()
    texts = column.astype(object).where(column.notna(), "").astype(str)
    return "\0".join(texts).encode("utf-8", "surrogatepass")


def history_of(store: ExperienceStore, metric: str, *, kind: str = "table") -> History:
    """What the store's trials tell: tasks by strategies, the mean score of each.

    Data sets go by their task's fingerprint, configurations by `pipeline_name`. Trials that
    failed or were pruned are left out. Scores that are to be small, as a study says in its task's
    provenance, are negated.

    Args:
        store: It is read alone.
        metric: Of the scores, such as "accuracy" or "r2".
        kind: Of the tasks: "table", or "study" for those of Optuna.

    Raises:
        UsageError: If the kind is another one.

    Example:
        >>> import tempfile
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
    found: dict[tuple[str, str], list[float]] = {}
    for row in store.table(kind=kind, metric=metric):
        if row["failure"] is None and row["mean"] is not None:
            directions = tasks[row["task"]].provenance.get("directions", {})
            is_cost = directions.get(metric) == "minimize"
            config = pipeline_name(row["strategy_name"], row["configuration"])
            score = -row["mean"] if is_cost else row["mean"]
            found.setdefault((row["task"], config), []).append(score)
    datasets = {name: i for i, name in enumerate(sorted({dataset for dataset, _ in found}))}
    configs = {name: i for i, name in enumerate(sorted({config for _, config in found}))}
    scores = np.full((len(datasets), len(configs)), np.nan)
    for (dataset, config), values in found.items():
        scores[datasets[dataset], configs[config]] = np.mean(values)
    features = {name: tasks[name].features for name in datasets}
    return History(list(datasets), list(configs), scores, features)


def import_studies(
    storage: str, store: ExperienceStore, *, study: str | None = None
) -> dict[str, int]:
    """Take the finished trials of Optuna's studies into the experience store.

    A study is a task, whose identity is its name and when it began; a trial's parameters are a
    strategy, so the same parameters in two studies are one. The objective is the score, each a
    trial where there are several. What was imported before is passed over, so a study that goes on
    can be imported again.

    Args:
        storage: A file of SQLite or of Optuna's journal, or a URL of a database.
        store: Where to.
        study: Its name; None for all.

    Returns:
        How many records of each kind were new.

    Raises:
        MissingError: If there is no such file.
        UsageError: If there is no such study, or the URL is none.
        DataError: If it is no storage of Optuna, or it cannot be reached.
    """
    opened = _opened(storage)
    names = optuna.get_all_study_names(opened)
    if study is not None and study not in names:
        raise unknown("study", study, names)
    tasks, strategies, trials = [], [], []
    for name in names if study is None else [study]:
        found = optuna.load_study(study_name=name, storage=opened)
        ended = [trial for trial in found.get_trials(deepcopy=False) if trial.state.is_finished()]
        if not ended:
            continue
        metrics = found.metric_names or _numbered("objective", len(found.directions))
        directions = {m: d.name.lower() for m, d in zip(metrics, found.directions, strict=True)}
        began = min(trial.datetime_start or trial.datetime_complete for trial in ended)
        identity = {"study": name, "began": began.isoformat()}
        task = Task(
            fingerprint_of(identity), "study", name, {}, {**identity, "directions": directions}
        )
        tasks.append(task)
        for trial in ended:
            strategy = Strategy("parameters", ", ".join(sorted(trial.params)), trial.params)
            strategies.append(strategy)
            trials += [
                _trial_of(trial, task, strategy, i, metric) for i, metric in enumerate(metrics)
            ]
    return store.record(tasks=tasks, strategies=strategies, trials=trials)


def _opened(storage: str) -> BaseStorage:
    """A storage of Optuna's that is there; none is made."""
    path = None if "://" in storage else Path(storage).absolute()
    try:
        place = sa.make_url(storage if path is None else f"sqlite:///{path}")
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            f"expected a file or the URL of a database, got {hide_passwords(storage)!r}"
        ) from None
    if place.drivername == "sqlite":
        path = Path(place.database or "")
    if path and not path.is_file():
        raise MissingError(f"expected a storage of Optuna at {path}, found none")
    if place.drivername == "postgresql":
        place = place.set(drivername="postgresql+psycopg")
    try:
        if path and not _is_sqlite(path):
            return JournalStorage(JournalFileBackend(str(path)))
        return RDBStorage(place.render_as_string(hide_password=False), skip_table_creation=True)
    except Exception as error:  # each database and reader has errors of its own
        reason = str(error.__cause__ or error).partition("\n")[0]
        shown = hide_passwords(str(path or place.render_as_string()))
        raise DataError(
            f"{shown} cannot be read as a storage of Optuna: {hide_passwords(reason)}"
        ) from error


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _numbered(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name} {i}" for i in range(1, n + 1)]


def _trial_of(trial: FrozenTrial, task: Task, strategy: Strategy, i: int, metric: str) -> Trial:
    """A finished trial of a study with its i-th objective, or why it has none."""
    value = trial.values[i] if trial.state == TrialState.COMPLETE else math.nan
    failure = None if math.isfinite(value) else f"{metric} {value}"
    assert trial.datetime_complete
    if trial.state != TrialState.COMPLETE:
        failure = {TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}[trial.state]
    return Trial(
        task.fingerprint,
        strategy.fingerprint,
        metric=metric,
        scores=[] if failure else [value],
        seconds=trial.duration.total_seconds() if trial.duration else None,
        failure=failure,
        at=trial.datetime_complete.astimezone(),
        id=str(uuid.uuid5(STUDIES, canonical_json([task.fingerprint, trial.number, metric]))),
    )
