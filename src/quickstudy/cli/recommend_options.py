"""Options that the commands of the recommender share, and what is read by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quickstudy.errors import UsageError

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Interactions

__all__ = [
    "Clicks",
    "ColumnNames",
    "Data",
    "Folder",
    "IncludeSeen",
    "Items",
    "Scale",
    "Separator",
    "Threshold",
    "Unknown",
    "Unreadable",
    "Users",
    "Where",
    "column_names",
    "conditions",
    "load",
    "name_and_value",
    "names_and_values",
]

Data = Annotated[
    str,
    typer.Option(
        help="A CSV or Parquet file with the columns user, item, rating and maybe time; a "
        "MovieLens folder with ratings.csv and movies.csv; ml-100k; or generated."
    ),
]
Users = Annotated[
    Path | None, typer.Option(help="A file of users: a column user, and attributes such as age.")
]
Items = Annotated[
    Path | None,
    typer.Option(
        help="A file of items: a column item, and attributes such as title or genres (a|b)."
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the columns in the file, such as user=reader,item=book. Likewise rating and "
        "time."
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="The lowest and highest possible rating, such as 1,10. Default: the lowest and "
        "highest in the file."
    ),
]
Clicks = Annotated[
    bool,
    typer.Option("--clicks", help="Learn from clicks what is chosen next; ratings are not used."),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Take ratings of this or more as clicks, and leave out the others."),
]
Separator = Annotated[
    str | None,
    typer.Option(
        help="What separates the cells of the file, if it is not a comma, tab, semicolon, | or ::. "
        "A space is any white space."
    ),
]
Unreadable = Annotated[
    Literal["raise", "ignore"],
    typer.Option(help="Rows that cannot be read: raise stops, ignore counts and leaves them out."),
]
Unknown = Annotated[
    Literal["raise", "ignore"],
    typer.Option(help="Items that training did not have: raise stops, ignore leaves them out."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only items with this attribute, such as 'genres=Drama|War' or year=1990..1999. May "
        "be repeated."
    ),
]
IncludeSeen = Annotated[
    bool, typer.Option("--include-seen", help="Also items that the user rated or chose.")
]
Folder = Annotated[Path, typer.Argument(help="Folder of a trained recommender.")]


def load(
    data: str,
    users: Path | None,
    items: Path | None,
    clicks: bool,
    *,
    columns: str | None = None,
    scale: str | None = None,
    threshold: float | None = None,
    separator: str | None = None,
    unreadable: Literal["raise", "ignore"] = "ignore",
) -> Interactions:
    from quickstudy.apps.recommend import (
        generated,
        load_interactions,
        load_ml_100k,
        load_movielens,
    )

    named = {"generated": generated, "ml-100k": load_ml_100k}
    if data in named or Path(data).is_dir():
        if users or items:
            raise UsageError(f"expected --users and --items with a file, got them with {data}")
        if columns or scale or separator:
            raise UsageError(
                f"expected --columns, --scale and --separator with a file, got them with {data}"
            )
        loaded = named[data]() if data in named else load_movielens(data)
        return loaded.as_clicks(threshold) if clicks or threshold is not None else loaded
    return load_interactions(
        data,
        users=users,
        items=items,
        clicks=clicks,
        columns=column_names(columns),
        scale=_scale(scale),
        threshold=threshold,
        separator=separator,
        unreadable=unreadable,
    )


def column_names(text: str | None) -> dict[str, str]:
    parts = text.split(",") if text else []
    return dict(name_and_value(part, "--columns", "user=NAME,item=NAME") for part in parts)


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"expected --scale such as 1,10, got {text!r}") from None
    return low, high


def conditions(texts: list[str] | None) -> dict[str, Any]:
    """Conditions on attributes: words, a number, or a range of numbers."""
    return {
        name: _condition(text) for name, text in names_and_values(texts, "--where", "NAME=VALUE")
    }


def _condition(text: str) -> Any:
    low, dots, high = text.partition("..")
    try:
        return (float(low), float(high)) if dots else float(text)
    except ValueError:
        return text.split("|")


def names_and_values(texts: list[str] | None, option: str, form: str) -> list[tuple[str, str]]:
    return [name_and_value(text, option, form) for text in texts or []]


def name_and_value(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise UsageError(f"expected {option} {form}, got {text!r}")
    return name, value
