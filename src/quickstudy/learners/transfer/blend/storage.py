"""Where meta-trained gates are kept: weights as safetensors, the names they know as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from quickstudy.errors import RunError
from quickstudy.files import read_json, write_atomically
from quickstudy.learners.transfer.blend.accuracy import AccuracyModel
from quickstudy.learners.transfer.blend.candidates import HEADS
from quickstudy.learners.transfer.blend.gate import Gate
from quickstudy.learners.transfer.blend.pool_gate import PoolGate
from quickstudy.learners.transfer.blend.refinement import USES

__all__ = [
    "SHIPPED_FOLDER",
    "KnownNames",
    "load_modules",
    "read_gate",
    "read_names",
    "shipped_gate",
    "write_gate",
    "write_modules",
]

SHIPPED_FOLDER = Path(__file__).parents[3] / "shipped"

Names = Annotated[list[str], Field(max_length=1000)]


class KnownNames(BaseModel):
    """What a gate knows by name.

    Args:
        views, heads: Those met in training.
        about: What it was trained on, in words.
    """

    model_config = ConfigDict(extra="forbid")
    views: Names = []
    heads: Names
    about: str


def write_modules(folder: Path, modules: Mapping[str, nn.Module], names: KnownNames) -> None:
    """Write modules in float32, each to a file of its name, and what they know by name.

    Raises:
        DiskError: If they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in modules.items():
        state = {key: value.float().contiguous() for key, value in module.state_dict().items()}
        write_atomically(folder / f"{name}.safetensors", safetensors.torch.save(state))
    content = json.dumps(names.model_dump(), indent=1, ensure_ascii=False)
    write_atomically(folder / "gate.json", f"{content}\n".encode())


def read_names(folder: Path, heads: Sequence[str]) -> KnownNames:
    """Read what the gate in a folder knows by name.

    Args:
        heads: Those it has to know.

    Raises:
        MissingError, RunError: If it is not there, is damaged, or does not know a head.
    """
    try:
        names = KnownNames.model_validate(read_json(folder / "gate.json"))
    except ValidationError as error:
        raise _not_of_this_version(folder, error) from error
    if unknown := sorted(set(heads).difference(names.heads)):
        raise RunError(f"{folder} holds a gate that does not know the head {unknown[0]!r}")
    return names


def load_modules(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load into modules the weights that `write_modules` wrote; they are not to be trained on.

    Raises:
        RunError: If weights are missing, damaged, or of other modules.
    """
    for name, module in modules.items():
        try:
            module.load_state_dict(safetensors.torch.load_file(folder / f"{name}.safetensors"))
        except (RuntimeError, OSError, safetensors.SafetensorError) as error:
            raise _not_of_this_version(folder, error) from error
        module.eval().requires_grad_(False)


def _not_of_this_version(folder: Path, error: Exception) -> RunError:
    return RunError(f"{folder} holds no gate of this version of quickstudy: {error}")


def write_gate(
    folder: Path, gate: Gate, accuracy: AccuracyModel, pool_gate: PoolGate, about: str
) -> None:
    """Write a gate, its model of accuracy, and the gate of pools.

    Args:
        about: What it was trained on, in words.

    Raises:
        DiskError: If they cannot be written.
    """
    names = KnownNames(views=gate.views[1:], heads=gate.heads, about=about)
    modules = {"gate": gate, "accuracy": accuracy, "pool_gate": pool_gate}
    write_modules(folder, modules, names)


def read_gate(folder: Path) -> tuple[Gate, AccuracyModel, PoolGate]:
    """Read what `write_gate` wrote.

    Raises:
        MissingError, RunError: If it is not there, or damaged.
    """
    names = read_names(folder, HEADS)
    with torch.random.fork_rng(devices=[]):  # modules draw weights before they are given theirs
        gate, accuracy = Gate(names.views, names.heads), AccuracyModel()
        pool_gate = PoolGate(len(USES))
    load_modules(folder, {"gate": gate, "accuracy": accuracy, "pool_gate": pool_gate})
    return gate, accuracy, pool_gate


@cache
def shipped_gate() -> tuple[Gate, AccuracyModel, PoolGate]:
    """The gates that come with quickstudy. Their modules are shared: copy them to change them."""
    return read_gate(SHIPPED_FOLDER / "blend")
