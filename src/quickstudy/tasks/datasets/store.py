"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from quickstudy.errors import MissingError

__all__ = ["data_folder", "find"]


def data_folder() -> Path:
    """`QUICKSTUDY_DATA`, or the user's cache folder."""
    named = os.environ.get("QUICKSTUDY_DATA")
    return Path(named) if named else user_cache_path("quickstudy") / "data"


def find(name: str, file: str) -> Path:
    """The file of a data set.

    Raises:
        MissingError: If it is not there; says how to get it.
    """
    path = data_folder() / name / file
    if not path.exists():
        raise MissingError(
            f"data set {name!r} is not here (looked for {path}): run `quickstudy data get {name}`, "
            f"or `quickstudy data add {name} --from PATH` for a local copy"
        )
    return path
