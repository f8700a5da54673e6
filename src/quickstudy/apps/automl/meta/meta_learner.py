"""Learn from results on other data sets how to choose configurations on a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from quickstudy.apps.automl.meta.advisors import (
    Advisor,
    MixtureAdvisor,
    Portfolio,
    RandomOrder,
    complete,
)
from quickstudy.apps.automl.meta.history import History
from quickstudy.errors import DataError, UsageError, check_option

__all__ = ["MetaLearner", "regret_curve"]

FEWEST = 10
"""Data sets from which on ways to choose can be told apart by cross-validation."""

NEAR = "portfolio of near data sets"

N_FOLDS, MOST_JUDGED = 5, 100
"""Folds of the cross-validation, and data sets on which a way to choose is judged at most."""

PENALTY = 1e-3
"""On the weight of a meta-feature, in shares of the variance of regrets."""

NEARNESS = 0.7
"""Share of a prior that goes to data sets by nearness, before it is learned; the rest goes to all
alike.
"""

ALIKE, SHARPNESS, FEWEST_FEATURES = 0.16, 25.0, 10
"""Mean squared difference of meta-features, in standard deviations, at which one data set is as
likely a version of another as not; how fast the odds change; and how many features it takes. Of
public tables, four fifths of the rows without a column are at 0.03 in the median, and the nearest
table of another family at 0.32 (classes) and 0.48 (numbers).
"""


class MetaLearner:
    """Chooses configurations by what worked on data sets like the new one.

    It learns a distance between data sets from their meta-features, and, by cross-validation over
    the data sets of its history, which way to choose does best: random order, the greedy
    portfolio, the same of near data sets, or a mixture of Gaussians (`MixtureAdvisor`) with several
    options. Where the history does not help, random order or a portfolio wins, which is the guard
    against negative transfer. With fewer than ten data sets, which cannot be judged, it is the
    portfolio; without any, random order.

    Args:
        n_trials: The regret is to be low in the mean over so many trials.
        seed: Of the folds, and of random order.

    Attributes:
        history_: What it learned from.
        chosen_: The name of the way that did best.
        judged_: The mean regret of each way in cross-validation, by name; empty if not judged.
        distance_: The weight of each meta-feature, by name, in the distance between data sets.
        nearness_: The share of a data set's prior that goes by nearness.
        own_: Data sets that a new one may be a version of.

    Raises:
        UsageError: With n_trials below 1.

    Example:
        >>> history = History(["a", "b"], ["x", "y"], [[0.7, 0.9], [0.6, 0.7]])
        >>> advisor = MetaLearner().fit(history).advise()
        >>> advisor.suggest()
        ['y']
        >>> advisor.observe("y", 0.8)
        >>> advisor.suggest()
        ['x']
    """

    def __init__(self, *, n_trials: int = 20, seed: int = 0) -> None:
        if n_trials < 1:
            raise UsageError(f"expected n_trials >= 1, got {n_trials}")
        self.n_trials = n_trials
        self.seed = seed

    def fit(self, history: History) -> Self:
        """Learn from a history, which may be empty."""
        self.judged_: dict[str, float] = {}
        distance = _Distance(history)
        self.distance_, self.nearness_ = distance.weights, distance.nearness
        n = len(history.datasets)
        if n < FEWEST:
            self.chosen_ = "portfolio" if n else "random"
            return self.update(history)
        order = np.random.default_rng(self.seed).permutation(n)[:MOST_JUDGED]
        curves: dict[str, list[np.ndarray]] = {}
        for fold in np.array_split(order, min(N_FOLDS, len(order))):
            names = [history.datasets[i] for i in fold]
            known = history.without(names)
            distance = _Distance(known)
            for i, name in zip(fold, names, strict=True):
                weights = distance.prior(history.features.get(name, {}))
                for way, make in self._judged(history).items():
                    advisor = make(known, weights)
                    curve = regret_curve(advisor, history, int(i), self.n_trials)
                    curves.setdefault(way, []).append(curve)
        self.judged_ = {way: float(np.mean(found)) for way, found in curves.items()}
        self.chosen_ = min(self.judged_, key=self.judged_.__getitem__)
        return self.update(history)

    def update(self, history: History, own: Collection[str] = ()) -> Self:
        """Take another history, grown or cut, with the way and distance learned before.

        Args:
            own: Data sets of it that the new one may be a version of, with more rows or a column
                less: one whose meta-features are nearly the same counts above all others.
        """
        self.history_ = history
        self.own_ = [name for name in history.datasets if name in set(own)]
        self._distance = _Distance(history, (self.distance_, self.nearness_))
        return self

    def learned(self) -> dict[str, Any]:
        """What was learned from the history, as JSON has it; `restore` takes it."""
        return {
            "chosen": self.chosen_,
            "judged": self.judged_,
            "distance": self.distance_,
            "nearness": self.nearness_,
        }

    @classmethod
    def restore(
        cls, learned: Mapping[str, Any], history: History, own: Collection[str] = ()
    ) -> MetaLearner:
        """A meta-learner with what one learned before, and a history, as `update` takes it.

        Raises:
            DataError: If what was learned is of another kind.

        Example:
            >>> history = History(["a", "b"], ["x", "y"], [[0.7, 0.9], [0.6, 0.7]])
            >>> kept = MetaLearner().fit(history).learned()
            >>> MetaLearner.restore(kept, history).advise().suggest()
            ['y']
        """
        meta = cls()
        try:
            meta.chosen_, meta.judged_ = learned["chosen"], dict(learned["judged"])
            meta.distance_, meta.nearness_ = dict(learned["distance"]), learned["nearness"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"expected what a meta-learner learned, got {learned!r}") from error
        check_option("way to choose", meta.chosen_, meta._ways())
        return meta.update(history, own)

    def advise(self, features: Mapping[str, float] | None = None) -> Advisor:
        """An advisor for a new data set.

        Args:
            features: Its meta-features; those that are missing or unknown are passed over.
        """
        n = len(self.history_.datasets)  # there may be fewer than when it was chosen
        way = self.chosen_ if n > 1 else "portfolio" if n else "random"
        weights = self._distance.prior(features or {})
        versions = self._versions(features or {})
        if versions.sum() > 0.5:  # it must count, and scores must be able to tell against it
            way = way.replace("likeness 0.0", "likeness 0.7")
            way = NEAR if way in ("random", "portfolio") else way
        return self._ways()[way](self.history_, (1 - versions.sum()) * weights + versions)

    def prior(self, features: Mapping[str, float]) -> np.ndarray:
        """What each data set counts for one with these meta-features, of shape (n,), in sum 1."""
        return self._distance.prior(features)

    def nearest(self, features: Mapping[str, float]) -> list[str]:
        """The data sets of the history, from the nearest to one with these meta-features on."""
        weights = self._distance.prior(features) + self._versions(features)
        return [self.history_.datasets[i] for i in np.argsort(-weights, kind="stable")]

    def _versions(self, features: Mapping[str, float]) -> np.ndarray:
        """How likely the new data set is a version of each, of shape (n,)."""
        odds = np.zeros(len(self.history_.datasets))
        own = np.isin(self.history_.datasets, self.own_)
        odds[own] = self._distance.odds(features)[own]
        return odds / (1 + odds.sum())

    def _ways(self) -> dict[str, Callable[..., Advisor]]:
        """What can choose, by name: made from a history and the prior weights of its data sets."""
        return {
            "random": partial(RandomOrder, seed=self.seed),
            "portfolio": lambda history, _: Portfolio(history),
            NEAR: Portfolio,
            **{
                f"{scale} mixture, likeness {likeness}": partial(
                    MixtureAdvisor, likeness=likeness, scale=scale
                )
                for scale in ("identity", "logit")
                for likeness in (0.0, 0.7, 0.85)
            },
        }

    def _judged(self, history: History) -> dict[str, Callable[..., Advisor]]:
        """The ways that fit a history: with meta-features, or of scores that are shares."""
        ways = self._ways()
        if not history.features:
            del ways[NEAR]
        if np.nanmin(history.scores) < 0 or np.nanmax(history.scores) > 1:
            ways = {way: make for way, make in ways.items() if not way.startswith("logit")}
        return ways


class _Distance:
    """A distance between data sets: squared differences of meta-features, each with a weight.

    The weights are such that the mean regrets of near data sets tell those of the one left out
    (K. Q. Weinberger and G. Tesauro: "Metric Learning for Kernel Regression", AISTATS 2007).
    """

    def __init__(
        self, history: History, learned: tuple[Mapping[str, float], float] | None = None
    ) -> None:
        known = [history.features.get(name, {}) for name in history.datasets]
        self._names = sorted({name for features in known for name in features})
        raw = np.array([[f.get(name, np.nan) for name in self._names] for f in known])
        raw = raw.reshape(len(known), len(self._names))
        self._centre = np.zeros(raw.shape[1])
        self._width = np.ones(raw.shape[1])
        for j, column in enumerate(raw.T):
            if (values := column[np.isfinite(column)]).size:
                self._centre[j], self._width[j] = values.mean(), values.std() or 1.0
        self._known = np.isfinite(raw)
        self._x = self._standard(raw)
        weights, self.nearness = np.zeros(len(self._names)), NEARNESS
        if learned is not None:
            weights = np.array([learned[0].get(name, 0.0) for name in self._names])
            self.nearness = learned[1]
        elif len(known) >= FEWEST and self._names:
            weights, self.nearness = _learn_weights(self._x, complete(history.filled_regret))
        self._root = np.sqrt(weights)
        self.weights = dict(zip(self._names, weights.tolist(), strict=True))

    def _standard(self, raw: np.ndarray) -> np.ndarray:
        """Features in standard deviations from the mean; unknown ones are the mean."""
        x = np.clip((raw - self._centre) / self._width, -3, 3)
        return np.where(np.isfinite(x), x, 0.0)

    def prior(self, features: Mapping[str, float]) -> np.ndarray:
        """The weight of each data set for one with these meta-features, of shape (n,)."""
        n = len(self._x)
        x = self._standard(np.array([features.get(name, np.nan) for name in self._names]))
        logs = -(((self._x - x) * self._root) ** 2).sum(1)
        near = np.exp(logs - logs.max(initial=-np.inf)) if n else logs
        return self.nearness * near / near.sum() + (1 - self.nearness) / n if n else logs

    def odds(self, features: Mapping[str, float]) -> np.ndarray:
        """The odds that one with these meta-features is a version of each data set, shape (n,)."""
        raw = np.array([features.get(name, np.nan) for name in self._names])
        both = self._known & np.isfinite(raw)  # (n, f)
        squares = np.where(both, (self._x - self._standard(raw)) ** 2, 0.0).sum(1)
        n_both = both.sum(1)
        logs = SHARPNESS * (ALIKE - squares / np.maximum(n_both, 1))
        return np.where(n_both >= FEWEST_FEATURES, np.exp(logs), 0.0)


def _learn_weights(x: np.ndarray, regret: np.ndarray, steps: int = 100) -> tuple[np.ndarray, float]:
    """Weights (f,) of features (n, f) by which regrets (n, c) of near data sets are near, and the
    share of the prediction that goes by nearness.
    """
    features, targets = torch.tensor(x), torch.tensor(regret)
    n, n_features = features.shape
    total = ((targets - targets.mean(0)) ** 2).sum().clamp_min(1e-12)
    raw = torch.full((n_features,), -1.0, dtype=torch.float64, requires_grad=True)
    raw_share = torch.logit(torch.tensor(NEARNESS, dtype=torch.float64)).requires_grad_()
    optimizer = torch.optim.Adam([raw, raw_share], lr=0.1)
    alone = torch.eye(n, dtype=torch.bool)
    for _ in range(steps):
        weights = nn.functional.softplus(raw)
        scaled = features * weights.sqrt()
        squares = (scaled**2).sum(1)
        distances = squares[:, None] + squares - 2 * scaled @ scaled.T  # (n, n)
        near = (-distances).masked_fill(alone, -torch.inf).softmax(1)
        share = raw_share.sigmoid()
        predicted = share * near @ targets + (1 - share) * targets.mean(0)
        loss = ((predicted - targets) ** 2).sum() / total + PENALTY * weights.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.functional.softplus(raw).detach().numpy(), float(raw_share.sigmoid().detach())


def regret_curve(advisor: Advisor, history: History, dataset: int, n_trials: int) -> np.ndarray:
    """The regret of the best configuration after each trial on a data set whose scores are known.

    Args:
        advisor: Of a history without that data set; it is told raw scores alone.
        history: With it.
        dataset: Its number there.
        n_trials: Trials; with fewer configurations the last regret is repeated.
    """
    scores, regret = history.scores[dataset], history.regret[dataset]
    found = np.ones(n_trials)
    lowest = 1.0
    number = {name: i for i, name in enumerate(history.configs)}
    for trial in range(n_trials):
        if suggested := advisor.suggest():
            i = number[suggested[0]]
            advisor.observe(suggested[0], float(scores[i]))
            lowest = np.fmin(lowest, regret[i])
        found[trial] = lowest
    return found
