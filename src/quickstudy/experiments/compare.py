"""Train several learners by one protocol, and compare them on the same tasks."""

from __future__ import annotations

import contextlib
import io
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, RunError, UsageError, unknown
from quickstudy.experiments.build import (
    device_of_training,
    make_learner,
    make_tasks,
    tasks_of_training,
    training_options,
)
from quickstudy.experiments.evaluate import check_tests, cost_of_test, run_test
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run, train_run
from quickstudy.experiments.significance import Pair, compare_pairs
from quickstudy.files import (
    check_writable,
    disk_errors,
    make_folder,
    read_json,
    write_atomically,
)
from quickstudy.learners import LEARNERS, Learner
from quickstudy.learners.base import trainable
from quickstudy.progress import track
from quickstudy.recipes import recipe_names
from quickstudy.recipes.loading import load_recipe, parse_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import EpisodeSampler
from quickstudy.tasks.environments import ENVIRONMENTS
from quickstudy.tasks.families import FAMILIES
from quickstudy.tasks.image_files import list_images
from quickstudy.tasks.images import decode_image

__all__ = ["Comparison", "compare", "recipe_of"]

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

IMAGE_SIZES = (28, 84)
"""The smallest and largest side at which a folder's images are compared."""


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: an entry a learner, best first, and every pair of them."""

    about: dict[str, Any]
    learners: list[dict[str, Any]]
    pairs: list[Pair]

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "pairs": [vars(pair) for pair in self.pairs]}


def recipe_of(learner: str, channels: int = 1) -> Recipe:
    """The recipe that says how a learner is trained on images: a recipe's own name or file, or
    that learner's recipe on labelled images of so many channels, if possible on Omniglot and named
    after it, with the shortest name.

    Raises:
        UsageError: If there is none.
    """
    if learner.endswith(".toml") or learner in recipe_names():
        recipe = load_recipe(learner)
        _check_learns_from_examples(learner, LEARNERS.find(recipe.learner.name))
        return recipe
    if learner not in LEARNERS:
        raise unknown("learner or recipe", learner, [*LEARNERS, *recipe_names()])
    _check_learns_from_examples(learner, LEARNERS[learner])
    recipes = {name: load_recipe(name) for name in recipe_names()}
    fit = [
        (
            recipe.data.n_channels != channels,
            recipe.data.name != "omniglot",
            not name.startswith(learner),
            len(name),
            name,
        )
        for name, recipe in recipes.items()
        if recipe.learner.name == learner
        and recipe.data.labels == "given"
        and not recipe.data.family
    ]
    if not fit:
        raise UsageError(
            f"expected a recipe that trains {learner} on classes, and none comes with quickstudy: "
            "write one, and give its file (such as mine.toml) in place of the learner"
        )
    return recipes[min(fit)[-1]]


def _check_learns_from_examples(name: str, kind: type[Learner]) -> None:
    if kind.acts:
        raise UsageError(
            f"{name} learns to act in environments: expected learners of examples; train and test "
            "each learner that acts by a recipe of its own, with `quickstudy reproduce`"
        )


def compare(
    learners: Sequence[str],
    data: dict[str, Any],
    folder: Path,
    *,
    seconds: float,
    n_way: int = 5,
    n_shot: int = 1,
    n_query: int = 15,
    n_tasks: int = 600,
    seed: int = 0,
) -> Comparison:
    """Train learners on one data set by one protocol, and test all on the same tasks.

    All train on tasks of the shape of the test tasks, in float32, for the same seconds by the
    clock: steps, validation and the choice of an executor count alike. From its recipe a learner
    has its backbone, options, optimiser and meta-batch size. A schedule of the learning rate is
    squeezed into the steps that fit, which are estimated from a few steps timed beforehand. A
    comparison that was interrupted goes on where it stopped.

    A recipe with `labels = "none"` trains and validates on its own tasks, without the labels.

    Args:
        learners: Learners, recipes or recipe files, at least two.
        data: As a recipe's `data` table. The images of a folder keep their colours, are not
            inverted, and have their own size up to 84 pixels a side, unless the table says
            otherwise. With an encoder, backbones are a linear map of what it makes.
        folder: Holds the plan, a run folder a learner, and `compare.json`.
        seconds: Training time of each learner.
        n_way, n_shot, n_query: The tasks that all are trained, validated and tested on.
        n_tasks: How many they are tested on.

    Raises:
        UsageError: If the budget is too short for 50 steps of each learner.
        RunError: If the folder holds another comparison, or something else.
        DiskError: If the folder cannot be written.
        KeyboardInterrupt: If training is stopped; there is a checkpoint.
    """
    if len(set(learners)) < 2:
        raise UsageError(f"expected at least two different learners, got {list(learners)}")
    if len({Path(name).stem for name in learners}) < len(set(learners)):
        raise UsageError(
            "expected learners that differ by more than a folder or .toml, since each has a run "
            f"folder of its name, got {', '.join(learners)}: rename a file"
        )
    if data["name"] in FAMILIES or data["name"] in ENVIRONMENTS:
        raise UsageError(f"expected a data set of classes to tell apart, got {data['name']}")
    if not seconds > 0:
        raise UsageError(f"expected a positive budget, got {seconds} s")
    check_writable(folder)
    if data.get("folder") and "encoder" not in data:
        data = {**_image_options(Path(data["folder"])), **data}
    shape = {"n_way": n_way, "n_shot": n_shot, "n_query": n_query}
    options = {"data": data, "seconds": seconds, **shape, "n_tasks": n_tasks, "seed": seed}
    about = {"learners": list(learners), **options}
    recipes = _kept_plan(folder, about)
    if recipes is None:
        recipes = {}
        chosen = {name: recipe_of(name, data.get("channels", 1)) for name in learners}
        for name, recipe in chosen.items():
            with _named_in_errors(name):
                recipes[name] = _by_protocol(name, recipe, data, shape, seconds, n_tasks, seed)
        recipes = _within(recipes, seconds)
        _keep_plan(recipes, folder, about)
    entries, reports = [], {}
    for name, recipe in recipes.items():
        run = folder / Path(name).stem
        learner, trained = _trained(recipe, run, seconds)
        (test,) = recipe.test
        report = reports[name] = run_test(recipe, learner, test)
        entries.append(
            {
                "learner": name,
                **{k: v for k, v in report.as_dict().items() if k != "scores"},
                "labels": recipe.data.labels,
                "steps": trained["steps"],
                "train_seconds": trained["seconds"],
                "tasks_per_step": recipe.train.meta_batch_size,
                "optimizer": recipe.train.optimizer.model_dump(),
                "backbone": recipe.backbone.model_dump(),
                "trained_enough": _trained_enough(recipe, trained, seconds),
                "cost": vars(cost_of_test(recipe, learner, test)),
                "parameters": sum(p.numel() for p in learner.parameters()),
                # A baseline that learns nothing is a point.
                "curve": _curve(run / "metrics.jsonl") or [(0.0, report.mean)],
            }
        )
    entries.sort(key=lambda entry: -entry["mean"])
    enough = {entry["learner"] for entry in entries if entry["trained_enough"]}
    comparison = Comparison({**about, **provenance(seed)}, entries, compare_pairs(reports, enough))
    scores = {name: report.scores for name, report in reports.items()}
    content = json.dumps({**comparison.as_dict(), "scores": scores}, indent=1)
    write_atomically(folder / "compare.json", content.encode())
    return comparison


@contextlib.contextmanager
def _named_in_errors(learner: str) -> Iterator[None]:
    """Let errors begin with the name of the learner that they are about."""
    try:
        yield
    except (UsageError, DataError) as error:
        raise type(error)(f"{learner}: {error}") from None


def _image_options(folder: Path) -> dict[str, Any]:
    """Size and channels that keep a folder's images as they are, from up to 200 of them."""
    images = list_images(folder)
    images = images[:: math.ceil(len(images) / 200)]
    sides, colours = [], False
    for name, read in images:
        content = read()
        small = decode_image(content, f"{folder}/{name}", size=32, channels=3).astype(np.int16)
        colours = colours or int(np.ptp(small, axis=0).max()) > 32  # more than compression leaves
        with Image.open(io.BytesIO(content)) as image:
            sides.append(max(image.size))
    low, high = IMAGE_SIZES
    size = min(max(round(statistics.median(sides)), low), high)
    return {"image_size": size, "channels": 3 if colours else 1, "ink": "bright"}


