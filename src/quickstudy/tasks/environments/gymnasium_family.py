"""Families of Gymnasium's environments, which run one after another.

Shapes: n environments, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError, check_option, require
from quickstudy.tasks.environments.actions import Box, Discrete
from quickstudy.tasks.environments.environment import (
    EnvironmentFamily,
    Parameters,
    State,
    check_parameters,
)
from quickstudy.tasks.environments.options import check_whole
from quickstudy.tasks.sampler import generator_for

__all__ = ["GymnasiumFamily"]

Values = dict[str, Any]
Setter = Callable[[Any, Values], None]


class GymnasiumFamily(EnvironmentFamily):
    """Environments of Gymnasium whose parameters differ from task to task.

    They are no tensor code: n environments are n objects, and step one after another. Each episode
    begins with a seed for each, so that it repeats. What an environment itself truncates counts as
    terminated; the time limit of an environment that is given by name is lifted, since `horizon`
    takes its place.

    Args:
        make: Name of an environment, as for `gymnasium.make`, or what makes one.
        sample: Draws the parameters of n tasks, `sample(n, generator)`: tensors with n rows.
        horizon: Steps of an episode.
        parameters: How an environment gets its parameters: as "attributes" of these names of the
            unwrapped environment, as "keywords" with which each is made, or by a function of the
            environment and a dictionary of values, which is called before each episode.
        seed: Decides every task.

    Raises:
        MissingError: If gymnasium is not installed.
        UsageError: If the environment cannot be made or seeded, its actions are neither choices
            nor bounded vectors, or it has no attribute of a parameter's name.

    Example:
        >>> def sample(n, generator):
        ...     return {"m": 0.5 + torch.rand(n, generator=generator)}
        >>> family = GymnasiumFamily("Pendulum-v1", sample, horizon=50)
        >>> family.environments([0, 1, 2]).reset().shape
        torch.Size([3, 3])
    """

    def __init__(
        self,
        make: str | Callable[..., Any],
        sample: Callable[[int, torch.Generator], Parameters],
        *,
        horizon: int,
        parameters: Literal["attributes", "keywords"] | Setter = "attributes",
        seed: int = 0,
    ) -> None:
        require("gymnasium", "gym")
        super().__init__(seed=seed)
        if not (isinstance(make, str) or callable(make)):
            raise UsageError(
                "expected the name of an environment or a function that makes one, got "
                f"{type(make).__name__}"
            )
        self.horizon = check_whole("horizon", horizon)
        self._sample, self._make = sample, _by_name(make) if isinstance(make, str) else make
        self._setter: Setter | None = _set_attributes
        if callable(parameters):
            self._setter = parameters
        else:
            check_option("parameters", parameters, ["attributes", "keywords"])
            if parameters == "keywords":
                self._setter = None
        self._idle: dict[tuple[Any, ...], list[Any]] = {}
        self._check_sample()
        values = _rows(self.parameters([0]))[0]
        key, environment = self._take(values)
        self._describe(environment)
        self._try(environment)
        self._idle.setdefault(key, []).append(environment)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return self._sample(n, generator)

    def reward(self, values: Values, reward: float, info: dict[str, Any]) -> float:
        """The reward of a step in a task with these parameters, from the environment's own and
        what it says of the step; the environment's own, unless a subclass says otherwise."""
        return reward

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        rows = _rows(parameters)
        first = next(iter(parameters.values()))
        seeds = torch.randint(2**31, (len(rows),), generator=generator, device=first.device)
        lease = _Lease(self, rows)
        observations = [
            self._begin(environment, seed)
            for environment, seed in zip(lease.environments, seeds.tolist(), strict=True)
        ]
        return {
            "environments": lease,
            "observations": torch.from_numpy(np.stack(observations)).to(first.device),
            "ended": torch.zeros(len(rows), dtype=torch.bool, device=first.device),
        }

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, Tensor]:
        lease: _Lease = state["environments"]
        observations = state["observations"].cpu().numpy().copy()
        ended, given = state["ended"].cpu().numpy().copy(), self._to_gymnasium(actions)
        rewards = np.zeros(len(ended), np.float32)
        for i in np.flatnonzero(~ended):
            seen, reward, is_over, info = self._go_on(lease.environments[i], given[i])
            observations[i], ended[i] = seen, is_over
            rewards[i] = self.reward(lease.rows[i], reward, info)
        device = actions.device
        new_state = {
            "environments": lease,
            "observations": torch.from_numpy(observations).to(device),
            "ended": torch.from_numpy(ended).to(device),
        }
        return new_state, torch.from_numpy(rewards).to(device), new_state["ended"]

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        return state["observations"]

    def _take(self, values: Values) -> tuple[tuple[Any, ...], Any]:
        """An environment with these parameters, idle or new, and the key of its like."""
        key = () if self._setter else tuple(map(str, values.items()))
        idle = self._idle.get(key)
        environment = idle.pop() if idle else self._new(values)
        if self._setter:
            self._setter(environment, values)
        return key, environment

    def _check_sample(self) -> None:
        """Refuse parameters that depend on more than the generator."""
        first, again = (
            _tried(
                "sample(n, generator) to draw", lambda: self._sample(2, generator_for(self.seed))
            )
            for _ in range(2)
        )
        check_parameters(first, 2, "sample")
        if any(not torch.equal(value, again[name]) for name, value in first.items()):
            raise UsageError(
                "expected sample(n, generator) to draw the same from the same generator, got other "
                "parameters: give the generator to all that draws"
            )

    def _new(self, values: Values) -> Any:
        import gymnasium

        keywords = {} if self._setter else values
        environment = _tried("an environment that can be made", lambda: self._make(**keywords))
        if not isinstance(environment, gymnasium.Env):
            raise UsageError(f"expected a gymnasium.Env, got {type(environment).__name__}")
        return environment

    def _describe(self, environment: Any) -> None:
        """Set what the family says of itself from one environment."""
        import gymnasium

        space, actions = environment.observation_space, environment.action_space
        size = _tried("observations of a fixed size", lambda: gymnasium.spaces.flatdim(space))
        self._space, self.observation_size = space, int(size)
        if isinstance(actions, gymnasium.spaces.Discrete):
            self._start, self.actions = int(actions.start), Discrete(int(actions.n))
        else:
            self.actions = self._box(actions)

    def _try(self, environment: Any) -> None:
        """Refuse an environment that does not step as it has to, or not twice alike."""
        action = self._to_gymnasium(self.actions.sample(1, generator_for(0)))[0]
        tries = []
        for _ in range(2):
            begun = _tried("reset to take a seed", lambda: self._begin(environment, 7))
            seen, reward, *_ = _tried(
                f"step to take the action {action}", lambda: self._go_on(environment, action)
            )
            tries.append((begun, np.append(seen, reward)))
        for when, first, again in zip(("begins", "goes on"), *tries, strict=True):
            if not np.array_equal(first, again, equal_nan=True):
                raise UsageError(
                    f"expected an environment that {when} alike after reset(seed=7) twice, got "
                    "another step: let it draw from its np_random alone"
                )

    def _begin(self, environment: Any, seed: int) -> np.ndarray:
        """Reset an environment; returns its observation (o,)."""
        found = environment.reset(seed=seed)
        _check_parts("reset", found, ("observation", "info"))
        return self._flatten(found[0])

    def _go_on(self, environment: Any, action: Any) -> tuple[np.ndarray, float, bool, Any]:
        """Step an environment; returns its observation (o,), reward, whether it is over, info."""
        found = environment.step(action)
        _check_parts("step", found, ("observation", "reward", "terminated", "truncated", "info"))
        seen, reward, terminated, truncated, info = found
        if np.ndim(reward) or not isinstance(reward, int | float | np.number | np.ndarray):
            raise DataError(f"expected a reward that is a number from step, got {reward!r}")
        return self._flatten(seen), float(reward), bool(terminated or truncated), info

    def _box(self, space: Any) -> Box:
        low, high = getattr(space, "low", None), getattr(space, "high", None)
        if low is None or high is None or not np.isfinite([low, high]).all():
            raise UsageError(f"expected actions that are Discrete or a bounded Box, got {space}")
        self._low, self._high, self._shape = low.ravel(), high.ravel(), space.shape
        if (low == low.flat[0]).all() and (high == high.flat[0]).all():
            return Box(low.size, float(low.flat[0]), float(high.flat[0]))
        return Box(low.size, -1.0, 1.0)

    def _to_gymnasium(self, actions: Tensor) -> Any:
        """Actions as the environments take them; vectors with bounds of their own are scaled."""
        given = actions.cpu().numpy()
        if isinstance(self.actions, Discrete):
            return given + self._start
        share = (given - self.actions.low) / (self.actions.high - self.actions.low)
        scaled = self._low + share * (self._high - self._low)
        return scaled.astype(np.float32).reshape(-1, *self._shape)

    def _flatten(self, observation: Any) -> np.ndarray:
        import gymnasium

        try:
            flat = gymnasium.spaces.flatten(self._space, observation)
        except Exception as error:
            raise DataError(
                f"expected observations of {self._space}, got one of {type(observation).__name__} "
                "that is none"
            ) from error
        flat = np.asarray(flat, np.float32).ravel()
        if flat.size != self.observation_size:
            raise DataError(
                f"expected observations of {self.observation_size} numbers, got {flat.size}"
            )
        return flat


