"""How many steps each learner of a comparison trains for: as many as fit into one budget."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from typing import Any

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.experiments.build import (
    device_of_training,
    make_learner,
    tasks_of_training,
    training_options,
)
from quickstudy.experiments.evaluate import check_tests
from quickstudy.progress import track
from quickstudy.recipes.loading import parse_recipe
from quickstudy.recipes.schema import Recipe, Train

__all__ = ["MIN_STEPS", "named_in_errors", "trained_enough", "within_budget"]

N_VALIDATIONS = 5
"""Validations of each learner within its budget."""

VALIDATION_SHARE = 0.2
"""At most this share of the budget goes into validation."""

VALIDATION_TASKS = (10, 100)
"""Tasks of a validation: the fewest that choose weights at all, and the most."""

MIN_STEPS = 50
"""With fewer meta-steps a learner has hardly begun, and a comparison says nothing of it."""

MAX_OVERRUN = 1.1
"""A training that took more than this times the budget is not compared."""


def within_budget(recipes: dict[str, Recipe], seconds: float) -> dict[str, Recipe]:
    """The recipes with as many steps and validation tasks as fit into the budget.

    Raises:
        UsageError: If it is too short for a learner to train.
    """
    timed = {}
    for name, recipe in track(list(recipes.items()), "timing a few steps of each"):
        with named_in_errors(name):
            timed[name] = _seconds(recipe, seconds)
    fewest, most = VALIDATION_TASKS
    needed = {
        name: max(
            MIN_STEPS * of_step / (1 - VALIDATION_SHARE),
            fewest * N_VALIDATIONS * of_task / VALIDATION_SHARE,
        )
        for name, (of_step, of_task) in timed.items()
        if recipes[name].train.steps
    }
    slowest = max(needed, key=needed.__getitem__, default="")
    if slowest and needed[slowest] > seconds:
        raise UsageError(
            f"a budget of {seconds:g} s is too short for {slowest}, which needs about "
            f"{math.ceil(needed[slowest])} s for {MIN_STEPS} meta-steps with validation: give a "
            "longer --budget, or fewer n_way, n_query or a smaller image size"
        )
    of_task = max((timed[name][1] for name in needed), default=0.0)
    n_validation = most
    if of_task:
        n_validation = min(most, math.floor(VALIDATION_SHARE * seconds / N_VALIDATIONS / of_task))
    planned = {}
    for name, recipe in recipes.items():
        plain = json.loads(recipe.as_json())
        plain["validation"]["n_tasks"] = n_validation
        if name in needed:
            of_step, of_task = timed[name]
            left = seconds - N_VALIDATIONS * n_validation * of_task
            _shorten(plain, math.floor(left / of_step))
        planned[name] = parse_recipe(plain)
    return planned


def _seconds(recipe: Recipe, budget: float) -> tuple[float, float]:
    """Seconds of a meta-step, and of adapting to a task and scoring it.

    The first step, which is slower, does not count; of slow ones only the second does.
    """
    learner = make_learner(recipe).to(device_of_training(recipe))
    check_tests(recipe, learner)
    options = training_options(recipe)
    tasks, validation = tasks_of_training(recipe), options.pop("validation")
    for key in ("validation_tasks", "validate_every", "schedule"):
        options.pop(key, None)
    # Seconds without end, so that the executor is chosen as in training.
    options |= {"seconds": math.inf, "show_progress": False}
    of_step, n_timed = 0.0, 3
    for steps in (1, 1, n_timed) if recipe.train.steps else ():
        if steps == n_timed and n_timed * of_step > budget / 10:
            break
        began = time.perf_counter()
        meta_train(learner, tasks, **{**options, "steps": steps})
        of_step = (time.perf_counter() - began) / steps
    meta_test(learner, validation, 2)
    began = time.perf_counter()
    meta_test(learner, validation, n_timed)
    return of_step, (time.perf_counter() - began) / n_timed


def _shorten(plain: dict[str, Any], steps: int) -> None:
    """Let a recipe train for about so many steps: the clock ends it, within twice as many."""
    train = plain["train"]
    schedule: dict[str, Any] = {}
    if whole := Train(**train).whole_schedule():
        schedule = train["schedule"] = whole.model_dump()
    factor = steps / train["steps"]
    for key in {"step_size", "T_max", "total_iters", "total_steps"} & schedule.keys():
        schedule[key] = max(1, round(schedule[key] * factor))
    if "milestones" in schedule:
        schedule["milestones"] = [max(1, round(step * factor)) for step in schedule["milestones"]]
    every = max(1, steps // N_VALIDATIONS)
    most = schedule.get("total_steps", 2 * steps)  # OneCycleLR refuses to go on
    train.update(steps=most, validate_every=every, checkpoint_every=every)


def trained_enough(recipe: Recipe, trained: dict[str, Any], seconds: float) -> bool:
    """Whether a learner trained long enough, and within its budget; a baseline need not train."""
    if not recipe.train.steps:
        return True
    return trained["steps"] >= MIN_STEPS and trained["seconds"] <= MAX_OVERRUN * seconds


@contextlib.contextmanager
def named_in_errors(learner: str) -> Iterator[None]:
    """Let errors begin with the name of the learner that they are about."""
    try:
        yield
    except (UsageError, DataError) as error:
        raise type(error)(f"{learner}: {error}") from None
