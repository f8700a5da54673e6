"""Similarities of items, computed and kept in parts, so that large catalogues fit into memory.

Shapes: U users, I items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend import memory
from quickstudy.apps.recommend.bases.base import ALL_ITEMS, Items, Matrix, shape_of

__all__ = ["Similarity", "nearest_items", "weighted_sums", "without_diagonal"]

MAX_DENSITY = 0.2
"""With a larger share of values other than 0, a full matrix takes less time, and little more
memory."""

PAIRS_PER_BLOCK = 5_000_000
"""Pairs of items that are compared at once."""

Similarity = np.ndarray | sparse.csr_matrix
"""Items by items, (I, I), float32: full or sparse."""


def nearest_items(similarity: Callable[[slice], np.ndarray], n_items: int) -> Similarity:
    """Compare all items with each other, and keep the most similar ones of each.

    Args:
        similarity: Returns that of some items to all, (block, I), not negative.
        n_items: I.

    Returns:
        (I, I): in column i the neighbours of item i; 0 on the diagonal.

    Example:
        >>> nearest_items(lambda block: np.ones((2, 2))[block], 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    n_rows = max(1, PAIRS_PER_BLOCK // n_items)
    parts = []
    for start in range(0, n_items, n_rows):
        block = slice(start, min(start + n_rows, n_items))
        rows = similarity(block).astype(np.float32)
        rows[np.arange(len(rows)), np.arange(start, block.stop)] = 0
        parts.append(_largest(rows, max(1, memory.MAX_SIMILARITIES // n_items)))
    return _compact(sparse.vstack(parts, "csr").T.tocsr())


def without_diagonal(matrix: sparse.csr_matrix) -> Similarity:
    """A matrix (I, I) with 0 on its diagonal and the largest values of each column."""
    matrix = matrix.astype(np.float32).tocsr()
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    if matrix.nnz > memory.MAX_SIMILARITIES:
        n_items = shape_of(matrix)[0]
        columns, n_rows = matrix.T.tocsr(), max(1, PAIRS_PER_BLOCK // n_items)
        k = max(1, memory.MAX_SIMILARITIES // n_items)
        blocks = (columns[i : i + n_rows].toarray() for i in range(0, n_items, n_rows))
        matrix = sparse.vstack([_largest(block, k) for block in blocks], "csr").T.tocsr()
    return _compact(matrix)


def weighted_sums(weights: Matrix, similarity: Similarity, items: Items = ALL_ITEMS) -> np.ndarray:
    """Sums of the similarities of each user's items to some items, (U, I) @ (I, M) -> (U, M),
    float32."""
    if isinstance(similarity, np.ndarray) and isinstance(items, slice):
        return weights.astype(np.float32) @ similarity
    rows, columns = np.unique(weights.indices, return_inverse=True)
    parts = weights.data.astype(np.float32), columns, weights.indptr
    few = sparse.csr_matrix(parts, shape=(shape_of(weights)[0], len(rows)))
    return few @ _among_items(similarity, rows, items)


def _among_items(similarity: Similarity, rows: np.ndarray, items: Items) -> np.ndarray:
    """The similarities of some items to others, (n, M), full: so few rows take less time."""
    if isinstance(similarity, np.ndarray):
        return similarity[rows[:, None], items]
    of_rows: Any = similarity[rows]
    return (of_rows if isinstance(items, slice) else of_rows[:, items]).toarray()


def _largest(rows: np.ndarray, k: int) -> sparse.csr_matrix:
    """The k largest values of each row, without zeros."""
    if k < rows.shape[1]:
        bound = np.partition(rows, -k, 1)[:, -k, None]
        rows = np.where(rows >= bound, rows, 0)
    return sparse.csr_matrix(rows)


def _compact(matrix: sparse.csr_matrix) -> Similarity:
    n_items = shape_of(matrix)[0]
    return matrix.toarray() if matrix.nnz > MAX_DENSITY * n_items**2 else matrix