def _by_protocol(
    name: str,
    recipe: Recipe,
    data: dict[str, Any],
    shape: dict[str, int],
    seconds: float,
    n_tasks: int,
    seed: int,
) -> Recipe:
    """The recipe of one learner with the tasks, data and precision that all have."""
    plain = json.loads(recipe.as_json())
    if "encoder" in data:
        plain["backbone"] = {"name": "linear"}
    plain.update(
        about=f"{name} on {data.get('folder', data['name'])} within {seconds:g} s",
        seed=seed,
        data=data,
        curriculum=[],
        tasks={"split": "train", **shape},
        validation={**shape, "n_tasks": VALIDATION_TASKS[1]},
        test=[{"title": "unseen", **shape, "n_tasks": n_tasks}],
    )
    if recipe.data.labels == "none":
        plain.update(_trained_without_labels(recipe, data, shape))
        plain["test"][0]["data"] = data
    for key in ("patience", "executor"):
        plain["train"].pop(key, None)
    plain["train"]["precision"] = "float32"
    if not trainable(make_learner(recipe)):
        plain["train"]["steps"] = 0
    drawn = parse_recipe(plain)
    tasks = make_tasks(drawn, drawn.tasks, drawn.data, 0)
    if isinstance(tasks, EpisodeSampler) and "n_classes" in plain["learner"]:
        plain["learner"]["n_classes"] = tasks.data.n_classes
    return parse_recipe(plain)


