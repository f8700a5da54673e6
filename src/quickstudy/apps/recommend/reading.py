"""Interactions from files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quickstudy.apps.recommend.identifiers import identifier, is_missing
from quickstudy.apps.recommend.interactions import Interactions, number
from quickstudy.errors import DataError, check_option
from quickstudy.table_files import read_rows
from quickstudy.tasks.datasets import store

__all__ = ["load_history", "load_interactions", "load_ml_100k", "load_movielens"]

NAMES = {
    "user": ("user", "user_id", "userId"),
    "item": ("item", "item_id", "itemId", "movieId"),
    "rating": ("rating",),
    "time": ("time", "timestamp"),
}
"""What columns of a file are called, where the caller does not say."""

DELIMITERS = (",", "\t", ";", "|", "::")
"""What may stand between cells: that which comes most often in the first line."""

MOST_OF_A_LINE = 1_000_000


def load_interactions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    users: str | Path | None = None,
    items: str | Path | None = None,
    clicks: bool = False,
    scale: tuple[float, float] | None = None,
) -> Interactions:
    """Read a CSV or Parquet file with a row a rating, or a click.

    Args:
        path: With columns user, item, rating and, where known, time (also `userId`, `user_id`,
            `movieId`, `timestamp`, ...). Between cells there are commas, tabs, semicolons, `|` or
            `::`. Without names in the first line, the columns are user, item, rating and time, as
            MovieLens has them. Times are numbers or ISO 8601 (see `from_rows`). Parquet takes
            pyarrow.
        columns: What they are called in the file, as in `{"item": "book"}`.
        users, items: Files of attributes with a row a user or item: the column user or item, and
            any others. A column `title` is what to call the items; words with "|" between them
            are several, as genres are.
        clicks: Take no ratings, whether there are any or not.
        scale: The lowest and highest rating that may be given; by default those of the file.

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
    path, called = Path(path), {**(columns or {})}
    for what in called:
        check_option("column", what, NAMES)
    head, rows = _read(path, may_lack_names=True)
    for what, names in NAMES.items():
        if what in called:
            if called[what] not in head:
                raise DataError(
                    f"expected a column {called[what]!r} in {path}, got {', '.join(head)}"
                )
        elif found := [name for name in names if name in head]:
            called[what] = found[0]
        elif what != "time" and not (clicks and what == "rating"):
            also = ", or take clicks (--clicks)" if what == "rating" else ""
            raise DataError(
                f"expected a column {what!r} in {path}, got {', '.join(head)}: rename one, or name "
                f"it (--columns {what}=..., in Python columns={{{what!r}: ...}}){also}"
            )
    if clicks:
        called["rating"] = ""
    at = [head.index(called[what]) if called[what] else None for what in NAMES if what in called]
    attributes = [
        _attributes(file, what, called) for what, file in (("user", users), ("item", items))
    ]
    titles = {name: row.pop("title") for name, row in attributes[1].items() if "title" in row}
    try:
        return Interactions.from_rows(
            ([None if i is None else row[i] for i in at] for row in rows),
            users=attributes[0],
            items=attributes[1],
            titles=titles,
            scale=scale,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def load_history(
    path: str | Path, *, columns: Mapping[str, str] | None = None, clicks: bool = False
) -> list[Any]:
    """Read the ratings of one user: a CSV or Parquet file with the columns item and rating. Of
    clicks, only the items, in order.

    Args:
        path: The file.
        columns: What they are called in the file.
        clicks: Take no ratings.

    Raises:
        MissingError, DataError: As `load_interactions`.
    """
    path, called = Path(path), {**(columns or {})}
    for what in called:
        check_option("column", what, NAMES)
    head, rows = _read(path)
    at = []
    for what in ("item",) if clicks else ("item", "rating"):
        names = [called[what]] if what in called else NAMES[what]
        found = [name for name in names if name in head]
        if not found:
            raise DataError(f"expected a column {names[0]!r} in {path}, got {', '.join(head)}")
        at.append(head.index(found[0]))
    if clicks:
        return [identifier(row[at[0]]) for row in rows]
    return [
        (identifier(row[at[0]]), number(row[at[1]], f"{path}, row {place}: expected a rating"))
        for place, row in enumerate(rows, 1)
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


def _text(cell: Any) -> str:
    """A cell as text, empty where there is nothing; the parts of a list have "|" between them."""
    if isinstance(cell, list):
        return "|".join(map(_text, cell))
    return "" if is_missing(cell) else str(cell).strip()


def _attributes(
    path: str | Path | None, what: str, called: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Attributes by user or item. A column of numbers alone is one of numbers."""
    if path is None:
        return {}
    path = Path(path)
    head, rows = _read(path)
    key = next((name for name in (called.get(what), *NAMES[what]) if name in head), None)
    if key is None:
        raise DataError(f"expected a column {what!r} in {path}, got {', '.join(head)}")
    names = [identifier(row[head.index(key)]) for row in rows]
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
    for row in table:
        del row[key]
    found = dict(zip(names, table, strict=True))
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


def _read(
    path: Path, delimiter: str | None = None, *, may_lack_names: bool = False
) -> tuple[list[str], list[list[Any]]]:
    """The names of a file's columns, and its rows."""
    if path.suffix.lower() == ".parquet" or not path.is_file():
        head, rows = read_rows(path, lists=True)
    else:
        with path.open("rb") as file:
            first = file.readline(MOST_OF_A_LINE).decode("utf-8-sig", "replace").rstrip("\r\n")
        if path.suffix.lower() == ".tsv":
            delimiter = "\t"
        delimiter = delimiter or max(DELIMITERS, key=first.count)
        cells = [cell.strip().strip('"') for cell in first.split(delimiter)]
        names = None
        if may_lack_names and len(cells) in (3, 4) and all(map(_is_number, cells[2:])):
            names = ("user", "item", "rating", "time")[: len(cells)]
            warnings.warn(
                f"the first line of {path} names no columns: they are taken to be "
                f"{', '.join(names)}",
                stacklevel=3,
            )
        head, rows = read_rows(path, delimiter, names)
    return [name.partition(":")[0].strip() for name in head], rows  # RecBole writes name:type