class _Lease:
    """Environments of one episode, which are idle again when it is forgotten."""

    def __init__(self, family: GymnasiumFamily, rows: list[Values]) -> None:
        self.rows = rows
        taken = [family._take(values) for values in rows]
        self.environments = [environment for _, environment in taken]
        weakref.finalize(self, _give_back, family._idle, taken)


def _give_back(idle: dict[Any, list[Any]], taken: list[tuple[Any, Any]]) -> None:
    for key, environment in taken:
        idle.setdefault(key, []).append(environment)


def _by_name(name: str) -> Callable[..., Any]:
    def make(**keywords: Any) -> Any:
        import gymnasium

        return gymnasium.make(name, max_episode_steps=-1, disable_env_checker=True, **keywords)

    return make


def _set_attributes(environment: Any, values: Values) -> None:
    for name, value in values.items():
        if not hasattr(environment.unwrapped, name):
            raise UsageError(
                f"expected {type(environment.unwrapped).__name__} to have the attribute {name!r}, "
                "got none: give a function as `parameters` that sets it"
            )
        setattr(environment.unwrapped, name, value)


def _tried(what: str, call: Callable[[], Any]) -> Any:
    """What a call returns, with an error of the user's code in one line."""
    try:
        return call()
    except DataError:
        raise
    except Exception as error:
        raise UsageError(f"expected {what}, got {type(error).__name__}: {error}") from error


def _check_parts(method: str, found: Any, names: tuple[str, ...]) -> None:
    if not isinstance(found, tuple) or len(found) != len(names):
        got = f"{len(found)} parts" if isinstance(found, tuple) else type(found).__name__
        raise DataError(f"expected ({', '.join(names)}) from {method}, got {got}")


def _rows(parameters: Parameters) -> list[Values]:
    """The parameters of each task as Python's numbers or lists."""
    columns = [value.tolist() for value in parameters.values()]
    return [dict(zip(parameters, row, strict=True)) for row in zip(*columns, strict=True)]
