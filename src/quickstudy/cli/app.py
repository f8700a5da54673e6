"""The command line: its commands, each group in a file of its own."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import typer

from quickstudy import __version__
from quickstudy.cli import adapt, compare, demo, doctor, serve, train
from quickstudy.cli.automl import automl_app
from quickstudy.cli.data import data_app
from quickstudy.cli.experience import experience_app
from quickstudy.cli.recommend import recommend_app
from quickstudy.memory import tuned_malloc

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Example: quickstudy adapt --support letters/ --query unknown/",
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"quickstudy {__version__}")
        raise typer.Exit


@app.callback()
def quickstudy(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Learn from a few examples: adapt to your data, or meta-train a learner of your own."""
    if context.invoked_subcommand != "serve":  # which lives long, and idles
        context.with_resource(tuned_malloc())


for group in (adapt, demo, train, compare, doctor, serve):
    app.add_typer(group.commands)
app.add_typer(data_app, name="data")
app.add_typer(experience_app, name="experience")
app.add_typer(recommend_app, name="recommend")
app.add_typer(automl_app, name="automl")


@functools.cache
def command() -> Any:
    """The commands as Click takes them; typer would make them anew at each call of `app`."""
    return typer.main.get_command(app)
