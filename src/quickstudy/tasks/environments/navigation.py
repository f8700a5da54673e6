"""Moving a point in the plane to a goal that is not seen.

Shapes: n environments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Box
from quickstudy.tasks.environments.environment import EnvironmentFamily, Parameters, State
from quickstudy.tasks.environments.options import check_number, check_whole

__all__ = ["Navigation", "SparseNavigation"]


class Navigation(EnvironmentFamily):
    """A point that starts at the origin and moves by its action; the reward is minus the distance
    to the goal. The observation is the position.

    Sources: Finn et al., Model-Agnostic Meta-Learning, 2017, section 5.3, with the constants of
    the authors' code: the episode ends where both coordinates are within 0.01 of the goal's.

    Args:
        horizon: Steps of an episode.
        half_width: Goals are drawn from a square of twice this width about the origin.
        seed: Decides every task.

    Parameters of a task: `goals` (2,).

    Example:
        >>> environments = Navigation().environments([0])
        >>> _ = environments.reset()
        >>> environments.step(torch.tensor([[0.1, -0.3]])).observations
        tensor([[ 0.1000, -0.1000]])
    """

    observation_size = 2
    actions = Box(2, -0.1, 0.1)
    tolerance = 0.01

    def __init__(self, *, horizon: int = 100, half_width: float = 0.5, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.horizon = check_whole("horizon", horizon)
        self.half_width = check_number("half_width", half_width, least=0.0)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"goals": self.half_width * (2 * torch.rand(n, 2, generator=generator) - 1)}

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        return {"positions": torch.zeros_like(parameters["goals"])}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, Tensor | None]:
        positions = state["positions"] + actions
        offset = positions - parameters["goals"]  # (n, 2)
        x, y = offset.unbind(1)
        reached = offset.abs().amax(1) < self.tolerance
        return {"positions": positions}, -torch.hypot(x, y), reached

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        return state["positions"]


class SparseNavigation(Navigation):
    """A point that is rewarded only near its goal, by 1 minus the distance; goals lie on a half
    circle of radius 1 about the start. No episode ends before the horizon.

    Sources: Rakelly et al., Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic
    Context Variables, 2019, section 6.3, with the constants of the authors' code.

    Args:
        horizon: Steps of an episode.
        goal_radius: Distance from the goal within which rewards are given.
        seed: Decides every task.

    Parameters of a task: `goals` (2,).

    Example:
        >>> SparseNavigation()[3].parameters["goals"].norm().round(decimals=4)
        tensor(1.)
    """

    def __init__(self, *, horizon: int = 20, goal_radius: float = 0.2, seed: int = 0) -> None:
        super().__init__(horizon=horizon, seed=seed)
        self.goal_radius = check_number("goal_radius", goal_radius, least=0.0)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        angle = math.pi * torch.rand(n, generator=generator)
        return {"goals": torch.stack([angle.cos(), angle.sin()], 1)}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        state, minus_distance, _ = super().step(parameters, state, actions, generator)
        near = minus_distance >= -self.goal_radius
        return state, (1 + minus_distance).where(near, 0.0), None
