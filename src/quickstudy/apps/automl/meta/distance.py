"""How near data sets are by their meta-features, and how likely one is a version of another.

Shapes: n data sets, f meta-features, c configurations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quickstudy.apps.automl.meta.history import History, impute_regret

__all__ = ["MIN_DATASETS", "Distance"]

MIN_DATASETS = 10
"""Data sets from which on weights and advisors can be chosen by cross-validation."""

PENALTY = 1e-3
"""On the weight of a meta-feature, in shares of the variance of regrets."""

NEARNESS = 0.7
"""The share of a prior that goes by nearness, before it is learned."""

VERSION_DISTANCE, SHARPNESS, MIN_FEATURES = 0.16, 25.0, 10
"""Mean squared difference of meta-features, in standard deviations, at which one data set is as
likely a version of another as not; how fast the odds change; and how many features it takes. Of
public tables, four fifths of the rows without a column are at 0.03 in the median, and the nearest
table of another family at 0.32 (classes) and 0.48 (numbers).
"""


class Distance:
    """A distance between data sets: squared differences of meta-features, each with a weight.

    The weights are learned so that the mean regrets of near data sets predict those of one left out
    (K. Q. Weinberger and G. Tesauro: "Metric Learning for Kernel Regression", AISTATS 2007).

    Args:
        history: Its data sets, with their meta-features.
        learned: Weights by name, and `nearness`, learned before; None to learn them, which takes
            ten data sets.

    Attributes:
        weights: Of the meta-features, by name.
        nearness: The share of a prior that goes by nearness; the rest goes to all alike.
    """

    def __init__(
        self, history: History, learned: tuple[Mapping[str, float], float] | None = None
    ) -> None:
        features = [history.features.get(name, {}) for name in history.datasets]
        self._names = sorted({name for each in features for name in each})
        raw = np.array([[each.get(name, np.nan) for name in self._names] for each in features])
        raw = raw.reshape(len(features), len(self._names))  # (n, f)
        self._mean = np.zeros(raw.shape[1])
        self._deviation = np.ones(raw.shape[1])
        for j, column in enumerate(raw.T):
            if (values := column[np.isfinite(column)]).size:
                self._mean[j], self._deviation[j] = values.mean(), values.std() or 1.0
        self._is_known = np.isfinite(raw)
        self._x = self._standardise(raw)
        weights, self.nearness = np.zeros(len(self._names)), NEARNESS
        if learned is not None:
            weights = np.array([learned[0].get(name, 0.0) for name in self._names])
            self.nearness = learned[1]
        elif len(features) >= MIN_DATASETS and self._names:
            weights, self.nearness = _learn_weights(self._x, impute_regret(history.filled_regret))
        self._root_weights = np.sqrt(weights)
        self.weights = dict(zip(self._names, weights.tolist(), strict=True))

    def _standardise(self, raw: np.ndarray) -> np.ndarray:
        """Features in standard deviations from the mean; unknown ones are the mean."""
        x = np.clip((raw - self._mean) / self._deviation, -3, 3)
        return np.where(np.isfinite(x), x, 0.0)

    def prior(self, features: Mapping[str, float]) -> np.ndarray:
        """The weight of each data set for one with these meta-features, of shape (n,)."""
        n = len(self._x)
        x = self._standardise(np.array([features.get(name, np.nan) for name in self._names]))
        logs = -(((self._x - x) * self._root_weights) ** 2).sum(1)
        near = np.exp(logs - logs.max(initial=-np.inf)) if n else logs
        return self.nearness * near / near.sum() + (1 - self.nearness) / n if n else logs

    def odds(self, features: Mapping[str, float]) -> np.ndarray:
        """The odds that one with these meta-features is a version of each data set, shape (n,)."""
        raw = np.array([features.get(name, np.nan) for name in self._names])
        is_shared = self._is_known & np.isfinite(raw)  # (n, f)
        squares = np.where(is_shared, (self._x - self._standardise(raw)) ** 2, 0.0).sum(1)
        n_shared = is_shared.sum(1)
        logs = SHARPNESS * (VERSION_DISTANCE - squares / np.maximum(n_shared, 1))
        return np.where(n_shared >= MIN_FEATURES, np.exp(logs), 0.0)


def _learn_weights(x: np.ndarray, regret: np.ndarray, steps: int = 100) -> tuple[np.ndarray, float]:
    """Weights (f,) of features (n, f) by which near data sets predict regrets (n, c), and the share
    of the prediction that goes by nearness.
    """
    import torch  # slow to import, and not needed with what was learned before
    from torch.nn.functional import softplus

    features, targets = torch.tensor(x), torch.tensor(regret)
    n, n_features = features.shape
    total = ((targets - targets.mean(0)) ** 2).sum().clamp_min(1e-12)
    raw_weights = torch.full((n_features,), -1.0, dtype=torch.float64, requires_grad=True)
    raw_share = torch.logit(torch.tensor(NEARNESS, dtype=torch.float64)).requires_grad_()
    optimizer = torch.optim.Adam([raw_weights, raw_share], lr=0.1)
    is_same = torch.eye(n, dtype=torch.bool)
    for _ in range(steps):
        weights = softplus(raw_weights)
        scaled = features * weights.sqrt()
        squares = (scaled**2).sum(1)
        distances = squares[:, None] + squares - 2 * scaled @ scaled.T  # (n, n)
        near = (-distances).masked_fill(is_same, -torch.inf).softmax(1)
        share = raw_share.sigmoid()
        predicted = share * near @ targets + (1 - share) * targets.mean(0)  # (n, c)
        loss = ((predicted - targets) ** 2).sum() / total + PENALTY * weights.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return softplus(raw_weights).detach().numpy(), float(raw_share.sigmoid().detach())
