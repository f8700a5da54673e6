"""Interactions from files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quickstudy.apps.recommend.checks import number
from quickstudy.apps.recommend.identifiers import identifier, is_missing
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.errors import DataError, check_option
from quickstudy.table_files import read_rows
from quickstudy.tasks.datasets import store

__all__ = ["load_history", "load_interactions", "load_ml_100k", "load_movielens"]

COLUMN_NAMES = {
    "user": ("user", "user_id", "userId"),
    "item": ("item", "item_id", "itemId", "movieId"),
    "rating": ("rating",),
    "time": ("time", "timestamp"),
}
"""Names of columns that are recognised, by what the columns hold."""

DELIMITERS = (",", "\t", ";", "|", "::")
"""Separators of cells; the one that comes most often in the first line is taken."""

MAX_FIRST_LINE_BYTES = 1_000_000


def load_interactions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    users: str | Path | None = None,
    items: str | Path | None = None,
    clicks: bool = False,
    scale: tuple[float, float] | None = None,
) -> Interactions:
    """Read a CSV or Parquet file with one rating, or one click, a row.

    Args:
        path: A file with the columns user, item, rating and maybe time; `userId`, `user_id`,
            `movieId`, `timestamp` and the like are recognised too. Cells are separated by commas,
            tabs, semicolons, `|` or `::`. If the first line names no columns, they are user, item,
            rating and time, as in MovieLens. Times are numbers or ISO 8601 (see `from_rows`).
            Parquet needs pyarrow.
        columns: The names of the columns in the file, as in `{"item": "book"}`.
        users, items: Files of attributes, with one user or item a row: the column user or item, and
            any others. A column `title` says how to show the items. Words with "|" between them are
            several words, as genres are.
        clicks: Read clicks; ratings, if there are any, are dropped.
        scale: The lowest and highest possible rating; by default the lowest and highest of the
            file.

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
    path, columns = Path(path), columns or {}
    for role in columns:
        check_option("column", role, COLUMN_NAMES)
    header, rows = _read(path, may_lack_header=True)
    columns = _recognised_columns(path, header, columns, clicks)
    roles = [role for role in COLUMN_NAMES if role in columns or role == "rating"]
    indices = [header.index(columns[role]) if role in columns else None for role in roles]
    user_attributes = _attributes(users, "user", columns)
    item_attributes = _attributes(items, "item", columns)
    titles = {name: row.pop("title") for name, row in item_attributes.items() if "title" in row}
    try:
        return Interactions.from_rows(
            ([None if i is None else row[i] for i in indices] for row in rows),
            users=user_attributes,
            items=item_attributes,
            titles=titles,
            scale=scale,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _recognised_columns(
    path: Path, header: Sequence[str], columns: Mapping[str, str], clicks: bool
) -> dict[str, str]:
    """The names of user, item, rating (but for clicks) and, if there is one, time in a file."""
    recognised = {}
    for role, names in COLUMN_NAMES.items():
        if role in columns and columns[role] not in header:
            raise DataError(
                f"expected a column {columns[role]!r} in {path}, got {', '.join(header)}"
            )
        if role == "rating" and clicks:
            continue
        name = columns.get(role) or _first_in(header, names)
        if name is not None:
            recognised[role] = name
        elif role != "time":
            also = ", or take clicks (--clicks)" if role == "rating" else ""
            raise DataError(
                f"expected a column {role!r} in {path}, got {', '.join(header)}: rename one, or "
                f"name it (--columns {role}=..., in Python columns={{{role!r}: ...}}){also}"
            )
    return recognised


def load_history(
    path: str | Path, *, columns: Mapping[str, str] | None = None, clicks: bool = False
) -> list[Any]:
    """Read the ratings of one user from a CSV or Parquet file with the columns item and rating; of
    clicks the items, in order.

    Args:
        path: The file.
        columns: The names of the columns in the file.
        clicks: Read clicks, without ratings.

    Raises:
        MissingError, DataError: As `load_interactions`.
    """
    path, columns = Path(path), columns or {}
    for role in columns:
        check_option("column", role, COLUMN_NAMES)
    header, rows = _read(path)
    indices = []
    for role in ("item",) if clicks else ("item", "rating"):
        names = [columns[role]] if role in columns else COLUMN_NAMES[role]
        name = _first_in(header, names)
        if name is None:
            raise DataError(f"expected a column {names[0]!r} in {path}, got {', '.join(header)}")
        indices.append(header.index(name))
    if clicks:
        return [identifier(row[indices[0]]) for row in rows]
    item, rating = indices
    return [
        (identifier(row[item]), number(row[rating], f"{path}, row {i}: expected a rating"))
        for i, row in enumerate(rows, 1)
    ]


def _first_in(header: Sequence[str], names: Iterable[str]) -> str | None:
    """The first of some names that a header has."""
    return next((name for name in names if name in header), None)


def load_ml_100k(folder: str | Path | None = None) -> Interactions:
    """MovieLens 100K with age, gender and occupation, genres and year.

    Args:
        folder: The folder of its files; by default that in the data folder.

    Raises:
        MissingError: If it is not on this machine; says how to get it.
        DataError: If a file is damaged.
    """

    def rows(kind: str) -> list[list[str]]:
        name = f"ml-100k.{kind}"
        path = Path(folder) / name if folder is not None else store.find("ml-100k", name)
        _, cells = _read(path, "\t")
        return cells

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
    path: str | Path | None, role: str, columns: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Attributes by user or item. A column in which all cells are numbers is numeric."""
    if path is None:
        return {}
    path = Path(path)
    header, rows = _read(path)
    names_of_key = [columns[role]] if role in columns else []
    key = _first_in(header, [*names_of_key, *COLUMN_NAMES[role]])
    if key is None:
        raise DataError(f"expected a column {role!r} in {path}, got {', '.join(header)}")
    names = [identifier(row[header.index(key)]) for row in rows]
    table: list[dict[str, Any]] = [dict(zip(header, map(_text, row), strict=True)) for row in rows]
    for column in set(header) - {key, "title"}:
        parse = _parser([row[column] for row in table if row[column]])
        for row in table:
            row[column] = parse(row[column]) if row[column] else None
    for row in table:
        del row[key]
    by_name = dict(zip(names, table, strict=True))
    if len(by_name) < len(rows):
        raise DataError(
            f"expected a row for each {role} in {path}, got {len(rows)} rows for {len(by_name)}: "
            'merge those of one, with "|" between several words'
        )
    return by_name


def _parser(cells: Sequence[str]) -> Callable[[str], Any]:
    """What turns the cells of a column into numbers, lists of words, or words."""
    if all(map(_is_number, cells)):
        return float
    if any("|" in cell for cell in cells):
        return lambda cell: cell.split("|")
    return str


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _read(
    path: Path, delimiter: str | None = None, *, may_lack_header: bool = False
) -> tuple[list[str], list[list[Any]]]:
    """The names of a file's columns, and its rows."""
    if path.suffix.lower() == ".parquet" or not path.is_file():
        header, rows = read_rows(path, lists=True)
    else:
        with path.open("rb") as file:
            first_bytes = file.readline(MAX_FIRST_LINE_BYTES)
        first_line = first_bytes.decode("utf-8-sig", "replace").rstrip("\r\n")
        if path.suffix.lower() == ".tsv":
            delimiter = "\t"
        delimiter = delimiter or max(DELIMITERS, key=first_line.count)
        cells = [cell.strip().strip('"') for cell in first_line.split(delimiter)]
        names = None
        if may_lack_header and len(cells) in (3, 4) and all(map(_is_number, cells[2:])):
            names = ("user", "item", "rating", "time")[: len(cells)]
            warnings.warn(
                f"the first line of {path} names no columns: they are taken to be "
                f"{', '.join(names)}",
                stacklevel=3,
            )
        header, rows = read_rows(path, delimiter, names)
    # RecBole writes name:type
    return [name.partition(":")[0].strip() for name in header], rows
