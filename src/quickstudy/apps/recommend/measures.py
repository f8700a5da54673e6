"""Ranking measures, and bootstrap intervals of their means over users.

Shapes: U users, I items, n items of a list.
"""

from __future__ import annotations

import numpy as np

from quickstudy.apps.recommend.bases.base import Matrix

__all__ = ["interval", "ndcg", "ranking"]


def ndcg(scores: np.ndarray, ratings: np.ndarray, k: int = 5) -> np.ndarray:
    """nDCG@k of each row, with the gain 2^r - 1 (Järvelin & Kekäläinen, TOIS 2002; Burges et al.,
    ICML 2005). Of equal scores the first comes first. If all gains are 0, it is 1.

    Args:
        scores: What the items are ranked by, (U, n).
        ratings: r, not negative, (U, n).
        k: Length of the list.

    Returns:
        (U,).

    Example:
        >>> ndcg(np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 1.0, 3.0]]), k=2).round(3).tolist()
        [0.214]
    """
    highest = ratings.max(1, keepdims=True, initial=0)
    gains = 2.0 ** (ratings - highest) - 2.0**-highest  # over 2^highest, as 2^1024 overflows
    discounts = 1 / np.log2(np.arange(2, min(k, ratings.shape[1]) + 2))  # (k,)
    order = np.argsort(-scores, 1, kind="stable")[:, : len(discounts)]
    best_gains = -np.sort(-gains, 1)[:, : len(discounts)]
    ideal_dcg = (best_gains * discounts).sum(1)
    dcg = (np.take_along_axis(gains, order, 1) * discounts).sum(1)
    return np.where(ideal_dcg > 0, dcg / np.where(ideal_dcg > 0, ideal_dcg, 1), 1.0)


def ranking(
    scores: np.ndarray, history: Matrix, relevant: np.ndarray, k: int = 10
) -> dict[str, np.ndarray]:
    """recall@k and nDCG@k of each user, for a ranking of all items but those of the history.

    Args:
        scores: What the items are ranked by, (U, I).
        history: Items to leave out, (U, I).
        relevant: Positions of the items to retrieve, (U, n).
        k: Length of the list.

    Example:
        >>> from scipy import sparse
        >>> nothing = sparse.csr_matrix((1, 4))
        >>> measures = ranking(np.array([[0.1, 0.4, 0.3, 0.2]]), nothing, np.array([[1, 3]]), k=2)
        >>> {name: value.round(2).tolist() for name, value in measures.items()}
        {'recall@2': [0.5], 'ndcg@2': [0.61]}
    """
    scores = np.array(scores, float)
    scores[history.nonzero()] = -np.inf
    top = np.argsort(-scores, 1, kind="stable")[:, :k]
    hits = (top[:, :, None] == relevant[:, None]).any(2)  # (U, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    n = relevant.shape[1]
    return {
        f"recall@{k}": hits.sum(1) / n,
        f"ndcg@{k}": (hits * discounts[: hits.shape[1]]).sum(1) / discounts[:n].sum(),
    }


def interval(values: np.ndarray, seed: int = 0, n_resamples: int = 5000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over users, for example of paired differences of two
    systems.

    Example:
        >>> low, high = interval(np.arange(100.0))
        >>> bool(40 < low < 49.5 < high < 60)
        True
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
