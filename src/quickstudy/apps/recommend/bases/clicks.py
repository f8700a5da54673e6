"""Base recommenders of what is chosen next, for clicks: interactions without ratings.

They take the same matrices as the bases of ratings. A stored entry is a click; its value is the
position in the user's sequence, 1 for the first, or 1 for all clicks if times are not known. The
setting of most is the half-life of clicks, in clicks: one that came a half-life earlier counts
half. Scores are log-odds up to scale and shift: the higher, the likelier an item is chosen next.

Shapes: U users, I items, R stored clicks, S settings, D attributes of a user, K factors, P
positions.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Self

import numpy as np
from scipy import linalg, sparse

from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    entry_mask,
    ridge_rows,
    shape_of,
    users_of_entries,
)
from quickstudy.apps.recommend.bases.similarities import (
    Similarity,
    nearest_items,
    weighted_sums,
    without_diagonal,
)
from quickstudy.apps.recommend.memory import MAX_EASE_ITEMS
from quickstudy.errors import DataError

__all__ = [
    "CLICK_BASES",
    "EASE",
    "UNORDERED_CLICK_BASES",
    "ClickKNN",
    "ImplicitALS",
    "MarkovChain",
    "Popularity",
    "UnorderedPopularity",
]

ITEMS_PER_BLOCK = 500
"""Rows of a matrix of all pairs of items that are computed at once."""

COUNT_SMOOTHING = 0.3
"""Clicks that are added to each item's count, as log 0 is not finite."""


class UnorderedPopularity(Base):
    """How many users clicked the item."""

    SETTINGS = (np.inf,)
    STATE = ("counts",)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.counts = np.bincount(ratings.indices, minlength=len(items)).astype(float)
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        scores = np.log(self.counts[items] + COUNT_SMOOTHING)
        return np.broadcast_to(scores, (1, len(ratings.indptr) - 1, len(scores)))


class Popularity(UnorderedPopularity):
    """How many users clicked the item, anywhere in their sequence or about as far in as the user is
    now.

    The setting is the width of the exponential kernel over positions: clicks this many times
    farther in, or less far, have the weight 1/e. An infinite one ignores positions.

    Example:
        >>> clicks = sparse.csr_matrix([[1, 2, 0], [2, 1, 0], [1, 2, 0], [0, 1, 2]])
        >>> base = Popularity().fit(clicks, np.ones((4, 1)), np.ones((3, 1)))
        >>> scores = base.predict(sparse.csr_matrix((1, 3)), np.ones((1, 1)))[:, 0]
        >>> scores.argmax(1).tolist()  # most have chosen item 1, but few as their first
        [1, 1]
    """

    SETTINGS = (np.inf, 1.4)
    STATE = ("counts", "counts_by_position")

    POSITIONS = np.array([0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160])
    """Clicks before, for which counts are kept; others take the nearest."""

    POSITION_OFFSET = 5.0
    """Added to positions before their logarithms are compared: the first few are alike."""

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        super().fit(ratings, users, items, seed)
        centres = np.log(self.POSITIONS + self.POSITION_OFFSET)  # (P,)
        position = np.log(ratings.data - 1 + self.POSITION_OFFSET)  # (R,)
        distances = np.abs(centres[:, None] - position) / np.log(self.SETTINGS[1])  # (P, R)
        self.counts_by_position = np.stack(
            [np.bincount(ratings.indices, np.exp(-row), len(items)) for row in distances]
        )  # (P, I)
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        n_clicks = np.diff(ratings.indptr)  # (U,)
        boundaries = (self.POSITIONS[1:] + self.POSITIONS[:-1]) / 2
        positions, of_user = np.unique(np.searchsorted(boundaries, n_clicks), return_inverse=True)
        counts = self.counts_by_position[positions][:, items]
        scores = np.log(counts + COUNT_SMOOTHING)[of_user]  # (U, M)
        return np.concatenate([super().predict(ratings, users, items), scores[None]])


