"""Which meta-level serves users of whom so much is known: decided on held-out training users.

What is decided for each user helps where users differ and their support shows it. Where it does
not, one blend for all or a single base is as good or better, above all for users without support
and in small data. So for each support size the level is chosen that does best for training users
whom it was not learned from.

Shapes: N examples or users, V rating values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.meta_level.base import MetaLevel
from quickstudy.apps.recommend.meta_level.inputs import SUPPORT_SIZES, MetaExamples, MetaInputs

__all__ = ["GuardedLevel", "choose_by_size", "cross_validated_errors"]

SIZE_BOUNDARIES = tuple((a + b) / 2 for a, b in pairwise(SUPPORT_SIZES))
"""Between the numbers of known interactions to which the choices for `SUPPORT_SIZES` apply."""

MIN_EXAMPLES = 20
"""Fewest held-out users of a support size to choose by."""

SURELY = 2.0
"""Standard errors by which a ranking is surely worse. Single bases rank nearly as well as blends of
them, and of many that are alike one is best by chance; their errors are far higher."""

Errors = Sequence[np.ndarray]
"""What `MetaLevel.errors` returns."""


class GuardedLevel:
    """One of several meta-levels for each user, by how much is known of the user.

    Args:
        levels: Fitted meta-levels of one class, by name.
        chosen: The name for each of `SUPPORT_SIZES`; a user has the nearest size.
    """

    def __init__(self, levels: Mapping[str, MetaLevel], chosen: Sequence[str]) -> None:
        self.chosen = list(chosen)
        self.levels = {name: levels[name] for name in dict.fromkeys(chosen)}

    def probabilities(self, inputs: MetaInputs) -> np.ndarray:
        """As `MetaLevel.probabilities`, (N, M, V)."""
        names = np.array(self.chosen)[_nearest_sizes(inputs.n_known)]
        if (names == names[0]).all():
            return self.levels[names[0]].probabilities(inputs)
        probabilities: Any = None
        for name in np.unique(names):
            rows = np.flatnonzero(names == name)
            of_rows = self.levels[name].probabilities(inputs.of_users(rows))
            if probabilities is None:
                probabilities = np.empty((len(names), *of_rows.shape[1:]), of_rows.dtype)
            probabilities[rows] = of_rows
        return probabilities

    def name_for(self, n_known: float) -> str:
        """The name of the level for a user of whom so many ratings or clicks are known."""
        return self.chosen[int(_nearest_sizes(np.array([n_known]))[0])]

    def level_for(self, n_known: float) -> MetaLevel:
        """The level of that name."""
        return self.levels[self.name_for(n_known)]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Those of all levels, by level and name; and which level is chosen for each size."""
        names = list(self.levels)
        found = {
            f"{i}.{key}": value
            for i, name in enumerate(names)
            for key, value in self.levels[name].parameters.items()
        }
        return {**found, "chosen": torch.tensor([names.index(name) for name in self.chosen])}


def choose_by_size(
    errors: Mapping[str, Errors], sizes: np.ndarray, preferred: Sequence[str] = ()
) -> list[str]:
    """The best candidate for each of `SUPPORT_SIZES`.

    Of the candidates whose ranking is not worse than the best by more than `SURELY` standard errors
    of the paired difference, the one with the lowest error; or the best preferred one, if its error
    is within one standard error of that.

    Args:
        errors: Of each candidate, on the same examples.
        sizes: The support size of each example, (N,). With fewer than `MIN_EXAMPLES` of a size, the
            choice for the next smaller one holds, or the first candidate.
        preferred: Names of candidates to take where it is close.

    Example:
        >>> good, bad = np.zeros(40), np.random.default_rng(0).random(40)
        >>> sizes = np.repeat([0, 5], 20)
        >>> choose_by_size({"meta": [np.where(sizes > 0, good, bad)], "blend": [bad / 2]}, sizes)
        ['blend', 'blend', 'blend', 'meta', 'meta', 'meta']
    """
    chosen = [next(iter(errors))]
    for size in SUPPORT_SIZES:
        rows = sizes == size
        of_size = {name: [e[rows] for e in errors[name]] for name in errors}
        enough = rows.sum() >= MIN_EXAMPLES
        chosen.append(_best(of_size, preferred) if enough else chosen[-1])
    return chosen[1:]


def cross_validated_errors(
    fit: Callable[[MetaExamples], MetaLevel], parts: Sequence[MetaExamples]
) -> Errors:
    """The errors on each half of the parts by a level that is learned from the other half, in the
    order of the parts.

    Args:
        fit: Learns a level.
        parts: Examples of different users.
    """
    halves = [parts[: len(parts) // 2], parts[len(parts) // 2 :]]
    errors = []
    for held_out, others in (halves, halves[::-1]):
        level = fit(MetaExamples.concatenate(others))
        errors.append(level.errors(MetaExamples.concatenate(held_out)))
    return [np.concatenate(pair) for pair in zip(*errors, strict=True)]


def _nearest_sizes(n_known: np.ndarray) -> np.ndarray:
    """Positions in `SUPPORT_SIZES`, (N,)."""
    return np.searchsorted(SIZE_BOUNDARIES, n_known, side="right")


def _best(errors: Mapping[str, Errors], preferred: Sequence[str]) -> str:
    candidates, first = list(errors), next(iter(errors))
    for k in range(1, len(errors[first])):
        ranking = {name: errors[name][k] for name in candidates}
        if np.isfinite(ranking[candidates[0]]).sum() >= MIN_EXAMPLES:
            best = min(candidates, key=lambda name: np.nanmean(ranking[name]))
            candidates = [n for n in candidates if not _is_worse(ranking[n], ranking[best], SURELY)]
    best = min(candidates, key=lambda name: np.mean(errors[name][0]))
    close = [n for n in candidates if not _is_worse(errors[n][0], errors[best][0])]
    close = [name for name in close if name in preferred] or [best]
    return min(close, key=lambda name: np.mean(errors[name][0]))


def _is_worse(errors: np.ndarray, best: np.ndarray, n_errors: float = 1.0) -> bool:
    """Whether a mean error is higher by more than so many standard errors of the paired
    difference."""
    difference = errors - best
    difference = difference[np.isfinite(difference)]
    mean, deviation = difference.mean(), difference.std(ddof=1)
    return bool(mean > n_errors * deviation / np.sqrt(len(difference)))
