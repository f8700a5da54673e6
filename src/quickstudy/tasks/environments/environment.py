"""Families of reinforcement-learning environments, and many environments that step at once.

A task is an environment with parameters of its own, such as the goal to find or the mass to move.
A family draws these parameters; its rules are functions on tensors, so that thousands of
environments step in a few operations.

Shapes: n environments, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.environments.actions import Box, Discrete
from quickstudy.tasks.environments.options import check_whole
from quickstudy.tasks.sampler import generator_for

__all__ = [
    "EnvironmentFamily",
    "EnvironmentTask",
    "Environments",
    "Parameters",
    "State",
    "Step",
    "check_parameters",
]

Parameters = dict[str, Tensor]
State = dict[str, Any]

BLOCK = 1024
"""Tasks whose parameters are drawn together, from one generator."""
MAX_CACHED_BLOCKS = 4


class Step(NamedTuple):
    """What follows n actions. The tensors may be shared with other steps: do not write into them.

    Args:
        observations: (n, o), for the next action: of the episode's next step, or the first of a
            new episode.
        rewards: (n,), 0 where `active` is not.
        terminated: (n,), whether the environment has come to an end in this episode. It then
            waits, unchanged, for the others to reach the horizon.
        truncated: (n,), whether the horizon ended an episode that could have gone on; the value of
            `final_observations` is what bootstrapping adds.
        active: (n,), whether the environment had not terminated before this action.
        final_observations: (n, o), to which the action led; `observations`, if no episode began.
    """

    observations: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    active: Tensor
    final_observations: Tensor

    @property
    def dones(self) -> Tensor:
        """Whether the episode is over, (n,)."""
        return self.terminated | self.truncated


class EnvironmentFamily(ABC):
    """Environments with the same rules and different parameters.

    `family[i]` is task i. It depends on the family's options, its seed and `i` alone.

    A subclass sets the attributes and implements `sample`, `reset`, `step` and `observe`, for n
    environments at once, on the device of the parameters. Those that draw random numbers draw as
    many whatever the actions are, so that all policies meet the same luck.

    Args:
        seed: Decides every task.

    Attributes:
        observation_size: Numbers of an observation, o.
        actions: What actions are.
        horizon: Steps of an episode.
    """

    observation_size: int
    actions: Discrete | Box
    horizon: int

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = check_whole("seed", seed, least=0)
        self._blocks: dict[int, Parameters] = {}

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        """Draw the parameters of n tasks: tensors with n rows."""

    @abstractmethod
    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        """Begin an episode: a state of tensors with n rows."""

    @abstractmethod
    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, Tensor | None]:
        """Return the next state, the rewards (n,), and whether each environment has terminated
        (n,), or None in a family where none ever does. The given state is left as it is."""

    @abstractmethod
    def observe(self, parameters: Parameters, state: State) -> Tensor:
        """What the agent sees of a state, (n, o)."""

    def __getitem__(self, index: int) -> EnvironmentTask:
        if index < 0:
            raise UsageError(f"expected the index of a task, 0 or more, got {index}")
        number, row = divmod(index, BLOCK)
        rows = self._block(number)
        return EnvironmentTask(self, index, {name: value[row] for name, value in rows.items()})

    def parameters(self, indices: Sequence[int]) -> Parameters:
        """The parameters of some tasks: tensors with a row a task."""
        index = torch.as_tensor(indices, dtype=torch.long)
        if index.ndim != 1 or not len(index) or index.min() < 0:
            raise UsageError(f"expected indices of one or more tasks, 0 or more, got {indices}")
        numbers, position = (index // BLOCK).unique(return_inverse=True)
        blocks = [self._block(number) for number in numbers.tolist()]
        rows = position * BLOCK + index % BLOCK
        return {name: torch.cat([block[name] for block in blocks])[rows] for name in blocks[0]}

    def _block(self, number: int) -> Parameters:
        if number not in self._blocks:
            while len(self._blocks) >= MAX_CACHED_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            drawn = self.sample(BLOCK, generator_for(self.seed, number))
            check_parameters(drawn, BLOCK, f"{type(self).__name__}.sample")
            self._blocks[number] = drawn
        return self._blocks[number]

    def environments(
        self,
        indices: Sequence[int],
        *,
        copies: int = 1,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> Environments:
        """Environments of some tasks, `copies` of each, those of a task side by side."""
        return _environments(self, self.parameters(indices), copies, seed, device)


@dataclass(frozen=True)
class EnvironmentTask:
    """One task of a family.

    Args:
        family: The family.
        index: Which of its tasks this is.
        parameters: Of the task, as the family draws them, without the dimension of tasks.
    """

    family: EnvironmentFamily
    index: int
    parameters: Parameters = field(compare=False)


class Environments:
    """Environments of one family that step together, each with parameters of its own.

    Episodes begin together. An environment that terminates before the horizon waits there with
    rewards of 0 until the others reach it. Then, with `auto_reset`, the next episode begins by
    itself, with the same parameters, as a trial of several episodes needs it.

    Random draws depend on `seed` and the number of steps since, not on actions: two policies that
    start from the same seed meet the same luck.

    Args:
        family: The family.
        parameters: Tensors with a row an environment, all on one device.
        seed: Decides the draws.
        auto_reset: Whether an episode follows the last one by itself. Without it, `step` refuses
            to go beyond the horizon until `reset`.
        check: Whether actions, rewards and observations are checked for their values. On a GPU,
            steps without these checks need not wait for their result.

    Raises:
        DataError: If parameters differ in their number of rows or their devices. In `reset` and
            `step`: if actions, observations or rewards are not as the family says.
        UsageError: If `step` comes before `reset`, or after the horizon without `auto_reset`.

    Example:
        >>> from quickstudy.tasks.environments.bandits import BernoulliBandits
        >>> environments = BernoulliBandits(n_arms=2).environments(range(3), copies=2)
        >>> observations = environments.reset()
        >>> environments.step(torch.zeros(6, dtype=torch.long)).rewards.shape
        torch.Size([6])
    """

    def __init__(
        self,
        family: EnvironmentFamily,
        parameters: Parameters,
        *,
        seed: int = 0,
        auto_reset: bool = True,
        check: bool = True,
    ) -> None:
        self.family, self.parameters = family, parameters
        self.auto_reset, self.check = auto_reset, check
        self.n, self.device = _rows_and_device(parameters)
        self.episode_step = 0
        """Steps since the episode began."""
        self._state: State | None = None
        self._all = torch.ones(self.n, dtype=torch.bool, device=self.device)
        self._none = ~self._all
        self._terminated = self._none
        self._seed(seed)

    @classmethod
    def of(
        cls,
        tasks: Sequence[EnvironmentTask],
        *,
        copies: int = 1,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> Environments:
        """Environments of some tasks of one family, `copies` of each, those of a task side by
        side."""
        if not tasks or any(task.family is not tasks[0].family for task in tasks):
            raise UsageError(f"expected one task or more of one family, got {len(tasks)}")
        names = tasks[0].parameters
        rows = {name: torch.stack([task.parameters[name] for task in tasks]) for name in names}
        return _environments(tasks[0].family, rows, copies, seed, device)

    def __len__(self) -> int:
        return self.n

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin an episode, and with a seed, the random draws too; returns observations (n, o)."""
        if seed is not None:
            self._seed(seed)
        self._state = None  # frees what it holds before the next one is made
        return self._observe(self._begin())

    def step(self, actions: Tensor) -> Step:
        """Do one action (n,) or (n, a) in every environment."""
        family, previous = self.family, self._state
        if previous is None:
            raise UsageError("expected reset() before step()")
        if self.episode_step >= family.horizon:
            raise UsageError("expected reset() after the last step of an episode")
        if self.check:
            actions = family.actions.check(actions, self.n)
        elif isinstance(family.actions, Box):
            actions = actions.clamp(family.actions.low, family.actions.high)
        state, rewards, ended = family.step(self.parameters, previous, actions, self.generator)
        self._check_rewards(rewards)
        active, terminated = self._all, self._none
        if ended is not None:
            active, terminated = ~self._terminated, self._terminated | ended
            state = {name: _select(active, state[name], old) for name, old in previous.items()}
            rewards = rewards.where(active, 0.0)
        self._state, self._terminated = state, terminated
        self.episode_step += 1
        observations = final = self._observe(state)
        truncated = self._none
        if self.episode_step == family.horizon:
            truncated = ~terminated
            if self.auto_reset:
                observations = self._observe(self._begin())
        return Step(observations, rewards, terminated, truncated, active, final)

    def _seed(self, seed: int) -> None:
        state = generator_for(check_whole("seed", seed, least=0)).initial_seed()
        self.generator = torch.Generator(self.device).manual_seed(state)

    def _begin(self) -> State:
        self._state = self.family.reset(self.parameters, self.generator)
        self._terminated, self.episode_step = self._none, 0
        return self._state

    def _observe(self, state: State) -> Tensor:
        observations = self.family.observe(self.parameters, state)
        if observations.shape != (shape := (self.n, self.family.observation_size)):
            raise DataError(
                f"expected observations of shape {shape} from {type(self.family).__name__}, got "
                f"{tuple(observations.shape)}"
            )
        if self.check and not _all_finite(observations):
            raise DataError(
                f"expected finite observations from {type(self.family).__name__}, got NaN or "
                f"infinity after {self.episode_step} steps"
            )
        return observations

    def _check_rewards(self, rewards: Tensor) -> None:
        name = type(self.family).__name__
        if rewards.shape != (self.n,):
            raise DataError(
                f"expected rewards of shape ({self.n},) from {name}, got {tuple(rewards.shape)}"
            )
        if self.check and not _all_finite(rewards):
            raise DataError(
                f"expected finite rewards from {name}, got NaN or infinity in step "
                f"{self.episode_step + 1} of an episode"
            )


