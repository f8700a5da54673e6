"""From a recipe to what it describes: the learner, the tasks, and the options of `meta_train`."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from quickstudy.engine import EXECUTORS
from quickstudy.errors import UsageError, unknown
from quickstudy.experiments.arguments import call_with, factory
from quickstudy.experiments.families import make_tasks
from quickstudy.learners import LEARNERS, Learner
from quickstudy.nn import BACKBONES
from quickstudy.recipes.schema import Data, Options, Recipe, Test
from quickstudy.tasks import Curriculum, Tasks
from quickstudy.tasks.environments import EnvironmentFamily, Trials
from quickstudy.tasks.permuted_labels import PermutedLabels

__all__ = [
    "data_of_test",
    "device_of_training",
    "guarded",
    "make_learner",
    "tasks_of_test",
    "tasks_of_training",
    "training_options",
]

MAX_WEIGHT_BYTES = 16_000_000_000
"""The most bytes that the weights of a learner may take."""


def make_learner(recipe: Recipe, **changes: Any) -> Learner:
    """Build the learner with its initial weights, which depend on the recipe's seed alone.

    Args:
        changes: Options of the learner that differ from the recipe's.

    Raises:
        UsageError: If a name or an option is unknown, or the weights would fill the memory.
        MissingError: If a learner or backbone of the user's own cannot be imported.
    """
    table = Options(**{**recipe.learner.model_dump(), **changes})
    with torch.device("meta"):  # which has shapes, but no memory
        size = sum(t.nbytes for t in _build(recipe, table).state_dict().values())
    if size > MAX_WEIGHT_BYTES:
        raise UsageError(
            f"expected a learner of {MAX_WEIGHT_BYTES / 1e9:g} GB of weights at most, got "
            f"{size / 1e9:.0f} GB: make backbone or learner smaller"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _build(recipe, table)


def _build(recipe: Recipe, table: Options) -> Learner:
    """Build the backbone, and with it the learner that a recipe's table describes."""
    backbone_class = BACKBONES.find(recipe.backbone.name)
    backbone: nn.Module = call_with(
        backbone_class, recipe.backbone, recipe.data.shape, where="backbone"
    )
    learner_class = LEARNERS.find(table.name)
    if recipe.data.is_environment != learner_class.acts:
        kind = "acts in environments" if learner_class.acts else "learns from examples"
        raise UsageError(f"{table.name} {kind}: expected such tasks, got {recipe.data.name}")
    outputs: Any = recipe.n_outputs
    if recipe.data.is_environment:
        outputs = recipe.data.environments().actions
    return call_with(
        learner_class.build,
        table,
        backbone,
        outputs,
        where="learner",
        options_of=learner_class,
    )


def device_of_training(recipe: Recipe) -> torch.device:
    """The device to train and test on.

    Raises:
        UsageError: If this machine has no such device.
    """
    name, gpus = recipe.train.device, torch.cuda.device_count()
    if name == "auto":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % gpus}" if gpus else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:  # which lists all kinds of devices that PyTorch knows
        kind = None
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} cannot be used here: expected auto, cpu, cuda or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device {name!r} cannot be used here: PyTorch finds no Apple GPU")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used here: {reason}") from None


def tasks_of_training(recipe: Recipe) -> Curriculum:
    """The tasks of meta-training, stage after stage.

    Raises:
        UsageError: If a stage has environments of other observations or actions.
    """
    last = guarded(recipe, make_tasks(recipe, recipe.tasks, recipe.data, 0))
    stages = []
    for stage in recipe.curriculum:
        changed = stage.model_dump(exclude={"steps", "options"}, exclude_none=True)
        shape = recipe.tasks.model_copy(update=changed)
        tasks = guarded(recipe, make_tasks(recipe, shape, stage.data(recipe.data), 0))
        if isinstance(last, Trials) and isinstance(tasks, Trials):
            _check_alike(tasks.family, last.family, stage.options)
        stages.append((tasks, stage.steps * recipe.train.meta_batch_size))
    return Curriculum(stages, last)


