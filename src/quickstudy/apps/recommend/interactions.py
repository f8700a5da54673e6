"""Who rated or chose what: the data of a recommender, and users as tasks.

A user is a task: some ratings to learn from, some to be judged on. Cold users are held out whole:
nothing that is learned from others, not even the mean of an item, has seen them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from quickstudy.apps.tables import read_rows
from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.tasks.datasets import store

__all__ = [
    "ColdUsers",
    "Columns",
    "Interactions",
    "generated",
    "load_interactions",
    "load_ml_100k",
    "load_movielens",
    "user_folds",
]

Columns = Mapping[str, Sequence[Any]]
"""Attributes by name, a value a user or item: a number, a word, a list of words, or None."""

Order = Literal["random", "chronological"]

NAMES = {
    "user": ("user", "user_id", "userId"),
    "item": ("item", "item_id", "itemId", "movieId"),
    "rating": ("rating",),
    "time": ("time", "timestamp"),
}
"""What columns of a file are called, where the caller does not say."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings of items by users, or clicks, which tell no more than that something was chosen.

    Args:
        users, items: A name each.
        user, item: Who rated what, positions in these lists, int64 of shape (n,).
        rating: Of any scale, shape (n,); of clicks 1.
        time: When, in any unit, shape (n,); None if not known.
        user_columns, item_columns: Attributes, a value a user or item.
        titles: What to call each item for people; by default its name.
        clicks: Whether there are no ratings.

    Raises:
        DataError: If the shapes disagree, there is nothing, a rating is not finite, or someone
            rated something twice.

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

    def __post_init__(self) -> None:
        n = len(self.rating)
        if n == 0:
            raise DataError("expected interactions, got none")
        for what, given in {"user": self.user, "item": self.item, "time": self.time}.items():
            if given is not None and given.shape != (n,):
                raise DataError(f"expected a {what} for each of {n} ratings, got {given.shape}")
        for what, at, names in (("user", self.user, self.users), ("item", self.item, self.items)):
            if at.min() < 0 or at.max() >= len(names):
                raise DataError(f"expected {what}s in 0..{len(names) - 1}, one per name")
        for what, given in {"rating": self.rating, "time": self.time}.items():
            if given is not None and not np.isfinite(given).all():
                raise DataError(f"expected a finite {what} each, got NaN or infinity: clean them")
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
        users: Mapping[str, Mapping[str, Any]] | None = None,
        items: Mapping[str, Mapping[str, Any]] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> Interactions:
        """Take in (user, item, rating) or (user, item, rating, time); users and items in the order
        in which they come. Of several ratings of an item by a user the newest is kept, and without
        times the last. If all ratings are None, they are clicks.

        Args:
            users, items: Attributes by user and item; those who rated nothing are left out.
            titles: What to call items for people.

        Raises:
            DataError: If there is nothing, or a rating or time is no finite number.
        """
        rows = list(rows)
        clicks = all(len(row) > 2 and row[2] is None for row in rows)
        newest: dict[tuple[str, str], tuple[float, float]] = {}
        timed: bool | None = None
        for number, row in enumerate(rows, 1):
            if len(row) not in (3, 4) or (timed is not None and timed != (len(row) == 4)):
                raise DataError(
                    f"row {number}: expected user, item, rating and, in all rows or none, a time; "
                    f"got {row!r}"
                )
            timed = len(row) == 4
            user, item = _text(row[0]), _text(row[1])
            if not user or not item:
                raise DataError(f"row {number}: expected a user and an item, got {row!r}")
            given = 1.0 if clicks else row[2]
            rating = _number(given, f"row {number}: expected a finite rating")
            time = _number(row[3], f"row {number}: expected a finite time") if timed else number
            if (pair := (user, item)) not in newest or time >= newest[pair][1]:
                newest[pair] = (rating, time)
        who = list(dict.fromkeys(user for user, _ in newest))
        what = list(dict.fromkeys(item for _, item in newest))
        position = ({u: i for i, u in enumerate(who)}, {x: i for i, x in enumerate(what)})
        values = np.array(list(newest.values()), float).reshape(-1, 2)
        return cls(
            who,
            what,
            np.array([position[0][user] for user, _ in newest], np.int64),
            np.array([position[1][item] for _, item in newest], np.int64),
            values[:, 0],
            values[:, 1] if timed else None,
            _columns(users, who),
            _columns(items, what),
            [titles.get(item) or item for item in what] if titles else None,
            clicks,
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
        )

    @property
    def levels(self) -> np.ndarray:
        """The different ratings, ascending."""
        return np.unique(self.rating)

    @property
    def counts(self) -> np.ndarray:
        """Ratings of each user, shape (n_users,)."""
        return np.bincount(self.user, minlength=len(self.users))

    def as_clicks(self) -> Interactions:
        """The same without the ratings."""
        return replace(self, rating=np.ones(len(self.rating)), clicks=True)

    def places(self) -> np.ndarray:
        """Of each interaction, the place in its user's order of time, from 1, shape (n,); without
        times the order is that in which they are stored."""
        order = np.lexsort(
            (np.arange(len(self.user)) if self.time is None else self.time, self.user)
        )
        start = np.concatenate([[0], self.counts.cumsum()])
        found = np.empty(len(order))
        found[order] = np.arange(len(order)) - start[self.user[order]] + 1
        return found

    def matrix(self) -> sparse.csr_matrix:
        """Users by items; what is stored is the rating, which may be 0, or of clicks the place."""
        values = self.places() if self.clicks else self.rating
        return sparse.csr_matrix(
            (values, (self.user, self.item)), shape=(len(self.users), len(self.items))
        )

    def of_users(self, chosen: np.ndarray) -> Interactions:
        """Those of some users alone, in the given order; the items stay all."""
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
                f"got none: the most is {data.counts.max()}"
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


