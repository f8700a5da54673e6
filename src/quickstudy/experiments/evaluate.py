"""Meta-testing by a recipe: its tests, their costs, and which classes they hold out."""

from __future__ import annotations

from typing import Any

import torch

from quickstudy.engine import TestReport, meta_test
from quickstudy.engine.cost import Cost, adapting_cost, trial_cost
from quickstudy.engine.meta_test import check_kind
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments.build import device_of_training, make_learner, tasks_of_test
from quickstudy.experiments.data import classes_of
from quickstudy.experiments.families import make_tasks
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of, shared_embeddings
from quickstudy.progress import track
from quickstudy.recipes.schema import Family, Recipe, Test
from quickstudy.tasks import ClassData
from quickstudy.tasks.environments import Trials

__all__ = [
    "Results",
    "check_has_tests",
    "check_tests",
    "cost_of_test",
    "held_out_classes",
    "meta_test_all",
    "run_test",
]

MAX_CLASS_NAMES = 100
"""Held-out classes of a split that are listed by name, at most."""

Results = list[dict[str, Any]]
"""One entry per test: title, mean, intervals, scores, as `TestReport.as_dict` has them."""


def run_test(recipe: Recipe, learner: Learner, test: Test) -> TestReport:
    """Meta-test a learner on one of the recipe's tests."""
    return meta_test(_learner_for(recipe, learner, test), tasks_of_test(recipe, test), test.n_tasks)


def cost_of_test(recipe: Recipe, learner: Learner, test: Test, n_tasks: int = 10) -> Cost:
    """What adapting to one task of a test costs."""
    tasks = tasks_of_test(recipe, test)
    if isinstance(tasks, Trials):
        return trial_cost(_learner_for(recipe, learner, test), tasks)
    episodes = [tasks[i] for i in range(min(n_tasks, test.n_tasks))]
    return adapting_cost(_learner_for(recipe, learner, test), episodes)


def _learner_for(recipe: Recipe, learner: Learner, test: Test) -> Learner:
    """The learner, or one of the same weights with the options that the test changes."""
    if not test.learner:
        return learner
    changed = make_learner(recipe, **test.learner).to(device_of(learner))
    try:
        changed.load_state_dict(learner.state_dict())
    except RuntimeError:
        raise UsageError(
            f"expected changes of the learner that keep its weights, got {test.learner} in "
            f"test {test.title!r}: train a run with them"
        ) from None
    return changed


def check_tests(recipe: Recipe, learner: Learner) -> None:
    """Adapt to the first task of validation and of every test whose data is on this machine.

    Raises:
        UsageError, DataError: If that fails, as it would after training.
    """
    families: list[tuple[str, Family]] = [(test.title, test) for test in recipe.test]
    if recipe.validation:
        families.append(("validation", recipe.validation))
    was_training = learner.training
    for title, family in families:
        try:
            if isinstance(family, Test):
                tested = _learner_for(recipe, learner, family).eval()
                tasks = tasks_of_test(recipe, family)
            else:
                tested = learner.eval()
                tasks = make_tasks(recipe, family, recipe.data, 1)
            with torch.no_grad():
                check_kind(tested, in_environments=isinstance(tasks, Trials))
                if isinstance(tasks, Trials):
                    meta_test(tested, tasks, 2)
                else:
                    tested.adapt(tasks[0].to(device_of(tested)).support)
        except MissingError:
            continue
        except (UsageError, DataError) as error:
            raise type(error)(f"test {title!r}: {error}") from None
        finally:
            learner.train(was_training)


def held_out_classes(recipe: Recipe) -> list[dict[str, Any]]:
    """The classes of the tests that meta-training does not draw from: for each split its data, its
    name, the number of its classes, and their names, at most `MAX_CLASS_NAMES`.
    """
    held_out: dict[tuple[str, str], ClassData] = {}
    for test in recipe.test:
        data = test.data or recipe.data
        try:
            classes = classes_of(tasks_of_test(recipe, test))
        except MissingError:
            continue
        trained_on = data == recipe.data and test.split == recipe.tasks.split
        if classes is not None and not trained_on:
            held_out[str(data.folder or data.name), test.split] = classes
    return [
        {
            "data": name,
            "split": split,
            "n_classes": classes.n_classes,
            "classes": list(classes.names[:MAX_CLASS_NAMES]),
        }
        for (name, split), classes in held_out.items()
    ]


def check_has_tests(recipe: Recipe) -> None:
    """Refuse a recipe without tests.

    Raises:
        UsageError: If it has no test.
    """
    if not recipe.test:
        raise UsageError(
            "expected a recipe with a test, got none: give it a [[test]] table with title, n_way "
            "and n_shot"
        )


def meta_test_all(recipe: Recipe, learners: dict[str, Learner]) -> tuple[dict[str, Results], list]:
    """Meta-test learners on every test of a recipe, under a progress bar.

    Returns:
        The results by learner, and the titles of the tests whose data is not on this machine.
    """
    results: dict[str, Results] = {name: [] for name in learners}
    absent = []
    jobs = [(name, test) for test in recipe.test for name in learners]
    for learner in learners.values():
        learner.to(device_of_training(recipe))
    with shared_embeddings():
        for name, test in track(jobs, "meta-testing"):
            try:
                report = run_test(recipe, learners[name], test)
            except MissingError:
                absent.append(test.title)
                continue
            extra = {} if test.published is None else {"published": test.published}
            cost = vars(cost_of_test(recipe, learners[name], test))
            results[name].append({"title": test.title, **extra, **report.as_dict(), "cost": cost})
    return results, sorted(set(absent), key=absent.index)
