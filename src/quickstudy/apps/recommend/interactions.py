"""Who rated or chose what: the data of a recommender, and users as tasks.

A user is a task: some ratings to learn from, some to be judged on. Cold users are held out whole:
nothing that is learned from others, not even the mean of an item, has seen them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.identifiers import identifier, repeated, warn_of_few_matches
from quickstudy.apps.recommend.times import seconds
from quickstudy.errors import DataError, UsageError, check_option

__all__ = [
    "ColdUsers",
    "Columns",
    "Interactions",
    "check_on_scale",
    "generated",
    "number",
    "user_folds",
]

Columns = Mapping[str, Sequence[Any]]
"""Attributes by name, a value a user or item: a number, a word, a list of words, or None."""

Order = Literal["random", "chronological"]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings of items by users, or clicks, which tell no more than that something was chosen.

    Args:
        users, items: A name each, as text or as numbers (see `identifier`).
        user, item: Who rated what, positions in these lists, int64 of shape (n,).
        rating: Of any scale, shape (n,); of clicks 1.
        time: When, in any unit, shape (n,); None if not known.
        user_columns, item_columns: Attributes, a value a user or item.
        titles: What to call each item for people; by default its name.
        clicks: Whether there are no ratings.
        scale: The lowest and highest rating that may be given; by default those that were. Parts
            that `of_users` takes have that of the whole.

    Raises:
        DataError: If the shapes disagree, there is nothing, a rating is not finite, a name comes
            twice, or someone rated something twice.

    Example:
        >>> data = Interactions.from_rows([("ann", "Alien", 5), ("bob", "Alien", 2)])
        >>> data.users, data.items, data.rating.tolist()
        (['ann', 'bob'], ['Alien'], [5.0, 2.0])
    """

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray | None = None
    user_columns: Columns = field(default_factory=dict)
    item_columns: Columns = field(default_factory=dict)
    titles: list[str] | None = None
    clicks: bool = False
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        n = len(self.rating)
        if n == 0:
            raise DataError("expected interactions, got none")
        for what in ("users", "items"):
            names = [identifier(name) for name in getattr(self, what)]
            if (twice := repeated(names)) is not None:
                raise DataError(f"expected each of the {what} once, got {twice!r} twice")
            object.__setattr__(self, what, names)
        for what, given in {"user": self.user, "item": self.item, "time": self.time}.items():
            if given is not None and given.shape != (n,):
                raise DataError(f"expected a {what} for each of {n} ratings, got {given.shape}")
        for what, at, names in (("user", self.user, self.users), ("item", self.item, self.items)):
            if at.min() < 0 or at.max() >= len(names):
                raise DataError(f"expected {what}s in 0..{len(names) - 1}, one per name")
        for what, given in {"rating": self.rating, "time": self.time}.items():
            if given is not None and not np.isfinite(given).all():
                raise DataError(f"expected a finite {what} each, got NaN or infinity: clean them")
        if self.scale is not None:
            check_scale(self.scale)
            check_on_scale(self.rating, self.scale)
        for what, names, columns in (
            ("user", self.users, self.user_columns),
            ("item", self.items, self.item_columns),
        ):
            for name, values in columns.items():
                if len(values) != len(names):
                    raise DataError(
                        f"expected {name!r} of each of {len(names)} {what}s, got {len(values)}"
                    )
        if self.titles is not None and len(self.titles) != len(self.items):
            raise DataError(f"expected a title per item, {len(self.items)}, got {len(self.titles)}")
        pairs = self.user * len(self.items) + self.item
        if len(np.unique(pairs)) < n:
            found, counts = np.unique(pairs, return_counts=True)
            u, i = divmod(int(found[counts.argmax()]), len(self.items))
            raise DataError(
                f"expected one rating of an item by a user, got several of {self.items[i]!r} by "
                f"{self.users[u]!r}: keep the newest"
            )

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Sequence[Any]],
        *,
        users: Mapping[Any, Mapping[str, Any]] | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
        titles: Mapping[Any, str] | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Interactions:
        """Take in (user, item, rating) or (user, item, rating, time); users and items in the order
        in which they come. Of several ratings of an item by a user the newest is kept, and without
        times the last. If all ratings are None, they are clicks. Times are numbers in seconds,
        milli-, micro- or nanoseconds, ISO 8601, or `datetime`; they become seconds (see
        `seconds`).

        Args:
            users, items: Attributes by user and item; those who rated nothing are left out. It
                warns if fewer than half of those who did have a row.
            titles: What to call items for people.
            scale: The lowest and highest rating that may be given; by default those that were.

        Users and items are the same whether they are named by text or number: 1, 1.0, "1" and
        "1.0" (see `identifier`).

        Raises:
            DataError: If there is nothing, or a rating or time is no finite number.
        """
        rows = list(rows)
        clicks = all(len(row) > 2 and row[2] is None for row in rows)
        if scale is not None:
            check_scale(scale)
            if clicks:
                raise UsageError("expected a scale with ratings, got one with clicks")
        timed = bool(rows) and len(rows[0]) == 4
        for place, row in enumerate(rows, 1):
            if len(row) not in (3, 4) or timed != (len(row) == 4):
                raise DataError(
                    f"row {place}: expected user, item, rating and, in all rows or none, a time; "
                    f"got {row!r}"
                )
        times = seconds([row[3] for row in rows]) if timed else []
        newest: dict[tuple[str, str], tuple[float, float]] = {}
        for place, row in enumerate(rows, 1):
            user, item = identifier(row[0]), identifier(row[1])
            if not user or not item:
                raise DataError(f"row {place}: expected a user and an item, got {row!r}")
            given = 1.0 if clicks else row[2]
            rating = number(given, f"row {place}: expected a finite rating")
            time = times[place - 1] if timed else place
            if (pair := (user, item)) not in newest or time >= newest[pair][1]:
                newest[pair] = (rating, time)
        who = list(dict.fromkeys(user for user, _ in newest))
        what = list(dict.fromkeys(item for _, item in newest))
        position = ({u: i for i, u in enumerate(who)}, {x: i for i, x in enumerate(what)})
        values = np.array(list(newest.values()), float).reshape(-1, 2)
        about_users, about_items, called = map(_by_identifier, (users, items, titles))
        warn_of_few_matches("user", who, about_users)
        if not warn_of_few_matches("item", what, about_items):
            warn_of_few_matches("item", what, called)
        return cls(
            who,
            what,
            np.array([position[0][user] for user, _ in newest], np.int64),
            np.array([position[1][item] for _, item in newest], np.int64),
            values[:, 0],
            values[:, 1] if timed else None,
            _columns(about_users, who),
            _columns(about_items, what),
            [called.get(item) or item for item in what] if called else None,
            clicks,
            scale,
        )

    def swapped(self) -> Interactions:
        """The same with items as users, and users as items: what is learned of new users then, is
        learned of new items.

        Example:
            >>> data = Interactions.from_rows([("ann", "Alien", 5), ("bob", "Alien", 2)])
            >>> data.swapped().users, data.swapped().matrix().toarray().tolist()
            (['Alien'], [[5.0, 2.0]])
        """
        return Interactions(
            self.items,
            self.users,
            self.item,
            self.user,
            self.rating,
            self.time,
            self.item_columns,
            self.user_columns,
            clicks=self.clicks,
            scale=self.scale,
        )

    @property
    def levels(self) -> np.ndarray:
        """The different ratings, ascending."""
        return np.unique(self.rating)

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and highest rating of the scale."""
        return self.scale or (float(self.rating.min()), float(self.rating.max()))

    @property
    def counts(self) -> np.ndarray:
        """Ratings of each user, shape (n_users,)."""
        return np.bincount(self.user, minlength=len(self.users))

    def as_clicks(self) -> Interactions:
        """The same without the ratings."""
        return replace(self, rating=np.ones(len(self.rating)), clicks=True, scale=None)

    def places(self) -> np.ndarray:
        """Of each interaction, the place in its user's order of time, from 1, shape (n,).

        Raises:
            DataError: If times are not known: the order of rows tells nothing of time.
        """
        if self.time is None:
            raise DataError("expected times for an order, got none")
        order = np.lexsort((self.time, self.user))
        start = np.concatenate([[0], self.counts.cumsum()])
        found = np.empty(len(order))
        found[order] = np.arange(len(order)) - start[self.user[order]] + 1
        return found

    def matrix(self) -> sparse.csr_matrix:
        """Users by items; what is stored is the rating, which may be 0, or of clicks the place, or
        without times 1."""
        values = self.places() if self.clicks and self.time is not None else self.rating
        return sparse.csr_matrix(
            (values, (self.user, self.item)), shape=(len(self.users), len(self.items))
        )

    def of_users(self, chosen: np.ndarray) -> Interactions:
        """Those of some users alone, in the given order; items and scale stay those of all."""
        position = np.full(len(self.users), -1)
        position[chosen] = np.arange(len(chosen))
        kept = position[self.user] >= 0
        return Interactions(
            [self.users[u] for u in chosen],
            self.items,
            position[self.user[kept]],
            self.item[kept],
            self.rating[kept],
            None if self.time is None else self.time[kept],
            {name: [values[u] for u in chosen] for name, values in self.user_columns.items()},
            self.item_columns,
            self.titles,
            self.clicks,
            None if self.clicks else self.extremes,
        )


@dataclass(frozen=True, eq=False)
class ColdUsers:
    """Users as tasks: for each, items to be judged on, and others to learn from.

    A support set is the beginning of a longer one, and all are judged on the same items.

    Args:
        data: Interactions of these users.
        n_query: Items each is judged on.
        most: The largest support set, which all users have enough ratings for; those who have
            not are left out.
        order: "random", or "chronological": learn from the first ratings, be judged on the last.
        seed: Decides the random order.

    Attributes:
        users: Positions in `data.users`, shape (n,).
        query: Positions of items, shape (n, n_query).
        rating: How the users rated these, shape (n, n_query).

    Raises:
        DataError: If no user has ratings enough, or times are needed and not known.

    Example:
        >>> cold = ColdUsers(generated(n_users=50), n_query=5, most=5)
        >>> cold.query.shape[1], cold.support(3).getnnz(axis=1).max()
        (5, np.int32(3))
    """

    data: Interactions
    n_query: int = 10
    most: int = 20
    order: Order = "random"
    seed: int = 0
    users: np.ndarray = field(init=False)
    query: np.ndarray = field(init=False)
    rating: np.ndarray = field(init=False)
    _rows: np.ndarray = field(init=False)  # (n, most + n_query): the first interactions, in order

    def __post_init__(self) -> None:
        check_option("order", self.order, get_args(Order))
        if self.n_query < 1 or self.most < 0:
            raise UsageError(
                f"expected n_query of 1 or more and supports of 0 or more, got {self.n_query} and "
                f"{self.most}"
            )
        data = self.data
        if self.order == "chronological":
            if data.time is None:
                raise DataError("expected times for a chronological order, got none: use random")
            lots = data.time
        else:
            lots = np.random.default_rng(self.seed).random(len(data.rating))
        need = self.most + self.n_query
        users = np.flatnonzero(data.counts >= need)
        if not len(users):
            raise DataError(
                f"expected users with {need} ratings ({self.most} support + {self.n_query} query), "
                f"got none: the most is {data.counts.max()}; give fewer of them as support, or "
                "predict fewer (on the command line --support and --n-query)"
            )
        rows = np.lexsort((lots, data.user))  # by user, then in order
        start = np.concatenate([[0], data.counts.cumsum()])
        at = np.array([rows[start[u] : start[u] + need] for u in users])
        asked = np.array([rows[start[u + 1] - self.n_query : start[u + 1]] for u in users])
        object.__setattr__(self, "users", users)
        object.__setattr__(self, "query", data.item[asked])
        object.__setattr__(self, "rating", data.rating[asked])
        object.__setattr__(self, "_rows", at)

    def __len__(self) -> int:
        return len(self.users)

    def support(self, size: int) -> sparse.csr_matrix:
        """The first `size` ratings of each user, users by items; of clicks, their places.

        Raises:
            UsageError: If it is more than `most`.
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

    def following(self, size: int) -> np.ndarray:
        """Positions of the `n_query` items after the first `size`, in order, (n, n_query).

        Raises:
            UsageError: If it is more than `most`.
        """
        self._check_size(size)
        return self.data.item[self._rows[:, size : size + self.n_query]]

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.most:
            raise UsageError(f"expected a support of 0 to {self.most} ratings, got {size}")


