"""Run folders: one experiment on disk, and a learner that can be brought back from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstudy.engine import TrainReport, checkpoints, meta_train
from quickstudy.engine.callbacks import Callback
from quickstudy.engine.cost import Cost, peak_memory, training_cost
from quickstudy.errors import DataError, MissingError, RunError, UsageError
from quickstudy.experiments.build import (
    device_of_training,
    make_learner,
    tasks_of_training,
    training_options,
)
from quickstudy.experiments.evaluate import check_tests
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.report import keep_training
from quickstudy.files import check_writable, read_json, write_atomically
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.recipes.loading import override, parse_recipe
from quickstudy.recipes.schema import Recipe

__all__ = ["SHIPPED", "find_run", "keep_statistics", "load_run", "train_run"]

SHIPPED = {
    "handwriting": "omniglot_challenge_30",
    "glyphs": "prototypical_glyphs",
    "tables": "tabular_transformer",
}
"""Runs that come with quickstudy, in `shipped/`: by name, the recipe by which `quickstudy
reproduce` makes each. Two are for drawn characters; `tables`, rounded to float16, is for tables."""


def train_run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    seconds: float | None = None,
    callbacks: list[Callback] | None = None,
) -> tuple[Learner, TrainReport]:
    """Meta-train a recipe into a folder.

    Whatever can fail is tried before anything is written, so a recipe that cannot run leaves
    nothing behind.

    Args:
        resume: Continue a run. Its recipe may have had fewer steps or other tests.
        seconds: Time limit, as of `meta_train`.

    Raises:
        RunError: If the folder holds a run and `resume` is false, or a different recipe.
        DiskError: If the folder cannot be written.
    """
    if os.environ.get("RANK", "0") == "0":  # only the first of several processes writes
        check_writable(folder)
    recipe_path = folder / "recipe.json"
    if recipe_path.exists():
        if not resume:
            raise RunError(f"{folder} holds a run already: add --resume, or name another folder")
        if changes := recipe.changes_training(parse_recipe(read_json(recipe_path))):
            more = f"; and {len(changes) - 3} more keys" if len(changes) > 3 else ""
            raise RunError(
                f"{folder} was made by another recipe ({'; '.join(changes[:3])}{more}): name "
                "another folder"
            )
    elif folder.exists() and not (folder.is_dir() and all(map(_is_leftover, folder.iterdir()))):
        raise RunError(f"{folder} exists and is not a run folder: name another folder")
    tasks = tasks_of_training(recipe)
    learner = make_learner(recipe).to(device_of_training(recipe))
    if recipe.train.start and not any((folder / "state").glob("step-*")):
        _load_backbone(learner, recipe.train.start)
    check_tests(recipe, learner)
    cost = None
    if recipe.train.steps:
        for start in tasks.starts:
            cost = _try_meta_gradient(learner, tasks[start])
    report = meta_train(
        learner,
        tasks,
        run=folder,
        resume=resume,
        seconds=seconds,
        callbacks=[_WriteRecipe(recipe, recipe_path), *(callbacks or [])],
        **training_options(recipe),
    )
    trained = read_json(folder / "report.json").get("train", {})
    if trained.get("steps") != report.steps and os.environ.get("RANK", "0") == "0":
        costs = {**(vars(cost) if cost else {}), "peak_memory": peak_memory()}
        if not learner.acts:
            keep_statistics(folder, recipe, learner)
        keep_training(folder, recipe, {**vars(report), "cost": costs})
    return learner, report


def keep_statistics(folder: Path, recipe: Recipe, learner: Learner) -> None:
    """Keep in a run folder by what a support set is told from the training data: a few kilobytes,
    and no example.

    Args:
        learner: As trained.

    Raises:
        MissingError: If the data of training is not on this machine.
        DiskError: If they cannot be written.
    """
    from quickstudy.diagnostics.training_statistics import (
        TrainingStatistics,  # SciPy takes its time
    )

    family = recipe.validation
    validation = family and make_tasks(recipe, family, recipe.data, 1)
    try:
        statistics = TrainingStatistics.of(learner, tasks_of_training(recipe), validation)
    except DataError as error:
        print(f"no statistics of the training data are kept: {error}", file=sys.stderr)
    else:
        statistics.write(folder)


def _load_backbone(learner: Learner, folder: Path) -> None:
    """Load the backbone's weights of a run into a learner."""
    saved = {
        name.rpartition("backbone.")[2]: tensor
        for name, tensor in checkpoints.load_tensors(folder / "weights.safetensors").items()
        if "backbone." in name
    }
    own = {n: t for n, t in learner.state_dict().items() if "backbone." in n}
    parameters = dict(learner.named_parameters())
    for name, tensor in own.items():
        given = saved.get(name.rpartition("backbone.")[2])
        if given is None and name not in parameters:
            continue  # running statistics, which not every learner keeps
        same_kind = given is not None and given.is_floating_point() == tensor.is_floating_point()
        if given is None or not same_kind or given.shape != tensor.shape:
            got = "none" if given is None else f"{given.dtype} of {tuple(given.shape)}"
            raise UsageError(
                f"expected a backbone in {folder} like the learner's own, with {name} as "
                f"{tensor.dtype} of shape {tuple(tensor.shape)}, got {got}: give both recipes "
                "the same backbone"
            )
        tensor.copy_(given)
    if not own:
        raise UsageError(f"expected a learner with a backbone to start from {folder}")


