"""Where the meta-trained gate of regression is stored: weights as safetensors, names as JSON."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quickstudy.errors import RunError
from quickstudy.files import read_json, write_atomically
from quickstudy.learners.transfer.regression.candidates import HEAD_NAMES
from quickstudy.learners.transfer.regression.gate import RegressionGate

__all__ = ["read_regression_gate", "shipped_regression_gate", "write_regression_gate"]

SHIPPED = Path(__file__).parents[3] / "shipped" / "blend_regression"


class _GateFile(BaseModel):
    """What a gate knows by name."""

    model_config = ConfigDict(extra="forbid")
    heads: Annotated[list[str], Field(max_length=1000)]
    about: str


def write_regression_gate(folder: Path, gate: RegressionGate, about: str) -> None:
    """Write a gate.

    Args:
        about: What it was trained on, in words.

    Raises:
        DiskError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.float().contiguous() for key, value in gate.state_dict().items()}
    write_atomically(folder / "gate.safetensors", safetensors.torch.save(state))
    described = _GateFile(heads=gate.heads, about=about).model_dump()
    content = json.dumps(described, indent=1, ensure_ascii=False)
    write_atomically(folder / "gate.json", f"{content}\n".encode())


def read_regression_gate(folder: Path) -> RegressionGate:
    """Read what `write_regression_gate` wrote.

    Raises:
        MissingError, RunError: If it is not there, or damaged.
    """
    try:
        described = _GateFile.model_validate(read_json(folder / "gate.json"))
        if unknown := sorted(set(HEAD_NAMES).difference(described.heads)):
            raise RunError(f"{folder} holds a gate that does not know the head {unknown[0]!r}")
        with torch.random.fork_rng(devices=[]):  # the weights that it starts with are replaced
            gate = RegressionGate(described.heads)
        gate.load_state_dict(safetensors.torch.load_file(folder / "gate.safetensors"))
    except (ValidationError, RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{folder} holds no gate of this version of quickstudy: {error}") from error
    return gate.eval().requires_grad_(False)


@cache
def shipped_regression_gate() -> RegressionGate:
    """The gate that comes with quickstudy. It is shared: copy it to change it."""
    return read_regression_gate(SHIPPED)
