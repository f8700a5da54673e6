"""Policies that know the task, or how best to find out, as bounds on what can be learned.

Shapes: t steps, n environments, k arms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.classical import ClassicalPolicy
from quickstudy.learners.reinforcement.experience import Experience
from quickstudy.learners.reinforcement.goal_search import GoalSearch
from quickstudy.learners.reinforcement.planning import OptimalPlanner
from quickstudy.tasks.environments import (
    Box,
    EnvironmentFamily,
    Environments,
    GridNavi,
    Navigation,
    Step,
    TabularMDPs,
)
from quickstudy.tasks.environments.bandits import Bandits

__all__ = ["BestArm", "GoalSearcher", "ShortestWay", "StraightLine", "oracle", "regrets"]


@runtime_checkable
class KnowsRegrets(Protocol):
    """An oracle that knows what an action forgoes."""

    def regrets(self, experience: Experience) -> Tensor:
        """See the function of this name, (t, n)."""
        ...


def oracle(environments: Environments) -> ClassicalPolicy:
    """The policy that knows the parameters of these environments and plays them best.

    Raises:
        UsageError: If none is known for the family, as for machines.

    Example:
        >>> from quickstudy.learners.reinforcement.experience import play
        >>> from quickstudy.tasks.environments import BernoulliBandits
        >>> environments = BernoulliBandits().environments(range(100))
        >>> bool(play(environments, oracle(environments)).returns(10).mean() > 7)
        True
    """
    for kind, policy in ORACLES.items():
        if isinstance(environments.family, kind):
            return policy(environments)
    known = ", ".join(kind.__name__ for kind in ORACLES)
    name = type(environments.family).__name__
    raise UsageError(f"expected environments with an oracle ({known}), got {name}")


def regrets(environments: Environments, experience: Experience) -> Tensor:
    """What each action forgoes: the value of the best action less its own, for one who knows the
    task and goes on playing best, (t, n).

    The expected sum of an episode's regrets is what its policy earns less than the oracle. Rewards
    have noise, and pay later for what was done before; regrets do neither.

    Args:
        environments: Where the experience comes from, of whole episodes.

    Raises:
        UsageError: If the family has no oracle that knows them.

    Example:
        >>> from quickstudy.learners.reinforcement.experience import play
        >>> from quickstudy.tasks.environments import BernoulliBandits
        >>> environments = BernoulliBandits().environments(range(3))
        >>> bool((regrets(environments, play(environments, BestArm(environments))) == 0).all())
        True
    """
    knows = oracle(environments)
    if not isinstance(knows, KnowsRegrets):
        raise UsageError(
            "expected environments whose oracle knows what each action forgoes, such as bandits or "
            f"TabularMDPs, got {type(environments.family).__name__}"
        )
    return knows.regrets(experience)


class BestArm(ClassicalPolicy):
    """Always pulls the arm with the highest mean.

    Args:
        environments: The bandits to play.
    """

    def __init__(self, environments: Environments) -> None:
        super().__init__(device=environments.device)
        self._means = environments.parameters["means"]  # (n, k)
        self._arms = self._means.argmax(1)

    def act(self, observations: Tensor) -> Tensor:
        return self._arms

    def regrets(self, experience: Experience) -> Tensor:
        pulled = self._means.gather(1, experience.actions.T).T
        return self._means.amax(1) - pulled


class StraightLine(ClassicalPolicy):
    """Moves as far towards the goal as an action can, in both directions on their own.

    Args:
        environments: The environments to play, of `Navigation` or `SparseNavigation`.
    """

    def __init__(self, environments: Environments) -> None:
        super().__init__(device=environments.device)
        actions = environments.family.actions
        assert isinstance(actions, Box)
        self._goals, self._actions = environments.parameters["goals"], actions

    def act(self, observations: Tensor) -> Tensor:
        return (self._goals - observations).clamp(self._actions.low, self._actions.high)


class ShortestWay(ClassicalPolicy):
    """Walks to the goal of a `GridNavi` on a shortest way, and stays.

    Args:
        environments: The environments to play.
    """

    def __init__(self, environments: Environments) -> None:
        super().__init__(device=environments.device)
        self._goals = environments.parameters["goals"]

    def act(self, observations: Tensor) -> Tensor:
        return towards(self._goals, observations)


def towards(goals: Tensor, cells: Tensor) -> Tensor:
    """Actions (n,) of `GridNavi` that lead from cells (n, 2) to goals (n, 2): first to the right
    or left, then up or down; or stay."""
    x, y = (goals - cells.long()).sign().unbind(1)
    sideways = torch.where(x > 0, 2, 4)
    upwards = torch.where(y > 0, 1, 3)
    return sideways.where(x != 0, upwards.where(y != 0, 0))


class GoalSearcher(ClassicalPolicy):
    """Knows nothing of a `GridNavi` but the rules, and plays it as well as any policy can: see
    `GoalSearch`.

    Args:
        family: The grids to play.
        episodes: Episodes of a trial.
        device: Where the environments are.

    Example:
        >>> searcher = GoalSearcher(GridNavi(), episodes=4)
        >>> round(searcher.search.value, 2)
        37.21
    """

    def __init__(
        self, family: GridNavi, *, episodes: int = 4, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(device=device)
        self.search, self.goal_reward = GoalSearch(family, episodes), family.goal_reward

    def reset(self, n: int) -> None:
        super().reset(n)
        self._found = torch.zeros(n, dtype=torch.bool, device=self.device)
        self._goals = torch.zeros(n, 2, dtype=torch.long, device=self.device)
        self._step = 0

    def act(self, observations: Tensor) -> Tensor:
        if self._step == self.search.length:
            raise UsageError(f"expected {self.search.episodes} episodes, which were planned for")
        walk = int(self.search.actions[self._step])
        return towards(self._goals, observations).where(self._found, walk)

    def observe(self, actions: Tensor, step: Step) -> None:
        here = step.rewards == self.goal_reward
        self._goals = torch.where(here[:, None], step.final_observations.long(), self._goals)
        self._found = self._found | here
        self._step += 1


ORACLES: dict[type[EnvironmentFamily], Callable[[Environments], ClassicalPolicy]] = {
    Bandits: BestArm,
    TabularMDPs: OptimalPlanner,
    Navigation: StraightLine,
    GridNavi: ShortestWay,
}
