"""The stages of a trial: from fits on few rows to all folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Stage", "describe_stages", "stages_of"]

FOLD_SHARES, MIN_ROWS = (1 / 9, 1 / 3), 300
"""Shares of a fold's rows that a pipeline is fitted on first, if they are at least so many rows."""


@dataclass(frozen=True)
class Stage:
    """A fit of a pipeline on a part of the rows.

    Args:
        train, validation: Numbers of the rows to fit on and to score on.
        is_fold: Whether it is a fold of the cross-validation, whose score counts.
        is_scored: Whether the pipeline may be pruned after it; else it is for its time alone.
    """

    train: np.ndarray
    validation: np.ndarray
    is_fold: bool = True
    is_scored: bool = True


def stages_of(
    splits: Sequence[tuple[np.ndarray, np.ndarray]], seed: int, *, timed: bool = False
) -> list[Stage]:
    """From little work to much: parts of the first fold's rows, then all folds.

    Args:
        splits: Numbers of the rows to fit on and to score on, for each fold.
        seed: Decides which rows are in a part.
        timed: Begin with a fit on few rows, by which the time of more is forecast.
    """
    train, validation = splits[0]
    shuffled = np.random.default_rng(seed).permutation(train)
    sizes = [n for share in FOLD_SHARES if (n := round(share * len(train))) >= MIN_ROWS]
    parts = [Stage(np.sort(shuffled[:n]), validation, is_fold=False) for n in sizes]
    if timed and len(train) >= 4 * MIN_ROWS:
        few = np.sort(shuffled[:MIN_ROWS])
        parts.insert(0, Stage(few, validation[:MIN_ROWS], is_fold=False, is_scored=False))
    return [*parts, *(Stage(*split) for split in splits)]


def describe_stages(stages: Sequence[Stage]) -> str:
    """How far a trial came that ended after these stages, in words."""
    if not stages:
        return "no fit"
    n_folds = sum(stage.is_fold for stage in stages)
    if n_folds:
        return f"{n_folds} fold{'s' * (n_folds > 1)}"
    return f"{len(stages[-1].train)} rows"