def _trained_without_labels(
    recipe: Recipe, data: dict[str, Any], shape: dict[str, int]
) -> dict[str, Any]:
    """Data, tasks and validation of a recipe that reads no labels: its own tasks, of the ways of
    the test if the learner takes no others.

    Raises:
        UsageError: If the data are a folder, whose test classes the training would see.
    """
    if "folder" in data:
        raise UsageError(
            "expected a data set for a recipe without labels, got a folder: without labels its "
            "images are not split by class, so training would see those of the test"
        )
    plain = json.loads(recipe.as_json())
    tasks = {**plain["tasks"], "split": "train"}
    validation = {**(plain.get("validation") or tasks), "split": "validation"}
    if LEARNERS.find(recipe.learner.name).ways != "any":
        tasks["n_way"] = validation["n_way"] = shape["n_way"]
    validation["n_tasks"] = VALIDATION_TASKS[1]
    return {"data": {**data, "labels": "none"}, "tasks": tasks, "validation": validation}


def _within(recipes: dict[str, Recipe], seconds: float) -> dict[str, Recipe]:
    """The recipes with as many steps and validation tasks as fit into the budget.

    Raises:
        UsageError: If it is too short for a learner to train.
    """
    timed = {}
    for name, recipe in track(list(recipes.items()), "timing a few steps of each"):
        with _named_in_errors(name):
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
    schedule = train.get("schedule") or {}
    factor = steps / train["steps"]
    for key in {"step_size", "T_max", "total_iters", "total_steps"} & schedule.keys():
        schedule[key] = max(1, round(schedule[key] * factor))
    if "milestones" in schedule:
        schedule["milestones"] = [max(1, round(step * factor)) for step in schedule["milestones"]]
    every = max(1, steps // N_VALIDATIONS)
    most = schedule.get("total_steps", 2 * steps)  # OneCycleLR refuses to go on
    train.update(steps=most, validate_every=every, checkpoint_every=every)


def _trained(recipe: Recipe, run: Path, seconds: float) -> tuple[Learner, dict[str, Any]]:
    """The learner of a run, trained now or before, and the report of its training."""
    report = read_json(run / "report.json").get("train")
    if report is None or report["stopped"] == "interrupted":
        learner, trained = train_run(recipe, run, resume=True, seconds=seconds)
        if trained.stopped == "interrupted":
            raise KeyboardInterrupt
        return learner, vars(trained)
    return load_run(run)[1].to(device_of_training(recipe)), report


def _trained_enough(recipe: Recipe, trained: dict[str, Any], seconds: float) -> bool:
    """Whether a learner trained long enough, and within its budget; a baseline need not train."""
    if not recipe.train.steps:
        return True
    return trained["steps"] >= MIN_STEPS and trained["seconds"] <= MAX_OVERRUN * seconds


def _keep_plan(recipes: dict[str, Recipe], folder: Path, about: dict[str, Any]) -> None:
    """Keep the plan, since the timing it rests on would come out otherwise another time."""
    with disk_errors(folder):
        make_folder(folder)
    plan = {"about": about, "recipes": {n: json.loads(r.as_json()) for n, r in recipes.items()}}
    write_atomically(folder / "plan.json", json.dumps(plan, indent=1).encode())


def _kept_plan(folder: Path, about: dict[str, Any]) -> dict[str, Recipe] | None:
    path = folder / "plan.json"
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} exists and is not a comparison: name another folder")
        return None
    plan = read_json(path)
    if plan.get("about") != about:
        raise RunError(f"{folder} holds another comparison: name another folder")
    return {name: parse_recipe(plain) for name, plain in plan["recipes"].items()}


def _curve(log: Path) -> list[tuple[float, float]]:
    """Training seconds and validation score, from a run's metrics."""
    curve, seconds = [], 0.0
    for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        seconds = line.get("seconds", seconds)
        if "validation" in line:
            (score,) = line["validation"].values()
            curve.append((seconds, score))
    return curve
