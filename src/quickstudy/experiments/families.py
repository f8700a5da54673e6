"""From a recipe's table to tasks: of data, of copies or clusters, of environments, made by code."""

from __future__ import annotations

from functools import partial
from typing import Any

from quickstudy.errors import UsageError, unknown
from quickstudy.experiments.arguments import argument_types, check_options
from quickstudy.experiments.data import load_classes, load_partitions, load_unlabelled
from quickstudy.recipes.schema import (
    Augmentation,
    Data,
    Family,
    Options,
    Recipe,
    Test,
    TrainingTasks,
)
from quickstudy.tasks import ClusterTasks, CopyTasks, EpisodeSampler, InstanceTasks, Tasks
from quickstudy.tasks.augment import AUGMENTS, IMAGE_AUGMENTS, VECTOR_AUGMENTS, Augment, chain
from quickstudy.tasks.environments import Trials

__all__ = ["make_tasks"]


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
    types = argument_types(data.family.make)
    for name, value in shape.items():
        if isinstance(value, tuple) and types.get(name) is int:
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
        check_options(AUGMENTS[options.name], options, "augment")
        distortions.append(partial(AUGMENTS[options.name], **options.options))
    return chain(*distortions)
