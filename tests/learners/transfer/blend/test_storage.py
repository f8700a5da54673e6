import json
import shutil

import pytest
import torch

from quickstudy.errors import MissingError, RunError
from quickstudy.learners.transfer.blend import (
    AccuracyModel,
    Gate,
    PoolGate,
    read_gate,
    shipped_gate,
    write_gate,
)
from quickstudy.learners.transfer.blend.candidates import HEADS
from quickstudy.learners.transfer.blend.refinement import USES


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    gate, accuracy = Gate(["minilm", "raw"], HEADS), AccuracyModel()
    pool_gate = PoolGate(len(USES))
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    gate.mean += 1
    write_gate(tmp_path / "gate", gate, accuracy, pool_gate, "tasks of a test")
    return tmp_path / "gate"


def test_what_was_written_is_read(folder, tmp_path):
    gate, accuracy, pool_gate = read_gate(folder)
    assert gate.views == ["other", "minilm", "raw"]
    assert gate.heads == list(HEADS)
    assert json.loads((folder / "gate.json").read_text())["about"] == "tasks of a test"
    write_gate(tmp_path / "again", gate, accuracy, pool_gate, "tasks of a test")
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_nothing_written_is_a_pickle(folder):
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors"}


def test_the_gate_that_is_shipped_is_read_and_knows_all_heads():
    gate, accuracy, pool_gate = shipped_gate()
    assert set(gate.heads) >= set(HEADS)
    assert {"raw", "minilm", "efficientnet_lite0"} <= set(gate.views)
    assert not any(p.requires_grad for m in (gate, accuracy, pool_gate) for p in m.parameters())


def change(folder, **values):
    path = folder / "gate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "gate.json").write_text("{"),
        lambda folder: (folder / "gate.json").write_text("[1]"),
        lambda folder: change(folder, views=3),
        lambda folder: change(folder, unexpected=3),
        lambda folder: change(folder, views=["minilm"]),
        lambda folder: change(folder, heads=[*HEADS[1:], "unheard of"]),
        lambda folder: cut(folder / "gate.safetensors"),
        lambda folder: cut(folder / "accuracy.safetensors"),
        lambda folder: cut(folder / "pool_gate.safetensors"),
        lambda folder: (folder / "gate.safetensors").write_bytes(b""),
        lambda folder: (folder / "gate.safetensors").unlink(),
        lambda folder: shutil.copy(folder / "accuracy.safetensors", folder / "gate.safetensors"),
    ],
)
def test_a_damaged_gate_is_refused(folder, damage):
    damage(folder)
    with pytest.raises(RunError):
        read_gate(folder)


def test_a_gate_that_is_not_there_is_named(tmp_path):
    with pytest.raises((MissingError, RunError), match="nowhere"):
        read_gate(tmp_path / "nowhere")
