"""What came of each pipeline that a search tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from quickstudy.apps.automl.pipelines.budget import OUT_OF_TIME

__all__ = ["LeaderboardEntry", "Outcome", "SearchCallback", "heaviest_alone", "ranked"]


class Outcome(StrEnum):
    """How the trial of a pipeline ended."""

    FINISHED = "finished"
    PRUNED = "pruned"
    OUT_OF_TIME = OUT_OF_TIME
    FAILED = "failed"


@dataclass(frozen=True)
class LeaderboardEntry:
    """What came of a pipeline.

    Args:
        family, options: The pipeline.
        scores: One a fold; fewer where it was not finished.
        seconds: For all folds.
        weight: In the ensemble.
        failure: Why it was not finished, in words; None if it was.
        number: How many were tried before.
        reasons: Why it was tried, in words.
        outcome: How it ended.
    """

    family: str
    options: dict[str, Any]
    scores: list[float]
    seconds: float
    weight: float = 0.0
    failure: str | None = None
    number: int = 0
    reasons: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.FINISHED

    @property
    def is_pruned(self) -> bool:
        """Whether it was ended before its last fold, for its scores or for the time."""
        return self.outcome in (Outcome.PRUNED, Outcome.OUT_OF_TIME)

    @property
    def mean(self) -> float:
        """The mean score; minus infinity for what was not finished."""
        return -math.inf if self.failure else float(np.mean(self.scores))


SearchCallback = Callable[[LeaderboardEntry], None]
"""Called with each pipeline as it ends."""


def ranked(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    """The entries, the best mean score first."""
    return sorted(entries, key=lambda entry: -entry.mean)


def heaviest_alone(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    """The entries, with all weight on the one of greatest weight."""
    heaviest = max(entries, key=lambda entry: entry.weight)
    return [replace(entry, weight=float(entry is heaviest)) for entry in entries]
