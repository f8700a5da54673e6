"""What a meta-level learns from: predictions of the bases, meta-features, and held-out targets.

Shapes: U users, I items, C configurations, F meta-features of a user, G meta-features of an item,
N examples, M items of an example, S interactions or items of a user's own support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.bases.base import ALL_ITEMS, Base, Items, Matrix, shape_of
from quickstudy.apps.recommend.interactions import Interactions

__all__ = [
    "SUPPORT_SIZES",
    "Configuration",
    "MetaExamples",
    "MetaInputs",
    "OwnPredictions",
    "all_predictions",
    "base_predictions",
    "configurations_of",
    "rows_of_users",
    "support_query_splits",
]

SUPPORT_SIZES = (0, 1, 3, 5, 10, 20)
"""Ratings or clicks of a user that are known in the examples of a meta-level."""


class Configuration(NamedTuple):
    """A base recommender with a value of its hyperparameter.

    Example:
        >>> str(Configuration("bayes", 1.0))
        'bayes 1'
    """

    base: str
    setting: float

    def __str__(self) -> str:
        return f"{self.base} {self.setting:g}"


def configurations_of(bases: Mapping[str, Base | type[Base]]) -> list[Configuration]:
    """Each base with each of its settings."""
    return [Configuration(name, s) for name, base in bases.items() for s in base.SETTINGS]


def base_predictions(
    bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
) -> np.ndarray:
    """What each configuration predicts of some items, (U, M, C), float32."""
    n_configurations = sum(len(base.SETTINGS) for base in bases.values())
    n_users, n_items = shape_of(ratings)
    n_items = len(items) if isinstance(items, np.ndarray) else n_items
    predictions = np.empty((n_configurations, n_users, n_items), np.float32)
    start = 0
    for base in bases.values():
        stop = start + len(base.SETTINGS)
        predictions[start:stop] = base.predict(ratings, users, items)
        start = stop
    return np.moveaxis(predictions, 0, -1)


def all_predictions(
    bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS
) -> tuple[np.ndarray, np.ndarray]:
    """`base_predictions`, (U, M, C), and what each configuration predicts of each stored entry from
    others of the same user, (C, R)."""
    pairs = [base.predict_all(ratings, users, items) for base in bases.values()]
    predicted, own = (np.concatenate(parts, dtype=np.float32) for parts in zip(*pairs, strict=True))
    return np.moveaxis(predicted, 0, -1), own


@dataclass(frozen=True, eq=False)
class OwnPredictions:
    """What the configurations predict of a user's own support, each interaction from others: how
    well each base serves this user.

    Args:
        predictions: By each configuration, (N, S, C).
        targets: Ratings; of clicks 1 where clicked, else 0; NaN where there is none; (N, S).
        offsets: What is added to the logits of clicks, as in the examples; 0 for ratings; (N, S).
    """

    predictions: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray

    def select(self, rows: np.ndarray) -> OwnPredictions:
        """Those of some users, (n,)."""
        return OwnPredictions(self.predictions[rows], self.targets[rows], self.offsets[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[OwnPredictions]) -> OwnPredictions:
        """All users of several parts."""
        return cls(
            np.concatenate([part.predictions for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.offsets for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class MetaInputs:
    """The inputs of a meta-level.

    Args:
        predictions: By each configuration, (N, M, C).
        user_features: Meta-features of the users, (N, F); the first is log(1 + number of known
            ratings or clicks).
        item_features: Meta-features of the items for the user, (N, M, G).
        own: Of the users' own support.
    """

    predictions: np.ndarray
    user_features: np.ndarray
    item_features: np.ndarray
    own: OwnPredictions

    def select(self, rows: np.ndarray, items: np.ndarray) -> MetaInputs:
        """Some items of some users: `rows` and `items` are (n, m), each row of one user."""
        return MetaInputs(
            self.predictions[rows, items],
            self.user_features[rows[:, 0]],
            self.item_features[rows, items],
            self.own.select(rows[:, 0]),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[MetaInputs]) -> MetaInputs:
        """All examples of several parts."""
        return cls(
            np.concatenate([part.predictions for part in parts]),
            np.concatenate([part.user_features for part in parts]),
            np.concatenate([part.item_features for part in parts]),
            OwnPredictions.concatenate([part.own for part in parts]),
        )

    @property
    def n_known(self) -> np.ndarray:
        """How many ratings or clicks are known of each user, (N,)."""
        return np.expm1(self.user_features[:, 0]).round().astype(int)

    def of_users(self, rows: np.ndarray) -> MetaInputs:
        """Some users with all items: `rows` are (n,)."""
        return MetaInputs(
            self.predictions[rows],
            self.user_features[rows],
            self.item_features[rows],
            self.own.select(rows),
        )

    def of_configurations(self, kept: Sequence[int]) -> MetaInputs:
        """With the predictions of some configurations alone."""
        own = replace(self.own, predictions=self.own.predictions[..., kept])
        return replace(self, predictions=self.predictions[..., kept], own=own)


@dataclass(frozen=True, eq=False)
class MetaExamples:
    """The training set of a meta-level: users whom the bases have not seen, each with a support set
    and queries.

    Args:
        inputs: From the support sets, for the items of the queries; of N examples, M items each.
        targets: Ratings of the queries; of clicks 1 where clicked, else 0; NaN where an example has
            fewer than M; (N, M).
    """

    inputs: MetaInputs
    targets: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence[MetaExamples]) -> MetaExamples:
        """All examples of several parts."""
        return cls(
            MetaInputs.concatenate([part.inputs for part in parts]),
            np.concatenate([part.targets for part in parts]),
        )

    def of_configurations(self, kept: Sequence[int]) -> MetaExamples:
        """With the predictions of some configurations alone."""
        return MetaExamples(self.inputs.of_configurations(kept), self.targets)


def support_query_splits(
    data: Interactions, sort_keys: Callable[[], np.ndarray], n_query: int
) -> Iterator[tuple[Matrix, np.ndarray]]:
    """Split the interactions of all users into support and query, for each of `SUPPORT_SIZES`.

    Args:
        data: Interactions.
        sort_keys: Returns what the interactions are ordered by; called for each support size.
        n_query: The most queries of a user.

    Yields:
        The support sets, users by items, (U, I); and the rows of the queries in `data`, sorted by
        user. Users without a query have an empty support set.
    """
    start = np.concatenate([[0], data.user_counts.cumsum()])
    for size in SUPPORT_SIZES:
        rows = np.lexsort((sort_keys(), data.user))  # by user, then by key
        position = np.arange(len(rows)) - start[data.user[rows]]  # of each in its user's order
        has_query = data.user_counts[data.user[rows]] > size
        in_support = has_query & (position < size)
        in_query = has_query & (position >= size) & (position < size + n_query)
        support = rows[in_support]
        values = position[in_support] + 1.0 if data.clicks else data.rating[support]
        matrix = sparse.csr_matrix(
            (values, (data.user[support], data.item[support])),
            shape=(len(data.users), len(data.items)),
        )
        yield matrix, rows[in_query]


def rows_of_users(data: Interactions, rows: np.ndarray, users: slice) -> np.ndarray:
    """Those of some rows whose user is in a slice."""
    user = data.user[rows]
    return rows[(user >= users.start) & (user < users.stop)]
