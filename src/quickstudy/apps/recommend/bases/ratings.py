"""Base recommenders of ratings in closed form: user bias, matrix factorisation and item kNN.

All learn from training users once, and then predict for any user's ratings, many users at once. The
setting says how strongly a user's own ratings are regularised. The best setting differs by user;
the meta-level finds it.

Shapes: U users, I items, S settings, K factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    compact,
    damped_item_means,
    damped_user_biases,
    entry_mask,
    gram_matrices,
    packed,
    residuals,
    ridge_rows,
    shape_of,
    users_of_entries,
)
from quickstudy.apps.recommend.bases.similarities import nearest_items, weighted_sums

__all__ = ["ItemKNN", "MatrixFactorization", "UserBias"]


class UserBias(Base):
    """The baseline predictor b_ui = m_i + b_u: the mean of the item plus the user's bias, shrunk
    towards 0.

    Koren, "Factorization Meets the Neighborhood", KDD 2008, section 2.1. The setting is the damping
    of the user's bias: how many residuals of 0 are added. An infinite one leaves the mean of the
    item.

    Example:
        >>> from scipy import sparse
        >>> train = sparse.csr_matrix([[5.0, 3.0], [4.0, 2.0]])
        >>> base = UserBias().fit(train, np.ones((2, 1)), np.ones((2, 1)))
        >>> base.predict(sparse.csr_matrix([[5.0, 0.0]]), np.ones((1, 1)))[1].round(2).tolist()
        [[3.99, 3.42]]
    """

    SETTINGS = (np.inf, 5.0)
    STATE = ("item_means",)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.item_means = damped_item_means(ratings, len(items))
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        user_residuals, means = residuals(ratings, self.item_means), self.item_means[items]
        return np.stack(
            [
                means + damped_user_biases(user_residuals, damping)[:, None]  # (U, M)
                for damping in self.SETTINGS
            ]
        )

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        errors = residuals(ratings, self.item_means)
        user, counts = users_of_entries(ratings), np.diff(ratings.indptr)
        sums = np.bincount(user, errors.data, len(counts))[user] - errors.data  # (R,)
        n_others = np.maximum(counts[user] - 1, 1e-9)
        biases = np.stack([sums / (n_others + damping) for damping in self.SETTINGS])
        return self.item_means[ratings.indices] + biases


class MatrixFactorization(Base):
    """Matrix factorisation r_ui = m_i + p_u · q_i by alternating least squares. A new user's
    factors p_u are a ridge regression of the residuals on the item factors q_i (fold-in).

    Zhou et al., "Large-Scale Parallel Collaborative Filtering for the Netflix Prize", AAIM 2008.
    The setting is the ridge penalty of the fold-in.

    Differs from the paper: the penalty is the same for all users and items, where the paper's grows
    with the number of ratings. The first factor of every item starts at 1, so it becomes the user's
    bias.
    """

    SETTINGS = (3.0, 8.0)
    STATE = ("item_means", "item_factors")

    TRAINING_RIDGE = 3.0
    INITIAL_STD = 0.1

    def __init__(self, n_factors: int = 10, n_iterations: int = 12) -> None:
        self.n_factors, self.n_iterations = n_factors, n_iterations

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.item_means = damped_item_means(ratings, len(items))
        by_user = residuals(ratings, self.item_means)  # (U, I)
        by_item = by_user.T.tocsr()  # (I, U)
        rng = np.random.default_rng(seed)
        random = self.INITIAL_STD * rng.normal(size=(len(items), self.n_factors))
        item_factors = np.concatenate([np.ones((len(items), 1)), random], 1)  # (I, 1 + K)
        for _ in range(self.n_iterations):
            user_factors = _ridge_regressions(by_user, item_factors, self.TRAINING_RIDGE)
            item_factors = _ridge_regressions(by_item, user_factors, self.TRAINING_RIDGE)
        self.item_factors = item_factors
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        return self._predicted(self._fold_in(ratings), items)

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """In closed form: the residual of a ridge regression is divided by 1 - its leverage."""
        return self._left_out(ratings, self._fold_in(ratings))

    def predict_all(
        self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
    ) -> tuple[np.ndarray, np.ndarray]:
        folded_in = self._fold_in(ratings)
        return self._predicted(folded_in, items), self._left_out(ratings, folded_in)

    def _fold_in(self, ratings: Matrix) -> list[tuple[np.ndarray, np.ndarray]]:
        """By each setting the factors of the users, (U, 1 + K), and the inverses of the matrices of
        their ridge regressions, (U, 1 + K, 1 + K)."""
        mask, factors = compact(entry_mask(ratings), self.item_factors)
        gram = gram_matrices(mask, packed(factors[:, :, None] * factors[:, None, :]))
        moments = residuals(ratings, self.item_means) @ self.item_factors  # (U, 1 + K)
        eye = np.eye(factors.shape[1])
        inverses = [np.linalg.inv(gram + ridge * eye) for ridge in self.SETTINGS]
        return [(np.einsum("ujk,uk->uj", inverse, moments), inverse) for inverse in inverses]

    def _predicted(
        self, folded_in: Sequence[tuple[np.ndarray, np.ndarray]], items: Items
    ) -> np.ndarray:
        user_factors = np.stack([factors for factors, _ in folded_in])  # (S, U, 1 + K)
        return self.item_means[items] + user_factors @ self.item_factors[items].T

    def _left_out(
        self, ratings: Matrix, folded_in: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        errors, user = residuals(ratings, self.item_means).data, users_of_entries(ratings)
        factors = self.item_factors[ratings.indices]  # (R, 1 + K)
        predicted = []
        for user_factors, inverse in folded_in:
            leverage = np.einsum("rj,rjk,rk->r", factors, inverse[user], factors)
            residual = (errors - (factors * user_factors[user]).sum(1)) / (1 - leverage)
            predicted.append(ratings.data - residual)
        return np.stack(predicted)


class ItemKNN(Base):
    """Item-based k-nearest neighbours, with as many neighbours as `nearest_items` keeps:
    r_ui = m_i + b_u + sum_j s_ij e_uj / (sum_j s_ij + setting) over the items j the user rated.

    Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. The
    similarity s_ij is the correlation of the residuals e, shrunk by the number n_ij of common
    users, n_ij / (n_ij + `SIMILARITY_SHRINKAGE`), as in Koren, "Factorization Meets the
    Neighborhood", KDD 2008, eq. 2; negative ones are 0. The setting is added to the sum of
    similarities, so a user with few neighbours stays near the baseline.
    """

    SETTINGS = (1.0, 3.0)
    STATE = ("item_means", "similarity")

    SIMILARITY_SHRINKAGE = 50.0
    USER_BIAS_DAMPING = 5.0

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.item_means = damped_item_means(ratings, len(items))
        errors, _ = self._baseline_errors(ratings)
        mask, squares = entry_mask(ratings), errors.power(2)
        mask_by_item, errors_by_item, squares_by_item = (
            m.T.tocsr() for m in (mask, errors, squares)
        )

        def similarity(block: slice) -> np.ndarray:
            """Of some items to all, (block, I)."""
            n_common = (mask_by_item[block] @ mask).toarray()
            norms = (squares_by_item[block] @ mask).toarray()  # of an item, over the users of j
            norms *= (mask_by_item[block] @ squares).toarray()
            correlation = (errors_by_item[block] @ errors).toarray() / np.sqrt(norms + 1e-9)
            return np.maximum(correlation * n_common / (n_common + self.SIMILARITY_SHRINKAGE), 0)

        self.similarity = nearest_items(similarity, len(items))
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        errors = residuals(ratings, self.item_means)
        return self._predicted(errors, items, *self._sums(errors, items))

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """In closed form: an item is no neighbour of its own."""
        errors, user = residuals(ratings, self.item_means), users_of_entries(ratings)
        items, column = np.unique(ratings.indices, return_inverse=True)
        return self._left_out(errors, *(sums[user, column] for sums in self._sums(errors, items)))

    def predict_all(
        self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
    ) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(items, np.ndarray):
            return super().predict_all(ratings, users, items)
        errors, user = residuals(ratings, self.item_means), users_of_entries(ratings)
        sums = self._sums(errors, items)
        own = self._left_out(errors, *(of_all[user, ratings.indices] for of_all in sums))
        return self._predicted(errors, items, *sums), own

    def _predicted(
        self, errors: Matrix, items: Items, total: np.ndarray, weighted: np.ndarray
    ) -> np.ndarray:
        """From sums of similarities, and of these weighted by the errors, (U, M) each."""
        bias = damped_user_biases(errors, self.USER_BIAS_DAMPING)[:, None].astype(np.float32)
        baseline = self.item_means[items].astype(np.float32) + bias
        weighted = weighted - bias * total
        return np.stack([baseline + weighted / (total + np.float32(s)) for s in self.SETTINGS])

    def _left_out(self, errors: Matrix, total: np.ndarray, weighted: np.ndarray) -> np.ndarray:
        """From the sums for each entry, (R,)."""
        user, counts = users_of_entries(errors), np.diff(errors.indptr)
        of_user = np.bincount(user, errors.data, len(counts))
        bias = (of_user[user] - errors.data) / (counts[user] - 1 + self.USER_BIAS_DAMPING)  # (R,)
        baseline = self.item_means[errors.indices] + bias
        weighted = weighted - bias * total
        return np.stack([baseline + weighted / (total + s) for s in self.SETTINGS])

    def _sums(self, errors: Matrix, items: Items) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the similarities of each user's items to some items, and of these weighted by
        the errors: (U, M) each."""
        both = sparse.csr_matrix(  # a row of ones and a row of errors for each user
            (
                np.concatenate([np.ones(errors.nnz), errors.data]),
                np.tile(errors.indices, 2),
                np.concatenate([errors.indptr, errors.nnz + errors.indptr[1:]]),
            ),
            shape=(2 * shape_of(errors)[0], shape_of(errors)[1]),
        )
        total, weighted = np.split(weighted_sums(both, self.similarity, items), 2)
        return total, weighted

    def _baseline_errors(self, ratings: Matrix) -> tuple[Matrix, np.ndarray]:
        """Each rating less the baseline m_i + b_u, (U, I); and the biases b_u, (U,)."""
        errors = residuals(ratings, self.item_means)
        user_biases = damped_user_biases(errors, self.USER_BIAS_DAMPING)
        errors.data -= np.repeat(user_biases, np.diff(errors.indptr))
        return errors, user_biases


def _ridge_regressions(targets: Matrix, factors: np.ndarray, ridge: float) -> np.ndarray:
    """For each row of (U, I) targets a ridge regression on the factors (I, K) of its entries:
    (U, K)."""
    return ridge_rows(entry_mask(targets), targets, factors, ridge * np.eye(factors.shape[1]))
