"""Train several learners by one protocol, and compare them on the same tasks."""

from __future__ import annotations

import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.errors import RunError, UsageError, unknown
from quickstudy.experiments.budget import named_in_errors, trained_enough, within_budget
from quickstudy.experiments.build import device_of_training, make_learner
from quickstudy.experiments.evaluate import cost_of_test, run_test
from quickstudy.experiments.families import make_tasks
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
from quickstudy.recipes import recipe_names
from quickstudy.recipes.loading import load_recipe, parse_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import EpisodeSampler
from quickstudy.tasks.environments import ENVIRONMENTS
from quickstudy.tasks.families import FAMILIES
from quickstudy.tasks.image_files import list_images
from quickstudy.tasks.images import decode_image

__all__ = ["Comparison", "compare", "recipe_of"]

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
            with named_in_errors(name):
                recipes[name] = _by_protocol(name, recipe, data, shape, seconds, n_tasks, seed)
        recipes = within_budget(recipes, seconds)
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
                "trained_enough": trained_enough(recipe, trained, seconds),
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
        validation=shape,
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
    return {"data": {**data, "labels": "none"}, "tasks": tasks, "validation": validation}


def _trained(recipe: Recipe, run: Path, seconds: float) -> tuple[Learner, dict[str, Any]]:
    """The learner of a run, trained now or before, and the report of its training."""
    report = read_json(run / "report.json").get("train")
    if report is None or report["stopped"] == "interrupted":
        learner, trained = train_run(recipe, run, resume=True, seconds=seconds)
        if trained.stopped == "interrupted":
            raise KeyboardInterrupt
        return learner, vars(trained)
    return load_run(run)[1].to(device_of_training(recipe)), report


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