def load_interactions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    users: str | Path | None = None,
    items: str | Path | None = None,
    clicks: bool = False,
) -> Interactions:
    """Read a CSV or Parquet file with a row a rating, or a click.

    Args:
        path: With columns user, item, rating and, where known, time (also `userId`, `user_id`,
            `movieId`, `timestamp`, ...). A `.tsv` has tabs. Parquet takes pyarrow.
        columns: What they are called in the file, as in `{"item": "book"}`.
        users, items: Files of attributes with a row a user or item: the column user or item, and
            any others. A column `title` is what to call the items; words with "|" between them
            are several, as genres are.
        clicks: Take no ratings, whether there are any or not.

    Raises:
        MissingError: If there is no such file, or no pyarrow for it.
        DataError: If a column is absent, or a value cannot be read; names the row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = Path(folder, "ratings.csv")
        ...     _ = place.write_text("user,item,rating\\nann,Alien,5\\nbob,Alien,2\\n")
        ...     load_interactions(place).rating.tolist()
        [5.0, 2.0]
    """
    path = Path(path)
    head, rows = _read(path)
    called = {**(columns or {})}
    for what in called:
        check_option("column", what, NAMES)
    for what, names in NAMES.items():
        if what in called:
            if called[what] not in head:
                raise DataError(f"expected a column {called[what]!r} in {path}, got {head}")
        elif found := [name for name in names if name in head]:
            called[what] = found[0]
        elif what != "time" and not (clicks and what == "rating"):
            also = ", or take clicks (--clicks)" if what == "rating" else ""
            raise DataError(
                f"expected a column {what!r} in {path}, got {', '.join(head)}: rename one, or name "
                f"it in Python with columns={{{what!r}: ...}}{also}"
            )
    if clicks:
        called["rating"] = ""
    at = [head.index(called[what]) if called[what] else None for what in NAMES if what in called]
    attributes = [_attributes(file, what) for what, file in (("user", users), ("item", items))]
    titles = {name: row.pop("title") for name, row in attributes[1].items() if "title" in row}
    try:
        return Interactions.from_rows(
            ([None if i is None else row[i] for i in at] for row in rows),
            users=attributes[0],
            items=attributes[1],
            titles=titles,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def load_history(path: str | Path, *, clicks: bool = False) -> list[Any]:
    """Read the ratings of one user: a CSV or Parquet file with the columns item and rating. Of
    clicks, only the items, in order.

    Raises:
        MissingError, DataError: As `load_interactions`.
    """
    path = Path(path)
    head, rows = _read(path)
    at = []
    for what in ("item",) if clicks else ("item", "rating"):
        found = [name for name in NAMES[what] if name in head]
        if not found:
            raise DataError(f"expected a column {what!r} in {path}, got {head}")
        at.append(head.index(found[0]))
    if clicks:
        return [_text(row[at[0]]) for row in rows]
    return [
        (_text(row[at[0]]), _number(row[at[1]], f"{path}, row {number}: expected a rating"))
        for number, row in enumerate(rows, 1)
    ]


def load_ml_100k(folder: str | Path | None = None) -> Interactions:
    """MovieLens 100K with age, gender and occupation, genres and year.

    Args:
        folder: That of its files; by default the data folder's.

    Raises:
        MissingError: If it is not on this machine; says how to get it.
        DataError: If a file is damaged.
    """

    def rows(kind: str) -> list[list[str]]:
        name = f"ml-100k.{kind}"
        path = Path(folder) / name if folder is not None else store.find("ml-100k", name)
        _, found = _read(path, "\t")
        return found

    users = {
        name: {"age": float(age), "gender": gender, "occupation": occupation}
        for name, age, gender, occupation, _ in rows("user")
    }
    items, titles = {}, {}
    for name, title, year, genres in rows("item"):
        items[name] = {"year": float(year) if year.isdigit() else None, "genres": genres.split()}
        titles[name] = f"{title} ({year})" if year else title
    return Interactions.from_rows(rows("inter"), users=users, items=items, titles=titles)


def load_movielens(folder: str | Path) -> Interactions:
    """A newer MovieLens, such as ml-latest-small: `ratings.csv`, and genres of `movies.csv`.

    Raises:
        MissingError: If a file is not there.
        DataError: If it is damaged.
    """
    folder = Path(folder)
    return load_interactions(folder / "ratings.csv", items=folder / "movies.csv")


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


def _number(value: Any, expected: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{expected}, got {value!r}")
    return number


def _text(cell: Any) -> str:
    """A cell as text, empty where there is nothing; the parts of a list have "|" between them."""
    if isinstance(cell, list):
        return "|".join(map(_text, cell))
    return "" if cell is None or cell != cell else str(cell).strip()


def _columns(told: Mapping[str, Mapping[str, Any]] | None, names: Sequence[str]) -> Columns:
    told = told or {}
    columns = dict.fromkeys(column for row in told.values() for column in row)
    return {column: [told.get(name, {}).get(column) for name in names] for column in columns}


def _attributes(path: str | Path | None, what: str) -> dict[str, dict[str, Any]]:
    """Attributes by user or item. A column of numbers alone is one of numbers."""
    if path is None:
        return {}
    path = Path(path)
    head, rows = _read(path)
    key = next((name for name in NAMES[what] if name in head), None)
    if key is None:
        raise DataError(f"expected a column {what!r} in {path}, got {head}")
    table: list[dict[str, Any]] = [dict(zip(head, map(_text, row), strict=True)) for row in rows]
    for column in set(head) - {key, "title"}:
        words = [row[column] for row in table if row[column]]
        read: Callable[[str], Any] = str
        if all(map(_is_number, words)):
            read = float
        elif any("|" in word for word in words):
            read = lambda word: word.split("|")  # noqa: E731
        for row in table:
            row[column] = read(row[column]) if row[column] else None
    found = {row.pop(key): row for row in table}
    if len(found) < len(rows):
        raise DataError(
            f"expected a row for each {what} in {path}, got {len(rows)} rows for {len(found)}: "
            'merge those of one, with "|" between several words'
        )
    return found


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _read(path: Path, delimiter: str | None = None) -> tuple[list[str], list[list[Any]]]:
    """The names of a file's columns, and its rows."""
    head, rows = read_rows(path, delimiter)
    return [name.partition(":")[0].strip() for name in head], rows  # RecBole writes name:type