def _check_alike(easier: EnvironmentFamily, last: EnvironmentFamily, options: Any) -> None:
    """Refuse a stage of a curriculum that the learner cannot act in."""
    spaces = [(family.observation_size, family.actions) for family in (easier, last)]
    if spaces[0] != spaces[1]:
        raise UsageError(
            f"expected stages of a curriculum with observations of {spaces[1][0]} numbers and "
            f"actions {spaces[1][1]}, got {spaces[0][0]} and {spaces[0][1]} with {options}"
        )


def guarded(recipe: Recipe, tasks: Tasks) -> Tasks:
    """Training tasks, with their labels in other orders if the recipe asks for it.

    Raises:
        UsageError: If that would do nothing.
    """
    if not recipe.tasks.permute_labels:
        return tasks
    if recipe.data.is_regression or recipe.data.family is None:
        raise UsageError(
            "expected permute_labels only with a family of classification tasks made by code, got "
            f"{recipe.data.name}: leave it out, as classes of data are labelled anew for each task"
        )
    return PermutedLabels(tasks, seed=10 * recipe.seed + 5)


def training_options(recipe: Recipe) -> dict[str, Any]:
    """The arguments of `meta_train`, except the run folder and the callbacks."""
    if recipe.train.executor not in ("auto", *EXECUTORS):
        raise unknown("executor", recipe.train.executor, ("auto", *EXECUTORS))
    plain = recipe.train.model_dump(exclude={"device", "start", "optimizer", "schedule"})
    optimizer, schedule = recipe.train.optimizer, recipe.train.whole_schedule()
    options: dict[str, Any] = {
        **plain,
        "optimizer": factory(torch.optim, torch.optim.Optimizer, optimizer, "optimizer"),
    }
    if schedule:
        schedules, steps = torch.optim.lr_scheduler, recipe.train.steps
        length = schedule.options.get("total_steps", steps)
        if isinstance(length, int) and length < steps:
            raise UsageError(
                f"expected total_steps of the schedule {schedule.name} of {steps} or more, as "
                f"train.steps, got {length}: leave it out, and it will be as long"
            )
        options["schedule"] = factory(schedules, schedules.LRScheduler, schedule, "schedule")
    if recipe.validation:
        options["validation"] = make_tasks(recipe, recipe.validation, recipe.data, 1)
        options["validation_tasks"] = recipe.validation.n_tasks
    return options


def data_of_test(recipe: Recipe, test: Test) -> Data:
    """The data of a test. Its images have the size that the learner is made for, unless the test
    sets another."""
    data = test.data or recipe.data
    has_images = data.encoder is not None or len(data.shape) == 3
    if has_images and "image_size" not in data.model_fields_set:
        return data.model_copy(update={"image_size": recipe.data.image_size})
    return data


def tasks_of_test(recipe: Recipe, test: Test, stream: int = 2) -> Tasks:
    """The tasks of a test.

    Raises:
        UsageError: If the examples differ from those of training in encoder, shape or channels.
    """
    data = data_of_test(recipe, test)
    if data.encoder != recipe.data.encoder:
        raise UsageError(
            f"expected data with encoder {recipe.data.encoder} as in training, got {data.encoder}"
        )
    if len(data.shape) != len(recipe.data.shape):
        raise UsageError(
            f"expected examples of shape {recipe.data.shape} as in training, got {data.shape} of "
            f"{data.name}"
        )
    if data.is_environment and data.shape != recipe.data.shape:
        raise UsageError(
            f"expected observations of {recipe.data.shape[0]} numbers as in training, got "
            f"{data.shape[0]} of {data.name}"
        )
    if data.n_channels != recipe.data.n_channels:
        raise UsageError(
            f"expected images of {recipe.data.n_channels} channels as in training, got "
            f"{data.n_channels} of {data.name}"
        )
    return make_tasks(recipe, test, data, stream)
