"""Ways to choose which configurations to try on a new data set: suggest, observe, repeat."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from quickstudy.apps.automl.meta.history import History, impute_regret
from quickstudy.errors import UsageError, unknown

__all__ = ["Advisor", "Portfolio", "RandomOrder"]

MAX_REASON_DATASETS, GOOD_REGRET = 10, 0.1
"""Data sets that a reason speaks of, and the regret up to which it calls a score a good one."""


class Advisor(ABC):
    """Advises on one new data set.

    Args:
        history: Results on other data sets.
        weights: What each data set of the history counts, of shape (n,); None for all alike.
    """

    def __init__(self, history: History, weights: np.ndarray | None = None) -> None:
        n = len(history.datasets)
        self.history = history
        self.weights = np.full(n, 1 / max(n, 1)) if weights is None else weights / weights.sum()
        self.observed: dict[str, float] = {}
        self._index = {name: i for i, name in enumerate(history.configs)}

    def suggest(self, k: int = 1) -> list[str]:
        """The k configurations to try next, best first; fewer where fewer are left.

        Those observed are not suggested again.

        Raises:
            UsageError: With k below 1.
        """
        if k < 1:
            raise UsageError(f"expected k >= 1, got {k}")
        tried = [self._index[name] for name in self.observed]
        chosen = self._choose(tried, min(k, len(self._index) - len(tried)))
        return [self.history.configs[i] for i in chosen]

    def observe(self, config: str, score: float) -> None:
        """Tell what came of a configuration: its score, or NaN if it failed.

        Raises:
            UsageError: If the configuration is unknown, or the score infinite.
        """
        if config not in self._index:
            raise unknown("configuration", config, self._index)
        if math.isinf(score):
            raise UsageError(f"expected a finite score, or NaN for a failure, got {score}")
        self.observed[config] = float(score)

    def gain(self) -> float:
        """By how much the next suggestion is expected to lower the regret, in units of its range.

        Without any score yet, the regret is 1. Where nothing is known or left to try, the gain is
        0; where the way to choose does not say, it is infinite.

        Example:
            >>> history = History(["a", "b"], ["x", "y"], [[0.9, 0.1], [0.8, 0.3]])
            >>> advisor = Portfolio(history)
            >>> advisor.gain()
            1.0
            >>> advisor.observe("x", 0.7)
            >>> advisor.gain()
            0.0
        """
        tried = [self._index[name] for name in self.observed]
        return self._gain(tried) if len(tried) < len(self._index) else 0.0

    def neighbours(self, k: int = 5) -> list[tuple[str, float]]:
        """The k data sets that count most by now, with their shares."""
        weights = self._posterior()
        order = np.argsort(-weights, kind="stable")[:k]
        return [(self.history.datasets[i], float(weights[i])) for i in order]

    def reason(self, config: str) -> str:
        """Why to try a configuration, in words: what it did on data sets like this one.

        It speaks of the ten data sets that count most by now and have tried it, or of all where all
        count alike. Among the best are those within a tenth of a data set's range from its best.

        Example:
            >>> scores = [[0.9, 0.7], [0.8, 0.3], [0.7, 0.9]]
            >>> Portfolio(History(["red", "blue", "green"], ["x", "y"], scores)).reason("x")
            'among the best on 2 of 3 tables: red, blue'

        Raises:
            UsageError: If the configuration is unknown.
        """
        if config not in self._index:
            raise unknown("configuration", config, self._index)
        scores, weights = self.history.scores, self._posterior()
        has_score = ~np.isnan(scores[:, self._index[config]])
        order = [i for i in np.argsort(-weights, kind="stable") if has_score[i]]
        if not order:
            return "no table has tried it"
        first, column = order[0], scores[order, self._index[config]]
        if weights[first] > 0.5:
            n = int((~np.isnan(scores[first])).sum())
            place = int((scores[first] > column[0]).sum()) + 1
            which = "the best" if place == 1 else f"number {place}"
            return f"{which} of {n} on the table most like this one: {self._short_name(first)}"
        alike = len(self.history.datasets) > 1 and np.ptp(weights) < 1e-9
        near = order if alike else order[:MAX_REASON_DATASETS]
        regret = self.history.regret[near, self._index[config]]
        good = [i for i, value in zip(near, regret, strict=True) if value <= GOOD_REGRET]
        tables = f"{len(near)} tables" if alike else f"the {len(near)} tables most like this one"
        if not good:
            return f"among the best on none of {tables}"
        named = ", ".join(map(self._short_name, good[:3])) + (", ..." if len(good) > 3 else "")
        return f"among the best on {len(good)} of {tables}: {named}"

    def _short_name(self, dataset: int) -> str:
        """A data set's name without the package it comes with."""
        return self.history.datasets[dataset].rpartition("/")[2]

    def _posterior(self) -> np.ndarray:
        return self.weights

    def _informative(self) -> list[int]:
        """The numbers of the configurations observed with a score; others failed."""
        return [self._index[name] for name, score in self.observed.items() if score == score]

    def _gain(self, tried: list[int]) -> float:
        """The gain after configurations of these numbers, which are not all."""
        return math.inf

    @abstractmethod
    def _choose(self, tried: list[int], k: int) -> list[int]:
        """The numbers of k configurations, none of those tried."""


class RandomOrder(Advisor):
    """Configurations in random order: what is left where nothing is known.

    Example:
        >>> advisor = RandomOrder(History([], ["tree", "svm"], []))
        >>> sorted(advisor.suggest(2))
        ['svm', 'tree']
    """

    def __init__(
        self, history: History, weights: np.ndarray | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(history, weights)
        self._order = np.random.default_rng(seed).permutation(len(history.configs)).tolist()

    def _choose(self, tried: list[int], k: int) -> list[int]:
        return [i for i in self._order if i not in tried][:k]

    def _gain(self, tried: list[int]) -> float:
        return 0.0


class Portfolio(Advisor):
    """Each configuration is the one that most lowers the mean regret of those before it.

    F. Pfisterer, J. N. van Rijn, P. Probst, A. Müller, B. Bischl: "Learning Multiple Defaults for
    Machine Learning Algorithms", 2018, https://arxiv.org/abs/1811.09409. With weights by nearness,
    near data sets count more. Scores of the new data set change nothing.

    Example:
        >>> history = History(["a", "b", "c"], ["x", "y", "z"], [[3, 2, 1], [1, 2, 3], [3, 2, 1]])
        >>> Portfolio(history).suggest(2)
        ['x', 'z']
    """

    def __init__(self, history: History, weights: np.ndarray | None = None) -> None:
        super().__init__(history, weights)
        self._regret = impute_regret(history.filled_regret)

    def _choose(self, tried: list[int], k: int) -> list[int]:
        regret = self._regret
        lowest = regret[:, self._informative()].min(1, initial=1.0)  # (n,)
        chosen: list[int] = []
        for _ in range(k):
            means = self.weights @ np.minimum(lowest[:, None], regret)  # (c,)
            means[tried + chosen] = np.inf
            chosen.append(int(means.argmin()))
            lowest = np.minimum(lowest, regret[:, chosen[-1]])
        return chosen

    def _gain(self, tried: list[int]) -> float:
        (new,) = self._choose(tried, 1)
        lowest = self._regret[:, self._informative()].min(1, initial=1.0)  # (n,)
        return float(self.weights @ np.maximum(lowest - self._regret[:, new], 0))
