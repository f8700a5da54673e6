"""Ways to choose which configurations to try on a new data set: suggest, observe, repeat."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr

from quickstudy.apps.automl.meta.history import History
from quickstudy.errors import UsageError, check_option, unknown

__all__ = ["Advisor", "MixtureAdvisor", "Portfolio", "RandomOrder", "Scale"]

Scale = Literal["identity", "logit"]

MOST_NAMED, AMONG_THE_BEST = 10, 0.1
"""Data sets that a reason speaks of, and the regret up to which it calls a score a good one."""

NEGLIGIBLE = 1e-3
"""Hypotheses with less than this share of the greatest weight are passed over."""

JITTER = 1e-3
"""Variance of a score, in units of the range of scores, that no other score explains."""


class Advisor(ABC):
    """Advises on one new data set.

    Args:
        history: What is known of others.
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
        seen = [self._index[name] for name in self.observed]
        chosen = self._choose(seen, min(k, len(self._index) - len(seen)))
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
        seen = [self._index[name] for name in self.observed]
        return self._gain(seen) if len(seen) < len(self._index) else 0.0

    def neighbours(self, k: int = 5) -> list[tuple[str, float]]:
        """The k data sets that count most by now, with their shares."""
        weights = self._posterior()
        order = np.argsort(-weights, kind="stable")[:k]
        return [(self.history.datasets[i], float(weights[i])) for i in order]

    def reason(self, config: str) -> str:
        """Why a configuration is worth a trial, in words: what it did on data sets like this one.

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
        tried = ~np.isnan(scores[:, self._index[config]])
        order = [i for i in np.argsort(-weights, kind="stable") if tried[i]]
        if not order:
            return "worth a trial: no table has tried it"
        first, column = order[0], scores[order, self._index[config]]
        if weights[first] > 0.5:
            n = int((~np.isnan(scores[first])).sum())
            place = int((scores[first] > column[0]).sum()) + 1
            which = "the best" if place == 1 else f"number {place}"
            return f"{which} of {n} on the table most like this one: {self._called(first)}"
        alike = len(self.history.datasets) > 1 and np.ptp(weights) < 1e-9
        near = order if alike else order[:MOST_NAMED]
        regret = self.history.regret[near, self._index[config]]
        good = [i for i, value in zip(near, regret, strict=True) if value <= AMONG_THE_BEST]
        tables = f"{len(near)} tables" if alike else f"the {len(near)} tables most like this one"
        if not good:
            return f"worth a trial, though among the best on none of {tables}"
        named = ", ".join(map(self._called, good[:3])) + (", ..." if len(good) > 3 else "")
        return f"among the best on {len(good)} of {tables}: {named}"

    def _called(self, dataset: int) -> str:
        """A data set's name without the package it comes with."""
        return self.history.datasets[dataset].rpartition("/")[2]

    def _posterior(self) -> np.ndarray:
        return self.weights

    def _informative(self) -> list[int]:
        """The numbers of the configurations observed that did not fail."""
        return [self._index[name] for name, score in self.observed.items() if score == score]

    def _gain(self, seen: list[int]) -> float:
        """The gain after configurations of these numbers, which are not all."""
        return math.inf

    @abstractmethod
    def _choose(self, seen: list[int], k: int) -> list[int]:
        """The numbers of k configurations, none of those seen."""


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

    def _choose(self, seen: list[int], k: int) -> list[int]:
        return [i for i in self._order if i not in seen][:k]

    def _gain(self, seen: list[int]) -> float:
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
        self._regret = complete(history.filled_regret)

    def _choose(self, seen: list[int], k: int) -> list[int]:
        regret = self._regret
        lowest = regret[:, self._informative()].min(1, initial=1.0)  # (n,)
        chosen: list[int] = []
        for _ in range(k):
            means = self.weights @ np.minimum(lowest[:, None], regret)  # (c,)
            means[seen + chosen] = np.inf
            chosen.append(int(means.argmin()))
            lowest = np.minimum(lowest, regret[:, chosen[-1]])
        return chosen

    def _gain(self, seen: list[int]) -> float:
        (new,) = self._choose(seen, 1)
        lowest = self._regret[:, self._informative()].min(1, initial=1.0)  # (n,)
        return float(self.weights @ np.maximum(lowest - self._regret[:, new], 0))


