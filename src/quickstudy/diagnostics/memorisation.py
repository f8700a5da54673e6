"""Whether a learner learns from support sets, or knows its training tasks by heart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import special
from torch import Tensor

from quickstudy.diagnostics.features import backbone_of, check_one_shape
from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.tasks import Episode, Support, Tasks
from quickstudy.tasks.sampler import generator_for

__all__ = [
    "adaptation_gain",
    "feature_reuse",
    "generalisation_gap",
    "linear_cka",
    "shuffled_labels",
    "task_scores",
    "without_support",
]

Change = Callable[[int, Episode], Support]
"""Makes another support set for task i."""

LARGE_GAP = 0.1
"""In accuracy: from here on a gap is a warning."""


def task_scores(
    learner: Learner, tasks: Tasks, n_tasks: int, change: Change | None = None, first: int = 0
) -> Tensor:
    """The score of each task, shape (n_tasks,): accuracy, or of a regression the negative mean
    squared error.

    Args:
        learner: Put into evaluation mode meanwhile, and left as it was.
        tasks: With queries.
        n_tasks: How many.
        change: Makes what is adapted to; by default each task's own support set.
        first: Index of the first task.
    """
    was_training, scores = learner.training, []
    learner.eval()
    try:
        with torch.no_grad():
            for i in range(first, first + n_tasks):
                task = tasks[i].to(device_of(learner))
                support = task.support if change is None else change(i, task)
                output = learner.adapt(support)(task.query.x)
                if task.n_way is None:
                    scores.append(-float((output - task.query.y).square().mean()))
                else:
                    scores.append(float((output.argmax(1) == task.query.y).double().mean()))
    finally:
        learner.train(was_training)
    return torch.tensor(scores, dtype=torch.float64)


def generalisation_gap(
    learner: Learner, training: Tasks, new: Tasks, n_tasks: int = 100, *, first: int = 0
) -> Finding:
    """How much better a learner is on training tasks than on new ones of the same shape.

    The value is the difference of the mean scores, with Welch's interval.

    Args:
        training: Tasks it was trained on.
        new: Tasks of classes it was not trained on, of the same ways and shots.
        n_tasks: Of each.
        first: Index of the first training task.
    """
    known = task_scores(learner, training, n_tasks, first=first)
    unknown = task_scores(learner, new, n_tasks)
    gap = float(known.mean() - unknown.mean())
    error = math.sqrt(float(known.var() + unknown.var()) / n_tasks)
    half = float(special.stdtrit(2 * n_tasks - 2, 0.975)) * error
    is_regression = training[first].n_way is None
    limit = LARGE_GAP if not is_regression else 0.5 * float(unknown.mean().abs())
    is_large = gap - half > 0 and gap > limit
    unit = "mean squared error" if is_regression else "accuracy"
    values = (abs(float(known.mean())), abs(float(unknown.mean())))
    texts = [f"{v:.3g}" if is_regression else f"{v:.0%}" for v in values]
    return Finding(
        "generalisation gap",
        "warning" if is_large else "fine",
        gap,
        f"{unit.capitalize()} is {texts[0]} on training tasks and {texts[1]} on new ones"
        + (": the learner overfits its training tasks." if is_large else "."),
        "Train on more classes (data.rotations, data.mirrors, tasks.augment), stop earlier "
        "(train.patience with a validation table), or use a smaller backbone."
        if is_large
        else "",
        (gap - half, gap + half),
        Threshold(limit, "a convention; the interval has to exclude 0 too"),
        {"training": float(known.mean()), "new": float(unknown.mean()), "n_tasks": n_tasks},
    )


def shuffled_labels(
    learner: Learner, tasks: Tasks, n_tasks: int = 100, *, seed: int = 0, first: int = 0
) -> Finding:
    """Accuracy after the labels of the support set are shuffled, which has to fall to chance.

    A learner that is still right takes its labels from what it remembers of the classes (Yin et
    al., 2020).

    Args:
        tasks: Of classes, best those it was trained on.
        n_tasks: How many.
        seed: Of the order of the labels.
        first: Index of the first task.

    Raises:
        DataError: For a regression.
    """

    def change(i: int, task: Episode) -> Support:
        order = torch.randperm(len(task.support), generator=generator_for(seed, i))
        support = task.support
        y = support.y[order.to(support.y.device)]
        return Support(support.x, y, support.n_way, support.attributes)

    scores, chance = _against_chance(learner, tasks, n_tasks, change, first)
    return _memorised(
        "shuffled support labels",
        scores,
        chance,
        "With shuffled support labels accuracy is {mean:.0%}, and chance is {chance:.0%}",
    )


def without_support(
    learner: Learner, tasks: Tasks, n_tasks: int = 100, *, first: int = 0
) -> Finding:
    """Accuracy after adapting to the support set of another task, which has to be that of chance.

    Most learners cannot adapt to nothing; the support set of the next task says nothing about
    this one.

    Args:
        tasks: Of classes, all of the same ways.
        n_tasks: How many.
        first: Index of the first task.

    Raises:
        DataError: For a regression, or where ways differ from task to task.
    """
    scores, chance = _against_chance(learner, tasks, n_tasks, _next_support(tasks), first)
    return _memorised(
        "accuracy without support",
        scores,
        chance,
        "With the support set of another task accuracy is {mean:.0%}, and chance is {chance:.0%}",
    )


def adaptation_gain(
    learner: Learner, training: Tasks, new: Tasks, n_tasks: int = 100, *, first: int = 0
) -> Finding:
    """How much a task's own support set adds to the score, over that of another task.

    The value is the mean gain on new tasks; `details["training"]` that on training tasks. A gain
    that is small on training tasks and large on new ones is the mark of memorisation.

    Args:
        training, new: Tasks of the same ways throughout.
        n_tasks: Of each.
        first: Index of the first training task.
    """
    gains = []
    for tasks, start in ((training, first), (new, 0)):
        own = task_scores(learner, tasks, n_tasks, first=start)
        other = task_scores(learner, tasks, n_tasks, _next_support(tasks), first=start)
        gains.append(own - other)
    value = float(gains[1].mean())
    half = _half(gains[1])
    useless = value - half <= 0
    return Finding(
        "adaptation gain",
        "warning" if useless else "fine",
        value,
        f"Its own support set adds {number_of(value)} to the score of a new task, and "
        f"{number_of(float(gains[0].mean()))} to that of a training task"
        + (": the learner does not use support sets." if useless else "."),
        "Check that labels are drawn anew for every task, and raise inner_lr or inner_steps if the "
        "learner has them."
        if useless
        else "",
        (value - half, value + half),
        Threshold(0.0, "no gain; the interval has to lie above"),
        {"training": float(gains[0].mean()), "n_tasks": n_tasks},
    )


def feature_reuse(learner: Learner, tasks: Tasks, n_tasks: int = 20) -> Finding:
    """How alike the features of queries are before and after adaptation, as linear CKA.

    1: adaptation reuses the features and changes the head alone; near 0: it makes new features
    (Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020).

    Args:
        learner: With a backbone.
        tasks: With four queries or more.
        n_tasks: How many.

    Raises:
        DataError: If the learner has no backbone that sees queries alone.
    """
    backbone = backbone_of(learner)
    if backbone is None:
        raise DataError(f"expected a learner with a backbone, got {type(learner).__name__}")
    seen: list[Tensor] = []
    hook = backbone.register_forward_hook(lambda *call: seen.append(call[2].detach().flatten(1)))
    was_training, values = learner.training, []
    learner.eval()
    try:
        with torch.no_grad():
            for i in range(n_tasks):
                task = tasks[i].to(device_of(learner))
                predict = learner.adapt(task.support)
                seen.clear()
                predict(task.query.x)
                after = seen[-1] if seen else None
                if after is None or len(after) != len(task.query):
                    raise DataError("expected a backbone that sees the queries of a task alone")
                values.append(linear_cka(backbone(task.query.x).flatten(1), after))
    finally:
        hook.remove()
        learner.train(was_training)
    sample = torch.tensor(values, dtype=torch.float64)
    half = _half(sample)
    return Finding(
        "feature reuse",
        "information",
        float(sample.mean()),
        "Adaptation "
        + ("reuses the features of the backbone." if sample.mean() > 0.9 else "changes features.")
        + " 1 would be no change (linear CKA).",
        interval=(float(sample.mean()) - half, min(1.0, float(sample.mean()) + half)),
        details={"n_tasks": n_tasks},
    )


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of features (n, d) and (n, e): 0 to 1, the same for rotated
    and scaled features (Kornblith et al., "Similarity of Neural Network Representations
    Revisited", ICML 2019, equation 3).

    Example:
        >>> x = torch.eye(4)
        >>> round(linear_cka(x, 3 * x.flip(1)), 6)
        1.0
    """
    x, y = (f.double() - f.double().mean(0) for f in (one, other))
    cross = (x.T @ y).square().sum()
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return float(cross / norms) if float(norms) else 1.0


