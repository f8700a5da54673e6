"""Turn an adaptation to a user's examples into experience.

Needs the packages of quickstudy's extra `experience`, when a function is called.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.remember import run_record, shape_features, strategy_of, trial_record
from quickstudy.files import readable

if TYPE_CHECKING:
    from quickstudy.apps.fewshot.adapt import Adaptation
    from quickstudy.experience import ExperienceStore

__all__ = ["remember_adapting"]


def remember_adapting(
    adaptation: Adaptation, support: Path, store: ExperienceStore, *, began: datetime
) -> None:
    """Keep that a learner was adapted to a user's examples: a task of their content, a trial
    without scores. With unlabelled examples it is another strategy, and the run's report says what
    was made of them.
    """
    from quickstudy.experience import Strategy, Task

    ways, recipe = adaptation.ways, adaptation.recipe
    n_queries = len(adaptation.predictions)
    features: dict[str, float] = {
        "ways": ways,
        "shots": adaptation.shots,
        "queries": n_queries / ways,
        "classes": ways,
        "examples": round(adaptation.shots * ways),
    }
    if recipe:
        features |= shape_features(recipe.data)
    name = readable(f"{support.absolute().name}, {ways}-way")
    definition = {"data": {"name": "folder" if adaptation.kind == "image" else "table"}}
    task = Task(adaptation.content, "few-shot", name, features, definition)
    pool = adaptation.unlabelled
    strategy = (
        strategy_of(recipe)
        if recipe
        else Strategy("learner", readable(adaptation.learner), {"unlabelled": True} if pool else {})
    )
    plain = recipe.as_json() if recipe else json.dumps({"learner": adaptation.learner})
    seed = recipe.seed if recipe else 0
    report = {"queries": n_queries, **({"unlabelled": asdict(pool)} if pool else {})}
    run = run_record(provenance(seed), plain, report, began)
    trial = trial_record(run, 0, task, strategy)
    store.record(run=run, tasks=[task], strategies=[strategy], trials=[trial])
