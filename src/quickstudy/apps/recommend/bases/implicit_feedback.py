"""Bases of ratings to which it matters as well what a user chose to rate."""

from __future__ import annotations

from typing import Self

import numpy as np

from quickstudy.apps.recommend.bases.clicks import ChoiceFactors
from quickstudy.apps.recommend.bases.ratings import BayesUser, Matrix, regress, stored

__all__ = ["BayesChooser", "BayesGains"]


class BayesChooser(BayesUser):
    """`BayesUser`, whose prior is shifted by which items the user rated too, well or not.

    Each item has a vector f_i by `ChoiceFactors`, with mean 0 and covariance 1 over all ratings. A
    user's choices are around a centre: f_i ~ N(w_u, 1) and w_u ~ N(M x_u, diag t), with t by
    moments. The posterior mean of w_u stands beside the attributes x_u, so the same effect A holds
    for few choices and for many; what is unsure of w_u is added to the prior's covariance. The
    vectors f_i stand beside the items' attributes.

    That ratings tell more with what is rated: Koren, "Factorization Meets the Neighborhood", KDD
    2008 (SVD++). Differs from the paper: there the effects of choices are learned one an item, here
    from the few factors of all choices.

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> seen = generated(n_users=60, n_items=20).matrix()
        >>> base = BayesChooser(n_factors=3).fit(seen, np.ones((60, 1)), np.ones((20, 1)))
        >>> base.predict(seen[:2], np.ones((2, 1))).shape
        (3, 2, 20)
    """

    STATE = (*BayesUser.STATE, "places", "usual", "widths", "unsure")

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        n, counts = np.diff(ratings.indptr), np.bincount(ratings.indices, minlength=len(items))
        vectors = ChoiceFactors().fit(ratings, users, items, seed).factors
        apart = vectors - counts @ vectors / counts.sum()
        widths, axes = np.linalg.eigh((apart.T * counts) @ apart / counts.sum())
        some = widths > 1e-8  # few data have fewer factors
        places, able = apart @ (axes[:, some] / np.sqrt(widths[some])), n > 0
        centres = (stored(ratings) @ places)[able] / n[able, None]
        usual = regress(centres, users[able], self.RIDGE)
        left = centres - users[able] @ usual
        within = (1 / n[able]).mean() * np.eye(left.shape[1])
        widths, axes = np.linalg.eigh(left.T @ left / able.sum() - within)
        self.widths = np.maximum(widths, 0.01)
        self.places, self.usual = places @ axes, usual @ axes
        w, doubt = self._centres(ratings, users)
        self.unsure = doubt.mean(0)
        sides = np.column_stack([self.places, np.log1p(counts)])
        sides = (sides - sides.mean(0)) / (sides.std(0) + 1e-9)
        known = np.column_stack([users, w]), np.column_stack([items, sides])
        return super().fit(ratings, *known, seed)

    def _prior(self, ratings: Matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, doubt = self._centres(ratings, users)
        effect = self.shift[users.shape[1] :]
        more = np.maximum(doubt - self.unsure, 0)  # than of the training users
        spread = self.prior + (effect.T * more[:, None]) @ effect
        return np.column_stack([users, w]) @ self.shift, spread

    def _centres(self, ratings: Matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and variance of w, in units of its deviation, (n_users, d)."""
        weight = np.diff(ratings.indptr)[:, None] + 1 / self.widths
        w = (stored(ratings) @ self.places + users @ self.usual / self.widths) / weight
        return w / np.sqrt(self.widths), 1 / (weight * self.widths)


class BayesGains(BayesChooser):
    """`BayesChooser` of gains instead of ratings: 2^r, with r from 0 for the lowest to 4 for the
    highest. What comes out is the rating whose gain is expected, so chances of the best ratings
    count most. `fit` and `predict` take ratings; what is inherited beside them speaks of gains.

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> seen = generated(n_users=60, n_items=20).matrix()
        >>> base = BayesGains(n_factors=3).fit(seen, np.ones((60, 1)), np.ones((20, 1)))
        >>> base.predict(seen[:2], np.ones((2, 1))).shape
        (1, 2, 20)
    """

    STATE = (*BayesChooser.STATE, "scale")

    SETTINGS = (1.0,)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        low, high = ratings.data.min(), ratings.data.max()
        self.scale = np.array([low, (high - low) / 4 or 1.0])
        return super().fit(self._gains(ratings), users, items, seed)

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        gains = super().predict(self._gains(ratings), users)
        low, unit = self.scale
        return low + unit * np.log2(np.maximum(gains, 0.5))

    def _gains(self, ratings: Matrix) -> Matrix:
        gains = ratings.copy()
        gains.data = 2 ** ((ratings.data - self.scale[0]) / self.scale[1])
        return gains
