"""Swinging up a pendulum of unknown mass and length.

Shapes: n environments.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Box
from quickstudy.tasks.environments.environment import Parameters, State
from quickstudy.tasks.environments.mechanics import Mechanics
from quickstudy.tasks.environments.options import check_whole

__all__ = ["Pendulums"]


class Pendulums(Mechanics):
    """A pendulum to be held upright by a torque too weak to lift it at once.

    The rules are those of Gymnasium's Pendulum-v1, whose mass (1 kg) and length (1 m) are in the
    middle of the ranges. The observation is the cosine and sine of the angle from upright and the
    angular velocity (rad/s); the action is a torque (N m); the reward is minus
    angle^2 + 0.1 velocity^2 + 0.001 torque^2 before the step.

    Args:
        horizon: Steps of an episode, of 0.05 s each.
        beyond: If not 0, parameters lie outside their ranges, by at most this share of them.
        seed: Decides every task.

    Parameters of a task: `mass` (kg) and `length` (m), each from 0.7 to 1.3.

    Example:
        >>> Pendulums().environments(range(4)).reset().shape
        torch.Size([4, 3])
    """

    observation_size = 3
    actions = Box(1, -2.0, 2.0)
    ranges: ClassVar = {"mass": (0.7, 1.3), "length": (0.7, 1.3)}
    gravity, seconds, max_speed = 10.0, 0.05, 8.0  # m/s^2, s, rad/s

    def __init__(self, *, horizon: int = 200, beyond: float = 0.0, seed: int = 0) -> None:
        super().__init__(beyond=beyond, seed=seed)
        self.horizon = check_whole("horizon", horizon)

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        mass = parameters["mass"]
        unit = torch.rand(2, len(mass), generator=generator, dtype=mass.dtype, device=mass.device)
        angle, velocity = 2 * unit - 1
        return {"angle": math.pi * angle, "velocity": velocity}

    def reset_anywhere(self, parameters: Parameters, generator: torch.Generator) -> State:
        state = self.reset(parameters, generator)
        return {"angle": state["angle"], "velocity": self.max_speed * state["velocity"]}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        mass, length = parameters["mass"], parameters["length"]
        angle, velocity, torque = state["angle"], state["velocity"], actions[:, 0]
        from_upright = (angle + math.pi).remainder(2 * math.pi) - math.pi
        cost = from_upright.square() + 0.1 * velocity.square() + 0.001 * torque.square()
        acceleration = (
            1.5 * self.gravity / length * angle.sin() + 3 / (mass * length.square()) * torque
        )
        velocity = (velocity + self.seconds * acceleration).clamp_(-self.max_speed, self.max_speed)
        return {"angle": angle + self.seconds * velocity, "velocity": velocity}, -cost, None

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        angle = state["angle"]
        return torch.stack([angle.cos(), angle.sin(), state["velocity"]], 1)

    def state_of(self, observations: Tensor) -> State:
        cosine, sine, velocity = observations.unbind(1)
        return {"angle": torch.atan2(sine, cosine), "velocity": velocity}

    def reward(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> Tensor:
        cosine, sine, velocity = observations.unbind(-1)
        cost = torch.atan2(sine, cosine).square() + 0.1 * velocity.square()
        return -cost - 0.001 * actions[..., 0].square()
