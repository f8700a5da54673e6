"""Base recommenders: from a few ratings of a user to a rating of every item.

All learn from training users once, and then take any user's ratings, in closed form and for many
users at once. A setting says how far a user's own ratings count; which is best differs by user, and
to know it is the work of the level above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

__all__ = ["BASES", "Base", "BayesUser", "FactorModel", "ItemNeighbours", "UserBias"]

Matrix = sparse.csr_matrix
"""Users by items; what is stored was rated, also where the rating is 0."""

PRIOR = 5.0
"""Ratings that the mean of all counts as in the mean of an item."""


class Base(ABC):
    """A base recommender.

    `SETTINGS` are the values of the one setting that the level above chooses among, and `STATE`
    the names of the arrays that `fit` learns.
    """

    SETTINGS: ClassVar[tuple[float, ...]]
    STATE: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        """Learn from training users.

        Args:
            ratings: Users by items.
            users, items: Their attributes, (n_users, d) and (n_items, e); the first is 1.
        """

    @abstractmethod
    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """Expected ratings of all items by other users, given some of them, by each setting:
        (n_settings, n_users, n_items)."""

    def pulls(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each rating of one user, in the order stored, moves what is expected of some
        items, (n_ratings, n_items). A base that gives reasons says so."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """What was learned."""
        return {name: np.asarray(getattr(self, name)) for name in self.STATE}

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Take up what `state` gave."""
        for name in self.STATE:
            setattr(self, name, state[name])
        return self


class UserBias(Base):
    """The mean of the item, and how far above the means the user rates, shrunk towards 0.

    The setting is how many ratings the 0 counts as; infinitely many leave the mean of the item.

    Example:
        >>> seen = sparse.csr_matrix([[5.0, 3.0], [4.0, 2.0]])
        >>> base = UserBias().fit(seen, np.ones((2, 1)), np.ones((2, 1)))
        >>> base.predict(sparse.csr_matrix([[5.0, 0.0]]), np.ones((1, 1)))[1].round(2).tolist()
        [[3.99, 3.42]]
    """

    SETTINGS = (np.inf, 5.0)
    STATE = ("means",)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.means = item_means(ratings, len(items))
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        left = residuals(ratings, self.means)
        return np.stack([self.means + _biases(left, s)[:, None] for s in self.SETTINGS])


class FactorModel(Base):
    """Matrix factorisation by alternating least squares; a new user's vector is a ridge regression
    of the ratings on the items' vectors.

    Zhou et al., "Large-Scale Parallel Collaborative Filtering for the Netflix Prize", AAIM 2008,
    with the same ridge for all. The first factor begins as 1 for every item, so it becomes the
    user's bias. The setting is the ridge.
    """

    SETTINGS = (3.0, 8.0)
    STATE = ("means", "factors")

    def __init__(self, n_factors: int = 10, n_rounds: int = 12) -> None:
        self.n_factors, self.n_rounds = n_factors, n_rounds

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.means = item_means(ratings, len(items))
        left = residuals(ratings, self.means)
        turned = left.T.tocsr()
        rng = np.random.default_rng(seed)
        n_items = len(items)
        drawn = 0.1 * rng.normal(size=(n_items, self.n_factors))
        factors = np.concatenate([np.ones((n_items, 1)), drawn], 1)
        for _ in range(self.n_rounds):
            factors = _ridge(turned, _ridge(left, factors, 3.0), 3.0)
        self.factors = factors
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        left = residuals(ratings, self.means)
        vectors = np.stack([_ridge(left, self.factors, setting) for setting in self.SETTINGS])
        return self.means + vectors @ self.factors.T


class ItemNeighbours(Base):
    """A user's bias, and what is left of the ratings of similar items.

    Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001: the
    similarity is the correlation of what item and user mean leave, here shrunk by the number of
    common users and 0 where it is negative. The setting is the similarity that 0 counts as.
    """

    SETTINGS = (1.0, 3.0)
    STATE = ("means", "similarity")

    SHRINK = 50.0
    BIAS = 5.0

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.means = item_means(ratings, len(items))
        left, seen = self._residuals(ratings)[0], stored(ratings)
        common = (seen.T @ seen).toarray()
        norms = (left.power(2).T @ seen).toarray()  # (i, j): of i, over the users who rated j
        raw = (left.T @ left).toarray() / np.sqrt(norms * norms.T + 1e-9)
        similarity = np.maximum(raw * common / (common + self.SHRINK), 0)
        np.fill_diagonal(similarity, 0)
        self.similarity = similarity.astype(np.float32)
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        left, bias = self._residuals(ratings)
        single = np.float32  # as the similarities, which would be converted otherwise
        weight = stored(ratings).astype(single) @ self.similarity
        pull = left.astype(single) @ self.similarity
        alone = self.means + bias[:, None]
        return np.stack([alone + pull / (weight + single(s)) for s in self.SETTINGS])

    def _residuals(self, ratings: Matrix) -> tuple[Matrix, np.ndarray]:
        left = residuals(ratings, self.means)
        bias = _biases(left, self.BIAS)
        left.data -= np.repeat(bias, np.diff(left.indptr))
        return left, bias


