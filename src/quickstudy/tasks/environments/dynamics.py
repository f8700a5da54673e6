"""Episodes of regression: what a machine does next, to be learned from a few transitions.

Shapes: n machines, t transitions of each, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.tasks.blocks import BlockTasks
from quickstudy.tasks.environments.actions import Box
from quickstudy.tasks.environments.environment import Parameters
from quickstudy.tasks.environments.mechanics import Mechanics
from quickstudy.tasks.environments.options import check_whole
from quickstudy.tasks.sampler import generator_for

__all__ = ["DynamicsTasks", "Scaling", "Transitions", "simulate"]

PERSISTENCE = 0.9
"""Correlation of a random action with the one before it."""
RESTART = 0.1
"""Chance that a machine starts anew before a step."""


class Transitions(NamedTuple):
    """What was seen before actions, the actions, and what was seen after them."""

    observations: Tensor  # (n, t, o)
    actions: Tensor  # (n, t, a)
    next_observations: Tensor  # (n, t, o)


class Scaling(NamedTuple):
    """Constants of a family by which inputs and targets of a model of dynamics have unit size.

    Args:
        observations: Root mean square of each number of an observation, (o,).
        actions: The same of actions, (a,).
        changes: The same of the change of an observation in a step, (o,).
    """

    observations: Tensor
    actions: Tensor
    changes: Tensor

    @classmethod
    @cache
    def of(cls, kind: type[Mechanics]) -> Scaling:
        """Those of a family, from a fixed sample of machines whose parameters are in range."""
        family, n = kind(), 256
        transitions = simulate(family, family.parameters(range(n)), 50, generator_for(0, n))
        before, actions, after = (part.flatten(0, 1) for part in transitions)
        return cls(_size(before), _size(actions), _size(after - before))

    def inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What a model is given, (..., o + a), of observations (..., o) and actions (..., a)."""
        return torch.cat([observations / self.observations, actions / self.actions], -1)

    def targets(self, observations: Tensor, next_observations: Tensor) -> Tensor:
        """What a model is to predict, (..., o): the change of the observation."""
        return (next_observations - observations) / self.changes

    def next_observations(self, observations: Tensor, targets: Tensor) -> Tensor:
        """The observations after a step of which a model predicts `targets`, each (..., o)."""
        return observations + self.changes * targets


class DynamicsTasks(BlockTasks):
    """Learn what a machine does next from the last transitions, as an agent that adapts online.

    Task i is a machine of a family, with parameters of its own, that starts anywhere and is moved
    by smooth random actions. The support set has its first `n_shot` transitions, the query set the
    `n_query` that follow (the past M and the future K of the paper). An input is an observation
    and an action, a target the change of the observation in one step, both scaled by constants
    (see `Scaling`).

    Sources: Nagabandi, Clavera, Liu, Fearing, Abbeel, Levine, Finn, "Learning to Adapt in Dynamic,
    Real-World Environments through Meta-Reinforcement Learning", ICLR 2019, arXiv:1803.11347,
    section 4.

    Differs from the paper: training data come from random actions, not from the planner that the
    model serves; parameters do not change within a task.

    Args:
        kind: The family of machines.
        n_shot: Transitions of the support set.
        n_query: Transitions of the query set.
        seed: Decides every task.
        beyond: If not 0, parameters lie outside their ranges, by at most this share of them.
        independent: Whether each transition starts from a state of its own, with an action of its
            own, in place of a window in time.

    Raises:
        UsageError: If an option cannot be used.

    Example:
        >>> from quickstudy.tasks.environments import Pendulums
        >>> DynamicsTasks(Pendulums, n_shot=50, n_query=20)[0].query.x.shape
        torch.Size([20, 4])
    """

    def __init__(
        self,
        kind: type[Mechanics],
        *,
        n_shot: int,
        n_query: int,
        seed: int = 0,
        beyond: float = 0.0,
        independent: bool = False,
    ) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Mechanics)):
            raise UsageError(f"expected a family of machines such as Pendulums, got {kind!r}")
        super().__init__(check_whole("n_shot", n_shot, least=0), check_whole("n_query", n_query))
        if not isinstance(independent, bool):
            raise UsageError(f"expected independent to be true or false, got {independent!r}")
        self.family = kind(beyond=beyond, seed=seed)
        self.scaling, self.independent = Scaling.of(kind), independent

    def draw_block(self, number: int) -> tuple[Tensor, Tensor]:
        n, t = self.BLOCK, self.n_shot + self.n_query
        parameters = self.family.parameters(range(number * n, (number + 1) * n))
        generator = generator_for(self.family.seed, number, 1)
        move = _simulate_independent if self.independent else simulate
        before, actions, after = move(self.family, parameters, t, generator)
        return self.scaling.inputs(before, actions), self.scaling.targets(before, after)


def simulate(
    family: Mechanics, parameters: Parameters, steps: int, generator: torch.Generator
) -> Transitions:
    """Move machines by smooth random actions, some gently and some with all their strength. They
    start anywhere, and before each later step with a chance of `RESTART` anywhere anew.

    Args:
        parameters: Of n machines.
        steps: t, of each.
        generator: Decides where they start and how they are moved.
    """
    n = len(next(iter(parameters.values())))
    state = family.reset_anywhere(parameters, generator)
    actions = _smooth_actions(family.actions, n, steps, generator)  # (t, n, a)
    before, after = [], []
    for t, chosen in enumerate(actions):
        if t:
            anew = torch.rand(n, generator=generator) < RESTART
            elsewhere = family.reset_anywhere(parameters, generator)
            state = {name: elsewhere[name].where(anew, old) for name, old in state.items()}
        before.append(family.observe(parameters, state))
        state, *_ = family.step(parameters, state, chosen, generator)
        after.append(family.observe(parameters, state))
    return Transitions(torch.stack(before, 1), actions.transpose(0, 1), torch.stack(after, 1))


def _simulate_independent(
    family: Mechanics, parameters: Parameters, steps: int, generator: torch.Generator
) -> Transitions:
    """As `simulate`, with every transition from a state of its own."""
    each = {name: value.repeat_interleave(steps) for name, value in parameters.items()}
    moved = simulate(family, each, 1, generator)  # (n * t, 1, ...)
    return Transitions(*(part.view(-1, steps, part.shape[2]) for part in moved))


def _smooth_actions(actions: Box, n: int, steps: int, generator: torch.Generator) -> Tensor:
    """Actions (t, n, a) of an autoregressive process, clipped to what actions may be."""
    strength = torch.rand(n, 1, generator=generator)
    noise = torch.randn(steps, n, actions.size, generator=generator)
    levels = [noise[0]]
    for new in noise[1:]:
        levels.append(PERSISTENCE * levels[-1] + (1 - PERSISTENCE**2) ** 0.5 * new)
    unit = (strength * torch.stack(levels)).clamp_(-1, 1)
    return actions.low + (actions.high - actions.low) * (unit + 1) / 2


def _size(values: Tensor) -> Tensor:
    """Root mean square of each column."""
    return values.square().mean(0).sqrt()
