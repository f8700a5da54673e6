"""The commands of the recommender."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quickstudy.cli.output import MAX_SEED, Json, Overwrite, check_new, say, table
from quickstudy.errors import DataError, UsageError

if TYPE_CHECKING:
    from quickstudy.apps.recommend import AdaptedRecommender, Interactions, Scores, Suggestions

__all__ = ["recommend_app"]

recommend_app = typer.Typer(
    no_args_is_help=True,
    help="Recommend items to users with few ratings or clicks.",
    epilog="Example: quickstudy recommend train --data ratings.csv",
)

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
Order = Literal["random", "chronological"]


def _load(
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
        columns=_columns(columns),
        scale=_scale(scale),
        threshold=threshold,
        separator=separator,
        unreadable=unreadable,
    )


@recommend_app.command(
    "train",
    epilog="Example: quickstudy recommend train; quickstudy recommend train --data ratings.csv",
)
def recommend_train(
    data: Data = "generated",
    users: Users = None,
    items: Items = None,
    run: Annotated[Path, typer.Option(help="Folder to write the recommender to.")] = Path(
        "runs/recommender"
    ),
    hold_out: Annotated[
        float, typer.Option(help="Share of users to leave out of training, for `evaluate`.")
    ] = 0.2,
    columns: ColumnNames = None,
    scale: Scale = None,
    clicks: Clicks = False,
    threshold: Threshold = None,
    separator: Separator = None,
    unreadable: Unreadable = "ignore",
    meta: Annotated[
        bool,
        typer.Option(
            "--meta/--no-meta",
            help="Weigh the base recommenders for each user, or use the best one for all.",
        ),
    ] = True,
    extra_bases: Annotated[
        list[str] | None,
        typer.Option(
            "--extra-base",
            help="Add a meta-learned network as a base: melu, anil, metaemb, ... May be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of all random draws.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a recommender on ratings or clicks."""
    from quickstudy.apps.recommend import Recommender
    from quickstudy.apps.recommend.saving import check_folder

    recommender = Recommender(meta=meta, extra_bases=extra_bases or (), seed=seed)
    check_folder(run)
    check_new(run, overwrite)
    ratings = _load(
        data,
        users,
        items,
        clicks,
        columns=columns,
        scale=scale,
        threshold=threshold,
        separator=separator,
        unreadable=unreadable,
    )
    training, _ = _split_users(ratings, hold_out, seed)
    recommender.fit(training).save(run)
    summary = {
        "run": str(run),
        "users": len(training.users),
        "items": len(training.items),
        "ratings": len(training.rating),
        "best_for_all": recommender.best_configuration_._asdict(),
    }
    clicks = training.clicks
    what, how = ("clicks", "--chose ITEM") if clicks else ("ratings", "--rate ITEM=RATING")
    text = (
        f"{summary['users']} users, {summary['items']} items, {summary['ratings']} {what} in {run};"
        f" suggest with: quickstudy recommend suggest {shlex.quote(str(run))} {how}"
    )
    say(summary, as_json, text)


@recommend_app.command(
    "evaluate", epilog="Example: quickstudy recommend evaluate runs/recommender --support 0,5,10"
)
def recommend_evaluate(
    run: Folder = Path("runs/recommender"),
    data: Data = "generated",
    users: Users = None,
    items: Items = None,
    columns: ColumnNames = None,
    hold_out: Annotated[
        float, typer.Option(help="The same as in training; 0 if all users of the data are new.")
    ] = 0.2,
    support: Annotated[
        str,
        typer.Option(
            help="How many ratings of a user are given, several numbers separated by commas."
        ),
    ] = "0,1,3,5,10",
    n_query: Annotated[
        int, typer.Option(help="How many ratings of each user to predict, or next choices.")
    ] = 10,
    order: Annotated[
        Order | None,
        typer.Option(
            help="Which ratings are given: random ones, or the first in time. Default: random; "
            "chronological for clicks."
        ),
    ] = None,
    threshold: Threshold = None,
    separator: Separator = None,
    unknown: Unknown = "ignore",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same as in training.")] = 0,
    as_json: Json = False,
) -> None:
    """Score a recommender and its bases on users that training left out."""
    from quickstudy.apps.recommend import Recommender, evaluate

    recommender = Recommender.load(run)
    clicks = recommender.clicks_ and threshold is None
    ratings = _load(
        data, users, items, clicks, columns=columns, threshold=threshold, separator=separator
    )
    _, cold = _split_users(ratings, hold_out, seed)
    scores = evaluate(
        recommender,
        cold or ratings,
        supports=_sizes(support),
        n_query=n_query,
        order=order,
        seed=seed,
        unknown=unknown,
    )
    records = [_score_record(s) for s in scores]
    rows: dict[str, list[str]] = {}
    for s in scores:
        cell = " / ".join(f"{values.mean():.3f}" for values in s.measures.values())
        rows.setdefault(s.system, []).append(cell)
    what = "clicks" if recommender.clicks_ else "ratings"
    header = [" / ".join(scores[0].measures), *(f"{size} {what}" for size in _sizes(support))]
    text = table(header, *([name, *cells] for name, cells in rows.items()))
    n_needed = max(_sizes(support)) + n_query
    n_users = f"{records[0]['users']} users that training left out, of {n_needed} {what} or more."
    say(records, as_json, f"{text}\n{n_users}")


