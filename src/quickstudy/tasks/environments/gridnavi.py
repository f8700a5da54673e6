"""Finding a cell of a grid that is not seen.

Shapes: n environments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Discrete
from quickstudy.tasks.environments.environment import EnvironmentFamily, Parameters, State
from quickstudy.tasks.environments.options import check_whole

__all__ = ["MOVES", "GridNavi"]

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
"""What each action adds to (x, y): stay, up, right, down, left."""
START_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Cells that are never the goal: the start and those next to it."""


class GridNavi(EnvironmentFamily):
    """A grid of cells, one of them the goal: each step there earns 1, any other costs 0.1. Episodes
    start in the corner (0, 0); the observation is the cell (x, y). A wall leaves the cell as it is.

    Goals may be anywhere but on the start and the three cells next to it. The published experiments
    give an agent 4 episodes.

    Sources: Zintgraf et al., VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via
    Meta-Learning, 2020, section 5.1, with the constants of the authors' code.

    Args:
        size: Cells in each direction, 3 or more.
        horizon: Steps of an episode.
        seed: Decides every task.

    Parameters of a task: `goals` (2,), the goal's cell, whole numbers.

    Example:
        >>> family = GridNavi()
        >>> len(family.goals)
        21
        >>> environments = family.environments([0])
        >>> _ = environments.reset()
        >>> environments.step(torch.tensor([2])).observations  # to the right
        tensor([[1., 0.]])
    """

    observation_size = 2
    actions = Discrete(len(MOVES))
    goal_reward, step_reward = 1.0, -0.1

    def __init__(self, *, size: int = 5, horizon: int = 15, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.size = check_whole("size", size, least=3)
        self.horizon = check_whole("horizon", horizon)
        cells = [(x, y) for x in range(size) for y in range(size)]
        self.goals = [cell for cell in cells if cell not in START_CELLS]
        self._moves = torch.tensor(MOVES)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        drawn = torch.randint(len(self.goals), (n,), generator=generator)
        return {"goals": torch.tensor(self.goals)[drawn]}

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        return {"cells": torch.zeros_like(parameters["goals"])}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        moves = self._moves = self._moves.to(actions.device)
        cells = (state["cells"] + moves[actions]).clamp_(0, self.size - 1)
        found = (cells == parameters["goals"]).all(1)
        rewards = torch.full(found.shape, self.step_reward, device=found.device)
        return {"cells": cells}, rewards.masked_fill_(found, self.goal_reward), None

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        return state["cells"].float()
