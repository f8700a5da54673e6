"""Options and completions that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "DataSet",
    "Overrides",
    "Run",
    "Seed",
    "complete_data_set",
    "complete_encoder",
    "complete_recipe",
    "complete_shipped_recipe",
    "with_seed",
]

Seed = Annotated[int | None, typer.Option(help="Use this seed instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key of the recipe, such as train.steps=100. May be repeated."
    ),
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]


def with_seed(overrides: list[str] | None, seed: int | None) -> list[str]:
    """Changes of a recipe's keys, that of its seed among them."""
    return [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes, and TOML files here."""
    files = [str(path) for path in Path().glob(f"{incomplete}*.toml")]
    return complete_shipped_recipe(incomplete) + files


def complete_shipped_recipe(incomplete: str) -> list[str]:
    """Names of the recipes that come with quickstudy."""
    from quickstudy.recipes import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def complete_encoder(incomplete: str) -> list[str]:
    """Names of encoders."""
    from quickstudy.encoders import ENCODERS

    return [name for name in ENCODERS.names() if name.startswith(incomplete)]


def complete_data_set(incomplete: str) -> list[str]:
    """Names of data sets."""
    from quickstudy.tasks.datasets import data_files

    return [name for name in data_files() if name.startswith(incomplete)]


DATA_SET: Any = typer.Argument(
    help="Name of a data set, see `quickstudy data list`.", autocompletion=complete_data_set
)
DataSet = Annotated[str, DATA_SET]
