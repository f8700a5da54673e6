"""Turn what runs and comparisons find into experience.

Needs the packages of quickstudy's extra `experience`, when a function is called.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quickstudy.experiments.build import data_of_test, tasks_of_test
from quickstudy.experiments.data import classes_of
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.records import run_record, trial_record
from quickstudy.files import read_json, readable
from quickstudy.recipes.loading import parse_recipe
from quickstudy.recipes.schema import Data, Family, Recipe, Test
from quickstudy.tasks import Tasks
from quickstudy.tasks.environments import Discrete, Trials
from quickstudy.tasks.image_files import content_hash

if TYPE_CHECKING:
    from quickstudy.experience import ExperienceStore, Run, Strategy, Task, Trial

__all__ = [
    "remember",
    "remember_comparison",
    "run_record",
    "shape_features",
    "strategy_of",
    "task_of",
    "trial_record",
]

OPTIONS_WITHOUT_EFFECT = {"device", "executor", "checkpoint_every", "keep_checkpoints"}
"""Options of training that leave what is learned as it is, to rounding."""


def remember(
    recipe: Recipe,
    report: dict[str, Any],
    part: Literal["train", "test"],
    store: ExperienceStore,
    *,
    began: datetime,
) -> None:
    """Keep a part of a run's report as a run with its tasks, strategies and trials.

    The training is a trial without scores on the training tasks; each test is one with a score a
    task. The same part is recorded once.

    Args:
        recipe: That of the run, with its overrides.
        report: As in `report.json`.
        began: When the command began.
    """
    part_report = report[part]
    run = run_record(
        part_report,
        recipe.as_json(),
        {"about": report["about"], **_without_scores(part_report)},
        began,
    )
    if part == "train":
        strategy = strategy_of(recipe)
        task = task_of(recipe.data, recipe.tasks, make_tasks(recipe, recipe.tasks, recipe.data, 0))
        trial = trial_record(
            run, 0, task, strategy, seconds=part_report["seconds"], cost=part_report.get("cost", {})
        )
        store.record(run=run, tasks=[task], strategies=[strategy], trials=[trial])
        return
    left = list(part_report["results"]["score"])
    tasks, strategies, trials = [], [], []
    for test in recipe.test:
        if left and left[0]["title"] == test.title:  # the data of the others is not here
            entry = left.pop(0)
            tasks.append(_tested(recipe, test))
            strategies.append(strategy_of(recipe, test))
            trials.append(_scored(run, len(trials), tasks[-1], strategies[-1], entry))
    store.record(run=run, tasks=tasks, strategies=strategies, trials=trials)


def remember_comparison(folder: Path, store: ExperienceStore, *, began: datetime) -> None:
    """Keep what `compare` left in its folder: a trial a learner, all on the same task."""
    comparison, plan = read_json(folder / "compare.json"), read_json(folder / "plan.json")
    made_by = comparison["about"]
    run = run_record(made_by, json.dumps(plan["about"]), _without_scores(comparison), began)
    tasks, strategies, trials = [], [], []
    for entry in comparison["learners"]:
        recipe = parse_recipe(plan["recipes"][entry["learner"]])
        tasks.append(_tested(recipe, recipe.test[0]))
        strategies.append(strategy_of(recipe))
        scored = {**entry, "scores": comparison["scores"][entry["learner"]]}
        trials.append(_scored(run, len(trials), tasks[-1], strategies[-1], scored))
    store.record(run=run, tasks=tasks, strategies=strategies, trials=trials)


def strategy_of(recipe: Recipe, test: Test | None = None) -> Strategy:
    """The learner of a recipe, with all that decides what it has learned but the seed.

    Args:
        test: One that may change options of the learner.
    """
    from quickstudy.experience import Strategy

    parts = {"backbone", "learner", "tasks", "curriculum", "validation", "train"}
    plain = recipe.model_dump(mode="json", exclude_defaults=True, include=parts)
    plain["train"] = {k: v for k, v in plain["train"].items() if k not in OPTIONS_WITHOUT_EFFECT}
    if start := recipe.train.start:
        weights = start / "weights.safetensors"
        here = weights.exists()
        plain["train"]["start"] = (
            hashlib.sha256(weights.read_bytes()).hexdigest() if here else start.name
        )
    options = {**plain.pop("learner"), **(test.learner if test else {})}
    name = options.pop("name")
    return Strategy("learner", name, {**plain, "data": _identity(recipe.data), "options": options})


def task_of(data: Data, family: Family, tasks: Tasks) -> Task:
    """A family of tasks; which of them are drawn, its seed says, which is no part of it.

    Args:
        data, family: The recipe's tables.
        tasks: What they made, for the number of classes and examples.
    """
    from quickstudy.experience import Task, fingerprint_of

    if isinstance(tasks, Trials):
        return _task_to_act_in(data, tasks)
    shape = family.model_dump(mode="json", include={*Family.model_fields, "instance"})
    shape = {k: v for k, v in shape.items() if v not in (None, False)}
    definition = {"data": _identity(data), "tasks": shape}
    features = {
        "ways": _middle(family.n_way),
        "shots": _middle(family.n_shot),
        "queries": family.n_query,
        **shape_features(data),
    }
    if classes := classes_of(tasks):
        features |= {"classes": classes.n_classes, "examples": len(classes.y)}
    source = data.folder.name if data.folder else data.name
    ways = "" if family.n_way is None else f"{_words(family.n_way)}-way "
    name = readable(f"{source} {family.split}, {ways}{_words(family.n_shot)}-shot")
    known = {k: float(v) for k, v in features.items() if v is not None}
    return Task(fingerprint_of(definition), "few-shot", name, known, definition)


def _task_to_act_in(data: Data, trials: Trials) -> Task:
    """A family of environments, with the episodes of a trial. Splits differ in their seed alone."""
    from quickstudy.experience import Task, fingerprint_of

    family, actions = trials.family, trials.family.actions
    episodes = {"n_shot": trials.n_shot, "n_query": trials.n_query}
    definition = {"data": _identity(data), "tasks": episodes}
    features = {
        "shots": trials.n_shot,
        "queries": trials.n_query,
        "horizon": family.horizon,
        "observation_size": family.observation_size,
        "action_size": actions.n if isinstance(actions, Discrete) else actions.size,
    }
    known = {name: float(value) for name, value in features.items()}
    scored = f"{trials.n_query} scored episode{'s' if trials.n_query > 1 else ''}"
    name = readable(f"{data.name}, {scored} after {trials.n_shot} to learn from")
    return Task(fingerprint_of(definition), "environments", name, known, definition)


def _tested(recipe: Recipe, test: Test) -> Task:
    """The task of one of a recipe's tests, whose images are read at the learner's size."""
    return task_of(data_of_test(recipe, test), test, tasks_of_test(recipe, test))


def shape_features(data: Data) -> dict[str, float]:
    """What is known of images; nothing of examples that are vectors."""
    if len(data.shape) != 3:
        return {}
    return {"image_size": data.image_size, "channels": data.n_channels}


def _identity(data: Data) -> dict[str, Any]:
    """A data table in which the content of a folder stands for its place."""
    plain = data.model_dump(mode="json", exclude_defaults=True)
    if data.folder:  # a run is adapted on machines that do not have its images, too
        here = data.folder.exists()
        plain["folder"] = content_hash(data.folder) if here else data.folder.name
    return plain


def _middle(size: int | tuple[int, int] | None) -> float | None:
    return sum(size) / 2 if isinstance(size, tuple) else size


def _words(size: int | tuple[int, int]) -> str:
    return f"{size[0]} to {size[1]}" if isinstance(size, tuple) else str(size)


def _scored(run: Run, number: int, task: Task, strategy: Strategy, entry: dict[str, Any]) -> Trial:
    return trial_record(
        run,
        number,
        task,
        strategy,
        metric=entry["metric"],
        scores=entry["scores"],
        seconds=entry["cost"]["seconds"],
        cost=entry["cost"],
    )


def _without_scores(plain: Any) -> Any:
    """A report without the scores of single tasks, which trials hold."""
    if isinstance(plain, dict):
        return {k: _without_scores(v) for k, v in plain.items() if k != "scores"}
    return [_without_scores(v) for v in plain] if isinstance(plain, list) else plain
