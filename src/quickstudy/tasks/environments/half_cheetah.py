"""MuJoCo's half-cheetah with goals, or bodies, of its own in each task.

Gymnasium's HalfCheetah-v5 runs it, with the cost of control that MAML's experiments had. Its
observation has 17 numbers; those experiments added the position of the torso.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from quickstudy.errors import require
from quickstudy.tasks.environments.environment import Parameters
from quickstudy.tasks.environments.gymnasium_family import GymnasiumFamily, Values

__all__ = ["CrippledHalfCheetahs", "HalfCheetahDirections", "HalfCheetahVelocities"]

CONTROL_COST = 0.05
"""Of the sum of squared actions."""
MAX_VELOCITY = 2.0  # m/s
N_JOINTS = 6


class _HalfCheetahs(GymnasiumFamily):
    def __init__(self, *, horizon: int = 200, seed: int = 0) -> None:
        for package in ("gymnasium", "mujoco"):
            require(package, "mujoco")
        super().__init__(
            _make, self.draw, horizon=horizon, parameters=self.set_parameters, seed=seed
        )

    def draw(self, n: int, generator: torch.Generator) -> Parameters:
        """Draw the parameters of n tasks."""
        raise NotImplementedError

    def set_parameters(self, environment: Any, values: Values) -> None:
        """Give an environment its parameters; a goal is no concern of the environment."""


def _make() -> Any:
    """A half-cheetah, whose model has a deprecated attribute; of that MuJoCo would warn, and write
    a file MUJOCO_LOG.TXT, each time."""
    import gymnasium

    mujoco: Any = importlib.import_module("mujoco")  # whose types lack two functions
    warn = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        return gymnasium.make(
            "HalfCheetah-v5",
            ctrl_cost_weight=CONTROL_COST,
            max_episode_steps=-1,
            disable_env_checker=True,
        )
    finally:
        mujoco.set_mju_user_warning(warn)


class HalfCheetahDirections(_HalfCheetahs):
    """Half-cheetahs that are to run forwards or backwards, as fast as they can.

    Sources: Finn et al., Model-Agnostic Meta-Learning, 2017, section 5.3.

    Args:
        horizon: Steps of an episode, of 0.05 s each.
        seed: Decides every task.

    Parameters of a task: `direction`, 1 or -1.

    Raises:
        MissingError: If gymnasium or mujoco is not installed.
    """

    def draw(self, n: int, generator: torch.Generator) -> Parameters:
        return {"direction": 2.0 * torch.randint(2, (n,), generator=generator) - 1}

    def reward(self, values: Values, reward: float, info: dict[str, Any]) -> float:
        return values["direction"] * info["x_velocity"] + info["reward_ctrl"]


class HalfCheetahVelocities(_HalfCheetahs):
    """Half-cheetahs that are to run at a velocity, drawn from 0 to 2 m/s.

    Sources: Finn et al., Model-Agnostic Meta-Learning, 2017, section 5.3.

    Args:
        horizon: Steps of an episode, of 0.05 s each.
        seed: Decides every task.

    Parameters of a task: `velocity` (m/s).

    Raises:
        MissingError: If gymnasium or mujoco is not installed.
    """

    def draw(self, n: int, generator: torch.Generator) -> Parameters:
        return {"velocity": MAX_VELOCITY * torch.rand(n, generator=generator)}

    def reward(self, values: Values, reward: float, info: dict[str, Any]) -> float:
        return -abs(info["x_velocity"] - values["velocity"]) + info["reward_ctrl"]


class CrippledHalfCheetahs(_HalfCheetahs):
    """Half-cheetahs that are to run forwards, with one joint whose motor is dead.

    Sources: Nagabandi et al., Learning to Adapt in Dynamic, Real-World Environments through
    Meta-Reinforcement Learning, 2019, section 6.

    Args:
        horizon: Steps of an episode, of 0.05 s each.
        seed: Decides every task.

    Parameters of a task: `joint`, the number of the motor, 0 to 5.

    Raises:
        MissingError: If gymnasium or mujoco is not installed.
    """

    def __init__(self, *, horizon: int = 200, seed: int = 0) -> None:
        self._gears: Any = None
        super().__init__(horizon=horizon, seed=seed)

    def draw(self, n: int, generator: torch.Generator) -> Parameters:
        return {"joint": torch.randint(N_JOINTS, (n,), generator=generator)}

    def set_parameters(self, environment: Any, values: Values) -> None:
        gears = environment.unwrapped.model.actuator_gear  # (joints, 6), the first of each counts
        if self._gears is None:
            self._gears = gears.copy()
        gears[:] = self._gears
        gears[values["joint"]] = 0
