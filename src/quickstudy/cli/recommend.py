"""The commands of the recommender."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quickstudy.cli.output import MAX_SEED, Json, Overwrite, check_new, say, table
from quickstudy.cli.recommend_lists import list_commands
from quickstudy.cli.recommend_options import (
    Clicks,
    ColumnNames,
    Data,
    Folder,
    Items,
    Scale,
    Separator,
    Threshold,
    Unknown,
    Unreadable,
    Users,
    load,
)
from quickstudy.errors import UsageError

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Interactions, Scores

__all__ = ["recommend_app"]

recommend_app = typer.Typer(
    no_args_is_help=True,
    help="Recommend items to users with few ratings or clicks.",
    epilog="Example: quickstudy recommend train --data ratings.csv",
)

Order = Literal["random", "chronological"]


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
    ratings = load(
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
    ratings = load(
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


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"expected --support such as 0,5,10, got {text!r}") from None


recommend_app.add_typer(list_commands)
