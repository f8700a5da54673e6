"""Tasks made of other tasks, so that a learner cannot know its training tasks by heart.

Each wraps a family of tasks, and is one: `tasks[i]` depends on the seeds and `i` alone. They guard
against what `quickstudy doctor` finds: labels that say the class (memorisation), and too few tasks
(scarcity). They are for training alone; tests keep the tasks as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.episode import Batch, Episode, Support
from quickstudy.tasks.sampler import Tasks, generator_for

__all__ = ["InterpolatedTasks", "PermutedLabels", "ShiftedTargets"]

PARTNERS = 2**40
"""Index from which on the tasks are that others are mixed with: training does not come so far."""


class PermutedLabels:
    """Tasks whose labels are in an order drawn anew for every task.

    Tasks in which a class always has the same label can be learned by heart, without any support
    set; a random order makes the support set necessary. It is the meta-augmentation of
    classification in Rajendran, Irpan & Jang, "Meta-Learning Requires Meta-Augmentation", NeurIPS
    2020, section 4. `EpisodeSampler` draws the order anew by itself.

    Args:
        tasks: Of classes.
        seed: Decides every order.

    Raises:
        DataError: By a task of regression.

    Example:
        >>> x, y = torch.eye(3), torch.arange(3)
        >>> class Fixed:
        ...     def __getitem__(self, index):
        ...         return Episode(Support(x, y, 3), Batch(x, y), y)
        >>> task = PermutedLabels(Fixed())[0]
        >>> bool((task.classes[task.support.y] == y).all())
        True
    """

    def __init__(self, tasks: Tasks, *, seed: int = 0) -> None:
        self.tasks, self.seed = tasks, seed

    def __getitem__(self, index: int) -> Episode:
        task = self.tasks[index]
        if task.n_way is None:
            raise DataError("expected tasks of classes to permute the labels of, got a regression")
        order = torch.randperm(task.n_way, generator=generator_for(self.seed, index))
        support = replace(
            task.support,
            y=order[task.support.y],
            attributes=_in_order(task.support.attributes, order),
        )
        query = Batch(task.query.x, order[task.query.y])
        classes, clusters = _in_order(task.classes, order), _in_order(task.clusters, order)
        return Episode(support, query, classes, clusters)


class ShiftedTargets:
    """Tasks of regression whose targets are shifted by a number drawn anew for every task.

    The same shift for support and query: only the support set can say it. It is the
    meta-augmentation of regression in Rajendran, Irpan & Jang 2020, section 4.

    Args:
        tasks: Of regression.
        largest: Each number of a target is shifted by up to this, either way, in its unit.
        seed: Decides every shift.

    Raises:
        DataError: By a task of classes.
        UsageError: If `largest` is not positive.

    Example:
        >>> from quickstudy.tasks import SinusoidTasks
        >>> tasks = SinusoidTasks(n_shot=5, n_query=5)
        >>> shifts = ShiftedTargets(tasks, largest=2.0)[0].support.y - tasks[0].support.y
        >>> bool(shifts.std() < 1e-6)
        True
    """

    def __init__(self, tasks: Tasks, *, largest: float, seed: int = 0) -> None:
        if not largest > 0:
            raise UsageError(f"expected a largest shift above 0, got {largest}")
        self.tasks, self.largest, self.seed = tasks, largest, seed

    def __getitem__(self, index: int) -> Episode:
        task = self.tasks[index]
        if task.n_way is not None:
            raise DataError("expected tasks of regression to shift the targets of, got classes")
        generator = generator_for(self.seed, index)
        drawn = 2 * torch.rand(task.support.y.shape[1], generator=generator) - 1  # (d,)
        shift = (self.largest * drawn).to(task.support.y)
        support = replace(task.support, y=task.support.y + shift)
        return replace(task, support=support, query=Batch(task.query.x, task.query.y + shift))


class InterpolatedTasks:
    """Tasks, some of them mixed with another of the same shape: new classes between the old ones.

    Class k of a mixed task lies between class k of both: each example is the mean, weighted by the
    same random number, of an example of each. Of a regression, targets are mixed as examples are.
    The number is drawn from Beta(0.5, 0.5). (Yao, Zhang & Finn, "Meta-Learning with Fewer Tasks
    through Task Interpolation", ICLR 2022.)

    Differs from the paper: the examples themselves are mixed, where the paper mixes features of a
    random layer.

    Args:
        tasks: Of one shape, drawn from at any index.
        share: Of the tasks that are mixed.
        seed: Decides which, and how.

    Raises:
        DataError: By tasks of several shapes.
        UsageError: If `share` is not between 0 and 1.

    Example:
        >>> from quickstudy.tasks import SinusoidTasks
        >>> tasks = SinusoidTasks(n_shot=5, n_query=5)
        >>> InterpolatedTasks(tasks, share=1.0)[0].support.x.shape
        torch.Size([5, 1])
    """

    ALPHA = 0.5

    def __init__(self, tasks: Tasks, *, share: float = 0.5, seed: int = 0) -> None:
        if not 0 < share <= 1:
            raise UsageError(f"expected a share of tasks above 0 and up to 1, got {share}")
        self.tasks, self.share, self.seed = tasks, share, seed

    def __getitem__(self, index: int) -> Episode:
        task = self.tasks[index]
        rng = np.random.default_rng((self.seed, index))
        if rng.uniform() >= self.share:
            return task
        weight, other = rng.beta(self.ALPHA, self.ALPHA), self.tasks[PARTNERS + index]
        if task.n_way != other.n_way:
            raise DataError(f"expected tasks of one shape, got {task.n_way} and {other.n_way} ways")
        support, query = (
            _mixed(one, two, weight)
            for one, two in ((task.support, other.support), (task.query, other.query))
        )
        return Episode(Support(support.x, support.y, task.n_way), query)


def _mixed(one: Batch, other: Batch, weight: float) -> Batch:
    """The mean of each example of one (n, ...) and one of the same label of the other (n, ...)."""
    if not one.y.is_floating_point():
        place = one.y.argsort(stable=True)
        rows = torch.empty_like(place).index_copy_(0, place, other.y.argsort(stable=True))
        other = Batch(other.x[rows], other.y[rows]) if len(rows) == len(other) else other
    if one.x.shape != other.x.shape or (
        not one.y.is_floating_point() and not torch.equal(one.y, other.y)
    ):
        raise DataError(
            f"expected tasks of one shape to mix, got examples {tuple(one.x.shape)} and "
            f"{tuple(other.x.shape)}, or other numbers of examples a class"
        )
    x = weight * one.x + (1 - weight) * other.x
    y = weight * one.y + (1 - weight) * other.y if one.y.is_floating_point() else one.y
    return Batch(x, y)


def _in_order(values: Tensor | None, order: Tensor) -> Tensor | None:
    """Values (n_way, ...) of the labels, of the labels that they have become."""
    return None if values is None else torch.empty_like(values).index_copy_(0, order, values)
