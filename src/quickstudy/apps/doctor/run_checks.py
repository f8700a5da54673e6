"""Measures of a run: on its training tasks, on new tasks, over shots, and what it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from quickstudy.diagnostics.diversity import (
    diversity_coefficient,
    probe_of,
    task_vectors,
    vendi_score,
)
from quickstudy.diagnostics.efficiency import (
    CostPoint,
    adaptation_area,
    half_cost,
    jump_start,
    shots_to_score,
)
from quickstudy.diagnostics.finding import Finding, Skipped, Status, Threshold
from quickstudy.diagnostics.memorisation import (
    adaptation_gain,
    feature_reuse,
    generalisation_gap,
    shuffled_labels,
    task_scores,
    without_support,
)
from quickstudy.diagnostics.scarcity import fit_power_law, size_to_target
from quickstudy.diagnostics.tasks import label_order, leaked_queries
from quickstudy.engine.cost import adapting_cost
from quickstudy.errors import DataError, MissingError, QuickstudyError, UsageError
from quickstudy.experiments.build import guarded, make_learner, tasks_of_test
from quickstudy.experiments.families import make_tasks
from quickstudy.learners import Learner
from quickstudy.recipes.schema import Data, Family, Recipe, Test
from quickstudy.tasks import Tasks
from quickstudy.tasks.datasets import DATASETS

if TYPE_CHECKING:
    from quickstudy.experience import ExperienceStore

__all__ = ["RunTasks", "costs", "learning_curve", "of_run", "of_tasks"]

Measure = Callable[[], Any]
"""Takes a `Finding` or several, or says why not by `Skipped`."""

Measures = Iterator[tuple[str, Measure]]

N_QUERY = 5
SHOTS = (1, 2, 5, 10)
TARGET = 0.95
MAX_DIVERSITY_TASKS = 30
"""A larger number tells little more: all pairs of tasks count."""

UNSEEN = 100_000
"""Index from which on training tasks have not been trained on, of the same classes."""


class RunTasks:
    """The tasks of a run, in one shape that suits it, small enough to draw many.

    Args:
        recipe, learner: Of the run.
        source: Of new tasks; by default the recipe's.
        n_tasks: How many each measure draws.
    """

    def __init__(self, recipe: Recipe, learner: Learner, source: str | None, n_tasks: int) -> None:
        self.recipe, self.learner = recipe, learner
        self.source, self.n_tasks = source, n_tasks

    @cached_property
    def training(self) -> Tasks:
        """Tasks of the classes of training.

        Raises:
            MissingError: If the data is not on this machine.
        """
        return self._tasks(self.recipe.tasks)

    @cached_property
    def new(self) -> Tasks:
        """Tasks of classes that training did not draw from.

        Raises:
            MissingError, DataError: If there are none on this machine.
        """
        return self.with_shots(None)

    def with_shots(self, n_shot: int | None) -> Tasks:
        """The new tasks with another number of shots."""
        reasons = []
        for test in self._candidates():
            try:
                return self._tested(test, n_shot)
            except QuickstudyError as error:
                reasons.append(str(error))
        raise DataError(f"expected new tasks, got none: {reasons[0] if reasons else 'no tests'}")

    def _candidates(self) -> list[Test]:
        """Tests that tasks are drawn from: of the user's source, or the recipe's, those on the data
        of training first."""
        if self.source is not None:
            is_name = self.source in DATASETS.names() or ":" in self.source
            if not is_name and not Path(self.source).exists():
                raise UsageError(f"expected the name of a data set or a folder, got {self.source}")
            name = {"name": self.source} if is_name else {"name": "folder", "folder": self.source}
            encoder = {"encoder": self.recipe.data.encoder} if self.recipe.data.encoder else {}
            image = self.recipe.data
            channels = {} if is_name or encoder else {"channels": image.n_channels}
            data = Data(**name, **encoder, **channels)  # pyright: ignore[reportArgumentType]
            split = "test" if is_name else "all"
            return [_test(self.source, data=data, split=split)]
        tests = sorted(self.recipe.test, key=lambda test: test.data is not None)
        if self.recipe.validation:
            split = self.recipe.validation.split
            tests.append(_test("validation", split=split))
        if not tests and self.recipe.data.family:
            tests = [_test("new")]
        return tests

    def _tested(self, test: Test, n_shot: int | None) -> Tasks:
        if self.recipe.data.family and test.data is None:
            family = self.recipe.tasks
            if n_shot is not None and self.recipe.data.is_regression:
                family = family.model_copy(update={"n_shot": n_shot})
            return make_tasks(self.recipe, family, self.recipe.data, 2)
        changed = {**self._shape, **({} if n_shot is None else {"n_shot": n_shot})}
        keys = {"title": test.title, "data": test.data, "split": test.split, **changed}
        return tasks_of_test(self.recipe, Test(**{k: v for k, v in keys.items() if v is not None}))

    def _tasks(self, family: Family) -> Tasks:
        if not self.recipe.data.family:
            shaped = Family(split=family.split, **self._shape)
            return make_tasks(self.recipe, shaped, self.recipe.data, 0)
        return guarded(self.recipe, make_tasks(self.recipe, family, self.recipe.data, 0))

    @property
    def _shape(self) -> dict[str, Any]:
        family = self.recipe.tasks
        tested = [t.n_way for t in self.recipe.test if isinstance(t.n_way, int)]
        n_way = family.n_way if isinstance(family.n_way, int) else (family.n_way or (5,))[0]
        if self.learner.ways == "any" or family.n_labels:
            n_way = min(n_way, tested[0] if tested else 5)
        n_shot = family.n_shot if isinstance(family.n_shot, int) else family.n_shot[0]
        shape: dict[str, Any] = {"n_way": n_way, "n_shot": max(n_shot, 1), "n_query": N_QUERY}
        return shape | ({"n_labels": family.n_labels} if family.n_labels else {})


def _test(title: str, **keys: Any) -> Test:
    return Test(title=title, **keys)


def of_run(here: RunTasks) -> Measures:
    """Overfitting and memorisation."""
    n, learner = here.n_tasks, here.learner
    training = lambda: here.training  # noqa: E731
    yield "generalisation gap", lambda: generalisation_gap(learner, training(), here.new, n)
    yield "shuffled support labels", lambda: shuffled_labels(learner, training(), n)
    yield "accuracy without support", lambda: without_support(learner, training(), n)
    yield "adaptation gain", lambda: adaptation_gain(learner, training(), here.new, n)
    yield "feature reuse", lambda: feature_reuse(learner, here.new)


def of_tasks(here: RunTasks) -> Measures:
    """Faults of the training tasks, and how diverse they are."""
    yield "label order", lambda: label_order(here.training)
    yield "leaked queries", lambda: leaked_queries(here.training)

    def diversity() -> list[Finding]:
        probe = probe_of(here.learner, here.training[0])
        vectors = task_vectors(probe, here.training, min(here.n_tasks, MAX_DIVERSITY_TASKS))
        return [vendi_score(vectors, probe.name), diversity_coefficient(vectors, probe.name)]

    yield "task diversity", diversity


def learning_curve(
    here: RunTasks, folder: Path, curve: list[tuple[float, float, float]]
) -> Measures:
    """What more shots would bring, and how the learner uses few."""
    if here.recipe.data.is_regression:
        yield "learning curve", lambda: Skipped("learning curve", "it is of accuracies alone")
        return
    measured: dict[int, Tensor] = {}

    def measure() -> list[Finding | Skipped]:
        for n_shot in SHOTS:
            try:
                tasks = here.with_shots(n_shot)
            except QuickstudyError:  # too few examples of a class
                break
            measured[n_shot] = task_scores(here.learner, tasks, here.n_tasks)
        shots = list(measured)
        if len(shots) < 2:
            return [Skipped("learning curve", "the classes have too few examples for two shots")]
        means = [float(s.mean()) for s in measured.values()]
        errors = [float(s.std()) / math.sqrt(len(s)) for s in measured.values()]
        curve.extend((k, m, 1.96 * e) for k, m, e in zip(shots, means, errors, strict=True))
        scores = [s.tolist() for s in measured.values()]
        found: list[Finding | Skipped] = [
            adaptation_area(shots, scores),
            shots_to_score(shots, scores, 0.9),
        ]
        if len(shots) >= 3:
            found.append(size_to_target(fit_power_law(shots, means, errors), TARGET))
        return found

    def start() -> Finding | Skipped:
        if not measured:
            return Skipped("jump-start", "no task of the fewest shots was measured")
        first = min(measured)
        untrained = make_learner(here.recipe).eval()
        baseline = task_scores(untrained, here.with_shots(first), here.n_tasks)
        return jump_start(
            measured[first].tolist(), baseline.tolist(), than="the same learner without training"
        )

    yield "learning curve in shots", measure
    yield "jump-start", start
    yield "learning curve in training tasks", partial(_training_curve, here.recipe, folder)


def _training_curve(recipe: Recipe, folder: Path) -> Finding | Skipped:
    """What more training tasks would bring, from the validations that the log has."""
    name, log = "learning curve in training tasks", folder / "metrics.jsonl"
    if not log.is_file() or recipe.validation is None:
        return Skipped(name, "the run has no log with validations")
    points = []
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        score = entry.get("validation", {}).get("accuracy")
        if score is not None and entry["step"]:
            points.append((entry["step"] * recipe.train.meta_batch_size, score))
    if len(points) < 3:
        return Skipped(name, f"it needs three validations, and the log has {len(points)}")
    sizes, scores = zip(*points, strict=True)
    n = recipe.validation.n_tasks
    law = fit_power_law(sizes, scores, [math.sqrt(max(s * (1 - s), 0.01) / n) for s in scores])
    now, twice = law.score(sizes[-1]), law.score(2 * sizes[-1])
    low, high = law.interval(2 * sizes[-1])
    status: Status = "information"
    return Finding(
        name,
        status,
        twice - now,
        f"Twice the {sizes[-1]:,} training tasks would bring validation from {now:.1%} to "
        f"{twice:.1%}, if the curve goes on.",
        "Train longer." if low > now + 0.01 else "",
        (low - now, high - now),
        Threshold(0.01, "a convention: one point of accuracy"),
    )


def costs(here: RunTasks, store: ExperienceStore | None) -> Measures:
    """What adapting costs, and what half of it would have lost."""
    weights = sum(p.numel() for p in here.learner.parameters())

    def cost() -> Finding:
        tasks = here.new
        measured = adapting_cost(here.learner, [tasks[i] for i in range(5)])
        return Finding(
            "seconds to adapt",
            "information",
            measured.seconds,
            f"Adapting to a task and predicting a query takes {1000 * measured.seconds:.3g} ms and "
            f"{measured.flops / 1e9:.3g} GFLOP here; the learner has {weights:,} weights.",
            details={"flops": measured.flops, "weights": weights},
        )

    yield "seconds to adapt", cost
    yield "half of the cost", lambda: _half_of_the_cost(here.recipe, store)


def _half_of_the_cost(recipe: Recipe, store: ExperienceStore | None) -> Finding | Skipped:
    """Of what else was tried on the first test that others were tried on."""
    name = "half of the cost"
    if store is None:
        return Skipped(name, "there is no experience of other learners to compare with")
    from quickstudy.experiments.build import data_of_test
    from quickstudy.experiments.remember import strategy_of, task_of

    strategies = {s.fingerprint: s.name for s in store.strategies()}
    for test in recipe.test:
        try:
            task = task_of(data_of_test(recipe, test), test, tasks_of_test(recipe, test))
        except MissingError:
            continue
        points = {
            trial.strategy: CostPoint(strategies[trial.strategy], trial.mean, trial.cost["flops"])
            for trial in store.trials(task=task.fingerprint, metric="accuracy")
            if trial.mean is not None and trial.cost.get("flops")
        }
        mine = points.get(strategy_of(recipe, test).fingerprint)
        if mine is not None and len(points) > 1:
            return half_cost(list(points.values()), mine)
    return Skipped(name, "no other learner's result on a test of this run is in the store")
