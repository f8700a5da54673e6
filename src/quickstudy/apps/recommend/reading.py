"""Interactions from files and data frames."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend.checks import number
from quickstudy.apps.recommend.columns import CodedColumn, Column, Unreadable
from quickstudy.apps.recommend.identifiers import identifier, is_missing
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.errors import DataError, UsageError, check_option, require
from quickstudy.table_files import format_of, read_parquet, read_rows, stream_rows
from quickstudy.tasks.datasets import store
from quickstudy.text_files import SEPARATORS, first_lines, separator_of

__all__ = ["load_history", "load_interactions", "load_ml_100k", "load_movielens"]

COLUMN_NAMES = {
    "user": (
        *("user", "userid", "username", "uid", "customer", "customerid", "client", "clientid"),
        *("member", "memberid", "visitor", "visitorid", "reviewer", "reviewerid", "student"),
        *("studentid", "person", "personid", "account", "accountid", "session", "sessionid"),
    ),
    "item": (
        *("item", "itemid", "movie", "movieid", "film", "filmid", "product", "productid", "asin"),
        *("sku", "stockcode", "article", "articleid", "book", "bookid", "isbn", "game", "gameid"),
        *("anime", "animeid", "recipe", "recipeid", "joke", "jokeid", "course", "courseid"),
        *("business", "businessid", "restaurant", "restaurantid", "place", "placeid", "venue"),
        *("venueid", "hotel", "hotelid", "location", "locationid", "track", "trackid", "song"),
        *("songid", "artist", "artistid"),
    ),
    "rating": ("rating", "ratings", "score", "stars", "overall", "count", "plays", "weight"),
    "time": ("time", "timestamp", "date", "datetime", "unixreviewtime", "createdat"),
}
"""Names of columns that are recognised, by what the columns hold, the likeliest first; capitals,
spaces, hyphens and underscores do not count. So is the one name that ends in "rating"."""

DELIMITERS = (*SEPARATORS, "::")
"""Separators of cells."""

ROWS_PER_PART = 100_000
"""Rows of a text file that are in memory as text at once."""


def load_interactions(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    users: Any = None,
    items: Any = None,
    clicks: bool = False,
    threshold: float | None = None,
    scale: tuple[float, float] | None = None,
    separator: str | None = None,
    unreadable: Unreadable = "ignore",
) -> Interactions:
    """Read a CSV or Parquet file, or a data frame, with one rating, or one click, a row.

    Args:
        source: A file, or a frame of pandas, Polars, PyArrow or another library that Narwhals
            supports, with the columns user, item, rating and maybe time; `userId`, `customer_id`,
            `movieId`, `Book-Rating`, `timestamp` and the like are recognised too. Cells are
            separated by commas, tabs, semicolons, `|` or `::`; gzip may have packed the file. If
            the first line names no columns, they are user, item, rating and time, as in MovieLens.
            Times are numbers or ISO 8601 (see `from_columns`).
            Parquet needs pyarrow.
        columns: The names of the columns, as in `{"item": "book"}`.
        users, items: Files or frames of attributes, with one user or item a row: the column user or
            item, and any others. A column `title` says how to show the items. Words with "|"
            between them are several words, as genres are.
        clicks: Read clicks; ratings, if there are any, are dropped.
        threshold: Take ratings of this or more as clicks, and leave out the others.
        scale: The lowest and highest possible rating; by default the lowest and highest given.
        separator: What separates cells, if it is none of the usual; " " is any white space.
        unreadable: "ignore" leaves out rows that cannot be read, with a warning; "raise" refuses
            them (see `from_columns`).

    Raises:
        MissingError: If there is no such file, or no pyarrow for it.
        DataError: If a column is absent, or too many values cannot be read; names the row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = Path(folder, "ratings.csv")
        ...     _ = place.write_text("user,item,rating\\nann,Alien,5\\nbob,Alien,2\\n")
        ...     load_interactions(place).rating.tolist()
        [5.0, 2.0]
    """
    if clicks and threshold is not None:
        raise UsageError("expected clicks or a threshold of ratings, got both: leave out one")
    columns = columns or {}
    for role in columns:
        check_option("column", role, COLUMN_NAMES)
    table = _open(source, separator, clicks, unreadable)
    columns = _recognised_columns(table, columns, clicks)
    cells = table.read(columns)
    user_attributes = _attributes(users, "user", columns, separator)
    item_attributes = _attributes(items, "item", columns, separator)
    titles = {name: row.pop("title") for name, row in item_attributes.items() if "title" in row}
    try:
        data = Interactions.from_columns(
            cells["user"],
            cells["item"],
            cells.get("rating"),
            cells.get("time"),
            users=user_attributes,
            items=item_attributes,
            titles=titles,
            scale=scale,
            unreadable=unreadable,
        )
    except DataError as error:
        raise DataError(f"{table.name}: {error}") from None
    return data if threshold is None else data.as_clicks(threshold)


@dataclass(frozen=True)
class _Table:
    """A table whose columns are read when it is known which are needed.

    Args:
        name: For errors.
        header: The names of its columns.
        read: Returns columns by role, from their names by role.
    """

    name: str
    header: list[str]
    read: Callable[[Mapping[str, str]], dict[str, Column]]


def _open(source: Any, separator: str | None, clicks: bool, unreadable: Unreadable) -> _Table:
    if isinstance(source, str | Path) and format_of(Path(source)) != "parquet":
        path = Path(source)
        header, rows = _stream(path, separator, clicks, unreadable)
        return _Table(str(path), header, lambda columns: _text_columns(header, rows, columns))
    if isinstance(source, str | Path):
        if not Path(source).is_file():
            read_rows(Path(source))  # which says so
        require("pyarrow", "experience")
        frame, name = read_parquet(Path(source), lists=True), str(source)
        names = frame.column_names
        column_of = {n: frame.column(i) for i, n in enumerate(names)}
    else:
        frame, name = _frame(source), "the table"
        names = list(frame.columns)
        column_of = {n: frame[n] for n in names}
    header = list(map(_without_type, map(str, names)))

    def read(columns: Mapping[str, str]) -> dict[str, Column]:
        return {
            role: column_of[names[header.index(name)]].to_numpy() for role, name in columns.items()
        }

    return _Table(name, header, read)


def _frame(source: Any) -> Any:
    """A frame of any library, as one of Narwhals."""
    require("narwhals", "automl")
    import narwhals

    frame = narwhals.from_native(source, pass_through=True)
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, narwhals.DataFrame):
        raise UsageError(
            f"expected a file or a data frame, got {type(source).__name__}: for rows in memory "
            "there is Interactions.from_rows, for a sparse matrix Interactions.from_matrix"
        )
    return frame


def _text_columns(
    header: Sequence[str], rows: Iterator[list[str]], columns: Mapping[str, str]
) -> dict[str, Column]:
    """Columns of text by role: times as they are, all others coded."""
    index = {role: header.index(name) for role, name in columns.items()}
    coded = {role: CodedColumn() for role in columns if role != "time"}
    times: list[np.ndarray] = []
    while part := list(itertools.islice(rows, ROWS_PER_PART)):
        for role, column in coded.items():
            column.extend([row[index[role]] for row in part])
        if "time" in index:
            times.append(_numbers_or_text([row[index["time"]] for row in part]))
    if "time" not in index:
        return dict(coded)
    are_numbers = all(part.dtype.kind == "f" for part in times)
    time = np.concatenate([np.zeros(0), *times]) if are_numbers else list(itertools.chain(*times))
    return {**coded, "time": time}


def _numbers_or_text(cells: list[str]) -> np.ndarray:
    try:
        return np.array(cells, float)
    except ValueError:
        return np.array(cells, object)


def _recognised_columns(table: _Table, columns: Mapping[str, str], clicks: bool) -> dict[str, str]:
    """The names of user, item, rating (but for clicks) and, if there is one, time in a table."""
    recognised, path, header = {}, table.name, table.header
    for role in COLUMN_NAMES:
        if role in columns and columns[role] not in header:
            raise DataError(
                f"expected a column {columns[role]!r} in {path}, got {', '.join(header)}"
            )
        if role == "rating" and clicks:
            continue
        name = columns.get(role) or _column_of(role, header)
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
        name = columns.get(role) or _column_of(role, header)
        if name not in header:
            raise DataError(
                f"expected a column {name or role!r} in {path}, got {', '.join(header)}"
            )
        indices.append(header.index(name))
    if clicks:
        return [identifier(row[indices[0]]) for row in rows]
    item, rating = indices
    return [
        (identifier(row[item]), number(row[rating], f"{path}, row {i}: expected a rating"))
        for i, row in enumerate(rows, 1)
    ]


def _plain(name: str) -> str:
    """A column's name without capitals, spaces and marks."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _column_of(role: str, header: Sequence[str]) -> str | None:
    """The column of a header that holds users, items, ratings or times, as its name says."""
    written = {_plain(name): name for name in reversed(header)}
    found = next((written[name] for name in COLUMN_NAMES[role] if name in written), None)
    ratings = [name for name in header if _plain(name).endswith("rating")]
    return ratings[0] if found is None and role == "rating" and len(ratings) == 1 else found


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
    source: Any, role: str, columns: Mapping[str, str], separator: str | None
) -> dict[str, dict[str, Any]]:
    """Attributes by user or item. A column in which all cells are numbers is numeric."""
    if source is None:
        return {}
    if isinstance(source, str | Path):
        path = Path(source)
        header, rows = _read(path, separator)
    else:
        frame, path = _frame(source), "the table"
        header, rows = list(frame.columns), [list(row) for row in frame.rows()]
    named = columns.get(role)
    key = named if named in header else _column_of(role, header)
    if key is None:
        raise DataError(f"expected a column {role!r} in {path}, got {', '.join(header)}")
    names = [identifier(row[header.index(key)]) for row in rows]
    table: list[dict[str, Any]] = [dict(zip(header, map(_text, row), strict=True)) for row in rows]
    for column in sorted(set(header) - {key, "title"}):
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


