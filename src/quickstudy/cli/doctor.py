"""The command that looks for what may go wrong: doctor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quickstudy.cli.experience import has_experience
from quickstudy.cli.options import Run, complete_data_set
from quickstudy.cli.output import Json, say, table

if TYPE_CHECKING:
    from quickstudy.apps.doctor.diagnosis import Diagnosis

commands = typer.Typer()


@commands.command(epilog="Example: quickstudy doctor glyphs --support letters/ --out letters.html")
def doctor(
    run: Run,
    support: Annotated[
        Path | None,
        typer.Option(
            help="Examples the learner is to adapt to: a folder (or zip) with a folder of images "
            "for each class, or a table with a column of labels."
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="New tasks: name of a data set, or a folder of class folders. Default: the "
            "recipe's tests.",
            autocompletion=complete_data_set,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the column of labels. Default: label or class.")
    ] = None,
    n_tasks: Annotated[
        int, typer.Option("--n-tasks", min=10, max=10_000, help="Tasks that each measure draws.")
    ] = 40,
    out: Annotated[Path, typer.Option(help="HTML file to write the diagnosis to.")] = Path(
        "doctor.html"
    ),
    as_json: Json = False,
) -> None:
    """Look for what may go wrong with a run, its tasks and a support set.

    Measures overfitting, memorisation, faults of the tasks and of single
    examples, how far the examples are from training, what more examples would
    bring, and costs. Prints what there is to do, and writes a page with all.
    """
    from quickstudy.apps.doctor.diagnosis import diagnose
    from quickstudy.apps.doctor.page import page_html
    from quickstudy.files import check_output_file, write_atomically

    check_output_file(out)
    store = None
    if has_experience():
        from quickstudy.errors import MissingError
        from quickstudy.experience import ExperienceStore

        try:
            store = ExperienceStore(create=False)
        except MissingError:
            store = None
    began = time.perf_counter()
    found = diagnose(run, support=support, tasks=tasks, label=label, n_tasks=n_tasks, store=store)
    write_atomically(out, page_html(found).encode())
    seconds = time.perf_counter() - began
    result = {**found.as_dict(), "page": str(out), "seconds": seconds}
    say(result, as_json, f"{_text(found)}\nPage: {out}")


def _text(found: Diagnosis) -> str:
    """What there is to do, all values as a table, and what was left out."""
    n = len(found.warnings)
    warned = f"{n or 'no'} warning{'' if n == 1 else 's'}"
    lines = [f"{found.about}: {len(found.findings)} measures, {warned}.", ""]
    for one in found.warnings:
        lines += [f"! {one.verdict} {one.advice}", ""]
    if found.findings:
        rows = [[one.measure, one.status, one.formatted] for one in found.findings]
        lines += [table(["measure", "status", "value (95 % interval)"], *rows), ""]
    lines += [f"Left out: {one.measure}: {one.reason}" for one in found.skipped]
    return "\n".join(lines)
