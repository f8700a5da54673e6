"""Optuna's studies as experience.

Needs the packages of quickstudy's extras `automl` and `experience`.
"""

# Optuna's dates are optional while a trial runs, which none of these does
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import math
import uuid
from pathlib import Path

from quickstudy.errors import (
    DataError,
    MissingError,
    UsageError,
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
import sqlalchemy as sa  # noqa: E402
from optuna.storages import BaseStorage, JournalStorage, RDBStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

__all__ = ["import_studies"]

STUDIES = uuid.UUID("5b0f4c86-2a52-4d0c-9d5e-0d6b6c7f7a11")
"""The namespace of the ids of trials that studies hold: the same trial is stored once."""


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
    database = _open(storage)
    names = optuna.get_all_study_names(database)
    if study is not None and study not in names:
        raise unknown("study", study, names)
    tasks, strategies, trials = [], [], []
    for name in names if study is None else [study]:
        loaded = optuna.load_study(study_name=name, storage=database)
        ended = [trial for trial in loaded.get_trials(deepcopy=False) if trial.state.is_finished()]
        if not ended:
            continue
        metrics = loaded.metric_names or _numbered("objective", len(loaded.directions))
        directions = {m: d.name.lower() for m, d in zip(metrics, loaded.directions, strict=True)}
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


def _open(storage: str) -> BaseStorage:
    """A storage of Optuna that exists; none is created."""
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
        name = hide_passwords(str(path or place.render_as_string()))
        raise DataError(
            f"{name} cannot be read as a storage of Optuna: {hide_passwords(reason)}"
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