class DecayedClicks(Base):
    """A base whose scores are computed from the user's clicks with exponentially decaying
    weights."""

    SETTINGS = (np.inf, 5.0)

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        return np.stack(
            [self.score(_decayed(ratings, half_life), users, items) for half_life in self.SETTINGS]
        )

    @abstractmethod
    def score(self, weights: Matrix, users: np.ndarray, items: Items) -> np.ndarray:
        """Scores of items, (U, M), float32, from the weight of each click, (U, I)."""


class ClickKNN(DecayedClicks):
    """Item-based k-nearest neighbours with all items as neighbours: the mean similarity to the
    user's clicks. The similarity is the cosine of who clicked both items, shrunk.

    Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004.
    """

    STATE = ("similarity", "popularity")

    SIMILARITY_SHRINKAGE = 5.0
    POPULARITY_WEIGHT, SMOOTHING = 0.02, 0.01

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        mask = entry_mask(ratings).astype(np.float32)
        by_item = mask.T.tocsr()
        counts = np.bincount(ratings.indices, minlength=len(items))

        def similarity(block: slice) -> np.ndarray:
            """Of some items to all, (block, I)."""
            n_common = (by_item[block] @ mask).toarray()
            cosine = n_common / np.sqrt(np.outer(counts[block], counts) + 1e-9)
            return cosine * n_common / (n_common + self.SIMILARITY_SHRINKAGE)

        self.similarity = nearest_items(similarity, len(items))
        self.popularity = counts / len(users)
        return self

    def score(self, weights: Matrix, users: np.ndarray, items: Items) -> np.ndarray:
        similarity = _weighted_mean(weights, self.similarity, items)
        usual = self.POPULARITY_WEIGHT * self.popularity[items] + self.SMOOTHING
        return np.log(similarity + usual.astype(np.float32))


class MarkovChain(DecayedClicks):
    """A Markov chain over items of order up to `MAX_LAG`: how often an item came within so many
    clicks after those of the user, in the sequences of others.

    Rendle, Freudenthaler & Schmidt-Thieme, "Factorizing Personalized Markov Chains for Next-Basket
    Recommendation", WWW 2010.

    Differs from the paper: the transitions are counted, not factorised, and not personal; they are
    normalised by the square roots of both items' counts.
    """

    STATE = ("similarity", "popularity")

    MAX_LAG = 10
    ITEM_COUNT_SMOOTHING = 5
    POPULARITY_WEIGHT, SMOOTHING = 0.005, 0.002

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        n_items = len(items)
        user = users_of_entries(ratings)
        order = np.lexsort((ratings.data, user))  # by user, then by position
        user, item = user[order], ratings.indices[order]
        transitions = sparse.csr_matrix((n_items, n_items), dtype=np.float32)  # row to column
        for lag in range(1, min(self.MAX_LAG, len(user) - 1) + 1):
            same_user = user[lag:] == user[:-lag]
            pairs = item[:-lag][same_user], item[lag:][same_user]
            ones = np.ones(len(pairs[0]), np.float32)
            transitions += sparse.csr_matrix((ones, pairs), shape=transitions.shape)
        root = np.sqrt(np.bincount(item, minlength=n_items) + self.ITEM_COUNT_SMOOTHING)
        scale = sparse.diags(1 / root)
        self.similarity = without_diagonal(sparse.csr_matrix(scale @ transitions @ scale))
        self.popularity = root**2 / len(users)
        return self

    def score(self, weights: Matrix, users: np.ndarray, items: Items) -> np.ndarray:
        similarity = _weighted_mean(weights, self.similarity, items)
        usual = self.POPULARITY_WEIGHT * self.popularity[items] + self.SMOOTHING
        return np.log(similarity + usual.astype(np.float32))


