"""Base recommenders of ratings that also use implicit feedback: which items a user rated at all.

Ratings are missing not at random: users choose what to rate, so the choice itself tells about their
taste (Marlin & Zemel, "Collaborative Prediction and Ranking with Non-Random Missing Data", RecSys
2009).

Shapes: U users, I items, D attributes of a user, F implicit factors, K factors of ratings.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from quickstudy.apps.recommend.bases.base import ALL_ITEMS, Items, Matrix, entry_mask
from quickstudy.apps.recommend.bases.bayesian import BayesianMF, Gaussians, ridge_regression
from quickstudy.apps.recommend.bases.clicks import ImplicitALS

__all__ = ["ExpectedGainMF", "ImplicitFeedbackMF"]

MIN_EIGENVALUE = 1e-8
"""Directions in which the items' implicit factors vary less are left out."""

MIN_VARIANCE = 0.01
"""Lower bound of the variances t: their estimates by moments may be negative."""


class ImplicitFeedbackMF(BayesianMF):
    """`BayesianMF` whose prior over a user's vector is also shifted by which items the user rated,
    whatever the ratings.

    Each item has implicit factors f_i from `ImplicitALS`, whitened: mean 0 and covariance 1 over
    all ratings. The factors of the items that a user rated scatter around the user's implicit
    vector: f_i ~ N(w_u, 1) with w_u ~ N(Mᵀ x_u, diag t), where t is estimated by moments. The
    posterior mean of w_u is appended to the attributes x_u, so the effects A hold for users with
    few and with many ratings; the uncertainty about w_u is added to the prior covariance S. The
    implicit factors f_i and the item's popularity are appended to the item's attributes.

    That implicit feedback improves predictions of ratings is due to Koren, "Factorization Meets the
    Neighborhood", KDD 2008 (SVD++, eq. 15).

    Differs from the paper: SVD++ learns a vector y_j for the implicit effect of each item; here the
    effect is linear in a few factors of all implicit feedback.

    Attributes:
        implicit_factors: f, (I, F).
        implicit_effects: M, (D, F).
        implicit_variances: t, (F,).
        usual_uncertainty: The mean posterior variance of w over training users, (F,).

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> ratings = generated(n_users=60, n_items=20).matrix()
        >>> base = ImplicitFeedbackMF(n_factors=3).fit(ratings, np.ones((60, 1)), np.ones((20, 1)))
        >>> base.predict(ratings[:2], np.ones((2, 1))).shape
        (3, 2, 20)
    """

    STATE = (
        *BayesianMF.STATE,
        "implicit_factors",
        "implicit_effects",
        "implicit_variances",
        "usual_uncertainty",
    )

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        item_counts = np.bincount(ratings.indices, minlength=len(items))
        als_factors = ImplicitALS().fit(ratings, users, items, seed).item_factors
        self._fit_implicit_prior(ratings, users, _whitened(als_factors, item_counts))
        implicit = self._implicit_posterior(ratings, users)
        self.usual_uncertainty = implicit.variance.mean(0)
        user_features = np.column_stack([users, implicit.mean])
        item_features = np.column_stack([self.implicit_factors, np.log1p(item_counts)])
        item_features = (item_features - item_features.mean(0)) / (item_features.std(0) + 1e-9)
        return super().fit(ratings, user_features, np.column_stack([items, item_features]), seed)

    def _fit_implicit_prior(
        self, ratings: Matrix, users: np.ndarray, implicit_factors: np.ndarray
    ) -> None:
        """Set f, M and t. t is the variance of the users' mean factors beyond what sampling
        explains (the method of moments); the factors are rotated so that it is diagonal."""
        n_rated = np.diff(ratings.indptr)  # (U,)
        has_ratings = n_rated > 0
        n_rated, users = n_rated[has_ratings], users[has_ratings]
        user_means = (entry_mask(ratings) @ implicit_factors)[has_ratings] / n_rated[:, None]
        effects = ridge_regression(user_means, users, self.ATTRIBUTE_RIDGE)
        deviations = user_means - users @ effects
        sampling_covariance = (1 / n_rated).mean() * np.eye(deviations.shape[1])
        variances, rotation = np.linalg.eigh(
            deviations.T @ deviations / len(users) - sampling_covariance
        )
        self.implicit_variances = np.maximum(variances, MIN_VARIANCE)
        self.implicit_factors = implicit_factors @ rotation
        self.implicit_effects = effects @ rotation

    def _prior(self, ratings: Matrix, users: np.ndarray) -> Gaussians:
        """N(Aᵀ (x_u, E[w_u]), S + A_wᵀ diag(excess variance of w_u) A_w)."""
        implicit = self._implicit_posterior(ratings, users)
        implicit_rows = self.user_effects[users.shape[1] :]  # A_w, (F, K)
        excess = np.maximum(implicit.variance - self.usual_uncertainty, 0)  # (U, F)
        covariance = self.user_covariance + (implicit_rows.T * excess[:, None]) @ implicit_rows
        return Gaussians(np.column_stack([users, implicit.mean]) @ self.user_effects, covariance)

    def _implicit_posterior(self, ratings: Matrix, users: np.ndarray) -> ImplicitPosterior:
        """The posterior of w_u given which items were rated, in units of its prior deviation √t."""
        precision = np.diff(ratings.indptr)[:, None] + 1 / self.implicit_variances  # (U, F)
        sums = entry_mask(ratings) @ self.implicit_factors  # (U, F)
        prior_shift = users @ self.implicit_effects / self.implicit_variances
        mean = (sums + prior_shift) / precision
        return ImplicitPosterior(
            mean / np.sqrt(self.implicit_variances), 1 / (precision * self.implicit_variances)
        )