def _read(path: Path, delimiter: str | None = None) -> tuple[list[str], list[list[Any]]]:
    """The names of a file's columns, and its rows."""
    if format_of(path) == "parquet" or not path.is_file():
        header, rows = read_rows(path, lists=True)
    else:
        header, rows = read_rows(path, delimiter or _delimiter(path, first_lines(path)))
    return list(map(_without_type, header)), rows


def _stream(
    path: Path, delimiter: str | None, clicks: bool, unreadable: Unreadable
) -> tuple[list[str], Iterator[list[str]]]:
    """The names of the columns of a text file, and its rows one by one. Without names in the first
    line, they are those of MovieLens."""
    if not path.is_file():
        return stream_rows(path)
    lines = first_lines(path)
    delimiter = delimiter or _delimiter(path, lines)
    first = lines.partition("\n")[0]
    parts = first.split() if delimiter == " " else first.split(delimiter)
    cells, names = [cell.strip().strip('"') for cell in parts], None
    lacks_names = len(cells) in (3, 4) and all(map(_is_number, cells[2:]))
    if lacks_names or (clicks and len(cells) == 2 and all(map(_is_number, cells))):
        names = ("user", "item", "rating", "time")[: len(cells)]
        warnings.warn(
            f"the first line of {path} names no columns: they are taken to be {', '.join(names)}",
            stacklevel=4,
        )
    header, rows = stream_rows(path, delimiter, names, unequal=unreadable)
    return list(map(_without_type, header)), rows


def _delimiter(path: Path, lines: str) -> str:
    if format_of(path) == "tsv":
        return "\t"
    found, first = separator_of(lines, DELIMITERS), lines.partition("\n")[0]
    return found if found in first or " " not in first.strip() else " "


def _without_type(name: str) -> str:
    """A column's name; RecBole writes name:type."""
    return name.partition(":")[0].strip()
