"""Where the meta-trained gate of regression is kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from quickstudy.learners.transfer.blend.storage import (
    SHIPPED_FOLDER,
    KnownNames,
    load_modules,
    read_names,
    write_modules,
)
from quickstudy.learners.transfer.regression.candidates import HEAD_NAMES
from quickstudy.learners.transfer.regression.gate import RegressionGate

__all__ = ["read_regression_gate", "shipped_regression_gate", "write_regression_gate"]


def write_regression_gate(folder: Path, gate: RegressionGate, about: str) -> None:
    """Write a gate.

    Args:
        about: What it was trained on, in words.

    Raises:
        DiskError: If it cannot be written.
    """
    write_modules(folder, {"gate": gate}, KnownNames(heads=gate.heads, about=about))


def read_regression_gate(folder: Path) -> RegressionGate:
    """Read what `write_regression_gate` wrote.

    Raises:
        MissingError, RunError: If it is not there, or damaged.
    """
    names = read_names(folder, HEAD_NAMES)
    with torch.random.fork_rng(devices=[]):  # the weights that it starts with are replaced
        gate = RegressionGate(names.heads)
    load_modules(folder, {"gate": gate})
    return gate


@cache
def shipped_regression_gate() -> RegressionGate:
    """The gate that comes with quickstudy. It is shared: copy it to change it."""
    return read_regression_gate(SHIPPED_FOLDER / "blend_regression")
