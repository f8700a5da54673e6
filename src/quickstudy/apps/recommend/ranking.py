"""Lists of the best items of many users: ranked in blocks, over processes, and written to files.

Shapes: U users, I items, n items of a list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstudy.apps.recommend.bases.base import Matrix, shape_of, users_of_entries
from quickstudy.apps.recommend.memory import chunks
from quickstudy.errors import UsageError, require
from quickstudy.files import disk_errors
from quickstudy.table_files import as_csv

if TYPE_CHECKING:
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = ["best_items", "expected_values", "ranked", "write_lists"]


def ranked(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` highest scores of each row, highest first, of equal ones the first:
    (U, I) -> (U, n).

    Example:
        >>> ranked(np.array([[0.1, 0.5, 0.1, 0.9]]), 3).tolist()
        [[3, 1, 0]]
    """
    n = min(n, scores.shape[1])
    if 4 * n > scores.shape[1]:
        return np.argsort(-scores, 1, kind="stable")[:, :n]
    top = np.sort(np.argpartition(-scores, n - 1, 1)[:, :n], 1)
    bound = np.take_along_axis(scores, top, 1).min(1, keepdims=True)
    has_ties = (scores >= bound).sum(1) > n
    top[has_ties] = np.argsort(-scores[has_ties], 1, kind="stable")[:, :n]
    order = np.argsort(-np.take_along_axis(scores, top, 1), 1, kind="stable")
    return np.take_along_axis(top, order, 1)


def expected_values(probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of each distribution over values, float32: (..., V), (V,) -> (...).

    Example:
        >>> expected_values(np.array([[0.5, 0.5]], np.float32), np.array([2, 4])).tolist()
        [3.0]
    """
    expected = np.zeros(probabilities.shape[:-1], np.float32)
    for i, value in enumerate(values.tolist()):  # one after the other, however they are stored
        expected += np.float32(value) * probabilities[..., i]
    return expected


def best_items(
    recommender: Recommender,
    ratings: Matrix,
    users: np.ndarray,
    n: int,
    *,
    allowed: np.ndarray | None = None,
    include_seen: bool = False,
    n_jobs: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of each user.

    Args:
        recommender: Fitted.
        ratings: What is known of the users, (U, I).
        users: Their attributes, (U, D).
        n: How many items.
        allowed: Whether each item may be in a list, (I,); by default all.
        include_seen: Whether a list may have items that the user has rated or chosen.
        n_jobs: Processes among which joblib divides the users; -1 for one a core.

    Returns:
        Positions and scores, (U, n) each: best first; -1 and -inf where fewer items are left.
    """
    options = {"n": n, "allowed": allowed, "include_seen": include_seen}
    parts = list(chunks(*shape_of(ratings)))
    if n_jobs == 1 or len(parts) == 1:
        lists = [_best_of_part(recommender, ratings[p], users[p], **options) for p in parts]
    else:
        require("joblib", "fewshot")
        import joblib

        n_shards = min(len(parts), 4 * (n_jobs if n_jobs > 0 else os.cpu_count() or 1))
        shards = np.array_split(np.arange(shape_of(ratings)[0]), n_shards)
        lists = joblib.Parallel(n_jobs)(
            joblib.delayed(best_items)(recommender, ratings[shard], users[shard], **options)
            for shard in shards
        )
    positions, scores = zip(*lists, strict=True)
    return np.concatenate(positions), np.concatenate(scores)


def _best_of_part(
    recommender: Recommender,
    ratings: Matrix,
    users: np.ndarray,
    *,
    n: int,
    allowed: np.ndarray | None,
    include_seen: bool,
) -> tuple[np.ndarray, np.ndarray]:
    probabilities = recommender.probabilities(ratings, users)
    scores = expected_values(probabilities, recommender.rating_values_)
    if not include_seen:
        scores[users_of_entries(ratings), ratings.indices] = -np.inf  # also ratings of 0
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    top = ranked(scores, n)
    best = np.take_along_axis(scores, top, 1)
    return np.where(np.isfinite(best), top, -1), best


def write_lists(
    path: Path,
    users: Sequence[str],
    positions: np.ndarray,
    scores: np.ndarray,
    items: Sequence[str],
    titles: Sequence[str],
) -> int:
    """Write lists to a CSV or Parquet file with the columns user, rank, item, title and score.

    Args:
        path: Ends in .csv or .parquet.
        users: Names, (U,).
        positions, scores: As `best_items` returns them, (U, n).
        items, titles: Of all items, (I,).

    Returns:
        The number of rows.

    Raises:
        UsageError: If the name of the file ends otherwise.
        DiskError: If the file cannot be written.
    """
    user, place = np.nonzero(positions >= 0)
    found = positions[user, place]
    table: dict[str, list[Any]] = {
        "user": [users[int(u)] for u in user],
        "rank": (place + 1).tolist(),
        "item": [items[int(i)] for i in found],
        "title": [titles[int(i)] for i in found],
        "score": scores[user, place].tolist(),
    }
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"expected a file that ends in .csv or .parquet, got {path}")
    with disk_errors(path):
        if path.suffix.lower() == ".csv":
            path.write_text(as_csv(table), encoding="utf-8")
        else:
            require("pyarrow", "experience")
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table(table), path)
    return len(found)