def _score_record(scores: Scores) -> dict[str, Any]:
    from quickstudy.apps.recommend.measures import interval

    measures = scores.measures
    n_users = len(next(iter(measures.values())))
    return (
        {"system": scores.system, "support": scores.support, "users": n_users}
        | {name: float(values.mean()) for name, values in measures.items()}
        | {
            f"{name}_interval": interval(values, n_resamples=1000)
            for name, values in measures.items()
        }
    )


@recommend_app.command(
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
        entries = load_history(history, columns=_columns(columns), clicks=recommender.clicks_)
    entries += chose or []
    entries += map(_rating, rate or [])
    texts = dict(_split(text, "--attribute", "NAME=VALUE") for text in attribute or [])
    user = recommender.adapt(entries, recommender.encoder_.parse(texts), unknown=unknown)
    if ask:
        items = user.ask(ask)
        titles = [recommender.title(item) for item in items]
        rows = [{"item": i, "title": t} for i, t in zip(items, titles, strict=True)]
        say(rows, as_json, table(["item", "title"], *([*row.values()] for row in rows)))
    else:
        suggestions = user.top_n(
            n,
            where=_where(where),
            include_seen=include_seen,
            diversity=diversity,
            calibrate={k: _weight(k, v) for k, v in _pairs(calibrate, "--calibrate", "NAME=0.5")},
        )
        _say_suggestions(user, suggestions, as_json)


@recommend_app.command(
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
    known = _load(
        data, users, None, clicks, columns=columns, threshold=threshold, separator=separator
    )
    lists = recommender.top_all(
        known,
        n,
        where=_where(where),
        include_seen=include_seen,
        unknown=unknown,
        n_jobs=n_jobs,
        to=to,
    )
    n_rows = int((lists >= 0).sum())
    summary = {"users": len(lists), "rows": n_rows, "file": str(to)}
    say(summary, as_json, f"{len(lists)} users, {n_rows} rows in {to}")


@recommend_app.command(
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
    found = recommender.search(words, n, where=_where(where))
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
    item, value = _split(text, "--rate", "ITEM=RATING")
    try:
        return item, float(value)
    except ValueError:
        raise UsageError(f"expected a number as the rating, got --rate {text!r}") from None


def _split_users(
    data: Interactions, share: float, seed: int
) -> tuple[Interactions, Interactions | None]:
    """The users to train on, and those held out, if any."""
    import numpy as np

    if not 0 <= share < 1:
        raise UsageError(f"expected --hold-out of 0 or more and below 1, got {share:g}")
    order = np.random.default_rng(seed).permutation(len(data.users))
    n_held_out = int(share * len(order))
    if not n_held_out:
        return data, None
    return data.of_users(np.sort(order[n_held_out:])), data.of_users(np.sort(order[:n_held_out]))


def _columns(text: str | None) -> dict[str, str]:
    parts = text.split(",") if text else []
    return dict(_split(part, "--columns", "user=NAME,item=NAME") for part in parts)


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"expected --scale such as 1,10, got {text!r}") from None
    return low, high


def _where(texts: list[str] | None) -> dict[str, Any]:
    """Conditions on attributes: words, a number, or a range of numbers."""
    return {name: _condition(text) for name, text in _pairs(texts, "--where", "NAME=VALUE")}


def _condition(text: str) -> Any:
    low, dots, high = text.partition("..")
    try:
        return (float(low), float(high)) if dots else float(text)
    except ValueError:
        return text.split("|")


def _weight(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"expected --calibrate {name}=0.5 or so, got {name}={text}") from None


def _pairs(texts: list[str] | None, option: str, form: str) -> list[tuple[str, str]]:
    return [_split(text, option, form) for text in texts or []]


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"expected --support such as 0,5,10, got {text!r}") from None


def _split(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise UsageError(f"expected {option} {form}, got {text!r}")
    return name, value
