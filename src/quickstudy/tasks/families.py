"""Families of tasks made by code, which recipes name in place of a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quickstudy.registry import Registry
from quickstudy.tasks.sampler import SinusoidTasks, Tasks
from quickstudy.tasks.tables import TableTasks

__all__ = ["FAMILIES", "TaskFamily"]


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that a function or class makes.

    Args:
        make: Makes the tasks from those of n_way, n_shot, n_query, n_labels, within_group that it
            has as parameters, and a seed. What recipes give beyond these is refused.
        shape: Of an example.
        regression: Whether targets are numbers instead of classes.

    Example:
        >>> family = TaskFamily(SinusoidTasks, (1,), regression=True)
        >>> family.make(n_shot=5, n_query=10, seed=0)[0].support.x.shape
        torch.Size([5, 1])
    """

    make: Callable[..., Tasks]
    shape: tuple[int, ...]
    regression: bool = False

    @property
    def options(self) -> list[str]:
        """What `make` takes beside a seed."""
        return [name for name in inspect.signature(self.make).parameters if name != "seed"]


FAMILIES = Registry(
    "task family",
    "families",
    TaskFamily,
    {
        "sinusoid": TaskFamily(SinusoidTasks, (1,), regression=True),
        "tables": TaskFamily(partial(TableTasks, n_way=2), (TableTasks.MAX_COLUMNS,)),
    },
)
"""By name. Of "tables", n_shot counts the rows of the support set, and n_way is 2 if not given."""
