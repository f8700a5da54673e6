"""The Bayes-optimal way to search GridNavi's grid for the goal.

Until the goal is found, a searcher learns only where it is not, so the best policy is one walk,
fixed beforehand, and from the goal on the shortest way. The walk is found by a search over which
cells have been seen, a step at a time, that drops what an upper bound rules out.

Shapes: b partial walks of a length, c cells that may be the goal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstudy.tasks.environments.gridnavi import MOVES, GridNavi
from quickstudy.tasks.environments.options import check_whole

__all__ = ["GoalSearch"]

MAX_WALKS = 2_000_000
"""Walks of one length; beyond, those with the highest bounds are kept."""


@dataclass(frozen=True)
class _Walks:
    """Partial walks: seen cells (a bit each), place, gain so far, and what they came from."""

    seen: np.ndarray
    place: np.ndarray
    gain: np.ndarray
    parent: np.ndarray
    action: np.ndarray

    def take(self, rows: np.ndarray) -> _Walks:
        return _Walks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class GoalSearch:
    """The best walk through the cells that may be the goal, for some episodes of a `GridNavi`.

    Args:
        family: The grid.
        episodes: Episodes that are played in the same grid.

    Attributes:
        actions: (episodes x horizon,), the action of each step until the goal is found.
        value: Expected reward of all episodes together, when goals are drawn uniformly.
        exact: Whether no walk was dropped that might have been better.

    Example:
        >>> search = GoalSearch(GridNavi(size=3, horizon=6), episodes=1)
        >>> search.exact, round(search.value, 3)
        (True, 2.7)
    """

    def __init__(self, family: GridNavi, episodes: int = 4) -> None:
        self.family, self.episodes = family, check_whole("episodes", episodes)
        self.horizon = family.horizon
        self.length = episodes * self.horizon
        self.goals = np.array(family.goals)  # (c, 2)
        self._index = np.full((family.size, family.size), -1)
        self._index[tuple(self.goals.T)] = np.arange(len(self.goals))
        distance = np.minimum(self.goals.sum(1) - 1, self.horizon)
        reward, cost = family.goal_reward, family.step_reward
        self._straight = cost * distance + reward * (self.horizon - distance)  # of an episode
        self.exact = True
        good, _ = self._search(1_000, -np.inf)
        self.exact = True
        gain, self.actions = self._search(MAX_WALKS, good)
        self.value = cost * self.length + gain / len(self.goals)

    def _found(self, step: int) -> tuple[float, int]:
        """What finding the goal at a step (from 1) is worth beside not finding it: of this
        episode, and how many episodes of walking straight to it are left."""
        episode, before = divmod(step - 1, self.horizon)
        reward, cost = self.family.goal_reward, self.family.step_reward
        now = reward * (self.horizon - before) + cost * (step - 1) - cost * self.length
        return now, self.episodes - 1 - episode

    def _search(self, width: int, least: float) -> tuple[float, np.ndarray]:
        """The greatest gain of a walk, summed over goals, and its actions."""
        zero = np.zeros(1, np.int64)
        layers = [_Walks(zero, zero, np.zeros(1), zero, zero)]
        for step in range(1, self.length + 1):
            walks = self._extend(layers[-1], step)
            bound = self._bound(walks, step)
            kept = np.flatnonzero(bound >= least - 1e-9)
            if len(kept) > width:
                self.exact = False
                kept = kept[np.argsort(-bound[kept], kind="stable")[:width]]
            layers.append(walks.take(kept))
        row = int(layers[-1].gain.argmax())
        gain, actions = float(layers[-1].gain[row]), []
        for walks in layers[:0:-1]:
            actions.append(int(walks.action[row]))
            row = int(walks.parent[row])
        return gain, np.array(actions[::-1])

    def _extend(self, walks: _Walks, step: int) -> _Walks:
        """All walks one step longer, of those with the same cells and place the best."""
        size, (now, later) = self.family.size, self._found(step)
        longer = []
        for action, (right, up) in enumerate(MOVES[1:], start=1):  # to stay helps no search
            x, y = walks.place // size + right, walks.place % size + up
            rows = np.flatnonzero((x >= 0) & (x < size) & (y >= 0) & (y < size))
            x, y, seen = x[rows], y[rows], walks.seen[rows]
            cell = self._index[x, y]
            bit = np.where(cell >= 0, np.int64(1) << np.maximum(cell, 0), 0)
            gain = walks.gain[rows] + np.where(bit & ~seen, now + later * self._straight[cell], 0.0)
            place = np.zeros_like(x) if step % self.horizon == 0 else x * size + y
            longer.append(_Walks(seen | bit, place, gain, rows, np.full(len(rows), action)))
        names = _Walks.__dataclass_fields__
        every = _Walks(*(np.concatenate([getattr(w, name) for w in longer]) for name in names))
        order = np.lexsort((-every.gain, every.place, every.seen))
        seen, place = every.seen[order], every.place[order]
        first = np.r_[True, (seen[1:] != seen[:-1]) | (place[1:] != place[:-1])]
        return every.take(order[first])

    def _bound(self, walks: _Walks, step: int) -> np.ndarray:
        """Gains that no continuation exceeds: a new cell at each step, those nearest the start
        first, as if all were side by side."""
        slots = [self._found(later) for later in range(step + 1, self.length + 1)]
        slots = slots[: len(self.goals)]
        now = np.array([0.0, *np.cumsum([slot[0] for slot in slots])])
        left = np.array([slot[1] for slot in slots])
        taken = np.zeros(len(walks.seen), np.int64)
        straight = np.zeros(len(walks.seen))
        for cell in np.argsort(-self._straight, kind="stable"):
            unseen = ((walks.seen >> cell) & 1 == 0) & (taken < len(slots))
            rows = np.flatnonzero(unseen)
            if len(rows):
                straight[rows] += self._straight[cell] * left[taken[rows]]
                taken[rows] += 1
        return walks.gain + now[taken] + straight
