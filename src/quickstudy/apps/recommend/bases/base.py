"""What all base recommenders share: the contract, and sums over sparse matrices of ratings.

Shapes: U users, I items, R stored ratings, S settings, D attributes of a user, E attributes of an
item, K factors, P = K (K + 1) / 2 different values of a symmetric matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.memory import chunks

__all__ = [
    "ALL_ITEMS",
    "Base",
    "Items",
    "Matrix",
    "compact",
    "damped_item_means",
    "damped_user_biases",
    "entry_mask",
    "expanded",
    "gram_matrices",
    "packed",
    "residuals",
    "ridge_rows",
    "row_blocks",
    "shape_of",
    "users_of_entries",
]

Matrix = sparse.csr_matrix
"""Users by items. A stored entry is a rating, even where its value is 0."""

Items = slice | np.ndarray
"""Positions of some items, (M,), or a slice of all."""

ALL_ITEMS = slice(None)

ITEM_MEAN_DAMPING = 5.0
"""Ratings that the global mean counts as in the mean of an item."""

ROWS_PER_BLOCK = 10_000
"""Users whose matrices (K, K) are in memory at once."""

CSR_PARTS = ("data", "indices", "indptr", "shape")
"""The arrays of a sparse matrix in `Base.state`."""


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
    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        """Predict the ratings of items by new users, by each setting: (S, U, M).

        Args:
            ratings: What is known of these users, (U, I).
            users: Their attributes, (U, D).
            items: Positions of the items, (M,); by default all.
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
        for chunk in chunks(len(users), shape_of(ratings)[1]):
            in_chunk = (user >= chunk.start) & (user < chunk.stop)
            for held_out in (0, 1):
                known, entries = in_chunk & (half != held_out), in_chunk & (half == held_out)
                others = sparse.csr_matrix(
                    (ratings.data[known], (user[known] - chunk.start, ratings.indices[known])),
                    shape=(chunk.stop - chunk.start, shape_of(ratings)[1]),
                )
                scores = self.predict(others, users[chunk])
                at = user[entries] - chunk.start, ratings.indices[entries]
                predicted[:, entries] = scores[:, at[0], at[1]]
        return predicted

    def predict_all(
        self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
    ) -> tuple[np.ndarray, np.ndarray]:
        """`predict` and `cross_validated`, (S, U, M) and (S, R). Bases that share work between the
        two override it."""
        return self.predict(ratings, users, items), self.cross_validated(ratings, users)

    def contributions(self, ratings: Matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How far each rating of one user, in the order stored, moves the predictions for some
        items: (R, len(items)). Only bases that can explain themselves implement it."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """The learned arrays by name; of a sparse matrix, its parts."""
        arrays: dict[str, np.ndarray] = {}
        for name in self.STATE:
            value = getattr(self, name)
            if sparse.issparse(value):
                arrays |= {f"{name}.{p}": np.asarray(getattr(value, p)) for p in CSR_PARTS}
            else:
                arrays[name] = np.asarray(value)
        return arrays

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Set the learned arrays to those that `state` returned."""
        for name in self.STATE:
            if name in state:
                setattr(self, name, state[name])
            else:
                *parts, shape = (state[f"{name}.{part}"] for part in CSR_PARTS)
                setattr(self, name, sparse.csr_matrix(tuple(parts), shape=tuple(shape.tolist())))
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


def shape_of(matrix: Any) -> tuple[int, int]:
    """The numbers of rows and columns of a sparse matrix."""
    n_rows, n_columns = matrix.shape
    return n_rows, n_columns


def row_blocks(n_rows: int) -> Iterator[slice]:
    """Slices of at most `ROWS_PER_BLOCK` rows.

    Example:
        >>> [part.stop for part in row_blocks(25_000)]
        [10000, 20000, 25000]
    """
    return (slice(i, min(i + ROWS_PER_BLOCK, n_rows)) for i in range(0, n_rows, ROWS_PER_BLOCK))


def packed(matrices: np.ndarray) -> np.ndarray:
    """The upper triangles of symmetric matrices, (n, K, K) -> (n, P)."""
    k = matrices.shape[1]
    return np.take(matrices.reshape(len(matrices), k * k), _upper_triangle(k), 1)


def expanded(triangles: np.ndarray) -> np.ndarray:
    """The symmetric matrices of their upper triangles, (n, P) -> (n, K, K).

    Example:
        >>> expanded(np.array([[1, 2, 3]])).tolist()
        [[[1, 2], [2, 3]]]
    """
    k = (math.isqrt(8 * triangles.shape[1] + 1) - 1) // 2
    return np.take(triangles, _positions_in_triangle(k), 1).reshape(-1, k, k)


@cache
def _upper_triangle(k: int) -> np.ndarray:
    """Positions of the values in a flat matrix, (P,)."""
    rows, columns = np.triu_indices(k)
    return rows * k + columns


@cache
def _positions_in_triangle(k: int) -> np.ndarray:
    """Of each value of a flat symmetric matrix, (K * K,)."""
    position = np.zeros((k, k), int)
    position[np.triu_indices(k)] = np.arange(k * (k + 1) // 2)
    return np.maximum(position, position.T).ravel()


def compact(weights: Matrix, *arrays: np.ndarray) -> tuple[Matrix, *tuple[np.ndarray, ...]]:
    """The columns of a matrix (U, I) that have entries, with the rows of arrays (I, ...) that
    belong to them. So sums over the few ratings of a user take no time that grows with all items.

    Example:
        >>> few, factors = compact(Matrix([[0, 2, 0]]), np.array([[5], [6], [7]]))
        >>> few.toarray().tolist(), factors.tolist()
        ([[2]], [[6]])
    """
    if weights.nnz >= shape_of(weights)[1]:
        return weights, *arrays
    used, columns = np.unique(weights.indices, return_inverse=True)
    parts = weights.data, columns, weights.indptr
    few = sparse.csr_matrix(parts, shape=(shape_of(weights)[0], len(used)))
    return few, *(array[used] for array in arrays)


def gram_matrices(weights: Matrix, triangles: np.ndarray) -> np.ndarray:
    """For each user the weighted sum of the items' symmetric matrices, sum_i w_ui M_i.

    Args:
        weights: (U, I).
        triangles: The matrix of each item, as `packed` returns it, (I, P).

    Returns:
        (U, K, K).
    """
    return expanded(weights @ triangles)


def ridge_rows(
    weights: Matrix, targets: Matrix, factors: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """For each user the solution x of (sum_i w_ui q_i q_iᵀ + penalty) x = sum_i t_ui q_i.

    Args:
        weights, targets: w and t, (U, I), stored at the same places.
        factors: q, (I, K).
        penalty: (K, K).

    Returns:
        (U, K).
    """
    weights, factors = compact(weights, factors)
    targets = sparse.csr_matrix((targets.data, weights.indices, weights.indptr), weights.shape)
    triangles = packed(factors[:, :, None] * factors[:, None, :])
    solutions = np.empty((shape_of(weights)[0], factors.shape[1]))
    for block in row_blocks(len(solutions)):
        gram = gram_matrices(weights[block], triangles) + penalty
        moments = np.asarray(targets[block] @ factors)  # (block, K)
        solutions[block] = np.linalg.solve(gram, moments[:, :, None])[:, :, 0]
    return solutions
