"""Users and items by name: one spelling for each, and items by id or by title."""

from __future__ import annotations

import difflib
import numbers
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from quickstudy.errors import DataError

__all__ = [
    "Catalogue",
    "TitleIndex",
    "Unknown",
    "identifier",
    "is_missing",
    "plain",
    "repeated",
    "warn_of_few_matches",
]

Unknown = Literal["raise", "ignore"]
"""What to do about items that the recommender does not know."""

INTEGER_WITH_ZEROS = re.compile(r"(-?\d+)\.0+")

MIN_MATCHED_SHARE = 0.5
"""Share of the names that should have a row in a table; a warning says if it is less."""

MAX_LISTED_IDS = 5
"""Ids that an error lists, of items with the same title."""


def identifier(value: Any) -> str:
    """The name of a user or item as text: the same for 1, 1.0, "1", " 1.0 ", b"1" and NumPy's 1.

    Zeros in front stay, as "007" is not 7 in many catalogues.

    Returns:
        The name; "" where the value is missing (None, NaN, pandas' NA).

    Example:
        >>> [identifier(value) for value in (1, 1.0, " 1.0", b"1", np.float32(1), "007", None)]
        ['1', '1', '1', '1', '1', '007', '']
    """
    if isinstance(value, str):
        text = value.strip()
        match = INTEGER_WITH_ZEROS.fullmatch(text) if text.endswith("0") else None
        return match[1] if match else text
    if isinstance(value, bytes):
        return identifier(value.decode(errors="backslashreplace"))
    if isinstance(value, np.generic):
        return identifier(value.item())
    if is_missing(value):
        return ""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return identifier(str(value))


def is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN or pandas' NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # NA is neither true nor false
        return True
    except ValueError:  # an array
        return False


def repeated(names: Iterable[str]) -> str | None:
    """The first name that comes a second time.

    Example:
        >>> repeated(["ann", "bob", "ann"])
        'ann'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def warn_of_few_matches(what: str, names: Sequence[str], table: Collection[str]) -> bool:
    """Warn if a table of attributes or titles has rows for few or none of the names; returns
    whether it warned.

    Args:
        what: What the names name: "user" or "item".
        names: Those with ratings.
        table: Those with a row.
    """
    absent = [name for name in names if name not in table]
    n_matches = len(names) - len(absent)
    if not table or n_matches >= MIN_MATCHED_SHARE * len(names):
        return False
    matches = f"{n_matches} of {len(names)}" if n_matches else f"none of {len(names)}"
    others = sorted(set(table) - set(names))
    example = f", the table has {others[0]!r}" if others else ""
    warnings.warn(
        f"{matches} {what}s with ratings have a row in the table of {what}s: the ratings name "
        f"{absent[0]!r}{example}; check that both write {what}s alike",
        stacklevel=3,
    )
    return True


class Catalogue:
    """Items by id, or by title where no other item has the same.

    Capitals and accents in titles need not match.

    Args:
        items: An id each.
        titles: How to show them.

    Example:
        >>> films = Catalogue(["1", "2", "3"], ["Alien", "Emma", "Emma"])
        >>> films.find(2.0), films.find("alien"), films.find("Emma")
        (1, 0, None)
        >>> films.labels
        ['Alien', 'Emma (2)', 'Emma (3)']
    """

    def __init__(self, items: Sequence[str], titles: Sequence[str]) -> None:
        self.items, self.titles = list(items), list(titles)
        self._by_id = {item: i for i, item in enumerate(self.items)}
        self._by_title: dict[str, list[int]] = {}
        for i, title in enumerate(self.titles):
            self._by_title.setdefault(plain(title), []).append(i)
        n_items = Counter(self.titles)
        pairs = zip(self.items, self.titles, strict=True)
        self.labels = [t if n_items[t] == 1 else f"{t} ({item})" for item, t in pairs]
        """Titles, with the id where several items have the same title."""

    def find(self, name: Any) -> int | None:
        """The position of an item by its id or title; None if there is no such item, or several of
        that title."""
        item = identifier(name)
        if (position := self._by_id.get(item)) is not None:
            return position
        matches = self._titled(item)
        return matches[0] if len(matches) == 1 else None

    def positions(self, names: Iterable[Any], unknown: Unknown = "raise") -> np.ndarray:
        """The positions of items, -1 where unknown, int64 of shape (n,).

        Raises:
            DataError: If one is unknown and is not to be ignored.
        """
        names = list(names)
        positions = [self.find(name) for name in names]
        absent = [name for name, i in zip(names, positions, strict=True) if i is None]
        if absent and unknown == "raise":
            raise self.error(absent[0])
        return np.array([-1 if i is None else i for i in positions], np.int64)

    def error(self, name: Any) -> DataError:
        """The error for a name that `find` has no position for."""
        item = identifier(name)
        if matches := self._titled(item):
            ids = ", ".join(repr(self.items[i]) for i in matches[:MAX_LISTED_IDS])
            return DataError(
                f"expected one item, got the title {item!r} of {len(matches)}: name one by its "
                f"id, {ids}"
            )
        near = difflib.get_close_matches(item, self.items, n=1)
        if not near and self.titles != self.items:
            near = difflib.get_close_matches(item, self.titles, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return DataError(f"expected an item of the training data, got {name!r}{hint}")

    def _titled(self, title: str) -> list[int]:
        """Items of this title: as it is written, or else whatever its capitals and accents."""
        matches = self._by_title.get(plain(title), [])
        return [i for i in matches if self.titles[i] == title] or matches


class TitleIndex:
    """Finds items by words of their titles; capitals and accents need not match.

    Args:
        titles: Of the items.
        counts: How often each was rated or chosen: more often comes first.

    Example:
        >>> TitleIndex(["Alien", "Aliens", "Emma"], [3, 9, 5]).search("ALIEN", 2)
        [1, 0]
    """

    def __init__(self, titles: Sequence[str], counts: Sequence[float] | np.ndarray) -> None:
        by_popularity = map(int, np.argsort(-np.asarray(counts), kind="stable"))
        self._titles = [(i, plain(titles[i])) for i in by_popularity]

    def search(self, text: str, n: int) -> list[int]:
        """Positions of up to `n` items; those whose title starts with the text come first."""
        text = plain(text)
        words = text.split()
        matches = [(i, title) for i, title in self._titles if all(word in title for word in words)]
        matches.sort(key=lambda match: not match[1].startswith(text))
        return [i for i, _ in matches[:n]]


def plain(text: str) -> str:
    """Text without capitals and accents, for comparing what people type."""
    parts = unicodedata.normalize("NFKD", text.strip())
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold()