class BayesUser(Base):
    """A hierarchical Bayes model of users: a prior over their vectors that is learned across users,
    shifted by their attributes, and a posterior in closed form.

    A rating is r = v_i · (1, z_u) + e. The user's vector z_u ~ N(A x_u, S) and the item's
    v_i ~ N(B g_i, T) have full covariances, and e ~ N(0, s²); x and g are attributes. A, S, B, T
    and s² come from variational EM, in which both kinds of vectors stay distributions (as in Lim &
    Teh, "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup 2007, which has no
    attributes and diagonal covariances). So an item of few ratings is near what its attributes
    tell, and a user of none is what theirs tell. The setting is the strength of the prior: what its
    precision is multiplied by.

    Args:
        n_factors: Length of z.
        n_rounds: Rounds of EM.
    """

    SETTINGS = (0.5, 1.0, 2.0)
    STATE = ("shift", "prior", "items", "spread", "noise", "counts", "n_users")

    RIDGE = 20.0
    """On the effect of an attribute, beside the vectors' own count."""

    def __init__(self, n_factors: int = 12, n_rounds: int = 20) -> None:
        self.n_factors, self.n_rounds = n_factors, n_rounds

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        vars(self).pop("squares", None)
        n_users, n_items = len(users), len(items)
        n, k = ratings.nnz, self.n_factors
        turned = ratings.T.tocsr()
        seen_by = stored(turned)
        total = float((ratings.data**2).sum())
        means = item_means(ratings, n_items)
        self.n_users = n_users
        self.counts = np.bincount(ratings.indices, minlength=n_items)
        self.shift, self.prior = np.zeros((users.shape[1], k)), np.eye(k)
        effect, around = np.zeros((items.shape[1], k + 1)), 0.1 * np.eye(k + 1)
        effect[0, 0], around[0, 0] = ratings.data.mean(), 0.3
        rng = np.random.default_rng(seed)
        self.items = 0.15 * rng.normal(size=(n_items, k + 1))
        self.items[:, 0] = means
        self.items[:, 1] += 0.3
        self.spread = np.tile(0.1 * around, (n_items, 1, 1))
        self.noise = 0.6 * float(np.var(ratings.data)) + 1e-6
        for _ in range(self.n_rounds):
            prior = users @ self.shift, self.prior[None]
            z, doubt = self._posterior(ratings, *prior, (1.0,), self._squares())[0]
            self.shift = regress(z, users, self.RIDGE)
            self.prior = _covariance(z - users @ self.shift, doubt, 1.0)
            z = np.concatenate([np.ones((n_users, 1)), z], 1)
            square = z[:, :, None] * z[:, None, :]
            square[:, 1:, 1:] += doubt
            gram, at = sum_squares(seen_by, square), turned @ z
            precision = np.linalg.inv(around)
            self.spread = np.linalg.inv(gram / self.noise + precision)
            pull = at / self.noise + items @ effect @ precision
            self.items = np.einsum("ijk,ik->ij", self.spread, pull)
            effect = regress(self.items, items, self.RIDGE)
            around = _covariance(self.items - items @ effect, self.spread, 0.01)
            error = total - 2 * (at * self.items).sum() + (gram * self._squares()).sum()
            self.noise = error / n
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        prior = self._prior(ratings, users)
        found = self._posterior(ratings, *prior, self.SETTINGS, self.squares)
        vectors = np.stack([z for z, _ in found])
        return self.items[:, 0] + vectors @ self.items[:, 1:].T

    def posterior(self, ratings: Matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the users' vectors, (n_users, k) and (n_users, k, k)."""
        return self._posterior(ratings, *self._prior(ratings, users), (1.0,), self.squares)[0]

    def variance(self, doubt: np.ndarray) -> np.ndarray:
        """What not knowing users, of vectors with these covariances, adds to the variance of each
        rating, (n_users, n_items)."""
        return (
            doubt.reshape(len(doubt), -1) @ self.squares[:, 1:, 1:].reshape(len(self.items), -1).T
        )

    def left_out(self, ratings: Matrix, z: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """How far each stored rating is from what is expected of it, given the user's others:
        (n_ratings,), in closed form from the posterior by all of them.
        """
        of = np.repeat(np.arange(len(z)), np.diff(ratings.indptr))
        vectors = self.items[ratings.indices]
        expected = vectors[:, 0] + (vectors[:, 1:] * z[of]).sum(1)
        leverage = np.einsum("nj,njk,nk->n", vectors[:, 1:], doubt[of], vectors[:, 1:]) / self.noise
        return (ratings.data - expected) / (1 - np.minimum(leverage, 0.9))

    def pulls(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each rating of one user, in the order stored, moves each of some items from what
        is expected without it, (n_ratings, n_items): the posterior mean is linear in the ratings.
        """
        _, doubt = self.posterior(ratings, users)
        z, _ = self._prior(ratings, users)
        rated = ratings.indices
        surprise = ratings.data - self.items[rated, 0] - (self.items[rated, 1:] @ z[0])
        towards = self.items[rated, 1:] @ doubt[0] @ self.items[items, 1:].T / self.noise
        return surprise[:, None] * towards

    def ask(
        self, ratings: Matrix, users: np.ndarray, n: int, skip: Sequence[int] = ()
    ) -> list[int]:
        """Positions of `n` items to ask one user about, the most useful first, and none of `skip`.

        A rating of item j takes doubt v_j v_j' doubt / (v_j' doubt v_j + s²) from the covariance of
        the user's vector.
        """
        doubt = self.posterior(ratings, users)[1][0]
        vectors = self.items[:, 1:]
        known = self.counts / self.n_users
        matters = (known[:, None] * vectors).T @ vectors
        free = np.ones(len(vectors), bool)
        free[ratings.indices] = free[list(skip)] = False
        chosen: list[int] = []
        for _ in range(min(n, int(free.sum()))):
            moved = vectors @ doubt
            unsure = (moved * vectors).sum(1) + self.noise
            gain = known * np.einsum("ij,jk,ik->i", moved, matters, moved) / unsure
            best = int(np.where(free, gain, -1.0).argmax())
            doubt = doubt - known[best] * np.outer(moved[best], moved[best]) / unsure[best]
            free[best] = False
            chosen.append(best)
        return chosen

    @cached_property
    def squares(self) -> np.ndarray:
        """Expected outer products of the items' vectors, (n_items, k + 1, k + 1)."""
        return self._squares()

    def _squares(self) -> np.ndarray:
        return self.items[:, :, None] * self.items[:, None, :] + self.spread

    def _prior(self, ratings: Matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance, (n_users, k) and (n_users or 1, k, k)."""
        return users @ self.shift, self.prior[None]

    def _posterior(
        self,
        ratings: Matrix,
        middle: np.ndarray,
        prior: np.ndarray,
        strengths: Sequence[float],
        squares: np.ndarray,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """By each strength of the prior."""
        gram = sum_squares(stored(ratings), squares)
        told = ((ratings @ self.items)[:, 1:] - gram[:, 1:, 0]) / self.noise
        precision = np.linalg.inv(prior)
        pull = (precision @ middle[:, :, None])[:, :, 0]
        found = []
        for strength in strengths:
            doubt = np.linalg.inv(gram[:, 1:, 1:] / self.noise + strength * precision)
            found.append((np.einsum("ujk,uk->uj", doubt, told + strength * pull), doubt))
        return found


BASES: dict[str, type[Base]] = {
    "user_bias": UserBias,
    "factors": FactorModel,
    "neighbours": ItemNeighbours,
    "bayes": BayesUser,
}


def stored(ratings: Matrix) -> Matrix:
    return sparse.csr_matrix(
        (np.ones(ratings.nnz), ratings.indices, ratings.indptr), shape=ratings.shape
    )


def item_means(ratings: Matrix, n_items: int) -> np.ndarray:
    """Shrunk towards the mean of all."""
    middle = ratings.data.mean()
    sums = np.bincount(ratings.indices, ratings.data, n_items)
    return (sums + PRIOR * middle) / (np.bincount(ratings.indices, minlength=n_items) + PRIOR)


def residuals(ratings: Matrix, means: np.ndarray) -> Matrix:
    """What the items' means leave."""
    left = ratings.data - means[ratings.indices]
    return sparse.csr_matrix((left, ratings.indices, ratings.indptr), shape=ratings.shape)


def _biases(left: Matrix, shrink: float) -> np.ndarray:
    """Shrunk mean of what is left, of each user."""
    n = np.diff(left.indptr)
    sums = np.bincount(np.repeat(np.arange(len(n)), n), left.data, len(n))
    return sums / (n + shrink) if shrink > 0 else sums / np.maximum(n, 1)


def sum_squares(seen: Matrix, squares: np.ndarray) -> np.ndarray:
    """Sums of (p, p) matrices of items over what each user rated: (n_users, p, p)."""
    p = squares.shape[1]
    return (seen @ squares.reshape(len(squares), -1)).reshape(-1, p, p)


def _ridge(left: Matrix, factors: np.ndarray, ridge: float) -> np.ndarray:
    """A ridge regression on factors for each row."""
    gram = sum_squares(stored(left), factors[:, :, None] * factors[:, None, :])
    gram += ridge * np.eye(factors.shape[1])
    return np.linalg.solve(gram, np.asarray(left @ factors)[:, :, None])[:, :, 0]


def regress(z: np.ndarray, x: np.ndarray, ridge: float) -> np.ndarray:
    """The effect of attributes x, (d, k); its first row, the constant's, is not shrunk."""
    penalty = np.diag([1e-9, *[ridge] * (x.shape[1] - 1)])
    return np.linalg.solve(x.T @ x + penalty, x.T @ z)


def _covariance(left: np.ndarray, doubt: np.ndarray, floor: float) -> np.ndarray:
    n, k = left.shape
    return (left.T @ left + doubt.sum(0) + floor * np.eye(k)) / (n + 1)
