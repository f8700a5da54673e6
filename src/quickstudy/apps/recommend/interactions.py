"""Who rated or clicked what: the data of a recommender.

Shapes: U users, I items, n interactions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.checks import check_on_scale, check_scale
from quickstudy.apps.recommend.columns import (
    Column,
    Unreadable,
    newest_of_each,
    readable_columns,
)
from quickstudy.apps.recommend.identifiers import identifier, repeated, warn_of_few_matches
from quickstudy.errors import DataError, UsageError

__all__ = ["Columns", "Interactions"]

Columns = Mapping[str, Sequence[Any]]
"""Attributes by name, a value a user or item: a number, a word, a list of words, or None."""


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Ratings of items by users, or clicks: interactions without ratings, such as purchases or
    views.

    Args:
        users, items: Their names, as text or as numbers (see `identifier`).
        user, item: Who rated what: positions in these lists, int64 of shape (n,).
        rating: Ratings on any scale, shape (n,); 1 for clicks.
        time: Times in any unit, shape (n,); None if they are not known.
        user_columns, item_columns: Attributes, a value for each user or item.
        titles: How to show each item; by default its name.
        clicks: Whether these are clicks.
        scale: The lowest and highest possible rating; by default the lowest and highest in the
            data. `of_users` hands the scale of all data to its part.

    Raises:
        DataError: If the shapes disagree, there are no interactions, a rating is not finite, a name
            comes twice, or a user rated an item twice.

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
            if (duplicate := repeated(names)) is not None:
                raise DataError(f"expected each of the {what} once, got {duplicate!r} twice")
            object.__setattr__(self, what, names)
        for what, column in {"user": self.user, "item": self.item, "time": self.time}.items():
            if column is not None and column.shape != (n,):
                raise DataError(f"expected a {what} for each of {n} ratings, got {column.shape}")
        for what, position, names in (
            ("user", self.user, self.users),
            ("item", self.item, self.items),
        ):
            if position.min() < 0 or position.max() >= len(names):
                raise DataError(f"expected {what}s in 0..{len(names) - 1}, one per name")
        for what, column in {"rating": self.rating, "time": self.time}.items():
            if column is not None and not np.isfinite(column).all():
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
            distinct, counts = np.unique(pairs, return_counts=True)
            u, i = divmod(int(distinct[counts.argmax()]), len(self.items))
            raise DataError(
                f"expected one rating of an item by a user, got several of {self.items[i]!r} by "
                f"{self.users[u]!r}: keep the newest"
            )

    def __repr__(self) -> str:
        what = "clicks" if self.clicks else "ratings"
        n_users, n_items = len(self.users), len(self.items)
        return f"Interactions({n_users} users, {n_items} items, {len(self.rating)} {what})"

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Sequence[Any]],
        *,
        users: Mapping[Any, Mapping[str, Any]] | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
        titles: Mapping[Any, str] | None = None,
        scale: tuple[float, float] | None = None,
        unreadable: Unreadable = "ignore",
    ) -> Interactions:
        """Read rows (user, item, rating) or (user, item, rating, time). If all ratings are None,
        the rows are clicks.

        Args:
            rows: Tuples or lists.
            users, items, titles, scale, unreadable: As in `from_columns`.

        Raises:
            DataError: If there are no rows, or as in `from_columns`.
            UsageError: If there is a scale without ratings.
        """
        rows = list(rows)
        has_times = bool(rows) and len(rows[0]) == 4
        for number_of_row, row in enumerate(rows, 1):
            if len(row) not in (3, 4) or has_times != (len(row) == 4):
                raise DataError(
                    f"row {number_of_row}: expected user, item, rating and, in all rows or none, a "
                    f"time; got {row!r}"
                )
        user, item, rating, *time = zip(*rows, strict=True) if rows else ((), (), ())
        return cls.from_columns(
            user,
            item,
            None if all(value is None for value in rating) else rating,
            time[0] if time else None,
            users=users,
            items=items,
            titles=titles,
            scale=scale,
            unreadable=unreadable,
        )

    @classmethod
    def from_columns(
        cls,
        user: Column,
        item: Column,
        rating: Column | None = None,
        time: Any = None,
        *,
        users: Mapping[Any, Mapping[str, Any]] | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
        titles: Mapping[Any, str] | None = None,
        scale: tuple[float, float] | None = None,
        unreadable: Unreadable = "ignore",
    ) -> Interactions:
        """Read columns of equal length: lists, arrays, or series of pandas or Polars.

        Users and items keep the order in which they first come, and are the same whether they are
        written as text or number: 1, 1.0, "1" and "1.0" (see `identifier`). Times are numbers of
        seconds, milli-, micro- or nanoseconds, ISO 8601, or `datetime`; they become seconds (see
        `seconds`). If a user rated or chose an item several times, the newest rating or click
        counts, or the last row if there are no times; a warning counts the other ratings.

        Args:
            user, item: Names.
            rating: Numbers, on any scale; without, the rows are clicks.
            time: Times.
            users, items: Attributes by user and item; those without ratings are left out. A warning
                appears if fewer than half of the users or items have a row.
            titles: How to show items, by item.
            scale: The lowest and highest possible rating; by default the lowest and highest given.
            unreadable: "ignore" leaves out rows without user or item, or with a rating or time that
                cannot be read, up to a tenth of all, with a warning that counts them; "raise"
                refuses them.

        Raises:
            DataError: If there are no rows, or some cannot be read; names the first.
            UsageError: If there is a scale without ratings.

        Example:
            >>> data = Interactions.from_columns([7, 7, 8], ["a", "b", "a"], [0.5, -2, 1])
            >>> data.users, data.rating.tolist()
            (['7', '8'], [0.5, -2.0, 1.0])
        """
        if scale is not None:
            check_scale(scale)
            if rating is None:
                raise UsageError("expected a scale with ratings, got one with clicks")
        columns = readable_columns(user, item, rating, time, unreadable)
        n = len(columns.rating)
        kept = newest_of_each(columns.user * len(columns.items) + columns.item, columns.time)
        if len(kept) < n and rating is not None:
            warnings.warn(
                f"{n - len(kept)} of {n} ratings are of an item that the user rated again: the "
                "newest counts",
                stacklevel=2,
            )
        user_table, item_table, title_table = map(_by_identifier, (users, items, titles))
        warn_of_few_matches("user", columns.users, user_table)
        if not warn_of_few_matches("item", columns.items, item_table):
            warn_of_few_matches("item", columns.items, title_table)
        return cls(
            columns.users,
            columns.items,
            columns.user[kept],
            columns.item[kept],
            columns.rating[kept],
            None if columns.time is None else columns.time[kept],
            _columns(user_table, columns.users),
            _columns(item_table, columns.items),
            [title_table.get(item) or item for item in columns.items] if title_table else None,
            rating is None,
            scale,
        )

    @classmethod
    def from_matrix(
        cls,
        matrix: Any,
        *,
        users: Sequence[Any] | None = None,
        items: Sequence[Any] | None = None,
        clicks: bool = False,
        **more: Any,
    ) -> Interactions:
        """Read a sparse matrix of SciPy, users by items. A stored value is a rating, also 0. Values
        stored several times for one entry are added up, as SciPy does.

        Args:
            matrix: (U, I).
            users, items: Their names; by default their positions, from 0.
            clicks: Whether a stored value other than 0 is a click, whatever it is.
            more: Further arguments of `from_columns`.

        Example:
            >>> data = Interactions.from_matrix(sparse.csr_matrix([[5.0, 0], [3, 4]]))
            >>> data.users, data.items, data.rating.tolist()
            (['0', '1'], ['0', '1'], [5.0, 3.0, 4.0])
        """
        if not sparse.issparse(matrix) or matrix.ndim != 2:
            raise DataError(
                f"expected a sparse matrix of SciPy, users by items, got {type(matrix).__name__}: "
                "use scipy.sparse.coo_matrix"
            )
        summed = matrix.tocsr(copy=True)
        summed.sum_duplicates()
        entries = summed.tocoo()
        names = []
        for what, given, n in (
            ("users", users, matrix.shape[0]),
            ("items", items, matrix.shape[1]),
        ):
            names.append(np.arange(n) if given is None else np.array(list(given), object))
            if len(names[-1]) != n:
                raise DataError(f"expected names of {n} {what}, got {len(names[-1])}")
        is_kept = entries.data != 0 if clicks else np.ones(entries.nnz, bool)
        return cls.from_columns(
            names[0][entries.row[is_kept]],
            names[1][entries.col[is_kept]],
            None if clicks else entries.data[is_kept],
            **more,
        )

    def transpose(self) -> Interactions:
        """The same interactions with users and items exchanged. A recommender that learns from them
        adapts to new items, and suggests users.

        Example:
            >>> data = Interactions.from_rows([("ann", "Alien", 5), ("bob", "Alien", 2)])
            >>> data.transpose().users, data.transpose().matrix().toarray().tolist()
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
    def rating_values(self) -> np.ndarray:
        """The different ratings, ascending."""
        return np.unique(self.rating)

    @property
    def rating_range(self) -> tuple[float, float]:
        """The lowest and highest rating of the scale."""
        return self.scale or (float(self.rating.min()), float(self.rating.max()))

    @property
    def user_counts(self) -> np.ndarray:
        """How many interactions each user has, (U,)."""
        return np.bincount(self.user, minlength=len(self.users))

    def as_clicks(self, threshold: float | None = None) -> Interactions:
        """The same interactions without ratings.

        Args:
            threshold: Only ratings of this or more become clicks; users who have none are left out.

        Raises:
            DataError: If no rating is so high.
        """
        clicks = replace(self, rating=np.ones(len(self.rating)), clicks=True, scale=None)
        if threshold is None:
            return clicks
        is_high = self.rating >= threshold
        if not is_high.any():
            raise DataError(
                f"expected ratings of {threshold:g} or more, got {self.rating.max():g} at most: "
                "give a lower threshold"
            )
        high = replace(
            clicks,
            user=self.user[is_high],
            item=self.item[is_high],
            rating=clicks.rating[is_high],
            time=None if self.time is None else self.time[is_high],
        )
        return high.of_users(np.flatnonzero(high.user_counts))

    def positions(self) -> np.ndarray:
        """The position of each interaction in its user's sequence, by time, from 1: (n,).

        Raises:
            DataError: If times are not known. The order of rows says nothing about time.
        """
        if self.time is None:
            raise DataError("expected times for an order, got none")
        order = np.lexsort((self.time, self.user))
        start = np.concatenate([[0], self.user_counts.cumsum()])
        positions = np.empty(len(order))
        positions[order] = np.arange(len(order)) - start[self.user[order]] + 1
        return positions

    def matrix(self) -> sparse.csr_matrix:
        """Users by items, (U, I). A stored entry is the rating, which may be 0. For clicks it is
        the position in the user's sequence, or 1 if times are not known."""
        values = self.positions() if self.clicks and self.time is not None else self.rating
        return sparse.csr_matrix(
            (values, (self.user, self.item)), shape=(len(self.users), len(self.items))
        )

    def of_users(self, users: np.ndarray) -> Interactions:
        """The interactions of some users, who come in the given order. All items stay, and the
        scale too.

        Args:
            users: Positions in `self.users`.
        """
        position = np.full(len(self.users), -1)
        position[users] = np.arange(len(users))
        selected = position[self.user] >= 0
        return Interactions(
            [self.users[u] for u in users],
            self.items,
            position[self.user[selected]],
            self.item[selected],
            self.rating[selected],
            None if self.time is None else self.time[selected],
            {name: [values[u] for u in users] for name, values in self.user_columns.items()},
            self.item_columns,
            self.titles,
            self.clicks,
            None if self.clicks else self.rating_range,
        )


def _by_identifier(table: Mapping[Any, Any] | None) -> dict[str, Any]:
    """A table of attributes or titles by name.

    Raises:
        DataError: If two of its keys are the same name.
    """
    by_name = {identifier(key): value for key, value in (table or {}).items()}
    if table and len(by_name) < len(table):
        duplicate = repeated(map(identifier, table))
        raise DataError(f"expected one row of attributes for {duplicate!r}, got several")
    return by_name


def _columns(table: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Columns:
    columns = dict.fromkeys(column for row in table.values() for column in row)
    return {column: [table.get(name, {}).get(column) for name in names] for column in columns}
