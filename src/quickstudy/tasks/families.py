"""Families of tasks made by code, which recipes name in place of a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quickstudy.registry import Registry
from quickstudy.tasks.environments import CartPoleSwingUp, DynamicsTasks, Pendulums, TwoLinkArms
from quickstudy.tasks.environments.mechanics import Mechanics
from quickstudy.tasks.functions import (
    DecisionTreeTasks,
    FunctionTasks,
    LinearTasks,
    ReLUNetworkTasks,
    SparseLinearTasks,
)
from quickstudy.tasks.sampler import SinusoidTasks, Tasks
from quickstudy.tasks.tables import TableTasks

__all__ = ["FAMILIES", "TaskFamily"]

EPISODE_SHAPE = ("n_way", "n_shot", "n_query", "n_labels", "within_group")


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that a function or class makes.

    Args:
        make: Makes the tasks from those of n_way, n_shot, n_query, n_labels, within_group that it
            has as parameters, and a seed. Its further parameters are the `options` of a recipe's
            data. What recipes give beyond these is refused.
        shape: Of an example.
        regression: Whether targets are numbers instead of classes.
        n_targets: Numbers of a target, in a regression.

    Example:
        >>> family = TaskFamily(SinusoidTasks, (1,), regression=True)
        >>> family.make(n_shot=5, n_query=10, seed=0)[0].support.x.shape
        torch.Size([5, 1])
    """

    make: Callable[..., Tasks]
    shape: tuple[int, ...]
    regression: bool = False
    n_targets: int = 1

    @property
    def options(self) -> list[str]:
        """What `make` takes beside a seed and the shape of an episode."""
        return [name for name in self._parameters if name not in EPISODE_SHAPE]

    @property
    def episode_shape(self) -> list[str]:
        """What `make` takes of n_way, n_shot, n_query, n_labels, within_group."""
        return [name for name in self._parameters if name in EPISODE_SHAPE]

    @property
    def _parameters(self) -> list[str]:
        return [name for name in inspect.signature(self.make).parameters if name != "seed"]


def _dynamics(kind: type[Mechanics]) -> TaskFamily:
    """The dynamics of machines."""
    o, a = kind.observation_size, kind.actions.size
    return TaskFamily(partial(DynamicsTasks, kind), (o + a,), regression=True, n_targets=o)


def _functions(kind: type[FunctionTasks]) -> TaskFamily:
    """Functions of a class."""
    return TaskFamily(kind, (kind.D,), regression=True)


FAMILIES = Registry(
    "task family",
    "families",
    TaskFamily,
    {
        "sinusoid": TaskFamily(SinusoidTasks, (1,), regression=True),
        "linear": _functions(LinearTasks),
        "sparse_linear": _functions(SparseLinearTasks),
        "decision_tree": _functions(DecisionTreeTasks),
        "relu_network": _functions(ReLUNetworkTasks),
        "tables": TaskFamily(partial(TableTasks, n_way=2), (TableTasks.MAX_COLUMNS,)),
        "pendulum_dynamics": _dynamics(Pendulums),
        "cartpole_swingup_dynamics": _dynamics(CartPoleSwingUp),
        "two_link_arm_dynamics": _dynamics(TwoLinkArms),
    },
)
"""By name. Of "tables", n_shot counts the rows of the support set, and n_way is 2 if not given."""
