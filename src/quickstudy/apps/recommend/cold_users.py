"""Cold users as tasks: for each, a support set to learn from and queries to be judged on.

Cold users are held out whole: nothing that is learned from others, not even the mean of an item,
has seen their ratings.

Shapes: N cold users, I items, Q queries of a user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.errors import DataError, UsageError, check_option

__all__ = ["ColdUsers", "Order", "user_folds"]

Order = Literal["random", "chronological"]


@dataclass(frozen=True, eq=False)
class ColdUsers:
    """Users as tasks: a support set to learn from, and queries to be judged on.

    A small support set is the beginning of a larger one, and all are judged on the same queries.

    Args:
        data: Interactions of these users.
        n_query: Queries of each user.
        max_support: The largest support size. Users without ratings enough for it are left out.
        order: "random", or "chronological": the support set is the first ratings, the queries are
            the last.
        seed: Decides the random order.

    Attributes:
        users: Positions in `data.users`, (N,).
        query_items: Positions of the items of the queries, (N, Q).
        query_ratings: How the users rated them, (N, Q).

    Raises:
        DataError: If no user has ratings enough, or times are needed and not known.

    Example:
        >>> from quickstudy.apps.recommend import generated
        >>> cold = ColdUsers(generated(n_users=50), n_query=5, max_support=5)
        >>> cold.query_items.shape[1], cold.support(3).getnnz(axis=1).max()
        (5, np.int32(3))
    """

    data: Interactions
    n_query: int = 10
    max_support: int = 20
    order: Order = "random"
    seed: int = 0
    users: np.ndarray = field(init=False)
    query_items: np.ndarray = field(init=False)
    query_ratings: np.ndarray = field(init=False)
    _rows: np.ndarray = field(init=False)  # (N, max_support + Q): the first interactions, in order

    def __post_init__(self) -> None:
        check_option("order", self.order, get_args(Order))
        if self.n_query < 1 or self.max_support < 0:
            raise UsageError(
                f"expected n_query of 1 or more and supports of 0 or more, got {self.n_query} and "
                f"{self.max_support}"
            )
        data = self.data
        if self.order == "chronological":
            if data.time is None:
                raise DataError("expected times for a chronological order, got none: use random")
            sort_keys = data.time
        else:
            sort_keys = np.random.default_rng(self.seed).random(len(data.rating))
        n_needed = self.max_support + self.n_query
        users = np.flatnonzero(data.user_counts >= n_needed)
        if not len(users):
            raise DataError(
                f"expected users with {n_needed} ratings ({self.max_support} support + "
                f"{self.n_query} query), got none: the most is {data.user_counts.max()}; give "
                "fewer of them as support, or predict fewer (on the command line --support and "
                "--n-query)"
            )
        rows = np.lexsort((sort_keys, data.user))  # by user, then in order
        start = np.concatenate([[0], data.user_counts.cumsum()])
        first_rows = np.array([rows[start[u] : start[u] + n_needed] for u in users])
        query_rows = np.array([rows[start[u + 1] - self.n_query : start[u + 1]] for u in users])
        object.__setattr__(self, "users", users)
        object.__setattr__(self, "query_items", data.item[query_rows])
        object.__setattr__(self, "query_ratings", data.rating[query_rows])
        object.__setattr__(self, "_rows", first_rows)

    def __len__(self) -> int:
        return len(self.users)

    def support(self, size: int) -> sparse.csr_matrix:
        """The first `size` ratings of each user, (N, I); for clicks, their positions from 1.

        Raises:
            UsageError: If `size` is more than `max_support`.
        """
        self._check_size(size)
        rows = self._rows[:, :size].ravel()
        values = self.data.rating[rows]
        if self.data.clicks:
            values = np.tile(np.arange(1.0, size + 1), len(self))
        return sparse.csr_matrix(
            (values, (np.repeat(np.arange(len(self)), size), self.data.item[rows])),
            shape=(len(self), len(self.data.items)),
        )

    def next_items(self, size: int) -> np.ndarray:
        """Positions of the items of the Q interactions after the first `size`, in order, (N, Q).

        Raises:
            UsageError: If `size` is more than `max_support`.
        """
        self._check_size(size)
        return self.data.item[self._rows[:, size : size + self.n_query]]

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.max_support:
            raise UsageError(f"expected a support of 0 to {self.max_support} ratings, got {size}")


def user_folds(n_users: int, n_folds: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Split users into `n_folds` disjoint folds, whose sizes differ by one at most.

    Example:
        >>> [len(part) for part in user_folds(7, 3)]
        [3, 2, 2]
    """
    if not 2 <= n_folds <= n_users:
        raise UsageError(f"expected 2 to {n_users} folds, one user each at least, got {n_folds}")
    order = np.random.default_rng(seed).permutation(n_users)
    return [np.sort(order[fold::n_folds]) for fold in range(n_folds)]
