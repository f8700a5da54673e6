"""The advisor that models scores as a mixture of Gaussians, one a data set of the history.

Shapes: n data sets of the history (hypotheses), of which h are left after some trials; c
configurations; k scores observed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr

from quickstudy.apps.automl.meta.advisors import Advisor
from quickstudy.apps.automl.meta.history import History, impute_regret
from quickstudy.errors import UsageError, check_option

__all__ = ["MixtureAdvisor", "Scale"]

Scale = Literal["identity", "logit"]

NEGLIGIBLE_WEIGHT = 1e-3
"""Hypotheses with less than this share of the greatest weight are passed over."""

JITTER = 1e-3
"""Variance of a score, in units of the range of scores, that no other score explains."""


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
        history: Results on at least two other data sets.
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
        regret = impute_regret((losses - self._best[:, None]) / self._range[:, None])  # (n, c)
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
        """The score to be expected of each configuration, given those observed, of shape (c,)."""
        given = self._condition()
        means = self._means + given.innovations.T @ given.gains  # (n, c)
        losses = self._best[:, None] + self._range[:, None] * means
        loss = self._weigh(given) @ losses
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
        return self._weigh(self._condition())

    def _condition(self) -> _Condition:
        """Condition all hypotheses on the scores observed."""
        observed = self._informative()
        scores = [self.observed[self.history.configs[i]] for i in observed]
        losses = self._loss(np.array(scores)) if scores else np.empty(0)
        z = (losses[:, None] - self._best) / self._range - self._means[:, observed].T  # (k, n)
        factor = np.linalg.cholesky(self._covariance[np.ix_(observed, observed)])
        solved = np.linalg.solve(factor, np.hstack([z, self._covariance[observed]]))
        n = len(self._best)
        return _Condition(losses, solved[:, :n], solved[:, n:])

    def _weigh(self, given: _Condition) -> np.ndarray:
        """The hypotheses' weights (n,) after the scores observed, by Bayes' rule."""
        likelihood = -0.5 * (given.innovations**2).sum(0) - len(given.losses) * np.log(self._range)
        with np.errstate(divide="ignore"):
            logs = np.log(self.weights) + self.power * likelihood
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def _belief(self) -> _Belief:
        """What is expected of all configurations after the scores observed."""
        given = self._condition()
        weights = self._weigh(given)
        is_likely = weights > NEGLIGIBLE_WEIGHT * weights.max()
        means = self._means[is_likely] + given.innovations[:, is_likely].T @ given.gains
        lowest = np.ones(int(is_likely.sum()))
        if len(given.losses):
            lowest = (given.losses.min() - self._best[is_likely]) / self._range[is_likely]
        covariance = self._covariance - given.gains.T @ given.gains
        return _Belief(weights[is_likely], means, covariance, lowest)

    def _gain(self, tried: list[int]) -> float:
        return float(np.delete(self._belief().expected_improvement(), tried).max())

    def _choose(self, tried: list[int], k: int) -> list[int]:
        belief, is_first = self._belief(), not self._informative()
        chosen: list[int] = []
        for _ in range(k):
            value = -belief.mean() if is_first else belief.expected_improvement()
            value[tried + chosen] = -np.inf
            new = int(value.argmax())
            chosen.append(new)
            if len(chosen) < k:
                belief, is_first = belief.after(new, is_first), False
        return chosen


@dataclass(frozen=True)
class _Condition:
    """Scores observed, and what the Cholesky factor of their covariance solves.

    Args:
        losses: Of the configurations observed, shape (k,).
        innovations: How far they are from each hypothesis' means, shape (k, n).
        gains: Their covariance with all configurations, shape (k, c).
    """

    losses: np.ndarray
    innovations: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True)
class _Belief:
    """Gaussians over the regrets of all configurations, one a hypothesis.

    Args:
        weights: Of the hypotheses, shape (h,).
        means: Of shape (h, c).
        covariance: That all share, shape (c, c).
        lowest: The lowest regret so far, 1 where none is known, shape (h,).
    """

    weights: np.ndarray
    means: np.ndarray
    covariance: np.ndarray
    lowest: np.ndarray

    def mean(self) -> np.ndarray:
        """The expected regret of each configuration, shape (c,)."""
        return self.weights @ self.means

    def expected_improvement(self) -> np.ndarray:
        """By how much each configuration is expected to fall below the lowest, shape (c,)."""
        deviations = np.sqrt(np.maximum(np.diag(self.covariance), 1e-10))
        u = (self.lowest[:, None] - self.means) / deviations  # (h, c)
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        return self.weights @ (deviations * (u * ndtr(u) + density))

    def after(self, new: int, is_first: bool) -> _Belief:
        """The belief after a configuration, as if each hypothesis had been right about it."""
        means = self.means[:, new]
        lowest = means if is_first else np.minimum(self.lowest, means)
        gain = self.covariance[new] / np.sqrt(self.covariance[new, new])
        covariance = self.covariance - np.outer(gain, gain)
        covariance[new, new] = max(covariance[new, new], 1e-10)
        return _Belief(self.weights, self.means, covariance, lowest)
