"""The commands of the experience store, and how other commands keep their results in it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from quickstudy.cli.output import Json, say, table
from quickstudy.errors import QuickstudyError, UsageError, require

if TYPE_CHECKING:
    from quickstudy.experience import ExperienceStore

__all__ = ["Forget", "experience_app", "has_experience", "keep", "keeping"]

T = TypeVar("T")

experience_app = typer.Typer(
    no_args_is_help=True,
    help="Look up, share and merge the results of earlier runs.",
    epilog="Example: quickstudy experience list",
)

Forget = Annotated[
    bool, typer.Option("--no-experience", help="Do not record this in the experience store.")
]
What = Literal["trials", "tasks", "strategies", "runs"]
PACKAGES = ("sqlalchemy", "alembic")


def keep(forget: bool, remember: Callable[[ExperienceStore], None]) -> None:
    """Let a command keep its results, unless it is not to; an error is a line of warning, since
    the results are in their files already.
    """
    if forget or os.environ.get("RANK", "0") != "0" or not has_experience():
        return
    from quickstudy.experience import ExperienceStore

    with _warned():
        remember(ExperienceStore())


def keeping(
    forget: bool, remember: Callable[[ExperienceStore], Callable[[T], None]]
) -> Callable[[T], None]:
    """As `keep`, for results that come one by one: what keeps each, until there is an error."""
    ready: list[Callable[[T], None]] = []
    keep(forget, lambda store: ready.append(remember(store)))

    def each(result: T) -> None:
        if ready:
            tell = ready.pop()
            with _warned():
                tell(result)
                ready.append(tell)

    return each


def has_experience() -> bool:
    """Whether experience is recorded at all: its packages are there, and it is not switched off."""
    if not all(map(importlib.util.find_spec, PACKAGES)):
        return False
    from quickstudy.experience import experience_place

    return experience_place() is not None


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    try:
        yield
    except (QuickstudyError, OSError) as error:
        print(f"warning: not recorded in the experience store: {error}", file=sys.stderr)


def _store(*, create: bool = False) -> ExperienceStore:
    for package in PACKAGES:
        require(package, "experience")
    from quickstudy.experience import ExperienceStore

    return ExperienceStore(create=create)


def _complete_id(incomplete: str) -> list[str]:
    try:
        store = _store()
        records = [*store.trials(), *store.tasks(), *store.strategies(), *store.runs()]
    except (QuickstudyError, OSError):
        return []
    ids = [getattr(record, "fingerprint", None) or record.id for record in records]  # pyright: ignore
    return [one for one in ids if one.startswith(incomplete)]


@experience_app.command("list", epilog="Example: quickstudy experience list --task omniglot")
def experience_list(
    what: Annotated[What, typer.Argument(help="What to list.")] = "trials",
    kind: Annotated[str | None, typer.Option(help="Only trials on tasks of this kind.")] = None,
    task: Annotated[str | None, typer.Option(help="Only trials on this task (name or id).")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Only trials of this strategy (name or id).")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Only trials scored by this metric.")] = None,
    as_json: Json = False,
) -> None:
    """List what was tried: trials with task, strategy and score."""
    from quickstudy.experience import as_plain

    chosen = {"kind": kind, "task": task, "strategy": strategy, "metric": metric}
    store = _store()
    if what == "trials":
        rows = [_plain(row) for row in store.table(**chosen)]
        head, lines = ["trial", "when", "task", "strategy", "score"], map(_trial, rows)
    else:
        if any(chosen.values()):
            raise UsageError(
                f"expected --kind, --task, --strategy and --metric with trials, not {what}"
            )
        records: list[Any] = getattr(store, what)()
        rows = [as_plain(record) for record in records]
        if what == "runs":
            head = ["run", "when", "command"]
            lines = ([row["id"][:8], _minute(row["finished"]), row["command"]] for row in rows)
        else:
            head = [what.removesuffix("s").replace("ie", "y"), "kind", "name"]
            lines = ([row["fingerprint"][:8], row["kind"], row["name"]] for row in rows)
    say(rows, as_json, table(head, *lines))


@experience_app.command("show", epilog="Example: quickstudy experience show 3f2a")
def experience_show(
    id: Annotated[
        str,
        typer.Argument(
            help="Id of a trial, task, strategy or run, or its beginning.",
            autocompletion=_complete_id,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show one record in full: a trial, task, strategy or run."""
    import json

    from quickstudy.experience import as_plain

    record = _store().show(id)
    plain = {"record": type(record).__name__.lower(), **as_plain(record)}
    fields = dict(plain)
    if len(scores := fields.get("scores", [])) > 5:
        fields["scores"] = f"{', '.join(f'{score:.4g}' for score in scores[:5])}, … {len(scores)}"
    lines = [
        [name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
        for name, value in fields.items()
    ]
    say(plain, as_json, table(["field", "value"], *lines))


@experience_app.command("export", epilog="Example: quickstudy experience export my-experience")
def experience_export(
    place: Annotated[
        Path, typer.Argument(help="A new folder, or a .parquet file for the trials only.")
    ],
    as_json: Json = False,
) -> None:
    """Export the store to a folder that can be imported, or the trials to a file."""
    path = _store().export(place)
    say({"path": str(path)}, as_json, str(path))


@experience_app.command("import", epilog="Example: quickstudy experience import my-experience")
def experience_import(
    place: Annotated[
        str,
        typer.Argument(help="A folder that `export` wrote, or an Optuna storage (file or URL)."),
    ],
    study: Annotated[
        str | None, typer.Option(help="Only this study of the Optuna storage.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import an exported folder or an Optuna storage.

    Records that are already in the store are skipped.
    """
    if "://" in place or Path(place).is_file():
        require("optuna", "automl")
        from quickstudy.apps.automl.meta.studies import import_studies

        _say_new(import_studies(place, _store(create=True), study=study), as_json)
    elif study:
        raise UsageError(f"expected --study with a storage of Optuna, not {place}")
    else:
        _say_new(_store(create=True).import_(place), as_json)


@experience_app.command("merge", epilog="Example: quickstudy experience merge ../lab/experience.db")
def experience_merge(
    other: Annotated[str, typer.Argument(help="Another experience store (file or URL).")],
    as_json: Json = False,
) -> None:
    """Merge another store into this one.

    Records that are already in the store are skipped.
    """
    _say_new(_store(create=True).merge(other), as_json)


def _say_new(new: dict[str, int], as_json: bool) -> None:
    counted = ", ".join(f"{number} {what}" for what, number in new.items())
    say(new, as_json, f"new: {counted}")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}


def _trial(row: dict[str, Any]) -> list[str]:
    score = row["failure"] or ""
    if row["mean"] is not None:
        is_share = row["metric"] == "accuracy"
        score = (
            f"{row['metric']} {row['mean']:.1%}"
            if is_share
            else f"{row['metric']} {row['mean']:.4g}"
        )
    return [row["trial"][:8], _minute(row["at"]), row["task_name"], row["strategy_name"], score]


def _minute(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