def _try_meta_gradient(learner: Learner, task: Any) -> Cost:
    """Compute the meta-gradient of one task, to fail before anything is written."""
    try:
        part = next(iter(learner.train().updates([task.to(device_of(learner))])))[0]
        return training_cost(learner, part)
    except (RuntimeError, IndexError) as error:
        raise UsageError(f"{type(learner).__name__} cannot train on {task}: {error}") from error


class _WriteRecipe(Callback):
    """Writes the recipe once training starts, after every check."""

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self._recipe, self._path = recipe, path

    def on_start(self, step: int, steps: int) -> None:
        write_atomically(self._path, self._recipe.as_json().encode())


def _is_leftover(path: Path) -> bool:
    """Whether a file may come from a process that was killed before training started."""
    return path.name == ".lock" or path.name.startswith(".tmp-")


def find_run(run: str | Path) -> Path:
    """The folder of a run.

    Args:
        run: A run folder, or one of `SHIPPED`.

    Raises:
        MissingError: If it is not a run folder.
    """
    name, folder = str(run), Path(run)
    if name in SHIPPED and not folder.exists():
        folder = Path(__file__).parents[1] / "shipped" / name
    if not (folder / "recipe.json").is_file():
        raise MissingError(
            f"expected a run folder at {folder}, found no recipe.json there: make one with "
            f"`quickstudy train`, or name one that comes with quickstudy ({', '.join(SHIPPED)})"
        )
    return folder


def load_run(folder: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, Learner]:
    """Bring back a recipe and its meta-trained learner; the folder is only read.

        recipe, learner = load_run("runs/prototypical_glyphs")

    Args:
        folder: A run folder, or one of `SHIPPED`.
        overrides: Changes of the recipe, as for `load_recipe`.

    Raises:
        MissingError: If `folder` is not a run folder.
        RunError: If its recipe or weights are missing or damaged, or do not fit each other.
    """
    folder = find_run(folder)
    recipe = parse_recipe(override(read_json(folder / "recipe.json"), overrides))
    learner = make_learner(recipe)
    weights = checkpoints.load_tensors(folder / "weights.safetensors", like=learner)
    try:
        checkpoints.load_weights(learner, weights)
    except RuntimeError as error:
        raise RunError(
            f"{folder}/weights.safetensors does not fit the run's recipe ({error}): train the run "
            "anew"
        ) from None
    return recipe, learner.eval()
