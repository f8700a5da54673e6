"""Base recommenders of what is chosen next, for clicks: interactions without ratings.

They take the same matrices as those of ratings; what is stored is the place of the choice in the
user's order, 1 for the first, or 1 for all if times are not known. The setting is how fast choices
are forgotten: of two choices, so many apart, the earlier counts half. Scores are log-odds up to
scale and shift, larger for items that are more likely to be chosen next.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.bases.ratings import Base, Matrix, stored, sum_squares

__all__ = [
    "CLICK_BASES",
    "UNORDERED_CLICK_BASES",
    "ChoiceFactors",
    "ChoiceNeighbours",
    "Following",
    "LinearItems",
    "Popularity",
]


class UnorderedPopularity(Base):
    """How many users chose the item."""

    SETTINGS = (np.inf,)
    STATE = ("counts",)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.counts = np.bincount(ratings.indices, minlength=len(items)).astype(float)
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        scores = np.log(self.counts + 0.3)
        return np.broadcast_to(scores, (1, len(ratings.indptr) - 1, len(scores)))


class Popularity(UnorderedPopularity):
    """How many users chose the item, at whatever place or about as far into their history.

    The setting is how many times farther in, or less far, a choice counts 1/e.

    Example:
        >>> seen = sparse.csr_matrix([[1, 2, 0], [2, 1, 0], [1, 2, 0], [0, 1, 2]])
        >>> base = Popularity().fit(seen, np.ones((4, 1)), np.ones((3, 1)))
        >>> scores = base.predict(sparse.csr_matrix((1, 3)), np.ones((1, 1)))[:, 0]
        >>> scores.argmax(1).tolist()  # most have chosen item 1, but few as their first
        [1, 1]
    """

    SETTINGS = (np.inf, 1.4)
    STATE = ("counts", "near")

    AT = np.array([0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160])
    EARLY = 5.0
    """Places are compared as this much farther in: the first few are alike."""

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        super().fit(ratings, users, items, seed)
        n_items = len(items)
        at, place = np.log(self.AT + self.EARLY), np.log(ratings.data - 1 + self.EARLY)
        apart = np.abs(at[:, None] - place) / np.log(self.SETTINGS[1])
        self.near = np.stack([np.bincount(ratings.indices, np.exp(-row), n_items) for row in apart])
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        n = np.diff(ratings.indptr)
        middles = (self.AT[1:] + self.AT[:-1]) / 2
        near = np.log(self.near + 0.3)[np.searchsorted(middles, n)]
        return np.concatenate([super().predict(ratings, users), near[None]])


class Remembering(Base):
    """A base whose scores are of a weighted sum of the user's choices."""

    SETTINGS = (np.inf, 5.0)

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        return np.stack([self.score(_remembered(ratings, s), users) for s in self.SETTINGS])

    @abstractmethod
    def score(self, weights: Matrix, users: np.ndarray) -> np.ndarray:
        """Scores of all items, (n_users, n_items), from how much each choice still counts."""


class ChoiceNeighbours(Remembering):
    """Items chosen by the same users, by the cosine of who chose them, shrunk.

    Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004.
    """

    STATE = ("similarity", "usual")

    SHRINK = 5.0

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        common = _common(ratings)
        counts = np.diag(common).copy()
        cosine = common / np.sqrt(np.outer(counts, counts) + 1e-9)
        self.similarity = _off_diagonal(cosine * common / (common + self.SHRINK))
        self.usual = counts / len(users)
        return self

    def score(self, weights: Matrix, users: np.ndarray) -> np.ndarray:
        return np.log(_average(weights, self.similarity) + 0.02 * self.usual + 0.01)


class Following(Remembering):
    """Items that came after the user's choices in the histories of others, soon after.

    A Markov chain over items, of steps of up to `REACH` choices: Rendle, Freudenthaler &
    Schmidt-Thieme, "Factorizing Personalized Markov Chains", WWW 2010, without the factors.
    """

    STATE = ("similarity", "usual")

    REACH = 10

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        n_items = len(items)
        of = np.repeat(np.arange(len(users)), np.diff(ratings.indptr))
        order = np.lexsort((ratings.data, of))
        of, item = of[order], ratings.indices[order]
        after = sparse.csr_matrix((n_items, n_items))
        for step in range(1, min(self.REACH, len(of) - 1) + 1):
            same = of[step:] == of[:-step]
            pair = item[:-step][same], item[step:][same]
            after += sparse.csr_matrix((np.ones(len(pair[0])), pair), shape=after.shape)
        root = np.sqrt(np.bincount(item, minlength=n_items) + 5)
        self.similarity = _off_diagonal(after.toarray() / np.outer(root, root))
        self.usual = root**2 / len(users)
        return self

    def score(self, weights: Matrix, users: np.ndarray) -> np.ndarray:
        return np.log(_average(weights, self.similarity) + 0.005 * self.usual + 0.002)


