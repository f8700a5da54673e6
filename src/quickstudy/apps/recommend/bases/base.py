"""What all base recommenders share: the contract, and sums over sparse matrices of ratings.

Shapes: U users, I items, R stored ratings, S settings, D attributes of a user, E attributes of an
item, K factors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.memory import chunks

__all__ = [
    "Base",
    "Matrix",
    "damped_item_means",
    "damped_user_biases",
    "entry_mask",
    "gram_matrices",
    "residuals",
    "users_of_entries",
]

Matrix = sparse.csr_matrix
"""Users by items. A stored entry is a rating, even where its value is 0."""

ITEM_MEAN_DAMPING = 5.0
"""Ratings that the global mean counts as in the mean of an item."""


class Base(ABC):
    """A base recommender.

    `SETTINGS` are the values of its one hyperparameter, among which the meta-level chooses, and
    `STATE` the names of the arrays that `fit` learns.
    """

    SETTINGS: ClassVar[tuple[float, ...]]
    STATE: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        """Learn from training users.

        Args:
            ratings: Users by items, (U, I).
            users, items: Their attributes, (U, D) and (I, E); the first is 1.
            seed: Decides the random initialisation.
        """

    @abstractmethod
    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """Predict the ratings of all items by new users, by each setting: (S, U, I).

        Args:
            ratings: What is known of these users, (U, I).
            users: Their attributes, (U, D).
        """

    def cross_validated(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """Predict each stored entry from other entries of the same user, by each setting: (S, R).

        Here from the other half; bases with a closed form override it, and predict from all others.

        Args:
            ratings: What is known of these users, (U, I).
            users: Their attributes, (U, D).
        """
        user = users_of_entries(ratings)
        half = (np.arange(ratings.nnz) - ratings.indptr[user]) % 2  # (R,)
        predicted = np.empty((len(self.SETTINGS), ratings.nnz))
        for chunk in chunks(len(users), ratings.shape[1]):
            in_chunk = (user >= chunk.start) & (user < chunk.stop)
            for held_out in (0, 1):
                known, entries = in_chunk & (half != held_out), in_chunk & (half == held_out)
                others = sparse.csr_matrix(
                    (ratings.data[known], (user[known] - chunk.start, ratings.indices[known])),
                    shape=(chunk.stop - chunk.start, ratings.shape[1]),
                )
                scores = self.predict(others, users[chunk])
                at = user[entries] - chunk.start, ratings.indices[entries]
                predicted[:, entries] = scores[:, at[0], at[1]]
        return predicted

    def contributions(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each rating of one user, in the order stored, moves the predictions for some
        items: (R, len(items)). Only bases that can explain themselves implement it."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """The learned arrays by name."""
        return {name: np.asarray(getattr(self, name)) for name in self.STATE}

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Set the learned arrays to those that `state` returned."""
        for name in self.STATE:
            setattr(self, name, state[name])
        return self


def entry_mask(ratings: Matrix) -> Matrix:
    """1 where a rating is stored, (U, I)."""
    ones = np.ones(ratings.nnz)
    return sparse.csr_matrix((ones, ratings.indices, ratings.indptr), shape=ratings.shape)


def users_of_entries(ratings: Matrix) -> np.ndarray:
    """The row of each stored rating, (R,)."""
    counts = np.diff(ratings.indptr)
    return np.repeat(np.arange(len(counts)), counts)


def damped_item_means(ratings: Matrix, n_items: int) -> np.ndarray:
    """The mean rating of each item, shrunk towards the global mean: (I,).

    This is the damped mean of Funk ("Netflix Update: Try This at Home", 2006).
    """
    global_mean = ratings.data.mean()
    sums = np.bincount(ratings.indices, ratings.data, n_items)
    counts = np.bincount(ratings.indices, minlength=n_items)
    return (sums + ITEM_MEAN_DAMPING * global_mean) / (counts + ITEM_MEAN_DAMPING)


def residuals(ratings: Matrix, item_means: np.ndarray) -> Matrix:
    """Each rating less the mean of its item, (U, I)."""
    values = ratings.data - item_means[ratings.indices]
    return sparse.csr_matrix((values, ratings.indices, ratings.indptr), shape=ratings.shape)


def damped_user_biases(item_residuals: Matrix, damping: float) -> np.ndarray:
    """The mean residual of each user, shrunk towards 0: (U,)."""
    counts = np.diff(item_residuals.indptr)
    sums = np.bincount(users_of_entries(item_residuals), item_residuals.data, len(counts))
    return sums / (counts + damping) if damping > 0 else sums / np.maximum(counts, 1)


def gram_matrices(weights: Matrix, outer_products: np.ndarray) -> np.ndarray:
    """For each user the weighted sum of the items' matrices, sum_i w_ui M_i.

    Args:
        weights: (U, I).
        outer_products: A matrix an item, (I, K, K).

    Returns:
        (U, K, K).
    """
    k = outer_products.shape[1]
    flat = outer_products.reshape(len(outer_products), -1)  # (I, K * K)
    return (weights @ flat).reshape(-1, k, k)
