"""Reaching with a two-link arm that carries an unknown load.

Shapes: n environments. Suffixes 1 and 2: shoulder and elbow, or upper arm and forearm.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Box
from quickstudy.tasks.environments.environment import Parameters, State
from quickstudy.tasks.environments.mechanics import Mechanics
from quickstudy.tasks.environments.options import check_whole

__all__ = ["TwoLinkArms"]

MOTION = ("angle1", "angle2", "velocity1", "velocity2")


class _Arm(NamedTuple):
    """What the equations of motion need of an arm, each (n,)."""

    damping: Tensor  # N m s
    inertia1: Tensor  # about the shoulder and the elbow, with the elbow at a right angle: kg m^2
    inertia2: Tensor
    coupling: Tensor  # of both links, when stretched: kg m^2
    weight1: Tensor  # greatest pull of gravity on a link and what it carries: N m
    weight2: Tensor


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
        radius = self.length * (0.6 + 1.2 * unit[4])  # 0.3 to 0.9 m
        direction = 2 * math.pi * unit[5]
        return {
            **dict(zip(MOTION, 0.2 * unit[:4] - 0.1, strict=True)),
            "target_x": radius * direction.sin(),
            "target_y": -radius * direction.cos(),
        }

    def reset_anywhere(self, parameters: Parameters, generator: torch.Generator) -> State:
        state = self.reset(parameters, generator)  # motion from -0.1 to 0.1
        scales = (10 * math.pi, 10 * math.pi, 50.0, 50.0)  # to half turns, and to 5 rad/s
        moved = {name: scale * state[name] for name, scale in zip(MOTION, scales, strict=True)}
        return state | moved

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        torques = (actions * actions.new_tensor(self.max_torques)).T.contiguous()  # (2, n)
        motion = torch.stack([state[name] for name in MOTION])  # (4, n)
        arm = self._arm(parameters)
        for _ in range(self.substeps):
            motion = self._runge_kutta(arm, motion, torques)
        new: State = dict(zip(MOTION, motion, strict=True))
        new |= {"target_x": state["target_x"], "target_y": state["target_y"]}
        x, y = self.hand(new)
        distance = torch.hypot(x - state["target_x"], y - state["target_y"])
        return new, -distance - 0.01 * actions.square().mean(1), None

    def _arm(self, parameters: Parameters) -> _Arm:
        payload, m, r = parameters["payload"], self.mass, self.length
        tip = m / 2 + payload  # the forearm and its load, as a mass at the hand
        inertia2 = (m / 3 + payload) * r**2
        return _Arm(
            parameters["damping"],
            inertia2 + (m * 4 / 3 + payload) * r**2,
            inertia2,
            tip * r**2,
            (m * 1.5 + payload) * self.gravity * r,
            tip * self.gravity * r,
        )

    def _runge_kutta(self, arm: _Arm, motion: Tensor, torques: Tensor) -> Tensor:
        h = self.seconds / self.substeps
        k1 = self._rates(arm, motion, torques)
        k2 = self._rates(arm, motion.add(k1, alpha=h / 2), torques)
        k3 = self._rates(arm, motion.add(k2, alpha=h / 2), torques)
        k4 = self._rates(arm, motion.add(k3, alpha=h), torques)
        return motion.add(k1.add_(k4), alpha=h / 6).add_(k2.add_(k3), alpha=h / 3)

    def _rates(self, arm: _Arm, motion: Tensor, torques: Tensor) -> Tensor:
        """How the motion (4, n) changes in a second: M(q) a + c(q, v) + g(q) = torque - damping v
        gives the accelerations a."""
        angle1, angle2, velocity1, velocity2 = motion
        bend, twist = arm.coupling * angle2.cos(), arm.coupling * angle2.sin()
        pull = arm.weight2 * (angle1 + angle2).sin()
        force1, force2 = torques.sub(pull).addcmul_(arm.damping, motion[2:], value=-1)
        force1.addcmul_(arm.weight1, angle1.sin(), value=-1)
        force1.addcmul_(twist, velocity2.add(velocity1, alpha=2).mul_(velocity2))
        force2.addcmul_(twist, velocity1.square(), value=-1)
        both = arm.inertia2 + bend
        determinant = (arm.inertia1 - arm.inertia2) * arm.inertia2 - bend.square()
        turn1 = (arm.inertia2 * force1).addcmul_(both, force2, value=-1).div_(determinant)
        turn2 = (bend.mul_(2).add_(arm.inertia1) * force2).addcmul_(both, force1, value=-1)
        return torch.stack([velocity1, velocity2, turn1, turn2.div_(determinant)])

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

    def state_of(self, observations: Tensor) -> State:
        cosine1, sine1, cosine2, sine2, velocity1, velocity2, x, y = observations.unbind(1)
        motion = {
            "angle1": torch.atan2(sine1, cosine1),
            "angle2": torch.atan2(sine2, cosine2),
            "velocity1": velocity1,
            "velocity2": velocity2,
        }
        hand_x, hand_y = self.hand(motion)
        return motion | {"target_x": hand_x + x, "target_y": hand_y + y}

    def reward(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> Tensor:
        distance = torch.hypot(next_observations[..., 6], next_observations[..., 7])
        return -distance - 0.01 * actions.square().mean(-1)
