"""Swinging up a pole on a cart, both of unknown size.

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

__all__ = ["CartPoleSwingUp"]


class CartPoleSwingUp(Mechanics):
    """A pole that hangs from a cart, to be swung up and held upright by pushing the cart.

    The equations of motion are those of Gymnasium's CartPole-v1 (Barto, Sutton, Anderson, 1983;
    without friction), whose constants lie in the ranges. The rail ends at 2.4 m to either side,
    where the cart stops. The observation is the cart's position (m) and velocity (m/s), the cosine
    and sine of the pole's angle from upright and its angular velocity (rad/s); the action, from -1
    to 1, is a share of 10 N; the reward is (1 + cosine) / 2, less 0.1 (position / 2.4)^2.

    Args:
        horizon: Steps of an episode, of 0.02 s each.
        beyond: If not 0, parameters lie outside their ranges, by at most this share of them.
        seed: Decides every task.

    Parameters of a task: `cart_mass` (kg, 0.6 to 1.4), `pole_mass` (kg, 0.06 to 0.14) and
    `half_length` of the pole (m, 0.3 to 0.7).

    Example:
        >>> environments = CartPoleSwingUp().environments(range(4))
        >>> environments.reset()[:, 2].max() < -0.99  # hanging
        tensor(True)
    """

    observation_size = 5
    actions = Box(1, -1.0, 1.0)
    ranges: ClassVar = {
        "cart_mass": (0.6, 1.4),
        "pole_mass": (0.06, 0.14),
        "half_length": (0.3, 0.7),
    }
    gravity, seconds, max_force, rail = 9.8, 0.02, 10.0, 2.4  # m/s^2, s, N, m

    def __init__(self, *, horizon: int = 250, beyond: float = 0.0, seed: int = 0) -> None:
        super().__init__(beyond=beyond, seed=seed)
        self.horizon = check_whole("horizon", horizon)

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        mass = parameters["cart_mass"]
        unit = torch.rand(4, len(mass), generator=generator, dtype=mass.dtype, device=mass.device)
        x, x_velocity, angle, velocity = 0.1 * unit - 0.05
        return {"x": x, "x_velocity": x_velocity, "angle": math.pi + angle, "velocity": velocity}

    def reset_anywhere(self, parameters: Parameters, generator: torch.Generator) -> State:
        mass = parameters["cart_mass"]
        unit = torch.rand(4, len(mass), generator=generator, dtype=mass.dtype, device=mass.device)
        x, x_velocity, angle, velocity = 2 * unit - 1
        return {
            "x": 0.5 * self.rail * x,
            "x_velocity": 2 * x_velocity,  # m/s
            "angle": math.pi * angle,
            "velocity": 8 * velocity,  # rad/s: about what a fall from upright ends in
        }

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        x, x_velocity = state["x"], state["x_velocity"]
        angle, velocity = state["angle"], state["velocity"]
        pole, half_length = parameters["pole_mass"], parameters["half_length"]
        total = parameters["cart_mass"] + pole
        cosine, sine = angle.cos(), angle.sin()
        moment = pole * half_length
        push = (self.max_force * actions[:, 0] + moment * velocity.square() * sine) / total
        turn = (self.gravity * sine - cosine * push) / (
            half_length * (4 / 3 - pole * cosine.square() / total)
        )  # rad/s^2
        new_x = x + self.seconds * x_velocity
        x_velocity = x_velocity + self.seconds * (push - moment * turn * cosine / total)
        angle = angle + self.seconds * velocity
        on_rail = new_x.clamp(-self.rail, self.rail)
        new_state = {
            "x": on_rail,
            "x_velocity": x_velocity.where(on_rail == new_x, 0.0),
            "angle": angle,
            "velocity": velocity + self.seconds * turn,
        }
        rewards = 0.5 + 0.5 * angle.cos() - 0.1 * (on_rail / self.rail).square()
        return new_state, rewards, None

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        angle = state["angle"]
        return torch.stack(
            [state["x"], state["x_velocity"], angle.cos(), angle.sin(), state["velocity"]], 1
        )

    def state_of(self, observations: Tensor) -> State:
        x, x_velocity, cosine, sine, velocity = observations.unbind(1)
        angle = torch.atan2(sine, cosine)
        return {"x": x, "x_velocity": x_velocity, "angle": angle, "velocity": velocity}

    def reward(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> Tensor:
        x, cosine = next_observations[..., 0], next_observations[..., 2]
        return 0.5 + 0.5 * cosine - 0.1 * (x / self.rail).square()