class MixtureAdvisor(Advisor):
    """Expected improvement under a mixture of Gaussians over the scores of all configurations.

    Each data set of the history is a hypothesis of what the new one is like: its worst and best
    score are the scale, on which the regrets of all configurations are Gaussian with a mean between
    the history's and that data set's own, and a covariance learned from the history. Observed
    scores update the weights of the hypotheses by Bayes' rule, and each Gaussian in closed form
    (Rasmussen and Williams: "Gaussian Processes for Machine Learning", 2006, eq. 2.19). What comes
    next has the greatest expected improvement (Jones, Schonlau and Welch, 1998) in the mean over
    hypotheses, in units of each one's range. Nothing of the new data set has to be known before:
    no scale, no best score.

    Args:
        history: What is known of others, of at least two data sets.
        weights: The hypotheses' prior weights, of shape (n,); None for all alike.
        likeness: How much of a data set's own deviation from the history's mean a hypothesis takes
            on, from 0 (a common Gaussian with unknown scale) to below 1.
        power: To which the likelihood is raised, from 0 to 1: a data set is not wholly like any.
        shrinkage: Of the covariance towards its diagonal, from 0 to 1.
        scale: Scores as they are, or their logit, for shares.

    Raises:
        UsageError: If an option is out of its range, the history has fewer than two data sets, or
            scores are to be mapped by logit that are not between 0 and 1.

    Example:
        >>> history = History(["a", "b", "c"], ["x", "y", "z"], [[3, 2, 1], [1, 2, 3], [3, 2, 1]])
        >>> advisor = MixtureAdvisor(history)
        >>> advisor.suggest()
        ['x']
        >>> advisor.observe("x", 1.0)
        >>> advisor.suggest(), advisor.neighbours(1)[0][0]
        (['z'], 'b')
    """

    def __init__(
        self,
        history: History,
        weights: np.ndarray | None = None,
        *,
        likeness: float = 0.7,
        power: float = 0.5,
        shrinkage: float = 0.02,
        scale: Scale = "identity",
    ) -> None:
        super().__init__(history, weights)
        check_option("scale", scale, ["identity", "logit"])
        if not 0 <= likeness < 1:
            raise UsageError(f"expected 0 <= likeness < 1, got {likeness}")
        if not (0 <= power <= 1 and 0 <= shrinkage <= 1):
            raise UsageError(
                f"expected power and shrinkage from 0 to 1, got {power} and {shrinkage}"
            )
        if len(history.datasets) < 2:
            raise UsageError(f"expected at least 2 data sets, got {len(history.datasets)}")
        self.power = power
        self.scale = scale
        losses = self._loss(history.filled)
        self._best = np.nanmin(losses, 1)  # (n,)
        spread = np.nanmax(losses, 1) - self._best
        self._range = np.maximum(spread, 1e-3 * (spread.max() or 1.0))  # (n,)
        regret = complete((losses - self._best[:, None]) / self._range[:, None])  # (n, c)
        self._prior = self.weights @ regret  # (c,)
        self._means = self._prior + likeness * (regret - self._prior)  # (n, c)
        covariance = np.cov(regret.T, ddof=1).reshape(2 * regret.shape[1:]) * (1 - likeness**2)
        variances = np.diag(np.diag(covariance))
        self._covariance = covariance + shrinkage * (variances - covariance)
        self._covariance += (1 - likeness**2) * JITTER * np.eye(len(variances))

    def _loss(self, scores: np.ndarray) -> np.ndarray:
        if self.scale == "identity":
            return -scores
        if np.nanmin(scores) < 0 or np.nanmax(scores) > 1:
            raise UsageError("expected scores from 0 to 1 for their logit, got others")
        return np.log(1.01 - scores) - np.log(scores + 0.01)

    def expected(self) -> np.ndarray:
        """The score to be expected of each configuration, given those observed; shape (c,)."""
        _, losses, whitened, gains = self._condition(self._informative())
        means = self._means + whitened.T @ gains
        each = self._best[:, None] + self._range[:, None] * means
        loss = self._weigh(losses, whitened) @ each
        if self.scale == "identity":
            return -loss
        return (1.01 - 0.01 * np.exp(loss)) / (1 + np.exp(loss))

    def observe(self, config: str, score: float) -> None:
        """Tell what came of a configuration: its score, or NaN if it failed.

        Raises:
            UsageError: If the configuration is unknown, or the score one that cannot be.
        """
        if not math.isnan(score) and math.isfinite(score):
            self._loss(np.array([score]))
        super().observe(config, score)

    def _posterior(self) -> np.ndarray:
        _, losses, whitened, _ = self._condition(self._informative())
        return self._weigh(losses, whitened)

    def _condition(self, given: list[int]) -> tuple[np.ndarray, ...]:
        """The Cholesky factor L of the covariance of k scores given, the losses, and, solved by L:
        innovations under each hypothesis (k, n), covariance with all configurations (k, c).
        """
        values = [self.observed[self.history.configs[i]] for i in given]
        losses = self._loss(np.array(values)) if values else np.empty(0)
        z = (losses[:, None] - self._best) / self._range - self._means[:, given].T  # (k, n)
        factor = np.linalg.cholesky(self._covariance[np.ix_(given, given)])
        solved = np.linalg.solve(factor, np.hstack([z, self._covariance[given]]))
        return factor, losses, solved[:, : len(self._best)], solved[:, len(self._best) :]

    def _weigh(self, losses: np.ndarray, whitened: np.ndarray) -> np.ndarray:
        """The hypotheses' weights (n,) after the scores given."""
        likelihood = -0.5 * (whitened**2).sum(0) - len(losses) * np.log(self._range)
        with np.errstate(divide="ignore"):
            logs = np.log(self.weights) + self.power * likelihood
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def _outlook(self) -> tuple[np.ndarray, ...]:
        """What is left of h hypotheses: their weights (h,), means (h, c), the covariance (c, c)
        that they share, and each one's lowest regret so far (h,), 1 where none is known.
        """
        _, losses, whitened, gains = self._condition(self._informative())
        weights = self._weigh(losses, whitened)
        likely = weights > NEGLIGIBLE * weights.max()
        means = self._means[likely] + whitened[:, likely].T @ gains
        lowest = np.ones(int(likely.sum()))
        if len(losses):
            lowest = (losses.min() - self._best[likely]) / self._range[likely]
        return weights[likely], means, self._covariance - gains.T @ gains, lowest

    def _merit(self, weights: Any, means: Any, covariance: Any, lowest: Any) -> np.ndarray:
        """The expected improvement by each configuration, of shape (c,)."""
        deviations = np.sqrt(np.maximum(np.diag(covariance), 1e-10))
        return weights @ _expected_improvement(means, deviations, lowest[:, None])

    def _gain(self, seen: list[int]) -> float:
        weights, means, covariance, lowest = self._outlook()
        merit = self._merit(weights, means, covariance, lowest)
        return float(np.delete(merit, seen).max())

    def _choose(self, seen: list[int], k: int) -> list[int]:
        weights, means, covariance, lowest = self._outlook()
        is_first = not self._informative()
        chosen: list[int] = []
        for _ in range(k):
            if is_first:
                merit = -(weights @ means)
            else:
                merit = self._merit(weights, means, covariance, lowest)
            merit[seen + chosen] = -np.inf
            new = int(merit.argmax())
            chosen.append(new)
            if len(chosen) < k:  # as if each hypothesis had been right about it
                lowest = means[:, new] if is_first else np.minimum(lowest, means[:, new])
                is_first = False
                gain = covariance[new] / np.sqrt(covariance[new, new])
                covariance = covariance - np.outer(gain, gain)
                covariance[new, new] = max(covariance[new, new], 1e-10)
        return chosen


def _expected_improvement(
    means: np.ndarray, deviations: np.ndarray, lowest: np.ndarray
) -> np.ndarray:
    """By how much a Gaussian falls below the lowest so far, in the mean."""
    u = (lowest - means) / deviations
    return deviations * (u * ndtr(u) + np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi))


def complete(regret: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Regrets (n, c) with their missing ones replaced by what the others of the data set make
    likely, under a Gaussian that is fitted anew each round.
    """
    missing = np.isnan(regret)
    if not missing.any():
        return regret
    known = ~missing
    totals = np.where(known, regret, 0.0).sum(0)
    means = (totals + 0.5) / (known.sum(0) + 1)  # a config nobody tried is neither good nor bad
    filled = np.where(missing, means, regret)
    for _ in range(rounds if len(regret) > 2 else 0):
        mean = filled.mean(0)
        covariance = np.cov(filled.T) + 0.01 * np.eye(len(mean))
        for i in np.flatnonzero(missing.any(1)):
            out, given = missing[i], known[i]
            step = np.linalg.solve(covariance[np.ix_(given, given)], filled[i, given] - mean[given])
            filled[i, out] = mean[out] + covariance[np.ix_(out, given)] @ step
    return np.clip(filled, 0.0, 1.0)
