"""How good a ranking is, and how sure a mean over users."""

from __future__ import annotations

import numpy as np

from quickstudy.apps.recommend.bases.ratings import Matrix

__all__ = ["interval", "ndcg", "ranking"]


def ndcg(scores: np.ndarray, ratings: np.ndarray, k: int = 5) -> np.ndarray:
    """nDCG@k of each row, with the gain 2^r - 1; of equal scores the first comes first. Where there
    is nothing to gain, it is 1.

    Example:
        >>> ndcg(np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 1.0, 3.0]]), k=2).round(3).tolist()
        [0.214]
    """
    most = ratings.max(1, keepdims=True, initial=0)
    gain = 2.0 ** (ratings - most) - 2.0**-most  # over 2^most, as 2^1024 is no number any more
    discount = 1 / np.log2(np.arange(2, min(k, ratings.shape[1]) + 2))
    order = np.argsort(-scores, 1, kind="stable")[:, : len(discount)]
    best = -np.sort(-gain, 1)[:, : len(discount)]
    ideal = (best * discount).sum(1)
    found = (np.take_along_axis(gain, order, 1) * discount).sum(1)
    return np.where(ideal > 0, found / np.where(ideal > 0, ideal, 1), 1.0)


def ranking(
    scores: np.ndarray, chosen: Matrix, following: np.ndarray, k: int = 10
) -> dict[str, np.ndarray]:
    """How well all items are ranked by scores (n_users, n_items), those chosen before left out, as
    to what followed, (n_users, n): recall@k and nDCG@k of each user.

    Example:
        >>> from scipy import sparse
        >>> nothing = sparse.csr_matrix((1, 4))
        >>> found = ranking(np.array([[0.1, 0.4, 0.3, 0.2]]), nothing, np.array([[1, 3]]), k=2)
        >>> {name: value.round(2).tolist() for name, value in found.items()}
        {'recall@2': [0.5], 'ndcg@2': [0.61]}
    """
    scores = np.array(scores, float)
    scores[chosen.nonzero()] = -np.inf
    top = np.argsort(-scores, 1, kind="stable")[:, :k]
    hits = (top[:, :, None] == following[:, None]).any(2)
    discount = 1 / np.log2(np.arange(2, k + 2))
    n = following.shape[1]
    return {
        f"recall@{k}": hits.sum(1) / n,
        f"ndcg@{k}": (hits * discount[: hits.shape[1]]).sum(1) / discount[:n].sum(),
    }


def interval(values: np.ndarray, seed: int = 0, draws: int = 5000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over users, of differences between two systems say.

    Example:
        >>> low, high = interval(np.arange(100.0))
        >>> bool(40 < low < 49.5 < high < 60)
        True
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
