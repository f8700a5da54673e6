"""quickstudy's environments for libraries that take Gymnasium's.

Shapes: n environments, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import UsageError, require
from quickstudy.tasks.environments.actions import Discrete
from quickstudy.tasks.environments.environment import EnvironmentFamily, Environments, State

require("gymnasium", "gym")

import gymnasium  # noqa: E402
from gymnasium import spaces  # noqa: E402
from gymnasium.vector import AutoresetMode, VectorEnv  # noqa: E402
from gymnasium.vector.utils import batch_space  # noqa: E402

__all__ = ["as_gymnasium", "as_gymnasium_vector"]


def as_gymnasium(family: EnvironmentFamily, task: int = 0) -> gymnasium.Env:
    """One task of a family as a `gymnasium.Env`.

    Args:
        family: The family.
        task: Which of its tasks; `reset(options={"task": i})` goes on to another.

    Raises:
        MissingError: On import, if gymnasium is not installed.

    Example:
        >>> from quickstudy.tasks.environments import Navigation
        >>> environment = as_gymnasium(Navigation(), task=3)
        >>> observation, info = environment.reset(seed=0)
        >>> observation.shape, info
        ((2,), {'task': 3})
    """
    return _TaskEnv(family, task)


def as_gymnasium_vector(family: EnvironmentFamily, tasks: Sequence[int]) -> VectorEnv:
    """Some tasks of a family as a `gymnasium.vector.VectorEnv`, which steps them at once.

    An environment begins its next episode in the step that ends the last one
    (`AutoresetMode.SAME_STEP`), without waiting for others.

    Args:
        family: The family; its state has to be tensors, as that of all but `GymnasiumFamily` is.
        tasks: Which of its tasks, an environment each.

    Raises:
        MissingError: On import, if gymnasium is not installed.
        UsageError: In `reset`, if the family's state is no tensors.

    Example:
        >>> from quickstudy.tasks.environments import Navigation
        >>> environments = as_gymnasium_vector(Navigation(), range(4))
        >>> environments.reset(seed=0)[0].shape
        (4, 2)
    """
    return _TaskVectorEnv(family, tasks)


def _spaces(family: EnvironmentFamily) -> tuple[spaces.Space, spaces.Space]:
    observations = spaces.Box(-np.inf, np.inf, (family.observation_size,), np.float32)
    actions = family.actions
    if isinstance(actions, Discrete):
        return observations, spaces.Discrete(actions.n)
    return observations, spaces.Box(actions.low, actions.high, (actions.size,), np.float32)


class _TaskEnv(gymnasium.Env):
    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, family: EnvironmentFamily, task: int) -> None:
        self.family, self.task = family, task
        self.observation_space, self.action_space = _spaces(family)
        self._environments = self._of(task)

    def _of(self, task: int) -> Environments:
        return Environments(self.family, self.family.parameters([task]), auto_reset=False)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if (task := (options or {}).get("task", self.task)) != self.task:
            self.task, self._environments = task, self._of(task)
        observations = self._environments.reset(seed=int(self.np_random.integers(2**31)))
        return observations[0].numpy().copy(), {"task": self.task}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        step = self._environments.step(torch.as_tensor(np.asarray(action)[None]))
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        observation = step.observations[0].numpy().copy()
        return observation, float(step.rewards[0]), terminated, truncated, {"task": self.task}


class _TaskVectorEnv(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, family: EnvironmentFamily, tasks: Sequence[int]) -> None:
        self.family, self.num_envs = family, len(tasks)
        self.single_observation_space, self.single_action_space = _spaces(family)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._parameters = family.parameters(tasks)
        self._generator = torch.Generator()
        self._state: State | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**31)))
        self._state = self._begin()
        self._steps = torch.zeros(self.num_envs, dtype=torch.long)
        return self._observe(self._state), {}

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self._state is None:
            raise UsageError("expected reset() before step()")
        checked = self.family.actions.check(torch.as_tensor(actions), self.num_envs)
        state, rewards, ended = self.family.step(
            self._parameters, self._state, checked, self._generator
        )
        self._steps += 1
        terminated = torch.zeros(self.num_envs, dtype=torch.bool) if ended is None else ended
        truncated = (self._steps >= self.family.horizon) & ~terminated
        info: dict[str, Any] = {}
        if (done := terminated | truncated).any():
            final = np.full(self.num_envs, None, dtype=object)
            seen = self._observe(state)
            for i in done.nonzero()[:, 0].tolist():
                final[i] = seen[i]
            info = {"final_obs": final, "_final_obs": done.numpy()}
            state = _select(done, self._begin(), state)
            self._steps[done] = 0
        self._state = state
        flags = terminated.numpy().copy(), truncated.numpy().copy()
        return self._observe(state), rewards.numpy().copy(), *flags, info

    def _begin(self) -> State:
        state = self.family.reset(self._parameters, self._generator)
        if not all(isinstance(value, Tensor) for value in state.values()):
            name = type(self.family).__name__
            raise UsageError(f"expected a family whose state is tensors, got {name}")
        return state

    def _observe(self, state: State) -> np.ndarray:
        return self.family.observe(self._parameters, state).numpy().copy()


def _select(done: Tensor, fresh: State, state: State) -> State:
    """The fresh state of those that are done, the present one of others."""
    rows = {name: done.view(-1, *[1] * (value.ndim - 1)) for name, value in state.items()}
    return {name: torch.where(rows[name], fresh[name], value) for name, value in state.items()}