class ImplicitPosterior(NamedTuple):
    """Independent normal distributions of the implicit vectors w: means and variances, (U, F)."""

    mean: np.ndarray
    variance: np.ndarray


class ExpectedGainMF(ImplicitFeedbackMF):
    """`ImplicitFeedbackMF` of DCG gains instead of ratings: 2^r, with r from 0 for the lowest
    rating to 4 for the highest. It predicts the rating whose gain is expected, so the chance of a
    top rating counts most.

    `fit` and `predict` take ratings. Inherited methods other than these work with gains.

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> ratings = generated(n_users=60, n_items=20).matrix()
        >>> base = ExpectedGainMF(n_factors=3).fit(ratings, np.ones((60, 1)), np.ones((20, 1)))
        >>> base.predict(ratings[:2], np.ones((2, 1))).shape
        (1, 2, 20)
    """

    STATE = (*ImplicitFeedbackMF.STATE, "rating_scale")

    SETTINGS = (1.0,)

    MAX_EXPONENT = 4
    MIN_GAIN = 0.5

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        lowest, highest = ratings.data.min(), ratings.data.max()
        unit = (highest - lowest) / self.MAX_EXPONENT or 1.0
        self.rating_scale = np.array([lowest, unit])
        return super().fit(self._gains(ratings), users, items, seed)

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        return self._ratings(super().predict(self._gains(ratings), users, items))

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        return self._ratings(super().cross_validated(self._gains(ratings), users))

    def predict_all(
        self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
    ) -> tuple[np.ndarray, np.ndarray]:
        predicted, own = super().predict_all(self._gains(ratings), users, items)
        return self._ratings(predicted), self._ratings(own)

    def _ratings(self, expected_gains: np.ndarray) -> np.ndarray:
        lowest, unit = self.rating_scale.tolist()
        return lowest + unit * np.log2(np.maximum(expected_gains, self.MIN_GAIN))

    def _gains(self, ratings: Matrix) -> Matrix:
        lowest, unit = self.rating_scale
        gains = ratings.copy()
        gains.data = 2 ** ((ratings.data - lowest) / unit)
        return gains


def _whitened(factors: np.ndarray, item_counts: np.ndarray) -> np.ndarray:
    """Factors (I, F) rotated and scaled to mean 0 and covariance 1 over all ratings; directions
    without variance are dropped."""
    n_ratings = item_counts.sum()
    centred = factors - item_counts @ factors / n_ratings
    eigenvalues, axes = np.linalg.eigh((centred.T * item_counts) @ centred / n_ratings)
    varies = eigenvalues > MIN_EIGENVALUE
    return centred @ (axes[:, varies] / np.sqrt(eigenvalues[varies]))
