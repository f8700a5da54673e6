"""Commands for data sets: data list, get, add, path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.options import DATA_SET, DataSet
from quickstudy.cli.output import Json, say, table

data_app = typer.Typer(
    no_args_is_help=True,
    help="List, download and locate data sets.",
    epilog="Example: quickstudy data get omniglot",
)


@data_app.command("list", epilog="Example: quickstudy data list")
def data_list(as_json: Json = False) -> None:
    """List the data sets, and which of them are on this machine."""
    from quickstudy.tasks.datasets import data_files
    from quickstudy.tasks.datasets.store import is_here

    rows = {n: {"about": d.title, "here": is_here(n, d)} for n, d in data_files().items()}
    lines = [[n, "yes" if r["here"] else "no", r["about"]] for n, r in rows.items()]
    say(rows, as_json, table(["data set", "here", "about"], *lines))


@data_app.command("get", epilog="Example: quickstudy data get omniglot")
def data_get(name: DataSet, as_json: Json = False) -> None:
    """Download a data set from its authors, and check its content."""
    from quickstudy.tasks.datasets.store import get

    path = get(name)
    say({"path": str(path)}, as_json, str(path))


@data_app.command("add", epilog="Example: quickstudy data add omniglot --from ~/Downloads")
def data_add(
    name: DataSet,
    source: Annotated[Path, typer.Option("--from", help="Folder with the files.")],
    as_json: Json = False,
) -> None:
    """Add a data set from files that you have, and check their content."""
    from quickstudy.tasks.datasets.store import add

    path = add(name, source)
    say({"path": str(path)}, as_json, str(path))


@data_app.command("path", epilog="Example: quickstudy data path omniglot")
def data_path(
    name: Annotated[str | None, DATA_SET] = None,
    as_json: Json = False,
) -> None:
    """Print the folder of all data sets, or of one."""
    from quickstudy.errors import unknown
    from quickstudy.tasks.datasets import data_files
    from quickstudy.tasks.datasets.store import data_folder

    if name and name not in data_files():
        raise unknown("data set", name, data_files())
    path = data_folder() / name if name else data_folder()
    say({"path": str(path)}, as_json, str(path))