def number_of(value: float) -> str:
    """A change of a score, signed."""
    return f"{value:+.2g}"


def _next_support(tasks: Tasks) -> Change:
    def change(i: int, task: Episode) -> Support:
        next_task = tasks[i + 1].to(task.support.x.device)
        other = next_task.support
        if other.n_way != task.n_way:
            raise DataError(f"expected tasks of the same ways, got {task.n_way} and {other.n_way}")
        check_one_shape([task, next_task])
        return other

    return change


def _against_chance(
    learner: Learner, tasks: Tasks, n_tasks: int, change: Change, first: int
) -> tuple[Tensor, float]:
    ways: list[int] = []

    def counted(i: int, task: Episode) -> Support:
        if task.n_way is None:
            raise DataError("expected tasks of classes, got a regression, which has no chance")
        ways.append(len(task.query.y.unique()))
        return change(i, task)

    scores = task_scores(learner, tasks, n_tasks, counted, first)
    return scores, float(np.mean(1 / np.array(ways)))


def _memorised(measure: str, scores: Tensor, chance: float, sentence: str) -> Finding:
    mean, half = float(scores.mean()), _half(scores)
    limit = chance + 0.25 * (1 - chance)
    memorised = mean - half > chance and mean > limit
    said = sentence.format(mean=mean, chance=chance)
    return Finding(
        measure,
        "warning" if memorised else "fine",
        mean,
        said + (": the learner remembers the classes of training." if memorised else "."),
        "Draw the order of labels anew for every training task (tasks.permute_labels), and train "
        "on more classes."
        if memorised
        else "",
        (mean - half, mean + half),
        Threshold(
            limit, "a quarter of the way from chance to 1; the interval has to exclude chance"
        ),
        {"chance": chance, "n_tasks": len(scores)},
    )


def _half(sample: Tensor | Sequence[float]) -> float:
    """Half the width of the 95 % t-interval of a mean."""
    values = torch.as_tensor(sample, dtype=torch.float64)
    n = len(values)
    return float(special.stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n)
