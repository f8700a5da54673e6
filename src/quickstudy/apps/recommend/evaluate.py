"""How well a recommender does on users it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstudy.apps.recommend.interactions import ColdUsers, Interactions, Order
from quickstudy.apps.recommend.meta_level import (
    ACTIONS,
    MetaLevel,
    describe,
    median,
    predictions,
)
from quickstudy.apps.recommend.recommender import Recommender, action_name

__all__ = ["SUPPORTS", "Scores", "evaluate", "interval", "ndcg"]

SUPPORTS = (0, 1, 3, 5, 10, 20)
"""Ratings of a new user that are known."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one system, given so many ratings of each user.

    Args:
        system: An action, as `bayes 1`, or a level above.
        support: Ratings known of each user.
        mae: Mean absolute error of each user's queries, (n_users,). An action is judged on what it
            expects, a level on the median of its probabilities.
        ndcg: nDCG@5 of each user's queries, (n_users,); of the gains 2^r - 1, with r from 0 if
            ratings may be negative.
    """

    system: str
    support: int
    mae: np.ndarray
    ndcg: np.ndarray


def evaluate(
    recommender: Recommender,
    data: Interactions,
    *,
    supports: Sequence[int] = SUPPORTS,
    n_query: int = 10,
    order: Order = "random",
    seed: int = 0,
    levels: dict[str, MetaLevel] | None = None,
) -> list[Scores]:
    """Score all actions and the recommender on cold users, all on the same queries.

    Args:
        data: Of users who were not seen in training.
        supports: Support sets; users with too few ratings for the largest are left out.
        levels: More levels above the same bases, to compare with.

    Raises:
        DataError: If a user was seen in training, an item was not, or no user has ratings enough.

    Example:
        >>> from quickstudy.apps.recommend import generated, user_folds
        >>> data = generated(n_users=150, n_items=60)
        >>> cold, warm = user_folds(150, 2)
        >>> recommender = Recommender().fit(data.of_users(warm))
        >>> scores = evaluate(recommender, data.of_users(cold), supports=(0, 5))
        >>> first, last = scores[0], scores[-1]
        >>> first.system, last.system, bool(last.mae.mean() < first.mae.mean())
        ('user_bias inf', 'recommender', True)
    """
    known, attributes = recommender.known(data)
    cold = ColdUsers(known, n_query=n_query, most=max(supports), order=order, seed=seed)
    users = attributes[cold.users]
    levels = {**(levels or {}), "recommender": recommender.level_}
    scale = recommender.levels_
    zero = min(0.0, float(scale[0]))  # no gain is negative
    asked = np.arange(len(cold))[:, None], cold.query
    found = []
    for size in supports:
        ratings = cold.support(size)
        expected = predictions(recommender.bases_, ratings, users)[asked]  # (n, n_query, n_actions)
        for i, action in enumerate(ACTIONS):
            x = expected[..., i]
            error = np.abs(x.clip(scale[0], scale[-1]) - cold.rating).mean(1)
            found.append(Scores(action_name(action), size, error, ndcg(x, cold.rating - zero)))
        described, doubt = describe(recommender.bases_, ratings, users, scale)
        for name, level in levels.items():
            p = level.distribution(expected, described, doubt[asked])
            error = np.abs(median(p, scale) - cold.rating).mean(1)
            found.append(
                Scores(name, size, error, ndcg(p @ 2 ** (scale - zero), cold.rating - zero))
            )
    return found


def ndcg(scores: np.ndarray, ratings: np.ndarray, k: int = 5) -> np.ndarray:
    """nDCG@k of each row, with the gain 2^r - 1; of equal scores the first comes first. Where there
    is nothing to gain, it is 1.

    Example:
        >>> ndcg(np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 1.0, 3.0]]), k=2).round(3).tolist()
        [0.214]
    """
    gain = 2.0**ratings - 1
    discount = 1 / np.log2(np.arange(2, min(k, ratings.shape[1]) + 2))
    order = np.argsort(-scores, 1, kind="stable")[:, : len(discount)]
    best = -np.sort(-gain, 1)[:, : len(discount)]
    most = (best * discount).sum(1)
    found = (np.take_along_axis(gain, order, 1) * discount).sum(1)
    return np.where(most > 0, found / np.where(most > 0, most, 1), 1.0)


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
