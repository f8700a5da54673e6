"""Measures of a support set: its own faults, and how it differs from what a run was trained on."""

from __future__ import annotations

from pathlib import Path

import torch

from quickstudy.apps.doctor.advice import DEFAULT_LEARNER, advise, default_accuracy
from quickstudy.apps.doctor.examples import LoadedSupport
from quickstudy.apps.doctor.run_checks import Measures, RunTasks
from quickstudy.diagnostics.expectation import expected_accuracy
from quickstudy.diagnostics.features import check_one_shape, embed
from quickstudy.diagnostics.finding import Finding, Skipped
from quickstudy.diagnostics.mismatch import (
    dataset_distance,
    kernel_distance,
    mmd_test,
    proxy_a_distance,
)
from quickstudy.diagnostics.support import (
    copies,
    mislabelled,
    outlier,
    two_in_one_class,
    unit_vectors,
)
from quickstudy.diagnostics.tables import leaking_column
from quickstudy.diagnostics.training_statistics import TrainingStatistics, novelty
from quickstudy.learners import Learner

__all__ = ["against_training", "of_support"]

TASKS_TO_COMPARE = 40


def of_support(learner: Learner, loaded: LoadedSupport) -> Measures:
    """Its own faults."""
    features = embed(learner, loaded.task.x)
    x = loaded.task.x.flatten(1).cpu() if features is None else features
    u = unit_vectors(x.numpy(), standardise=features is None and bool(loaded.columns))
    y = loaded.task.y.numpy()
    yield "mislabelled example", lambda: mislabelled(u, y, loaded.classes)
    yield "copies", lambda: copies(u, y)
    yield "outlier", lambda: outlier(x.numpy(), standardise=features is None)
    yield "class that is two", lambda: two_in_one_class(u, y, loaded.classes)
    if loaded.columns:
        numbers = loaded.task.x.flatten(1).numpy()
        yield "leaking column", lambda: leaking_column(numbers, y, loaded.columns)


def against_training(folder: Path, here: RunTasks, place: Path, loaded: LoadedSupport) -> Measures:
    """How it differs from the examples of training, and what that costs.

    Args:
        folder: Of the run.
        here: Its tasks.
        place: Of the support set.
        loaded: The same.
    """
    learner, support = here.learner, loaded.task

    def new() -> list[Finding | Skipped]:
        statistics = TrainingStatistics.read(folder)
        if statistics is None:
            reason = (
                "the run is from before statistics of its training data were kept: continue it "
                "with `quickstudy train --resume` and one step more, or train it anew"
            )
            return [Skipped("novelty", reason), Skipped("expected accuracy", reason)]
        found = novelty(statistics, learner, support)
        return [expected_accuracy(statistics, learner, support, novelty=found), found]

    yield "novelty", new

    def other_learner() -> Finding | Skipped:
        statistics = TrainingStatistics.read(folder)
        expected = statistics and expected_accuracy(statistics, learner, support)
        if not isinstance(expected, Finding):
            reason = expected.reason if expected else "nothing is known of this run's accuracy"
            return Skipped(DEFAULT_LEARNER, reason)
        default = default_accuracy(place, loaded)
        return default if isinstance(default, Skipped) else advise(expected, default)

    yield DEFAULT_LEARNER, other_learner

    def compared() -> list[Finding]:
        tasks = [here.training[i] for i in range(TASKS_TO_COMPARE)]
        check_one_shape(tasks)
        x = torch.cat([task.support.x for task in tasks])
        classes = torch.cat(
            [
                task.support.y + 1000 * i if task.classes is None else task.classes[task.support.y]
                for i, task in enumerate(tasks)
            ]
        ).numpy()
        pair = [embed(learner, one) for one in (x, support.x)]
        source, target = (
            (one.float().flatten(1) if made is None else made).numpy()
            for one, made in zip((x, support.x), pair, strict=True)
        )
        return [
            proxy_a_distance(source, target),
            mmd_test(source, target),
            kernel_distance(source, target),
            dataset_distance(source, classes, target, support.y.numpy()),
        ]

    yield "distance to the training data", compared
