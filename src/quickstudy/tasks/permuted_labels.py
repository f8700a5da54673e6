"""A guard against memorisation: the order of labels is drawn anew for every task."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from quickstudy.errors import DataError
from quickstudy.tasks.episode import Batch, Episode
from quickstudy.tasks.sampler import Tasks, generator_for

__all__ = ["PermutedLabels"]


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
        >>> from quickstudy.tasks import Support
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


def _in_order(values: Tensor | None, order: Tensor) -> Tensor | None:
    """Values (n_way, ...) of the labels, of the labels that they have become."""
    return None if values is None else torch.empty_like(values).index_copy_(0, order, values)