def _environments(
    family: EnvironmentFamily,
    rows: Parameters,
    copies: int,
    seed: int,
    device: str | torch.device,
) -> Environments:
    check_whole("copies", copies)
    repeated = {name: value.repeat_interleave(copies, 0) for name, value in rows.items()}
    on_device = {name: value.to(device) for name, value in repeated.items()}
    return Environments(family, on_device, seed=seed)


def check_parameters(parameters: Any, n: int, where: str) -> None:
    """Refuse what is no parameters of n tasks.

    Args:
        where: The function that returned them.

    Raises:
        DataError: If they are no tensors with n rows by name.
    """
    found: Any = type(parameters).__name__
    if isinstance(parameters, dict):
        found = {
            name: list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            for name, value in parameters.items()
        }
        if found and all(isinstance(shape, list) and shape[:1] == [n] for shape in found.values()):
            return
    raise DataError(
        f"expected a dictionary of tensors with {n} rows from {where}({n}, generator), got {found}"
    )


def _rows_and_device(parameters: Parameters) -> tuple[int, torch.device]:
    kinds = {(len(value), value.device) for value in _tensors(parameters)}
    if len(kinds) != 1 or not next(iter(kinds))[0]:
        shapes = {name: tuple(value.shape) for name, value in parameters.items()}
        raise DataError(f"expected parameters with as many rows, on one device, got {shapes}")
    return kinds.pop()


def _tensors(parameters: Parameters) -> Iterator[Tensor]:
    for name, value in parameters.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise DataError(f"expected parameter {name!r} to be a tensor with rows, got {value!r}")
        yield value


def _all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite. A finite sum shows it, several times as fast."""
    return math.isfinite(values.sum().item()) or bool(values.isfinite().all())


def _select(active: Tensor, new: Any, old: Any) -> Any:
    """The new rows of those that are active, else the old ones. What is no tensor is new."""
    if not isinstance(new, Tensor):
        return new
    return torch.where(active.view(-1, *[1] * (new.ndim - 1)), new, old)
