"""Where data sets lie on this machine, and how they come there."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from quickstudy.errors import DataError, MissingError, UsageError, unknown
from quickstudy.files import check_writable, disk_errors, make_folder, write_atomically

if TYPE_CHECKING:
    from quickstudy.tasks.datasets.dataset import DataFiles

__all__ = ["add", "data_folder", "find", "get", "is_here"]


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
        fetch = f"run `quickstudy data get {name}`, or " if _data_files(name).url else ""
        raise MissingError(
            f"data set {name!r} is not here (looked for {path}): {fetch}take a local copy by "
            f"`quickstudy data add {name} --from FOLDER`"
        )
    return path


def is_here(name: str, dataset: DataFiles) -> bool:
    """Whether a data set can be loaded; one without files always can."""
    return all((data_folder() / name / file).exists() for file in dataset.files)


def get(name: str) -> Path:
    """Download a data set, check its content, and return its folder.

    Raises:
        UsageError: If there is no place to fetch it from.
        MissingError: If it cannot be reached.
        DiskError: If it cannot be written here.
        DataError: If what came is not what it should be.
    """
    dataset = _data_files(name)
    if dataset.url is None:
        raise UsageError(
            f"data set {name!r} has no place to fetch it from: give a local copy by "
            f"`quickstudy data add {name} --from FOLDER`"
        )
    check_writable(data_folder() / name)
    for file, digest in dataset.files.items():
        if (data_folder() / name / file).exists():
            continue
        try:
            with urllib.request.urlopen(dataset.url + file, timeout=60) as response:
                content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise MissingError(
                f"cannot fetch {dataset.url}{file} ({error}): fetch it by other means, then "
                f"`quickstudy data add {name} --from FOLDER`"
            ) from None
        _keep(name, file, content, digest)
    return data_folder() / name


def add(name: str, source: Path) -> Path:
    """Copy a data set from a folder that holds its files, check it, and return its folder.

    Raises:
        MissingError: If a file is not in `source`.
        DataError: If a file is not what it should be.
    """
    dataset = _data_files(name)
    check_writable(data_folder() / name)
    for file, digest in dataset.files.items():
        if not (source / file).is_file():
            raise MissingError(f"expected {file} in {source}, found none")
        _keep(name, file, (source / file).read_bytes(), digest)
    return data_folder() / name


def _keep(name: str, file: str, content: bytes, digest: str) -> None:
    from quickstudy.tasks.image_files import content_hash

    with tempfile.TemporaryDirectory() as scratch:
        candidate = Path(scratch) / file
        candidate.write_bytes(content)
        images = candidate.suffix == ".zip"
        digest_found = content_hash(candidate) if images else hashlib.sha256(content).hexdigest()
    if digest_found != digest:
        raise DataError(
            f"{file} has content hash {digest_found}, expected {digest}: get another copy"
        )
    place = data_folder() / name / file
    with disk_errors(place):
        make_folder(place.parent)
    write_atomically(place, content)


def _data_files(name: str) -> DataFiles:
    """The data set of a name, if it has files to get."""
    from quickstudy.tasks.datasets import data_files

    known = data_files()
    if name not in known:
        raise unknown("data set", name, known)
    if not known[name].files:
        raise UsageError(f"data set {name!r} comes with quickstudy: there is nothing to fetch")
    return known[name]