def user_folds(n_users: int, n_folds: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Users in `n_folds` parts that share none, of sizes that differ by one at most.

    Example:
        >>> [len(part) for part in user_folds(7, 3)]
        [3, 2, 2]
    """
    if not 2 <= n_folds <= n_users:
        raise UsageError(f"expected 2 to {n_users} folds, one user each at least, got {n_folds}")
    order = np.random.default_rng(seed).permutation(n_users)
    return [np.sort(order[fold::n_folds]) for fold in range(n_folds)]


def generated(n_users: int = 400, n_items: int = 150, seed: int = 0) -> Interactions:
    """Invented ratings of 1 to 5: for tests, and to try things with.

    Users have two tastes and a mood, which their age and trade tell a part of; items have a
    quality and a genre, and some are much more popular than others.

    Example:
        >>> data = generated(n_users=50)
        >>> len(data.users), data.levels.tolist()
        (50, [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    rng = np.random.default_rng(seed)
    genre = rng.integers(4, size=n_items)
    kinds = np.array([[1.0, 0.0], [-1.0, 0.2], [0.1, 1.0], [0.0, -1.0]])
    place = kinds[genre] + 0.3 * rng.normal(size=(n_items, 2))
    trade = rng.integers(3, size=n_users)
    age = rng.uniform(15, 70, size=n_users)
    taste = 0.5 * rng.normal(size=(n_users, 2))
    taste[:, 0] += 0.7 * (trade - 1)
    taste[:, 1] += 0.5 * (age - 42) / 16
    liked = 3.5 + 0.4 * rng.normal(size=n_items) + 0.4 * rng.normal(size=(n_users, 1))
    liked = liked + taste @ place.T + 0.5 * rng.normal(size=(n_users, n_items))
    popular = 1 / np.arange(2, n_items + 2) ** 0.7
    rows = []
    for user in range(n_users):
        size = min(n_items, int(rng.integers(12, 60)))
        seen = rng.choice(n_items, size, replace=False, p=popular / popular.sum())
        for time, item in enumerate(seen):
            rating = float(np.clip(np.round(liked[user, item]), 1, 5))
            rows.append((f"user {user}", f"item {item}", rating, time))
    trades, genres = ("baker", "smith", "tailor"), ("drama", "comedy", "space", "history")
    return Interactions.from_rows(
        rows,
        users={
            f"user {u}": {"age": float(age[u]), "trade": trades[trade[u]]} for u in range(n_users)
        },
        items={f"item {i}": {"genres": [genres[genre[i]]]} for i in range(n_items)},
    )


def check_scale(scale: tuple[float, float]) -> None:
    """Refuse a scale that is not a lowest and a higher highest rating."""
    low, high = scale
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"expected a scale from low to high, got {low:g} to {high:g}")


def check_on_scale(ratings: np.ndarray, scale: tuple[float, float]) -> None:
    """Refuse ratings that are not from the lowest to the highest of a scale."""
    low, high = scale
    off = ~((ratings >= low) & (ratings <= high))
    if off.any():
        raise DataError(
            f"expected ratings of {low:g} to {high:g}, got {ratings[off.argmax()]:g}: correct it, "
            "or give the scale of all ratings in training (scale=, --scale)"
        )


def number(value: Any, expected: str) -> float:
    """A finite number, or a `DataError` that begins with what was expected."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{expected}, got {value!r}")
    return found


def _by_identifier(table: Mapping[Any, Any] | None) -> dict[str, Any]:
    """A table of attributes or titles by name.

    Raises:
        DataError: If two of its keys are the same name.
    """
    found = {identifier(key): value for key, value in (table or {}).items()}
    if table and len(found) < len(table):
        twice = repeated(map(identifier, table))
        raise DataError(f"expected one row of attributes for {twice!r}, got several")
    return found


def _columns(table: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Columns:
    columns = dict.fromkeys(column for row in table.values() for column in row)
    return {column: [table.get(name, {}).get(column) for name in names] for column in columns}
