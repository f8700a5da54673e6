"""Reaching with a two-link arm that carries an unknown load.

Shapes: n environments. Suffixes 1 and 2: shoulder and elbow, or upper arm and forearm.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from quickstudy.tasks.environments.environment import Box, Parameters, State, check_whole
from quickstudy.tasks.environments.mechanics import Mechanics

__all__ = ["TwoLinkArms"]

Motion = tuple[Tensor, Tensor, Tensor, Tensor]


class TwoLinkArms(Mechanics):
    """An arm of two equal rods that hangs in a vertical plane and is to hold its hand, which
    carries a payload of unknown mass, at a target that is drawn for every episode.

    The observation is cosine and sine of the shoulder's angle from hanging and of the elbow's
    angle, both angular velocities (rad/s), and where the target is as seen from the hand (m). The
    actions, from -1 to 1, are shares of the greatest torques, 60 and 30 N m. The reward is minus
    the distance (m) from hand to target after the step, less 0.01 times the mean square of the
    actions. A step is two steps of the classical Runge-Kutta method.

    Sources: Spong, Hutchinson, Vidyasagar, Robot Modeling and Control, 2006, section 7.4, for the
    equations of motion.

    Args:
        horizon: Steps of an episode, of 0.02 s each.
        beyond: If not 0, parameters lie outside their ranges, by at most this share of them.
        seed: Decides every task.

    Parameters of a task: `payload` (kg, 1.2 to 2.8) and `damping` of each joint (N m s, 0.3 to
    0.6).

    Example:
        >>> family = TwoLinkArms(beyond=0.5)
        >>> bool(((family.parameters(range(9))["payload"] - 2).abs() > 0.8).all())
        True
    """

    observation_size = 8
    actions = Box(2, -1.0, 1.0)
    ranges: ClassVar = {"payload": (1.2, 2.8), "damping": (0.3, 0.6)}
    gravity, seconds, substeps = 9.81, 0.02, 2  # m/s^2, s
    length, mass = 0.5, 1.0  # of each link: m, kg
    max_torques = (60.0, 30.0)  # N m

    def __init__(self, *, horizon: int = 100, beyond: float = 0.0, seed: int = 0) -> None:
        super().__init__(beyond=beyond, seed=seed)
        self.horizon = check_whole("horizon", horizon)

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        payload = parameters["payload"]
        unit = torch.rand(
            6, len(payload), generator=generator, dtype=payload.dtype, device=payload.device
        )
        angle1, angle2, velocity1, velocity2 = 0.2 * unit[:4] - 0.1
        radius = self.length * (0.6 + 1.2 * unit[4])  # 0.3 to 0.9 m
        direction = 2 * math.pi * unit[5]
        return {
            "angle1": angle1,
            "angle2": angle2,
            "velocity1": velocity1,
            "velocity2": velocity2,
            "target_x": radius * direction.sin(),
            "target_y": -radius * direction.cos(),
        }

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        torque1 = self.max_torques[0] * actions[:, 0]
        torque2 = self.max_torques[1] * actions[:, 1]
        motion = (state["angle1"], state["angle2"], state["velocity1"], state["velocity2"])
        for _ in range(self.substeps):
            motion = self._runge_kutta(parameters, motion, torque1, torque2)
        new = dict(zip(("angle1", "angle2", "velocity1", "velocity2"), motion, strict=True))
        new |= {"target_x": state["target_x"], "target_y": state["target_y"]}
        x, y = self.hand(new)
        distance = torch.hypot(x - state["target_x"], y - state["target_y"])
        return new, -distance - 0.01 * actions.square().mean(1), None

    def _runge_kutta(
        self, parameters: Parameters, motion: Motion, torque1: Tensor, torque2: Tensor
    ) -> Motion:
        h = self.seconds / self.substeps

        def rates(at: Motion) -> Motion:
            return at[2], at[3], *self.accelerations(parameters, at, torque1, torque2)

        k1 = rates(motion)
        k2 = rates(_add(motion, k1, h / 2))
        k3 = rates(_add(motion, k2, h / 2))
        k4 = rates(_add(motion, k3, h))
        angle1, angle2, velocity1, velocity2 = (
            y.add(a + d, alpha=h / 6).add_(b + c, alpha=h / 3)
            for y, a, b, c, d in zip(motion, k1, k2, k3, k4, strict=True)
        )
        return angle1, angle2, velocity1, velocity2

    def accelerations(
        self, parameters: Parameters, motion: Motion, torque1: Tensor, torque2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Angular accelerations (rad/s^2) of both joints, from M(q) a + c(q, v) + g(q) = torque.

        Args:
            parameters: Of the tasks.
            motion: Both angles (rad) and angular velocities (rad/s).
            torque1: Torque on the shoulder (N m).
            torque2: Torque on the elbow (N m).
        """
        angle1, angle2, velocity1, velocity2 = motion
        payload, damping = parameters["payload"], parameters["damping"]
        m, r = self.mass, self.length
        tip = m / 2 + payload  # the forearm and its load, as a lever from the elbow (kg, over r)
        coupling = tip * (r * r)
        inertia2 = payload * (r * r) + m * r * r / 3
        inertia1 = inertia2 + payload * (r * r) + m * r * r * 4 / 3
        bend = coupling * angle2.cos()
        m11, m12, m22 = inertia1 + 2 * bend, inertia2 + bend, inertia2
        centrifugal = coupling * angle2.sin()
        pull2 = self.gravity * r * tip * (angle1 + angle2).sin()
        pull1 = self.gravity * r * (1.5 * m + payload) * angle1.sin() + pull2
        force1 = (
            torque1
            - damping * velocity1
            - pull1
            + centrifugal * velocity2 * (2 * velocity1 + velocity2)
        )
        force2 = torque2 - damping * velocity2 - pull2 - centrifugal * velocity1.square()
        determinant = m11 * m22 - m12 * m12
        return (
            (m22 * force1 - m12 * force2) / determinant,
            (m11 * force2 - m12 * force1) / determinant,
        )

    def hand(self, state: State) -> tuple[Tensor, Tensor]:
        """Where the hand is, x and y upwards from the shoulder (m)."""
        first, both = state["angle1"], state["angle1"] + state["angle2"]
        x = self.length * (first.sin() + both.sin())
        return x, -self.length * (first.cos() + both.cos())

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        x, y = self.hand(state)
        angle1, angle2 = state["angle1"], state["angle2"]
        return torch.stack(
            [
                angle1.cos(),
                angle1.sin(),
                angle2.cos(),
                angle2.sin(),
                state["velocity1"],
                state["velocity2"],
                state["target_x"] - x,
                state["target_y"] - y,
            ],
            1,
        )


def _add(motion: Motion, rates: Motion, seconds: float) -> Motion:
    a, b, c, d = (y.add(rate, alpha=seconds) for y, rate in zip(motion, rates, strict=True))
    return a, b, c, d
