"""Run folders: one experiment on disk, and a learner that can be brought back from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quickstudy.engine import TrainReport, checkpoints, meta_train
from quickstudy.engine.callbacks import Callback
from quickstudy.errors import MissingError, RunError
from quickstudy.files import write_atomically
from quickstudy.learners import Learner
from quickstudy.recipes.recipe import Recipe, parse_recipe

__all__ = ["load_run", "train_run", "write_report"]


def train_run(
    recipe: Recipe,
    plain: dict[str, Any],
    folder: Path,
    *,
    resume: bool = False,
    callbacks: list[Callback] | None = None,
) -> tuple[Learner, TrainReport]:
    """Meta-train a recipe into a folder.

    The learner and the data are made before anything is written, so a recipe that cannot run
    leaves nothing behind.

    Raises:
        RunError: If the folder holds a run and `resume` is false, or a different recipe.
    """
    kept = folder / "recipe.json"
    if folder.exists() and any(folder.iterdir()):
        if not kept.exists():
            raise RunError(f"{folder} is not empty, and no run: name another folder")
        if not resume:
            raise RunError(f"{folder} holds a run already: add --resume, or name another folder")
        if json.loads(kept.read_text()) != plain:
            raise RunError(f"{folder} was made by another recipe: name another folder")
    learner = recipe.make_learner()
    tasks = recipe.make_tasks(recipe.tasks, recipe.data, 0)
    options = recipe.train_options()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(plain, indent=1).encode())
    report = meta_train(
        learner, tasks, run=folder, resume=resume, callbacks=callbacks or [], **options
    )
    return learner, report


def load_run(folder: Path) -> tuple[Recipe, Learner]:
    """Bring back a recipe and its meta-trained learner; the folder is only read.

    Raises:
        MissingError: If `folder` is not a run folder.
        RunError: If its weights are missing or damaged.
    """
    if not (folder / "recipe.json").is_file():
        raise MissingError(
            f"expected a run folder at {folder}, found no recipe.json there: "
            "make one with `quickstudy train`"
        )
    try:
        recipe = parse_recipe(json.loads((folder / "recipe.json").read_text()))
    except json.JSONDecodeError as error:
        raise RunError(f"{folder}/recipe.json is damaged: {error}") from None
    weights = checkpoints.load_tensors(folder / "weights.safetensors")
    learner = recipe.make_learner()
    try:
        learner.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{folder} holds weights of another learner: {error}") from None
    return recipe, learner.eval()


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Keep the results of meta-testing in `report.json`."""
    write_atomically(folder / "report.json", json.dumps(report, indent=1).encode())