class EASE(DecayedClicks):
    """EASE^R with side information: each item is a ridge regression on all other items and on the
    users' attributes. With the Gram matrix G, P = (G + λ)⁻¹ and the weights B_ij = -P_ij / P_jj.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8. Attributes of
    users are further columns and attributes of items further rows, as in Jeunen, Van Balen &
    Goethals, "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020.

    Differs from the papers: scores are divided by the square root of the number of clicks, so that
    they are comparable between users; of more than `MAX_ITEMS` items, the most popular take part
    and all others have the score 0.
    """

    STATE = ("kept", "item_weights", "attribute_weights")

    RIDGE = 1000.0
    SIDE_INFORMATION_WEIGHT = 1.0
    SCORE_SCALE = 10
    MAX_ITEMS = MAX_EASE_ITEMS

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        counts = np.bincount(ratings.indices, minlength=len(items))
        self.kept = np.sort(np.argsort(-counts, kind="stable")[: self.MAX_ITEMS])
        n, attributes = len(self.kept), items[self.kept, 1:]
        side = sparse.csr_matrix(self.SIDE_INFORMATION_WEIGHT * users)
        x = sparse.hstack([self._of_kept(entry_mask(ratings)), side]).tocsr()  # (U, n + D)
        n_columns = shape_of(x)[1]
        gram = np.empty((n_columns, n_columns))
        by_item = x.T.tocsr()
        for start in range(0, len(gram), ITEMS_PER_BLOCK):
            block = slice(start, start + ITEMS_PER_BLOCK)
            gram[block] = (by_item[block] @ x).toarray()
        gram[:n, :n] += self.SIDE_INFORMATION_WEIGHT * attributes @ attributes.T
        gram[np.diag_indices(len(gram))] += self.RIDGE
        p = _inverse(gram)
        diagonal = p.diagonal().copy()
        self.item_weights = np.divide(p[:n, :n], -diagonal[:n], dtype=np.float32)
        np.fill_diagonal(self.item_weights, 0)
        of_attributes = -p[n:, :n] / diagonal[:n]
        self.attribute_weights = (self.SIDE_INFORMATION_WEIGHT * of_attributes).astype(np.float32)
        return self

    def score(self, weights: Matrix, users: np.ndarray, items: Items) -> np.ndarray:
        n_items = shape_of(weights)[1]
        scale = self.SCORE_SCALE / np.sqrt(np.maximum(_row_sums(weights), 1))  # (U,)
        of_asked = items  # positions in the list of those that take part
        if len(self.kept) < n_items:
            positions = self._positions(n_items)[items]
            of_asked = positions[positions >= 0]
        scaled = sparse.csr_matrix(sparse.diags(scale) @ self._of_kept(weights))
        of_items = weighted_sums(scaled, self.item_weights, of_asked)
        of_users = (scale[:, None] * users).astype(np.float32)
        of_kept = of_items + of_users @ self.attribute_weights[:, of_asked]
        if len(self.kept) == n_items:
            return of_kept
        scores = np.zeros((len(users), len(positions)), np.float32)
        scores[:, positions >= 0] = of_kept
        return scores

    def contributions(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each click of one user, in the order stored, raises the scores of some items:
        (R, len(items))."""
        position = self._positions(shape_of(ratings)[1])
        rows, columns = position[ratings.indices][:, None], position[items][None]
        return np.where((rows >= 0) & (columns >= 0), self.item_weights[rows, columns], 0)

    def _positions(self, n_items: int) -> np.ndarray:
        """Of all items among those that take part, (I,); -1 for the others."""
        positions = np.full(n_items, -1)
        positions[self.kept] = np.arange(len(self.kept))
        return positions

    def _of_kept(self, matrix: Matrix) -> Matrix:
        return matrix if len(self.kept) == shape_of(matrix)[1] else matrix[:, self.kept]


class ImplicitALS(DecayedClicks):
    """Weighted matrix factorisation of implicit feedback by alternating least squares. A new user's
    factors have a closed form (fold-in).

    Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008: each
    pair has the preference p_ui = 1 if clicked, else 0, with the confidence c_ui = 1 + α p_ui.

    Differs from the paper: α is 1, as each item is clicked once, and decays with the half-life.
    """

    STATE = ("item_factors", "popularity")

    N_FACTORS, N_ITERATIONS, RIDGE = 20, 12, 10.0
    ALPHA = 1.0
    """How much more a click counts than no click."""

    POPULARITY_WEIGHT, SMOOTHING = 0.02, 0.02

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        by_user = entry_mask(ratings)  # (U, I)
        by_item = by_user.T.tocsr()  # (I, U)
        rng = np.random.default_rng(seed)
        self.popularity = np.bincount(ratings.indices, minlength=len(items)) / len(users)
        self.item_factors = 0.1 * rng.normal(size=(len(items), self.N_FACTORS))
        for _ in range(self.N_ITERATIONS):
            penalty = self._penalty(self.item_factors)
            user_factors = self._least_squares(by_user, self.item_factors, penalty)
            penalty = self._penalty(user_factors)
            self.item_factors = self._least_squares(by_item, user_factors, penalty)
        vars(self).pop("_penalty_of_items", None)  # cached after an earlier fit
        return self

    def score(self, weights: Matrix, users: np.ndarray, items: Items) -> np.ndarray:
        user_factors = self._least_squares(weights, self.item_factors, self._penalty_of_items)
        preferences = np.maximum(user_factors @ self.item_factors[items].T, 0)
        usual = self.POPULARITY_WEIGHT * self.popularity[items] + self.SMOOTHING
        return np.log(preferences + usual.astype(np.float32))

    @cached_property
    def _penalty_of_items(self) -> np.ndarray:
        return self._penalty(self.item_factors)

    def _penalty(self, factors: np.ndarray) -> np.ndarray:
        """Yᵀ Y + λ, (K, K), with Y the factors."""
        return factors.T @ factors + self.RIDGE * np.eye(factors.shape[1])

    def _least_squares(
        self, weights: Matrix, factors: np.ndarray, penalty: np.ndarray
    ) -> np.ndarray:
        """Eq. 4 of the paper for each row: (Yᵀ C Y + λ)⁻¹ Yᵀ C p, (U, K)."""
        return ridge_rows(self.ALPHA * weights, (1 + self.ALPHA) * weights, factors, penalty)


class UnorderedClickKNN(ClickKNN):
    """`ClickKNN` of clicks whose order is not known: all have the same weight."""

    SETTINGS = (np.inf,)


class UnorderedEASE(EASE):
    """`EASE` of clicks whose order is not known: all have the same weight."""

    SETTINGS = (np.inf,)


class UnorderedImplicitALS(ImplicitALS):
    """`ImplicitALS` of clicks whose order is not known: all have the same weight."""

    SETTINGS = (np.inf,)


CLICK_BASES: dict[str, type[Base]] = {
    "popularity": Popularity,
    "neighbours": ClickKNN,
    "markov_chain": MarkovChain,
    "ease": EASE,
    "factors": ImplicitALS,
}

UNORDERED_CLICK_BASES: dict[str, type[Base]] = {
    "popularity": UnorderedPopularity,
    "neighbours": UnorderedClickKNN,
    "ease": UnorderedEASE,
    "factors": UnorderedImplicitALS,
}
"""For clicks without times: none of them uses the order of clicks."""


def _decayed(clicks: Matrix, half_life: float) -> Matrix:
    """The weight of each click: 1 for a user's last, half for one a half-life earlier, (U, I)."""
    n_clicks = np.diff(clicks.indptr)
    age = np.repeat(n_clicks, n_clicks) - clicks.data
    return sparse.csr_matrix(
        (0.5 ** (age / half_life), clicks.indices, clicks.indptr), shape=clicks.shape
    )


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a positive definite matrix, by Cholesky and in its memory."""
    potrf, potri = linalg.get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, failed = potrf(matrix.T, overwrite_a=True)  # upper triangle
    inverse, failed_too = potri(factor, overwrite_c=True)
    if failed or failed_too:
        raise DataError("expected finite clicks and attributes, got some without a regression")
    for start in range(0, len(inverse), ITEMS_PER_BLOCK):
        block = slice(start, start + ITEMS_PER_BLOCK)
        inverse[block, :start] = inverse[:start, block].T
        corner = np.triu(inverse[block, block])
        inverse[block, block] = corner + np.triu(corner, 1).T
    return inverse


def _row_sums(weights: Matrix) -> np.ndarray:
    return np.asarray(weights.sum(1)).ravel()


def _weighted_mean(weights: Matrix, similarity: Similarity, items: Items) -> np.ndarray:
    """The mean similarity of items to the user's clicks, (U, M); 0 for users without clicks."""
    total = weighted_sums(weights, similarity, items)
    return total / np.maximum(_row_sums(weights), 1e-9)[:, None].astype(np.float32)
