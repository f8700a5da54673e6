"""What a head is: a way to classify vectors, fitted to all folds of a support set at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView

__all__ = ["FittedHead", "Head"]

FittedHead = Callable[[FoldedView], Tensor]
"""Maps a view, of the support set or of queries, to scores (k, f, m, c) of k candidates; for
queries f is 1."""


class Head(ABC):
    """A family of k ways to classify vectors that share their work.

    Attributes:
        names: Of the k candidates, which say all that tells them apart.
    """

    names: tuple[str, ...]

    @abstractmethod
    def fit(self, view: FoldedView) -> FittedHead:
        """Fit every fold of a support set."""
