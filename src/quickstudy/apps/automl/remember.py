"""Record a search for a pipeline in the experience store, pipeline by pipeline.

Needs the packages of quickstudy's extra `experience`, when a function is called.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.records import run_record, trial_record
from quickstudy.files import readable

if TYPE_CHECKING:
    from quickstudy.apps.automl.estimators import AutoML
    from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry, SearchCallback
    from quickstudy.experience import ExperienceStore, Run, Task

__all__ = ["remember_automl"]


def remember_automl(
    model: AutoML, X: Any, y: Any, store: ExperienceStore, *, name: str, began: datetime
) -> SearchCallback:
    """Record what AutoML tries on a table, each pipeline as it ends: a task of the table's content,
    a trial a pipeline.

    A pruned pipeline has the scores of the folds before, and its failure says so. The run is
    recorded with the first pipeline, so it has no report, and ends when that did.

    Args:
        model: What is to be fitted, by `fit(X, y, callback=remember_automl(...))`.
        X, y: What it is to be fitted on.
        name: Of the table, for people.
        began: When the search began.

    Returns:
        A callback that records a pipeline; it raises what the store raises.
    """
    from quickstudy.experience import Strategy

    recorded: tuple[Task, Run] | None = None

    def record(entry: LeaderboardEntry) -> None:
        nonlocal recorded
        recorded = recorded or _task_and_run(model, X, y, name, began)
        task, run = recorded
        strategy = Strategy("pipeline", entry.family, entry.options)
        trial = trial_record(
            run,
            entry.number,
            task,
            strategy,
            metric=model.metric_,
            scores=entry.scores,
            seconds=entry.seconds,
            failure=entry.failure,
            at=datetime.now(UTC),
        )
        store.record(run=run, tasks=[task], strategies=[strategy], trials=[trial])

    return record


def _task_and_run(model: AutoML, X: Any, y: Any, name: str, began: datetime) -> tuple[Task, Run]:
    from sklearn.base import is_classifier

    from quickstudy.apps.automl.meta.experience import table_task

    goal = "classification" if is_classifier(model) else "regression"
    features, columns = model.meta_features_, model.columns_  # learned from these rows already
    task = table_task(X, y, goal, name=readable(name), features=features, columns=columns)
    options = {k: v for k, v in model.get_params().items() if k not in ("storage", "history")}
    recipe = {"estimator": type(model).__name__, "table": task.fingerprint, **options}
    results = {"began": began.isoformat(), "notes": model.notes_}
    recipe_json = json.dumps({"automl": recipe})
    return task, run_record(provenance(model.seed), recipe_json, results, began)
