"""Learn from results on other data sets how to choose configurations on a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np

from quickstudy.apps.automl.meta.advisors import Advisor
from quickstudy.apps.automl.meta.distance import MIN_DATASETS, Distance
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.specs import ADVISORS, AdvisorKind
from quickstudy.errors import DataError, UsageError, check_option

__all__ = ["MetaLearner", "regret_curve"]

N_FOLDS, MAX_VALIDATION_DATASETS = 5, 100
"""Folds of the cross-validation, and data sets on which advisors are compared at most."""


class MetaLearner:
    """Chooses configurations by what worked on data sets like the new one.

    It learns a distance between data sets from their meta-features, and, by cross-validation over
    the data sets of its history, which advisor does best: random order, the greedy portfolio, the
    same of near data sets, or a mixture of Gaussians (`MixtureAdvisor`) with several options. Where
    the history does not help, random order or a portfolio wins, which is the guard against negative
    transfer. With fewer than ten data sets, which are too few for cross-validation, it is the
    portfolio; without any, random order.

    Args:
        n_trials: The regret is to be low in the mean over so many trials.
        seed: Of the folds, and of random order.

    Attributes:
        history_: What it learned from.
        chosen_: The name of the advisor that did best, one of `ADVISORS`.
        judged_: The mean regret of each advisor in cross-validation, by name; empty without.
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
        distance = Distance(history)
        self.distance_, self.nearness_ = distance.weights, distance.nearness
        n = len(history.datasets)
        if n < MIN_DATASETS:
            self.chosen_ = (AdvisorKind.PORTFOLIO if n else AdvisorKind.RANDOM).value
        else:
            self.judged_ = self._cross_validate(history)
            self.chosen_ = min(self.judged_, key=self.judged_.__getitem__)
        return self.update(history)

    def _cross_validate(self, history: History) -> dict[str, float]:
        """The mean regret of each advisor on data sets that its history does not have."""
        n = len(history.datasets)
        order = np.random.default_rng(self.seed).permutation(n)[:MAX_VALIDATION_DATASETS]
        specs = {name: spec for name, spec in ADVISORS.items() if spec.suits(history)}
        curves: dict[str, list[np.ndarray]] = {name: [] for name in specs}
        for fold in np.array_split(order, min(N_FOLDS, len(order))):
            names = [history.datasets[i] for i in fold]
            train = history.without(names)
            distance = Distance(train)
            for i, dataset in zip(fold, names, strict=True):
                weights = distance.prior(history.features.get(dataset, {}))
                for name, spec in specs.items():
                    advisor = spec.make(train, weights, self.seed)
                    curves[name].append(regret_curve(advisor, history, int(i), self.n_trials))
        return {name: float(np.mean(regrets)) for name, regrets in curves.items()}

    def update(self, history: History, own: Collection[str] = ()) -> Self:
        """Take another history, grown or cut, with the advisor and distance learned before.

        Args:
            history: It replaces the one before.
            own: Data sets of it that the new one may be a version of, with more rows or a column
                less: one whose meta-features are nearly the same counts above all others.
        """
        self.history_ = history
        self.own_ = [name for name in history.datasets if name in set(own)]
        self._distance = Distance(history, (self.distance_, self.nearness_))
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
        """A meta-learner with what one learned before.

        Args:
            learned: As `learned` gives it.
            history, own: As `update` takes them.

        Raises:
            DataError: If what was learned is of another kind.

        Example:
            >>> history = History(["a", "b"], ["x", "y"], [[0.7, 0.9], [0.6, 0.7]])
            >>> learned = MetaLearner().fit(history).learned()
            >>> MetaLearner.restore(learned, history).advise().suggest()
            ['y']
        """
        meta = cls()
        try:
            meta.chosen_, meta.judged_ = learned["chosen"], dict(learned["judged"])
            meta.distance_, meta.nearness_ = dict(learned["distance"]), learned["nearness"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"expected what a meta-learner learned, got {learned!r}") from error
        check_option("advisor", meta.chosen_, ADVISORS)
        return meta.update(history, own)

    @property
    def can_advise(self) -> bool:
        """Whether it has a history that was of use in cross-validation."""
        return bool(self.history_.datasets) and self.chosen_ != AdvisorKind.RANDOM.value

    def advise(self, features: Mapping[str, float] | None = None) -> Advisor:
        """An advisor for a new data set.

        Args:
            features: Its meta-features; those that are missing or unknown are passed over.
        """
        features = features or {}
        spec, n = ADVISORS[self.chosen_], len(self.history_.datasets)
        if n < 2:  # there may be fewer than when it was chosen
            spec = ADVISORS[AdvisorKind.PORTFOLIO if n else AdvisorKind.RANDOM]
        versions = self._versions(features)
        if versions.sum() > 0.5:
            spec = spec.trusting_weights()
        weights = (1 - versions.sum()) * self._distance.prior(features) + versions
        return spec.make(self.history_, weights, self.seed)

    def prior(self, features: Mapping[str, float]) -> np.ndarray:
        """The weight of each data set for one with these meta-features, of shape (n,), in sum 1."""
        return self._distance.prior(features)

    def nearest(self, features: Mapping[str, float]) -> list[str]:
        """The data sets of the history, from the nearest to one with these meta-features on."""
        weights = self._distance.prior(features) + self._versions(features)
        return [self.history_.datasets[i] for i in np.argsort(-weights, kind="stable")]

    def _versions(self, features: Mapping[str, float]) -> np.ndarray:
        """How likely the new data set is a version of each, of shape (n,)."""
        odds = np.zeros(len(self.history_.datasets))
        is_own = np.isin(self.history_.datasets, self.own_)
        odds[is_own] = self._distance.odds(features)[is_own]
        return odds / (1 + odds.sum())


def regret_curve(advisor: Advisor, history: History, dataset: int, n_trials: int) -> np.ndarray:
    """The regret of the best configuration after each trial, of shape (n_trials,).

    Args:
        advisor: Of a history without the data set; it observes scores alone.
        history: One that has the data set.
        dataset: Its number there.
        n_trials: Trials; with fewer configurations the last regret is repeated.
    """
    scores, regret = history.scores[dataset], history.regret[dataset]
    curve = np.ones(n_trials)
    lowest = 1.0
    numbers = {name: i for i, name in enumerate(history.configs)}
    for trial in range(n_trials):
        if suggested := advisor.suggest():
            i = numbers[suggested[0]]
            advisor.observe(suggested[0], float(scores[i]))
            lowest = np.fmin(lowest, regret[i])
        curve[trial] = lowest
    return curve