class LinearItems(Remembering):
    """Each item a ridge regression on all others and on the users' attributes, in closed form.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019; attributes of users are
    further columns and those of items further rows, as in Jeunen et al., "Closed-Form Models for
    Collaborative Filtering with Side-Information", RecSys 2020.
    """

    STATE = ("similarity", "by_attribute")

    RIDGE = 1000.0
    SIDE = 1.0
    """Weight of attributes beside choices."""

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        n, d = len(items), users.shape[1]
        columns = sparse.hstack([stored(ratings), sparse.csr_matrix(self.SIDE * users)]).tocsr()
        squares = (columns.T @ columns).toarray()
        squares[:n, :n] += self.SIDE * items[:, 1:] @ items[:, 1:].T
        squares[np.diag_indices(n + d)] += self.RIDGE
        inverse = np.linalg.inv(squares)
        weights = -inverse / np.diag(inverse)
        self.similarity = _off_diagonal(weights[:n, :n])
        self.by_attribute = (self.SIDE * weights[n:, :n]).astype(np.float32)
        return self

    def score(self, weights: Matrix, users: np.ndarray) -> np.ndarray:
        n = np.maximum(_sums(weights), 1)[:, None]
        pull = weights.astype(np.float32) @ self.similarity + users @ self.by_attribute
        return 10 * pull / np.sqrt(n)

    def pulls(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each choice of one user, in the order stored, raises the scores of some items,
        (n_choices, n_items)."""
        return self.similarity[ratings.indices][:, items]


class ChoiceFactors(Remembering):
    """Matrix factorisation of all choices, made or not, by alternating least squares; a new user's
    vector is in closed form.

    Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
    """

    STATE = ("factors", "usual")

    N_FACTORS, N_ROUNDS, RIDGE = 20, 12, 10.0
    TRUST = 1.0
    """How much more a choice made counts than one not made."""

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        chosen = stored(ratings)
        turned = chosen.T.tocsr()
        rng = np.random.default_rng(seed)
        self.usual = np.bincount(ratings.indices, minlength=len(items)) / len(users)
        self.factors = 0.1 * rng.normal(size=(len(items), self.N_FACTORS))
        for _ in range(self.N_ROUNDS):
            self.factors = self._solve(turned, self._solve(chosen, self.factors))
        return self

    def score(self, weights: Matrix, users: np.ndarray) -> np.ndarray:
        expected = np.maximum(self._solve(weights, self.factors) @ self.factors.T, 0)
        return np.log(expected + 0.02 * self.usual + 0.02)

    def _solve(self, weights: Matrix, factors: np.ndarray) -> np.ndarray:
        """A vector a row, of least squared error over all columns."""
        squares = factors[:, :, None] * factors[:, None, :]
        every = squares.sum(0) + self.RIDGE * np.eye(factors.shape[1])
        told = (1 + self.TRUST) * np.asarray(weights @ factors)
        return np.linalg.solve(
            every + self.TRUST * sum_squares(weights, squares), told[:, :, None]
        )[:, :, 0]


class UnorderedNeighbours(ChoiceNeighbours):
    """The same of choices whose order is not known: all count alike."""

    SETTINGS = (np.inf,)


class UnorderedLinearItems(LinearItems):
    """The same of choices whose order is not known: all count alike."""

    SETTINGS = (np.inf,)


class UnorderedFactors(ChoiceFactors):
    """The same of choices whose order is not known: all count alike."""

    SETTINGS = (np.inf,)


CLICK_BASES: dict[str, type[Base]] = {
    "popularity": Popularity,
    "neighbours": ChoiceNeighbours,
    "following": Following,
    "linear": LinearItems,
    "factors": ChoiceFactors,
}

UNORDERED_CLICK_BASES: dict[str, type[Base]] = {
    "popularity": UnorderedPopularity,
    "neighbours": UnorderedNeighbours,
    "linear": UnorderedLinearItems,
    "factors": UnorderedFactors,
}
"""Where times are not known, none learns from what came after what."""


def _remembered(ratings: Matrix, half_life: float) -> Matrix:
    """How much each choice counts, the last 1."""
    ago = np.repeat(np.diff(ratings.indptr), np.diff(ratings.indptr)) - ratings.data
    return sparse.csr_matrix(
        (0.5 ** (ago / half_life), ratings.indices, ratings.indptr), shape=ratings.shape
    )


def _common(ratings: Matrix) -> np.ndarray:
    """Users who chose both of two items."""
    chosen = stored(ratings)
    return (chosen.T @ chosen).toarray()


def _off_diagonal(similarity: np.ndarray) -> np.ndarray:
    np.fill_diagonal(similarity, 0)
    return similarity.astype(np.float32)


def _sums(weights: Matrix) -> np.ndarray:
    return np.asarray(weights.sum(1)).ravel()


def _average(weights: Matrix, similarity: np.ndarray) -> np.ndarray:
    """Mean similarity to what was chosen, (n_users, n_items); 0 of nothing."""
    total = weights.astype(np.float32) @ similarity
    return total / np.maximum(_sums(weights), 1e-9)[:, None].astype(np.float32)
