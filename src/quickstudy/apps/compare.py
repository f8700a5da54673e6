"""Train several learners under one budget, and compare them on the same tasks."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from quickstudy.apps.run import provenance, read_json, train_run
from quickstudy.engine import meta_train
from quickstudy.errors import DataError, RunError, UsageError, unknown
from quickstudy.files import write_atomically, write_figure
from quickstudy.learners import LEARNERS
from quickstudy.recipes import recipe_names
from quickstudy.recipes.recipe import GENERATED, Recipe, load_recipe, parse_recipe
from quickstudy.tasks import EpisodeSampler

__all__ = ["Comparison", "Pair", "compare", "draw", "holm", "recipe_of"]

CHECKS = 8
"""Validations of each learner within its budget, for the plot."""


@dataclass(frozen=True)
class Pair:
    """Two learners on the same tasks.

    Args:
        better, worse: Names, by mean score.
        difference: Mean difference of their scores, in the metric's unit.
        p: Of the two-sided Wilcoxon signed-rank test over tasks, Holm-corrected over all pairs.
    """

    better: str
    worse: str
    difference: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: an entry a learner, best first, and every pair of them."""

    about: dict[str, Any]
    learners: list[dict[str, Any]]
    pairs: list[Pair]

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "pairs": [vars(pair) for pair in self.pairs]}


def recipe_of(learner: str) -> Recipe:
    """The recipe that says how a learner is trained on images: a recipe's own name or file, or
    that learner's recipe on images, if possible on Omniglot and named after it, with the shortest
    name.

    Raises:
        UsageError: If there is none.
    """
    if learner.endswith(".toml") or learner in recipe_names():
        return load_recipe(learner)
    if learner not in LEARNERS:
        raise unknown("learner or recipe", learner, [*LEARNERS, *recipe_names()])
    recipes = {name: load_recipe(name) for name in recipe_names()}
    fit = [
        (recipe.data.name != "omniglot", not name.startswith(learner), len(name), name)
        for name, recipe in recipes.items()
        if recipe.learner.name == learner and recipe.data.name not in GENERATED
    ]
    if not fit:
        raise UsageError(f"expected a recipe that trains {learner} on images: write one")
    return recipes[min(fit)[-1]]


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
    """Train learners on one data set within one budget each, and test all on the same tasks.

    Each learner is trained as its own recipe says, on this data. A few steps are timed first, so
    that the number of steps is known and a learning-rate schedule runs to its end; none trains
    for longer than its recipe. A comparison that was interrupted goes on where it stopped.

    Args:
        learners: Learners, recipes or recipe files, at least two.
        data: As a recipe's `data` table. With an encoder, backbones are a linear map of what it
            makes.
        folder: Holds the plan, a run folder a learner, and `compare.json`.
        seconds: Training time of each learner, without validation.
        n_way, n_shot, n_query, n_tasks: The tasks all are tested on; none trains with more queries.

    Raises:
        RunError: If the folder holds another comparison, or something else.
        KeyboardInterrupt: If training is stopped; there is a checkpoint.
    """
    if len(set(learners)) < 2:
        raise UsageError(f"expected at least two different learners, got {list(learners)}")
    if len({Path(name).stem for name in learners}) < len(set(learners)):
        raise UsageError(
            "expected learners that differ by more than a folder or .toml, since each has a run "
            f"folder of its name, got {', '.join(learners)}: rename a file"
        )
    if data["name"] in GENERATED:
        raise UsageError(f"expected a data set of classes to tell apart, got {data['name']}")
    if not seconds > 0:
        raise UsageError(f"expected a positive budget, got {seconds} s")
    options: dict[str, Any] = {
        "data": data,
        "seconds": seconds,
        "n_way": n_way,
        "n_shot": n_shot,
        "n_query": n_query,
        "n_tasks": n_tasks,
        "seed": seed,
    }
    about = {"learners": list(learners), **options}
    recipes = _kept_plan(folder, about)
    if recipes is None:
        chosen = {name: recipe_of(name) for name in learners}
        recipes = {}
        for name, recipe in chosen.items():
            try:
                recipes[name] = _plan(name, recipe, **options)
            except (UsageError, DataError) as error:
                raise type(error)(f"{name}: {error}") from None
        _keep_plan(recipes, folder, about)
    entries, scores = [], {}
    for name, recipe in recipes.items():
        run = folder / Path(name).stem
        learner, trained = train_run(recipe, run, resume=True)
        if trained.stopped == "interrupted":
            raise KeyboardInterrupt
        (test,) = recipe.test
        report = recipe.run_test(learner, test)
        scores[name] = report.scores
        entries.append(
            {
                "learner": name,
                **{k: v for k, v in report.as_dict().items() if k != "scores"},
                "steps": trained.steps,
                "train_seconds": trained.seconds,
                "cost": vars(recipe.cost(learner, test)),
                "parameters": sum(p.numel() for p in learner.parameters()),
                # A baseline that learns nothing is a point.
                "curve": _curve(run / "metrics.jsonl") or [(0.0, report.mean)],
            }
        )
    entries.sort(key=lambda entry: -entry["mean"])
    found = Comparison({**about, **provenance(seed)}, entries, _pairs(scores))
    content = json.dumps({**found.as_dict(), "scores": scores}, indent=1)
    write_atomically(folder / "compare.json", content.encode())
    return found


