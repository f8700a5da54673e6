"""From a recipe to what it describes: the learner, the tasks, and the options of `meta_train`."""

from __future__ import annotations

import inspect
import os
from functools import partial
from typing import Any, get_type_hints

import torch
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from torch import nn

from quickstudy.engine import EXECUTORS
from quickstudy.errors import UsageError, unknown
from quickstudy.experiments.data import load_classes, load_partitions, load_unlabelled
from quickstudy.learners import LEARNERS, Learner
from quickstudy.nn import BACKBONES
from quickstudy.recipes.schema import (
    Augmentation,
    Data,
    Family,
    Options,
    Recipe,
    Test,
    TrainingTasks,
)
from quickstudy.tasks import (
    ClusterTasks,
    CopyTasks,
    Curriculum,
    EpisodeSampler,
    InstanceTasks,
    Tasks,
)
from quickstudy.tasks.augment import AUGMENTS, IMAGE_AUGMENTS, VECTOR_AUGMENTS, Augment, chain
from quickstudy.tasks.environments import EnvironmentFamily, Trials
from quickstudy.tasks.permuted_labels import PermutedLabels

__all__ = [
    "data_of_test",
    "device_of_training",
    "guarded",
    "make_learner",
    "make_tasks",
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
    backbone: nn.Module = _call(
        backbone_class, recipe.backbone, recipe.data.shape, where="backbone"
    )
    learner_class = LEARNERS.find(table.name)
    if recipe.data.is_environment != learner_class.acts:
        kind = "acts in environments" if learner_class.acts else "learns from examples"
        raise UsageError(f"{table.name} {kind}: expected such tasks, got {recipe.data.name}")
    outputs: Any = recipe.n_outputs
    if recipe.data.is_environment:
        outputs = recipe.data.environments().actions
    return _call(
        learner_class.build,
        table,
        backbone,
        outputs,
        where="learner",
        options_of=learner_class,
    )


def make_tasks(recipe: Recipe, family: Family, data: Data, stream: int) -> Tasks:
    """Make the tasks that `family` describes; `stream` keeps those of training, validation and
    tests apart.

    Raises:
        UsageError: If a key of `family` cannot be used with the data, or with another key.
        MissingError: If the data set is not on this machine.
    """
    seed = 10 * recipe.seed + stream
    if data.family:
        return _generated_tasks(family, data, seed)
    if data.is_environment:
        return _trials(family, data, seed)
    if data.labels == "none":
        return _unlabelled_tasks(family, data, recipe.seed, seed)
    if data.dataset and family.split in data.dataset.fixed_tasks:
        return _fixed_tasks(family, data)
    return _episodes(family, data, recipe.seed, seed)


def _generated_tasks(family: Family, data: Data, seed: int) -> Tasks:
    """Tasks that a function generates."""
    assert data.family is not None
    kind = "regression" if data.family.regression else "classification"
    known = data.family.episode_shape
    unread = {"split", "title", "data", "n_tasks", "learner", "published"}  # by the function
    unread |= {"permute_labels"}  # which `guarded` reads
    if refused := sorted(family.model_fields_set - unread - set(known)):
        raise UsageError(
            f"expected no {refused[0]} for {data.name} tasks, which are {kind} made by code and "
            f"take {', '.join(known)}"
        )
    shape = {name: value for name in known if (value := getattr(family, name)) is not None}
    hints = _hints(data.family.make)
    for name, value in shape.items():
        if isinstance(value, tuple) and hints.get(name) is int:
            raise UsageError(f"expected one {name} for {data.name} tasks, got a range")
    return data.family.make(**shape, **data.options, seed=seed)


def _trials(family: Family, data: Data, seed: int) -> Tasks:
    """Tasks to act in."""
    fine = {"n_shot", "n_query", "split", "title", "data", "n_tasks", "learner", "published"}
    if refused := sorted(family.model_fields_set - fine):
        raise UsageError(
            f"expected no {refused[0]} for {data.name} tasks, which are environments and take "
            "n_shot and n_query, their episodes"
        )
    given = family.model_fields_set
    n_shot = family.n_shot if "n_shot" in given else 0
    if not isinstance(n_shot, int):
        raise UsageError(f"expected one n_shot for {data.name} tasks, got a range")
    n_query = family.n_query if "n_query" in given else 1
    return Trials(data.environments(seed), n_shot=n_shot, n_query=n_query)


def _fixed_tasks(family: Family, data: Data) -> Tasks:
    """The tasks of a split that has fixed tasks in place of classes."""
    assert data.dataset is not None
    refused = {"n_way", "n_shot", "n_query", "augment", "instance", "n_labels", "within_group"}
    if (
        refused & family.model_fields_set
        or data.rotations
        or data.mirrors
        or not isinstance(family, Test)
    ):
        raise UsageError(
            f"expected the split {family.split!r} only in a test, of data without rotations and "
            f"mirrors, and without {', '.join(sorted(refused))}, as its tasks are fixed"
        )
    tasks: Any = data.dataset.fixed_tasks[family.split](image_size=data.image_size)
    if family.n_tasks > len(tasks):
        raise UsageError(f"expected n_tasks of at most {len(tasks)}, got {family.n_tasks}")
    return tasks


def _episodes(family: Family, data: Data, data_seed: int, seed: int) -> Tasks:
    """Tasks drawn from the classes of a split."""
    classes = load_classes(data, family.split, data_seed)
    if family.n_way is None:
        raise UsageError("expected n_way for classification tasks")
    fewest = family.n_way if isinstance(family.n_way, int) else family.n_way[0]
    if fewest < 2 and family.n_labels is None:
        raise UsageError(f"expected n_way of 2 or more, got {fewest}: one class leaves no choice")
    if refused := sorted({"augment_support", "clusters"} & family.model_fields_set):
        raise UsageError(f'expected {refused[0]} only with data.labels = "none"')
    if isinstance(family, Test) and family.instance:
        if not isinstance(family.n_way, int) or not isinstance(family.n_shot, int):
            raise UsageError("expected one n_way and one n_shot with instance, got a range")
        if refused := {"augment", "n_query", "within_group"} & family.model_fields_set:
            raise UsageError(f"expected no {min(refused)} with instance")
        return InstanceTasks(
            classes,
            n_way=family.n_way,
            n_each=family.n_shot,
            instance=family.instance,
            seed=seed,
            n_labels=family.n_labels,
        )
    return EpisodeSampler(
        classes,
        n_way=family.n_way,
        n_shot=family.n_shot,
        n_query=family.n_query,
        seed=seed,
        augment=_augment(family.augment, data),
        n_labels=family.n_labels,
        within_group=family.within_group,
        balance_groups=isinstance(family, TrainingTasks) and family.balance_groups,
    )


def _unlabelled_tasks(family: Family, data: Data, data_seed: int, seed: int) -> Tasks:
    """Tasks of examples without labels: of distorted copies, or of clusters."""
    if isinstance(family, Test):
        raise UsageError(
            f'expected data with labels to test on, got labels = "none" in test {family.title!r}: '
            "give the test a data table of its own"
        )
    refused = {"n_labels", "within_group", "balance_groups"} & family.model_fields_set
    if refused := sorted(refused):
        raise UsageError(f'expected no {refused[0]} with data.labels = "none"')
    n_way, n_shot, augment = family.n_way, family.n_shot, _augment(family.augment, data)
    if n_way is None:
        raise UsageError("expected n_way for tasks without labels")
    pool = load_unlabelled(data, family.split, data_seed)
    if family.clusters is None:
        if augment is None:
            raise UsageError(
                'expected augment or clusters with data.labels = "none": what distorts an example '
                "into queries of its class, or what the classes are"
            )
        return CopyTasks(
            pool,
            n_way=n_way,
            n_shot=n_shot,
            n_query=family.n_query,
            augment=augment,
            augment_support=family.augment_support,
            seed=seed,
        )
    if family.augment_support:
        raise UsageError("expected no augment_support with clusters, where augment distorts both")
    if not isinstance(n_way, int) or not isinstance(n_shot, int):
        raise UsageError("expected one n_way and one n_shot with clusters, got a range")
    return ClusterTasks(
        pool,
        load_partitions(data, family.split, family.clusters, data_seed),
        n_way=n_way,
        n_shot=n_shot,
        n_query=family.n_query,
        augment=augment,
        seed=seed,
    )


def _augment(table: Augmentation | None, data: Data) -> Augment | None:
    """The distortions that a recipe names, as one.

    Raises:
        UsageError: If a name or an option is unknown, or examples are of another kind.
    """
    if table is None:
        return None
    distortions = []
    for part in [table] if isinstance(table, str) else table:
        options = part if isinstance(part, Options) else Options(name=part)
        if options.name not in AUGMENTS:
            raise unknown("augment", options.name, AUGMENTS)
        if data.encoder and options.name in IMAGE_AUGMENTS:
            raise UsageError(
                "expected no augment with an encoder, which embeds each image once, got "
                f"{options.name}: vectors take {', '.join(VECTOR_AUGMENTS)}"
            )
        _check_options(AUGMENTS[options.name], options, "augment")
        distortions.append(partial(AUGMENTS[options.name], **options.options))
    return chain(*distortions)


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
    optimizer, schedule = recipe.train.optimizer, recipe.train.schedule
    options: dict[str, Any] = {
        **plain,
        "optimizer": _factory(torch.optim, torch.optim.Optimizer, optimizer, "optimizer"),
    }
    if schedule:
        schedules = torch.optim.lr_scheduler
        options["schedule"] = _factory(schedules, schedules.LRScheduler, schedule, "schedule")
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


def _factory(namespace: Any, base: type, table: Options, where: str) -> Any:
    """Make a function that, called with parameters or an optimizer, makes what a table describes
    by a class of PyTorch.
    """
    cls = getattr(namespace, table.name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        known = [
            name
            for name, value in vars(namespace).items()
            if isinstance(value, type)
            and issubclass(value, base)
            and value is not base
            and not name.startswith("_")
        ]
        raise unknown(where, table.name, known)
    _check_options(cls, table, where)
    if "fused" in inspect.signature(cls).parameters:  # one pass over the weights, not several
        table = Options(**{"fused": True, **table.model_dump()})
    return lambda target: _call(cls, table, target, where=where)


def _call(make: Any, table: Options, *args: Any, where: str, options_of: Any = None) -> Any:
    """Call a class or function with the options of a table, which are checked first."""
    _check_options(options_of or make, table, where)
    try:
        return make(*args, **table.options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} {table.name}: {error}") from None


GIVEN = ["backbone", "in_shape", "n_outputs", "actions", "params", "optimizer", "x", "generator"]
"""Arguments that are no options, since what is built gets them."""


def _check_options(make: Any, table: Options, where: str) -> None:
    """Check the options' names and types against the signature of the class or function that takes
    them."""
    known = [name for name in inspect.signature(make).parameters if name not in GIVEN]
    hints = _hints(make)
    for option, value in table.options.items():
        if option not in known:
            raise unknown(f"option of {where} {table.name}", option, known)
        try:
            TypeAdapter(hints.get(option, Any)).validate_python(value)
        except PydanticSchemaGenerationError:  # a type that TOML cannot hold anyway
            continue
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UsageError(
                f"option {option} of {where} {table.name}: {reason}, got {value!r}"
            ) from None


def _hints(make: Any) -> dict[str, Any]:
    """The types of the arguments of a class or function."""
    function = make.func if isinstance(make, partial) else make
    try:
        return get_type_hints(function.__init__ if isinstance(function, type) else function)
    except NameError:  # a type that its module imports for type checkers alone
        return {}
