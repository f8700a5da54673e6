"""Turn a search for a pipeline into experience, pipeline by pipeline.

Needs the packages of quickstudy's extra `experience`, when a function is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.remember import run_record, trial_record
from quickstudy.files import readable

if TYPE_CHECKING:
    from quickstudy.apps.automl.estimators import LeaderboardEntry
    from quickstudy.apps.automl.runs import AutoML
    from quickstudy.experience import ExperienceStore, Run, Task

__all__ = ["remember_automl"]


def remember_automl(
    model: AutoML, X: Any, y: Any, store: ExperienceStore, *, name: str, began: datetime
) -> Callable[[LeaderboardEntry], None]:
    """Keep what AutoML tries on a table, each pipeline as it ends: a task of the table's content, a
    trial a pipeline.

    One that was pruned has the scores of the folds before, and its failure says so. The run is kept
    with the first of them, so it has no report, and finished is when that was.

    Args:
        model: What is to be fitted, by `fit(X, y, callback=remember_automl(...))`.
        X, y: What it is to be fitted on.
        name: Of the table, for people.
        began: When the search began.

    Returns:
        What keeps a pipeline that it is told of; it raises what the store raises.
    """
    from sklearn.base import is_classifier

    from quickstudy.apps.automl.meta.experience import table_task
    from quickstudy.experience import Strategy

    kept: list[tuple[Task, Run]] = []

    def keep(entry: LeaderboardEntry) -> None:
        if not kept:
            goal = "classification" if is_classifier(model) else "regression"
            task = table_task(X, y, goal, name=readable(name), features=model.meta_features_)
            options = {
                k: v for k, v in model.get_params().items() if k not in ("storage", "history")
            }
            recipe = {"estimator": type(model).__name__, "table": task.fingerprint, **options}
            about = {"began": began.isoformat(), "notes": model.notes_}
            plain = json.dumps({"automl": recipe})
            kept.append((task, run_record(provenance(model.seed), plain, about, began)))
        task, run = kept[0]
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

    return keep