def _plan(
    name: str,
    recipe: Recipe,
    *,
    data: dict[str, Any],
    seconds: float,
    n_way: int,
    n_shot: int,
    n_query: int,
    n_tasks: int,
    seed: int,
) -> Recipe:
    """The recipe of one learner, on this data and within the budget."""
    plain = json.loads(recipe.as_json())
    tasks = {**plain["tasks"], "split": "train"}
    if recipe.make_learner().ways != "any":
        tasks["n_way"] = n_way
    if "encoder" in data:
        plain["backbone"] = {"name": "linear"}
        tasks.pop("augment", None)
    if recipe.tasks.n_shot == 1 or not recipe.train.steps:  # shots in training as in the test
        tasks["n_shot"] = n_shot
    tasks["n_query"] = min(recipe.tasks.n_query, n_query)
    asked = {"n_way": n_way, "n_shot": n_shot}
    plain.update(
        about=f"{name} on {data.get('folder', data['name'])} within {seconds:.0f} s",
        seed=seed,
        data=data,
        tasks=tasks,
        validation={**asked, "n_query": min(5, n_query), "n_tasks": 100},
        test=[{"title": "unseen", **asked, "n_query": n_query, "n_tasks": n_tasks}],
    )
    few = parse_recipe({**plain, "tasks": {**tasks, "n_way": n_way, "within_group": False}})
    drawn = few.make_tasks(few.tasks, few.data, 0)
    if isinstance(drawn, EpisodeSampler):
        if drawn.data.groups is None:
            tasks["within_group"] = False
        if "n_classes" in plain["learner"]:
            plain["learner"]["n_classes"] = drawn.data.n_classes
        if isinstance(tasks["n_way"], int):  # own data may have few classes
            tasks["n_way"] = min(tasks["n_way"], drawn.data.n_classes)
    if recipe.train.steps:
        if recipe.train.executor == "compiled":  # which takes minutes to begin
            plain["train"]["executor"] = "vmap"
        _shorten(plain, _steps_within(parse_recipe(plain), seconds))
    return parse_recipe(plain)


def _steps_within(recipe: Recipe, seconds: float, warm: int = 2, timed: int = 8) -> int:
    """Number of training steps that fit, at most those of the recipe."""
    learner = recipe.make_learner().to(recipe.device())
    tasks = recipe.make_tasks(recipe.tasks, recipe.data, 0)  # those after the curriculum
    recipe.check_tests(learner)
    options = recipe.train_options()
    for name in ("validation", "validation_tasks", "validate_every", "patience"):
        options.pop(name, None)
    spent = 0.0
    for steps in (warm, timed):
        began = time.perf_counter()
        meta_train(learner, tasks, **{**options, "steps": steps})
        spent = (time.perf_counter() - began) / steps
    return max(1, min(recipe.train.steps, math.floor(seconds / spent)))


def _shorten(plain: dict[str, Any], steps: int) -> None:
    """Fewer steps, with the learning-rate schedule and the curriculum squeezed into them."""
    train = plain["train"]
    for stage in plain.get("curriculum", []):
        stage["steps"] = max(1, round(stage["steps"] * steps / train["steps"]))
    schedule = train.get("schedule") or {}
    for key in {"step_size", "T_max", "total_iters", "total_steps"} & schedule.keys():
        schedule[key] = max(1, round(schedule[key] * steps / train["steps"]))
    every = max(1, steps // CHECKS)
    train.update(steps=steps, validate_every=every, checkpoint_every=every)
    train.pop("patience", None)


def _keep_plan(recipes: dict[str, Recipe], folder: Path, about: dict[str, Any]) -> None:
    """Keep the plan, since the timing it rests on would come out otherwise another time."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"about": about, "recipes": {n: json.loads(r.as_json()) for n, r in recipes.items()}}
    write_atomically(folder / "plan.json", json.dumps(kept, indent=1).encode())


def _kept_plan(folder: Path, about: dict[str, Any]) -> dict[str, Recipe] | None:
    path = folder / "plan.json"
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} is there already, and no comparison: name another folder")
        return None
    kept = read_json(path)
    if kept.get("about") != about:
        raise RunError(f"{folder} holds another comparison: name another folder")
    return {name: parse_recipe(plain) for name, plain in kept["recipes"].items()}


def _curve(log: Path) -> list[tuple[float, float]]:
    """Training seconds and validation score, from a run's metrics."""
    curve, seconds = [], 0.0
    for line in map(json.loads, log.read_text().splitlines()):
        seconds = line.get("seconds", seconds)
        if "validation" in line:
            (score,) = line["validation"].values()
            curve.append((seconds, score))
    return curve


def _pairs(scores: dict[str, list[float]]) -> list[Pair]:
    pairs, ps = [], []
    for one, other in itertools.combinations(scores, 2):
        differences = [a - b for a, b in zip(scores[one], scores[other], strict=True)]
        mean = statistics.fmean(differences)
        better, worse = (one, other) if mean >= 0 else (other, one)
        pairs.append((better, worse, abs(mean)))
        test: Any = stats.wilcoxon(differences) if any(differences) else None
        ps.append(float(test.pvalue) if test else 1.0)
    return [Pair(b, w, d, p) for (b, w, d), p in zip(pairs, holm(ps), strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for being the smallest of several (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def draw(comparison: Comparison, path: Path) -> Path:
    """Plot validation score against training time, a line a learner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
    axis = figure.subplots()
    for i, entry in enumerate(comparison.learners):
        seconds, scores = zip(*entry["curve"], strict=True)
        label = f"{entry['learner']} (test {100 * entry['mean']:.1f} %)"
        marker = "osD^v"[i // 10 % 5]  # colours come again after ten
        axis.plot(seconds, [100 * s for s in scores], marker=marker, ms=4, label=label)
    axis.set_xlabel("training time, seconds")
    axis.set_ylabel("validation accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend()
    return write_figure(path, figure)
