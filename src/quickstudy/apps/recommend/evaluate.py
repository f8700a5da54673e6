"""How well a recommender does on users it has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quickstudy.apps.recommend.bases import Matrix
from quickstudy.apps.recommend.identifiers import Unknown
from quickstudy.apps.recommend.interactions import ColdUsers, Interactions, Order
from quickstudy.apps.recommend.measures import ndcg, ranking
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level import MetaLevel, Seen
from quickstudy.apps.recommend.rating_level import median
from quickstudy.apps.recommend.recommender import Recommender, action_name

__all__ = ["SUPPORTS", "Scores", "evaluate"]

SUPPORTS = (0, 1, 3, 5, 10, 20)
"""Ratings of a new user that are known."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one system, given so many ratings of each user.

    Args:
        system: An action, as `bayes 1`, or a level above.
        support: Ratings or clicks known of each user.
        measures: By name, for each user, (n_users,). Of ratings "mae", the mean absolute error of
            the queries, an action being judged on what it expects and a level on the median of its
            probabilities; and "ndcg@5" of the queries, of the gains 2^r - 1, with r from 0 if
            ratings may be negative. Of clicks "recall@10" and "ndcg@10" of the queries among all
            items that were not chosen before.
    """

    system: str
    support: int
    measures: dict[str, np.ndarray]


def evaluate(
    recommender: Recommender,
    data: Interactions,
    *,
    supports: Sequence[int] = SUPPORTS,
    n_query: int = 10,
    order: Order | None = None,
    seed: int = 0,
    levels: dict[str, MetaLevel] | None = None,
    unknown: Unknown = "raise",
) -> list[Scores]:
    """Score all actions and the recommender on cold users.

    From ratings, they are judged on the same queries whatever is known; from clicks, on what comes
    next after that.

    Args:
        data: Of users who were not seen in training.
        supports: Support sets; users with too few ratings for the largest are left out.
        n_query: Ratings, or choices, of each user to be judged on.
        order: In which ratings or clicks become known; by default ratings at random, and clicks in
            time if their times were known in training.
        levels: More levels above the same bases, to compare with.
        unknown: Whether to refuse items that training did not have, or leave them out.

    Raises:
        DataError: If a user was seen in training, an item was not, or no user has ratings enough.

    Example:
        >>> from quickstudy.apps.recommend import generated, user_folds
        >>> data = generated(n_users=80, n_items=30)
        >>> cold, warm = user_folds(80, 2)
        >>> recommender = Recommender().fit(data.of_users(warm))
        >>> scores = evaluate(recommender, data.of_users(cold), supports=(0, 5))
        >>> first, last = scores[0], scores[-1]
        >>> better = last.measures["mae"].mean() < first.measures["mae"].mean()
        >>> first.system, last.system, bool(better)
        ('user_bias inf', 'recommender', True)
    """
    known, attributes = recommender.known(data, unknown=unknown)
    if order is None:
        in_time = recommender.clicks_ and recommender.ordered_
        order = "chronological" if in_time else "random"
    cold = ColdUsers(known, n_query=n_query, most=max(supports), order=order, seed=seed)
    users = attributes[cold.users]
    levels = {**(levels or {}), "recommender": recommender.level_}
    found = []
    for size in supports:
        known_of_each, following = cold.support(size), cold.following(size)
        parts: dict[str, list[dict[str, np.ndarray]]] = {}
        for at in chunks(len(cold), len(known.items)):
            seen = recommender.see(known_of_each[at], users[at])
            if recommender.clicks_:
                some = _choices(recommender, seen, levels, known_of_each[at], following[at])
            else:
                some = _ratings(recommender, seen, levels, cold.query[at], cold.rating[at])
            for name, measures in some:
                parts.setdefault(name, []).append(measures)
        found += [Scores(name, size, _joined(each)) for name, each in parts.items()]
    return found


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ratings(
    recommender: Recommender,
    seen: Seen,
    levels: Mapping[str, MetaLevel],
    query: np.ndarray,
    rating: np.ndarray,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    scale = recommender.levels_
    zero = min(0.0, float(scale[0]))  # no gain is negative
    rows = np.broadcast_to(np.arange(len(query))[:, None], query.shape)
    seen = seen.at(rows, query)
    for i, action in enumerate(recommender.actions_):
        x = seen.expected[..., i]
        error = np.abs(x.clip(scale[0], scale[-1]) - rating).mean(1)
        yield action_name(action), {"mae": error, "ndcg@5": ndcg(x, rating - zero)}
    for name, level in levels.items():
        p = level.distribution(seen)
        error = np.abs(median(p, scale) - rating).mean(1)
        gain = ndcg(p @ 2 ** (scale - zero), rating - zero)
        yield name, {"mae": error, "ndcg@5": gain}


def _choices(
    recommender: Recommender,
    seen: Seen,
    levels: Mapping[str, MetaLevel],
    chosen: Matrix,
    following: np.ndarray,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    systems = {
        action_name(action): seen.expected[..., i] for i, action in enumerate(recommender.actions_)
    }
    systems |= {name: level.distribution(seen)[..., 0] for name, level in levels.items()}
    for name, scores in systems.items():
        yield name, ranking(scores, chosen, following)
