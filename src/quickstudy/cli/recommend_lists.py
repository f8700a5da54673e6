"""The commands of the recommender that list items: suggest, export, search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.output import Json, say, table
from quickstudy.cli.recommend_options import (
    ColumnNames,
    Data,
    Folder,
    IncludeSeen,
    Separator,
    Threshold,
    Unknown,
    Users,
    Where,
    column_names,
    conditions,
    load,
    name_and_value,
    names_and_values,
)
from quickstudy.errors import DataError, UsageError

if TYPE_CHECKING:
    from quickstudy.apps.recommend import AdaptedRecommender, Suggestions

__all__ = ["list_commands"]

list_commands = typer.Typer()


@list_commands.command(
    "suggest",
    epilog='Example: quickstudy recommend suggest runs/recommender --rate "item 3=5" -n 5',
)
def recommend_suggest(
    run: Folder = Path("runs/recommender"),
    rate: Annotated[
        list[str] | None,
        typer.Option(help="A rating of the user, such as --rate 'Alien=5'. May be repeated."),
    ] = None,
    chose: Annotated[
        list[str] | None,
        typer.Option(
            help="An item that the user chose, for a recommender of clicks. Repeat in order."
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="A CSV or Parquet file of the user: a column item and, for ratings, rating."
        ),
    ] = None,
    columns: ColumnNames = None,
    unknown: Unknown = "raise",
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="An attribute of the user, such as age=30. May be repeated."),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many items to suggest.")] = 10,
    where: Where = None,
    include_seen: IncludeSeen = False,
    diversity: Annotated[
        float,
        typer.Option(help="From 0 to below 1: how much a list counts that has few similar items."),
    ] = 0.0,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            help="How much the user's usual mix of an attribute counts, such as genres=0.5. May be "
            "repeated."
        ),
    ] = None,
    ask: Annotated[
        int, typer.Option(help="Instead, list this many items to ask the user about.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Suggest items to a user with a few ratings or clicks, or none."""
    from quickstudy.apps.recommend import Recommender
    from quickstudy.apps.recommend.reading import load_history

    recommender = Recommender.load(run)
    entries: list[Any] = []
    if history:
        entries = load_history(history, columns=column_names(columns), clicks=recommender.clicks_)
    entries += chose or []
    entries += map(_rating, rate or [])
    texts = dict(name_and_value(text, "--attribute", "NAME=VALUE") for text in attribute or [])
    user = recommender.adapt(entries, recommender.encoder_.parse(texts), unknown=unknown)
    if ask:
        items = user.ask(ask)
        titles = [recommender.title(item) for item in items]
        rows = [{"item": i, "title": t} for i, t in zip(items, titles, strict=True)]
        say(rows, as_json, table(["item", "title"], *([*row.values()] for row in rows)))
    else:
        suggestions = user.top_n(
            n,
            where=conditions(where),
            include_seen=include_seen,
            diversity=diversity,
            calibrate={
                k: _weight(k, v) for k, v in names_and_values(calibrate, "--calibrate", "NAME=0.5")
            },
        )
        _say_suggestions(user, suggestions, as_json)


@list_commands.command(
    "export",
    epilog="Example: quickstudy recommend export runs/films lists.parquet --data ratings.csv",
)
def recommend_export(
    run: Folder,
    to: Annotated[Path, typer.Argument(help="The CSV or Parquet file to write.")],
    data: Data = "generated",
    users: Users = None,
    columns: ColumnNames = None,
    threshold: Threshold = None,
    separator: Separator = None,
    n: Annotated[int, typer.Option("-n", help="How many items for each user.")] = 10,
    where: Where = None,
    include_seen: IncludeSeen = False,
    unknown: Unknown = "ignore",
    n_jobs: Annotated[
        int, typer.Option(help="Processes that share the users; -1 is one a core.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Write the best items for all users of a file, one row for each user and item."""
    from quickstudy.apps.recommend import Recommender

    recommender = Recommender.load(run)
    clicks = recommender.clicks_ and threshold is None
    known = load(
        data, users, None, clicks, columns=columns, threshold=threshold, separator=separator
    )
    lists = recommender.top_all(
        known,
        n,
        where=conditions(where),
        include_seen=include_seen,
        unknown=unknown,
        n_jobs=n_jobs,
        to=to,
    )
    n_rows = int((lists >= 0).sum())
    summary = {"users": len(lists), "rows": n_rows, "file": str(to)}
    say(summary, as_json, f"{len(lists)} users, {n_rows} rows in {to}")


@list_commands.command(
    "search", epilog='Example: quickstudy recommend search runs/films "star wars"'
)
def recommend_search(
    run: Folder,
    words: Annotated[str, typer.Argument(help="Words of the title, in any order.")] = "",
    where: Where = None,
    n: Annotated[int, typer.Option("-n", help="How many items to list.")] = 10,
    as_json: Json = False,
) -> None:
    """Find items by words of their titles or by attributes, those with most interactions first."""
    from quickstudy.apps.recommend import Recommender

    recommender = Recommender.load(run)
    found = recommender.search(words, n, where=conditions(where))
    if not found and not as_json:
        raise DataError(f"expected words of a title, got {words!r}, which no title has")
    rows = [{"item": item, "title": recommender.title(item)} for item in found]
    say(rows, as_json, table(["item", "title"], *([*row.values()] for row in rows)))


def _say_suggestions(user: AdaptedRecommender, suggestions: Suggestions, as_json: bool) -> None:
    if user.recommender.clicks_:
        header = ["item", "next", "because you chose"]
        rows = [[s.title, f"{s.likely:.1%}", ", ".join(s.because)] for s in suggestions]
    else:
        header = ["item", "rating", "likely liked", "because you liked"]
        rows = [
            [s.title, f"{s.rating:.2f}", f"{s.likely:.0%}", ", ".join(s.because)]
            for s in suggestions
        ]
    result = {"suggestions": [vars(s) for s in suggestions], "decision": user.explain()}
    say(result, as_json, table(header, *rows))


def _rating(text: str) -> tuple[str, float]:
    item, value = name_and_value(text, "--rate", "ITEM=RATING")
    try:
        return item, float(value)
    except ValueError:
        raise UsageError(f"expected a number as the rating, got --rate {text!r}") from None


def _weight(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"expected --calibrate {name}=0.5 or so, got {name}={text}") from None
