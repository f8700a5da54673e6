"""Another recommender as a base: a function from histories to scores, such as a model of implicit
or LensKit.

Shapes: U users, I items, S settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    damped_item_means,
    shape_of,
    users_of_entries,
)
from quickstudy.apps.recommend.memory import chunks
from quickstudy.errors import DataError

__all__ = ["ExternalClicks", "ExternalRatings", "Scorer"]

Scorer = Callable[[Matrix], np.ndarray]
"""Scores of all items, (U, I), from the histories of users, (U, I): ratings, or positions of clicks
from 1 (1 for all if times are not known). The columns are the items of the training data, in their
order. NaN where it has no score."""


class _External(Base):
    @staticmethod
    def scorer(histories: Matrix) -> np.ndarray:
        """See `Scorer`; `of` sets it."""
        raise NotImplementedError

    @classmethod
    def of(cls, scorer: Scorer) -> type[_External]:
        """The base of one scorer."""
        return type(cls.__name__, (cls,), {"scorer": staticmethod(scorer)})

    def _scores(self, ratings: Matrix) -> np.ndarray:
        scores = np.asarray(self.scorer(ratings), float)
        expected = shape_of(ratings)
        if scores.shape != expected:
            raise DataError(
                f"expected scores of all items for each history, {expected}, got {scores.shape}"
            )
        return scores


class ExternalRatings(_External):
    """Scores of another recommender, on any scale, as ratings.

    With s the score and m the mean of the item, it predicts m + (a + b s + c m) n / (n + setting).
    a, b and c are a least-squares regression of r - m on one half of each training user's ratings,
    with s from the other half. n is the number of ratings of the item: the setting is how many of
    them it takes until half of the score counts. Where there is no score, it predicts m.

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> ratings = generated(n_users=60, n_items=20).matrix()
        >>> base = ExternalRatings.of(lambda histories: np.ones(histories.shape))()
        >>> base.fit(ratings, np.ones((60, 1)), np.ones((20, 1))).predict(ratings, None).shape
        (2, 60, 20)
    """

    SETTINGS = (0.0, 20.0)
    STATE = ("item_means", "item_counts", "effects")

    RIDGE = 1.0

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.item_means = damped_item_means(ratings, len(items))
        self.item_counts = np.bincount(ratings.indices, minlength=len(items))
        in_history = np.random.default_rng(seed).random(ratings.nnz) < 0.5
        user = users_of_entries(ratings)
        moments, gram = np.zeros(3), self.RIDGE * np.eye(3)
        for chunk in chunks(len(users), len(items)):
            of_chunk = (user >= chunk.start) & (user < chunk.stop)
            known, held_out = of_chunk & in_history, of_chunk & ~in_history
            history = sparse.csr_matrix(
                (ratings.data[known], (user[known] - chunk.start, ratings.indices[known])),
                shape=(chunk.stop - chunk.start, len(items)),
            )
            item = ratings.indices[held_out]
            scores = self._scores(history)[user[held_out] - chunk.start, item]
            has_score = np.isfinite(scores)
            x = self._regressors(scores, self.item_means[item])[has_score]
            gram += x.T @ x
            moments += x.T @ (ratings.data[held_out] - self.item_means[item])[has_score]
        self.effects = np.linalg.solve(gram, moments)
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        means, counts = self.item_means[items], self.item_counts[items] + 1e-9  # 0 / 0 is 1
        x = self._regressors(self._scores(ratings)[:, items], means)  # (U, M, 3)
        deviations = np.nan_to_num(x @ self.effects, nan=0.0, posinf=0.0, neginf=0.0)
        reliability = [counts / (counts + setting) for setting in self.SETTINGS]
        return means + np.stack([deviations * r for r in reliability])

    @staticmethod
    def _regressors(scores: np.ndarray, item_means: np.ndarray) -> np.ndarray:
        """1, s and m: (..., 3)."""
        return np.stack(np.broadcast_arrays(1.0, scores, item_means), -1)


class ExternalClicks(_External):
    """Scores of another recommender, on any scale, as log-odds of clicks: -log(1 + rank), with the
    rank from 0. Items without a score come last.

    Example:
        >>> base = ExternalClicks.of(lambda histories: np.array([[0.2, np.nan, 7.0]]))()
        >>> log_odds = base.predict(sparse.csr_matrix((1, 3)), np.ones((1, 1)))
        >>> log_odds[0, 0].argsort().tolist()
        [1, 0, 2]
    """

    SETTINGS = (np.inf,)
    STATE = ()

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        scores = np.nan_to_num(self._scores(ratings), nan=-np.inf)
        ranks = np.argsort(np.argsort(-scores, 1, kind="stable"), 1)
        return -np.log1p(ranks[None, :, items])
