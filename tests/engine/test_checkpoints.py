import json

import pytest
import torch

from quickstudy.engine.checkpoints import (
    flatten,
    latest_checkpoint,
    load_tensors,
    load_weights,
    save_checkpoint,
    unflatten,
    write_tensors,
)
from quickstudy.errors import RunError
from quickstudy.files import write_atomically
from quickstudy.learners import LSTMMetaLearner
from quickstudy.nn import Conv4


def save(folder, step):
    return save_checkpoint(
        folder, step, {"weights": {"w": torch.full((3,), float(step))}}, {"step": step}
    )


def test_the_newest_two_are_kept_and_the_newest_is_loaded(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    tensors, state, complaints = latest_checkpoint(tmp_path)
    assert (tensors["weights"]["w"].tolist(), state, complaints) == ([15.0] * 3, {"step": 15}, [])


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_asked_for(tmp_path, keep):
    for step in (5, 10, 15, 20):
        save_checkpoint(tmp_path, step, {}, {}, keep)
    assert sorted(int(p.name[-8:]) for p in tmp_path.iterdir()) == [5, 10, 15, 20][-keep:]


def test_one_that_was_passed_over_is_not_kept_for_a_good_one(tmp_path):
    save(tmp_path, 5)
    spoil(save(tmp_path, 10), "flipped")
    save_checkpoint(tmp_path, 7, {}, {"step": 7}, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000007"]


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "state") is None


def spoil(place, how):
    if how == "no manifest":
        (place / "manifest.json").unlink()
    elif how == "future":
        manifest = json.loads((place / "manifest.json").read_text())
        (place / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    else:
        file = place / "weights.safetensors"
        content = bytearray(file.read_bytes())
        if how == "flipped":
            content[-1] ^= 1
        file.write_bytes(content if how == "flipped" else content[:-4])


@pytest.mark.parametrize("how", ["truncated", "flipped", "no manifest", "future"])
def test_a_damaged_checkpoint_is_passed_over_and_said_so(tmp_path, how):
    save(tmp_path, 5)
    spoil(save(tmp_path, 10), how)
    tensors, _, complaints = latest_checkpoint(tmp_path)
    assert tensors["weights"]["w"].tolist() == [5.0] * 3
    assert len(complaints) == 1
    assert "step-00000010 is damaged" in complaints[0]


def test_with_every_checkpoint_damaged_it_is_refused(tmp_path):
    spoil(save(tmp_path, 5), "flipped")
    with pytest.raises(RunError, match="no undamaged checkpoint"):
        latest_checkpoint(tmp_path)


def test_what_a_kill_left_half_written_is_ignored_and_removed(tmp_path):
    (tmp_path / ".tmp-1").mkdir()
    (tmp_path / ".tmp-1" / "weights.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) is None
    save(tmp_path, 5)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_an_optimiser_state_survives_flattening():
    parameter = torch.nn.Parameter(torch.ones(3))
    outer = torch.optim.Adam([parameter], lr=0.1)
    parameter.sum().backward()
    outer.step()
    tensors = {}
    kept = json.loads(json.dumps(flatten(outer.state_dict(), tensors)))
    again = torch.optim.Adam([parameter], lr=0.5)
    again.load_state_dict(unflatten(kept, tensors))
    assert again.param_groups[0]["lr"] == 0.1
    assert torch.equal(again.state[parameter]["exp_avg"], outer.state[parameter]["exp_avg"])


def test_an_object_that_is_no_plain_value_is_refused():
    with pytest.raises(TypeError, match="state/hook"):
        flatten({"hook": object()}, {}, "state")


def test_missing_or_damaged_weights_are_refused(tmp_path):
    with pytest.raises(RunError, match="found none"):
        load_tensors(tmp_path / "weights.safetensors")
    write_tensors(tmp_path / "weights.safetensors", {"w": torch.ones(3)})
    content = (tmp_path / "weights.safetensors").read_bytes()
    for n in range(len(content)):
        (tmp_path / "weights.safetensors").write_bytes(content[:n])
        with pytest.raises(RunError, match="damaged"):
            load_tensors(tmp_path / "weights.safetensors")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"old")

    def fail(_handle):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "a", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_a_batch_norm_without_statistics_of_its_own_is_loaded_from_plain_tensors(tmp_path):
    learner = LSTMMetaLearner(Conv4((1, 16, 16), width=4), 3)
    write_tensors(tmp_path / "weights.safetensors", learner.state_dict())
    other = LSTMMetaLearner(Conv4((1, 16, 16), width=4), 3)
    load_weights(other, load_tensors(tmp_path / "weights.safetensors"))
    assert all(torch.equal(v, learner.state_dict()[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize(
    ("value", "message"),
    [(torch.nan, "NaN or infinity"), (-torch.inf, "NaN or infinity"), (1j, "complex numbers")],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_cannot_predict_are_refused_by_name_and_file(tmp_path, value, message, dtype):
    kind = torch.complex64 if isinstance(value, complex) else dtype
    weights = {"good": torch.ones(3), "layer.bad": torch.tensor([1.0, value]).to(kind)}
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights)
    with pytest.raises(RunError, match=f"{message} in 'layer.bad' of {path}: train it again"):
        load_tensors(path)


def test_weights_of_another_kind_or_shape_are_refused_by_name():
    learner = torch.nn.Linear(2, 1)
    good = {"weight": torch.ones(1, 2).double(), "bias": torch.ones(1)}
    load_weights(learner, good)
    assert learner.weight.tolist() == [[1, 1]]
    for changes, message in (
        ({"bias": torch.ones(1, dtype=torch.int64)}, "'bias' is torch.int64 of shape"),
        ({"weight": torch.ones(1, 2) * 1j}, "'weight' is torch.complex64"),
        ({"weight": torch.ones(2, 1)}, r"'weight' is torch.float32 of shape \(2, 1\)"),
        ({"more": torch.ones(1)}, 'Unexpected key.*"more"'),
    ):
        with pytest.raises(RuntimeError, match=message):
            load_weights(learner, {**good, **changes})
    with pytest.raises(RuntimeError, match=r'Missing key.*"bias"'):
        load_weights(learner, {"weight": good["weight"]})


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_weights_whose_squares_overflow_are_refused(tmp_path, value):
    write_tensors(tmp_path / "w", {"large": torch.tensor([0.0, 1e9]), "e": torch.ones(0)})
    assert load_tensors(tmp_path / "w")["large"].tolist() == [0.0, 1e9]
    write_tensors(tmp_path / "w", {"huge": torch.tensor([0.0, value])})
    with pytest.raises(RunError, match=r"got 1e\+30 in 'huge'"):
        load_tensors(tmp_path / "w")
