"""Regression tasks that code draws many at a time, since one at a time would take longer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.tasks.episode import Batch, Episode, Support

__all__ = ["BlockTasks"]


class BlockTasks(ABC):
    """Task i is row i % BLOCK of block i // BLOCK, which a subclass draws. The last few blocks are
    kept.

    Args:
        n_shot: Examples of the support set, the first of a task.
        n_query: Examples of the query set, those that follow.
    """

    BLOCK = 512
    """Tasks that are drawn together, from one generator."""

    MAX_CACHED = 4

    def __init__(self, n_shot: int, n_query: int) -> None:
        self.n_shot, self.n_query = n_shot, n_query
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def draw_block(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs (BLOCK, n_shot + n_query, ...) and targets (BLOCK, n_shot + n_query, k), which
        depend on the family's seed and the number alone."""

    def __getitem__(self, index: int) -> Episode:
        if index < 0:
            raise UsageError(f"expected the index of a task, 0 or more, got {index}")
        number, row = divmod(index, self.BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self.draw_block(number)
            while len(self._blocks) >= self.MAX_CACHED:
                self._blocks.pop(next(iter(self._blocks)), None)
            self._blocks[number] = block
        x, y = (part[row] for part in block)
        k = self.n_shot
        return Episode(Support(x[:k], y[:k]), Batch(x[k:], y[k:]))
