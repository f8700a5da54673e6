"""Bayesian matrix factorisation with attributes, learned by variational EM.

Shapes: U users, I items, R stored ratings, S settings, D attributes of a user, E attributes of an
item, K factors. An item has a bias beside its factors, so its vector has 1 + K values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    damped_item_means,
    entry_mask,
    expanded,
    gram_matrices,
    packed,
    row_blocks,
    users_of_entries,
)

__all__ = ["BayesianMF", "Gaussians", "ridge_regression"]

MAX_LEVERAGE = 0.9
"""Leverages above this are taken as this, so that leave-one-out residuals stay bounded."""


class Gaussians(NamedTuple):
    """A normal distribution for each user: means (U, K) and covariances (U, K, K), or (1, K, K) if
    all have the same."""

    mean: np.ndarray
    covariance: np.ndarray


class BayesianMF(Base):
    """A hierarchical Bayesian factor model. The prior over a user's vector is learned from all
    training users and shifted by the user's attributes; a new user's posterior has a closed form.

    A rating is r_ui = v_i · (1, z_u) + e. The user's vector is z_u ~ N(Aᵀ x_u, S), the item's
    v_i ~ N(Bᵀ g_i, T), with full covariances; e ~ N(0, s²); x and g are attributes. This is the
    regression-based latent factor model of Agarwal & Chen, "Regression-based Latent Factor Models",
    KDD 2009. A, S, B, T and s² come from variational EM, in which both kinds of vectors stay
    distributions, as in Lim & Teh, "Variational Bayesian Approach to Movie Rating Prediction", KDD
    Cup 2007 (without attributes and with diagonal covariances). An item with few ratings is
    predicted from its attributes, and so is a user with none.

    The setting is the strength of the prior: a factor on its precision.

    Args:
        n_factors: Length of z.
        n_iterations: Iterations of EM.

    Attributes:
        user_effects: A, (D, K).
        user_covariance: S, (K, K).
        item_vectors: Posterior means of v, (I, 1 + K); the first value is the item's bias.
        item_covariances: Posterior covariances of v, (I, 1 + K, 1 + K).
        noise_variance: s².
        item_counts: Ratings of each item, (I,).
        n_users: Training users.
    """

    SETTINGS = (0.5, 1.0, 2.0)
    STATE = (
        "user_effects",
        "user_covariance",
        "item_vectors",
        "item_covariances",
        "noise_variance",
        "item_counts",
        "n_users",
    )

    ATTRIBUTE_RIDGE = 20.0
    """Penalty on the effects A and B of attributes."""

    USER_PRIOR_COUNT, ITEM_PRIOR_COUNT = 1.0, 0.01
    """Weight of a unit matrix in the covariances S and T, which keeps them invertible."""

    def __init__(self, n_factors: int = 12, n_iterations: int = 20) -> None:
        self.n_factors, self.n_iterations = n_factors, n_iterations

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        vars(self).pop("_triangles", None)  # cached after an earlier fit
        self.n_users = len(users)
        self.item_counts = np.bincount(ratings.indices, minlength=len(items))
        item_effects, item_covariance = self._initialise(ratings, users, items, seed)
        sum_of_squares = float((ratings.data**2).sum())
        for _ in range(self.n_iterations):
            moments, gram = self._learn_users(ratings, users)
            # E-step for the items, then B and T
            precision = np.linalg.inv(item_covariance)  # T⁻¹
            self.item_covariances = np.linalg.inv(gram / self.noise_variance + precision)
            shift = moments / self.noise_variance + items @ item_effects @ precision
            self.item_vectors = np.einsum("ijk,ik->ij", self.item_covariances, shift)
            item_effects = ridge_regression(self.item_vectors, items, self.ATTRIBUTE_RIDGE)
            deviations = self.item_vectors - items @ item_effects
            item_covariance = _covariance(
                deviations, self.item_covariances.sum(0), self.ITEM_PRIOR_COUNT
            )
            # s²: the expected squared error
            squared_error = sum_of_squares - 2 * (moments * self.item_vectors).sum()
            squared_error += (gram * self._item_second_moments()).sum()
            self.noise_variance = squared_error / ratings.nnz
        return self

    def _learn_users(self, ratings: Matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The E-step for the users, in blocks, then A and S.

        Returns:
            Of each item, the sums of r z and z zᵀ over its users, where z begins with 1:
            (I, 1 + K) and (I, 1 + K, 1 + K).
        """
        k = self.n_factors
        prior_means = users @ self.user_effects
        triangles = packed(self._item_second_moments())
        means, covariance_sum = np.empty((len(users), k)), np.zeros((k, k))
        moments = np.zeros(self.item_vectors.shape)
        gram = np.zeros(triangles.shape)
        for block in row_blocks(len(users)):
            of_users = ratings[block]
            prior = Gaussians(prior_means[block], self.user_covariance[None])
            z = self._posteriors(of_users, prior, (1.0,), triangles)[0]
            means[block] = z.mean
            covariance_sum += z.covariance.sum(0)
            vectors = np.concatenate([np.ones((len(z.mean), 1)), z.mean], 1)  # (block, 1 + K)
            second_moments = vectors[:, :, None] * vectors[:, None, :]
            second_moments[:, 1:, 1:] += z.covariance
            moments += of_users.T @ vectors
            gram += entry_mask(of_users).T @ packed(second_moments)
        self.user_effects = ridge_regression(means, users, self.ATTRIBUTE_RIDGE)
        deviations = means - users @ self.user_effects
        self.user_covariance = _covariance(deviations, covariance_sum, self.USER_PRIOR_COUNT)
        return moments, expanded(gram)

    def _initialise(
        self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Set A, S, s² and the items' vectors; return B, (E, 1 + K), and T, (1 + K, 1 + K)."""
        n_items, k = len(items), self.n_factors
        self.user_effects, self.user_covariance = np.zeros((users.shape[1], k)), np.eye(k)
        item_effects, item_covariance = np.zeros((items.shape[1], k + 1)), 0.1 * np.eye(k + 1)
        item_effects[0, 0], item_covariance[0, 0] = ratings.data.mean(), 0.3
        rng = np.random.default_rng(seed)
        self.item_vectors = 0.15 * rng.normal(size=(n_items, k + 1))
        self.item_vectors[:, 0] = damped_item_means(ratings, n_items)
        self.item_vectors[:, 1] += 0.3  # so that the first factor becomes the user's bias
        self.item_covariances = np.tile(0.1 * item_covariance, (n_items, 1, 1))
        self.noise_variance = 0.6 * float(np.var(ratings.data)) + 1e-6
        return item_effects, item_covariance

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        return self._predicted(self._by_setting(ratings, users), items)

    def predict_all(
        self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
    ) -> tuple[np.ndarray, np.ndarray]:
        by_setting = self._by_setting(ratings, users)
        return self._predicted(by_setting, items), self._left_out(ratings, by_setting)

    def _predicted(self, by_setting: Sequence[Gaussians], items: Items) -> np.ndarray:
        means = np.stack([posterior.mean for posterior in by_setting])  # (S, U, K)
        vectors = np.concatenate([np.ones((*means.shape[:2], 1)), means], 2)
        return vectors @ self.item_vectors[items].T

    def posterior(self, ratings: Matrix, users: np.ndarray) -> Gaussians:
        """The posterior of the users' vectors z at prior strength 1."""
        return self._by_setting(ratings, users, (1.0,))[0]

    def _by_setting(
        self, ratings: Matrix, users: np.ndarray, settings: Sequence[float] | None = None
    ) -> list[Gaussians]:
        """The posterior of the users' vectors z by each setting."""
        prior = self._prior(ratings, users)
        return self._posteriors(ratings, prior, settings or self.SETTINGS, self._triangles)

    def predictive_variance(self, covariance: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        """What the users' posterior covariances (U, K, K) add to the variance of each rating:
        (U, M)."""
        counts = 2 - np.eye(1 + self.n_factors)  # of a value in a symmetric matrix
        padded = np.pad(covariance, ((0, 0), (1, 0), (1, 0))) * counts  # none of the bias
        return packed(padded) @ self._triangles[items].T

    def leave_one_out_residuals(self, ratings: Matrix, posterior: Gaussians) -> np.ndarray:
        """Each stored rating less its prediction from the user's other ratings: (R,).

        In closed form from the posterior by all of them: residual / (1 - leverage), as for any
        linear smoother.
        """
        user = users_of_entries(ratings)
        vectors = self.item_vectors[ratings.indices]  # (R, 1 + K)
        predicted = vectors[:, 0] + (vectors[:, 1:] * posterior.mean[user]).sum(1)
        covariance = posterior.covariance[user]  # (R, K, K)
        variance = np.einsum("nj,njk,nk->n", vectors[:, 1:], covariance, vectors[:, 1:])
        leverage = np.minimum(variance / self.noise_variance, MAX_LEVERAGE)
        return (ratings.data - predicted) / (1 - leverage)

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """In closed form (see `leave_one_out_residuals`)."""
        return self._left_out(ratings, self._by_setting(ratings, users))

    def _left_out(self, ratings: Matrix, by_setting: Sequence[Gaussians]) -> np.ndarray:
        return ratings.data - np.stack(
            [self.leave_one_out_residuals(ratings, posterior) for posterior in by_setting]
        )

    def contributions(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each rating of one user, in the order stored, moves the prediction for some items
        away from the prior's: (R, len(items)). The posterior mean is linear in the ratings."""
        covariance = self.posterior(ratings, users).covariance[0]  # (K, K)
        prior_mean = self._prior(ratings, users).mean[0]  # (K,)
        rated = self.item_vectors[ratings.indices]  # (R, 1 + K)
        innovations = ratings.data - rated[:, 0] - rated[:, 1:] @ prior_mean  # (R,)
        candidates = self.item_vectors[items, 1:]  # (len(items), K)
        gains = rated[:, 1:] @ covariance @ candidates.T / self.noise_variance
        return innovations[:, None] * gains

    def ask(
        self, ratings: Matrix, users: np.ndarray, n: int, skip: Sequence[int] = ()
    ) -> list[int]:
        """Positions of `n` items to ask one user about, the most informative first, without `skip`.

        Greedy experimental design. A rating of item j takes Σ v_j v_jᵀ Σ / (v_jᵀ Σ v_j + s²) from
        the posterior covariance Σ of the user's vector. The gain is what that takes from the
        variances of all items, weighted by how often each is rated, times the share of users who
        could answer.
        """
        covariance = self.posterior(ratings, users).covariance[0]  # (K, K)
        vectors = self.item_vectors[:, 1:]  # (I, K)
        answer_rate = self.item_counts / self.n_users  # (I,)
        item_moments = (answer_rate[:, None] * vectors).T @ vectors  # (K, K)
        available = np.ones(len(vectors), bool)
        available[ratings.indices] = available[list(skip)] = False
        questions: list[int] = []
        for _ in range(min(n, int(available.sum()))):
            projected = vectors @ covariance  # Σ v_j, (I, K)
            variance = (projected * vectors).sum(1) + self.noise_variance  # (I,)
            reduction = np.einsum("ij,jk,ik->i", projected, item_moments, projected)
            gain = answer_rate * reduction / variance
            best = int(np.where(available, gain, -1.0).argmax())
            update = np.outer(projected[best], projected[best])
            covariance = covariance - answer_rate[best] * update / variance[best]
            available[best] = False
            questions.append(best)
        return questions

    @cached_property
    def _triangles(self) -> np.ndarray:
        """E[v_i v_iᵀ] of each item, packed, (I, P)."""
        return packed(self._item_second_moments())

    def _item_second_moments(self) -> np.ndarray:
        """E[v_i v_iᵀ] of each item, (I, 1 + K, 1 + K)."""
        outer_products = self.item_vectors[:, :, None] * self.item_vectors[:, None, :]
        return outer_products + self.item_covariances

    def _prior(self, ratings: Matrix, users: np.ndarray) -> Gaussians:
        """N(Aᵀ x_u, S)."""
        return Gaussians(users @ self.user_effects, self.user_covariance[None])

    def _posteriors(
        self,
        ratings: Matrix,
        prior: Gaussians,
        strengths: Sequence[float],
        triangles: np.ndarray,
    ) -> list[Gaussians]:
        """The posterior of the users' vectors by each strength of the prior, from the second
        moments of the items' vectors, packed."""
        gram = gram_matrices(entry_mask(ratings), triangles)  # (U, 1 + K, 1 + K)
        moments = (ratings @ self.item_vectors)[:, 1:] - gram[:, 1:, 0]  # (U, K), less the biases
        data_precision = gram[:, 1:, 1:] / self.noise_variance  # (U, K, K)
        data_shift = moments / self.noise_variance
        prior_precision = np.linalg.inv(prior.covariance)
        prior_shift = (prior_precision @ prior.mean[:, :, None])[:, :, 0]  # (U, K)
        posteriors = []
        for strength in strengths:
            covariance = np.linalg.inv(data_precision + strength * prior_precision)
            mean = np.einsum("ujk,uk->uj", covariance, data_shift + strength * prior_shift)
            posteriors.append(Gaussians(mean, covariance))
        return posteriors


def ridge_regression(targets: np.ndarray, attributes: np.ndarray, ridge: float) -> np.ndarray:
    """The effects (D, K) of attributes (n, D) on targets (n, K). The first attribute is the
    constant and is not penalised."""
    penalty = np.diag([1e-9, *[ridge] * (attributes.shape[1] - 1)])
    return np.linalg.solve(attributes.T @ attributes + penalty, attributes.T @ targets)


def _covariance(
    deviations: np.ndarray, covariance_sum: np.ndarray, prior_count: float
) -> np.ndarray:
    """The M-step of a covariance, (K, K), from the deviations (n, K) of posterior means and the sum
    of their covariances (K, K)."""
    n, k = deviations.shape
    scatter = deviations.T @ deviations + covariance_sum
    return (scatter + prior_count * np.eye(k)) / (n + 1)
