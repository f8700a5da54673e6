"""Where a meta-trained gate is kept: weights as safetensors, the names it knows as JSON."""

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
from quickstudy.learners.transfer.blend.accuracy import AccuracyModel
from quickstudy.learners.transfer.blend.candidates import HEADS
from quickstudy.learners.transfer.blend.gate import Gate

__all__ = ["read_gate", "shipped_gate", "write_gate"]

SHIPPED = Path(__file__).parents[3] / "shipped" / "blend"

Names = Annotated[list[str], Field(max_length=1000)]


class _GateFile(BaseModel):
    """What a gate knows by name."""

    model_config = ConfigDict(extra="forbid")
    views: Names
    heads: Names
    about: str


def write_gate(folder: Path, gate: Gate, accuracy: AccuracyModel, about: str) -> None:
    """Write a gate and its model of accuracy.

    Args:
        about: What it was trained on, in words.

    Raises:
        DiskError: If they cannot be written.
    """
    described = _GateFile(views=gate.views[1:], heads=gate.heads, about=about)
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in (("gate", gate), ("accuracy", accuracy)):
        state = {key: value.float().contiguous() for key, value in module.state_dict().items()}
        write_atomically(folder / f"{name}.safetensors", safetensors.torch.save(state))
    content = json.dumps(described.model_dump(), indent=1, ensure_ascii=False)
    write_atomically(folder / "gate.json", f"{content}\n".encode())


def read_gate(folder: Path) -> tuple[Gate, AccuracyModel]:
    """Read what `write_gate` wrote.

    Raises:
        MissingError, RunError: If it is not there, or damaged.
    """
    try:
        described = _GateFile.model_validate(read_json(folder / "gate.json"))
        if unknown := sorted(set(HEADS).difference(described.heads)):
            raise RunError(f"{folder} holds a gate that does not know the head {unknown[0]!r}")
        with torch.random.fork_rng(devices=[]):  # modules draw weights before they are given theirs
            gate, accuracy = Gate(described.views, described.heads), AccuracyModel()
        for name, module in (("gate", gate), ("accuracy", accuracy)):
            module.load_state_dict(safetensors.torch.load_file(folder / f"{name}.safetensors"))
    except (ValidationError, RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{folder} holds no gate of this version of quickstudy: {error}") from error
    return gate.eval().requires_grad_(False), accuracy.eval().requires_grad_(False)


@cache
def shipped_gate() -> tuple[Gate, AccuracyModel]:
    """The gate that comes with quickstudy. Its modules are shared: copy them to change them."""
    return read_gate(SHIPPED)
