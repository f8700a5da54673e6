"""Checkpoints, which are complete or absent, and never a pickle.

A checkpoint is a folder of safetensors files and one JSON, with the SHA-256 of each file in
`manifest.json`. A reader checks the files by these hashes, and the manifest by writing it again
from them. A checkpoint is written to a temporary folder, flushed to disk, then renamed.

A fitted estimator, which is saved to the same folder again and again, is one checkpoint whose
number grows (`save_version`). The old one stays until the new one is there, so a reader needs no
lock: if the one it reads is removed meanwhile, there is a newer one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from quickstudy.errors import RunError
from quickstudy.files import (
    disk_errors,
    locked,
    make_folder,
    remove_leftovers,
    sync_folder,
    write_atomically,
    write_durably,
)

__all__ = [
    "check_versions",
    "check_weights",
    "latest_checkpoint",
    "load_tensors",
    "load_weights",
    "save_checkpoint",
    "save_version",
    "write_tensors",
]

LOCK_SECONDS = 30.0
"""Seconds that `save_version` waits for another process to finish."""

MAX_WEIGHT = 1e18
"""Squares of greater weights overflow in float32."""

MAX_BYTES, MAX_MANIFEST_BYTES = 8_000_000_000, 1_000_000
"""The largest file that is read if its expected size is not known, and the largest manifest."""

READ_ATTEMPTS = 1000
"""How often a reader looks for a newer checkpoint when the one it reads is removed."""

_DAMAGE_ERRORS = (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError)

_T = TypeVar("_T")


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write checkpoint `step` below `folder`, and remove all but the newest ones.

    Args:
        tensors: A file name (without suffix) to its tensors by name.
        state: Anything JSON can hold.
        keep: How many stay, the new one included.

    Raises:
        DiskError: If it cannot be written; those before stay.
    """
    place = folder / f"step-{step:08d}"
    unfinished = folder / ".tmp-new"
    files = {f"{name}.safetensors": _tensor_bytes(part) for name, part in tensors.items()}
    files["state.json"] = json.dumps(state, indent=1).encode()
    files["manifest.json"] = _manifest({name: _hash(content) for name, content in files.items()})
    with disk_errors(folder):
        make_folder(folder)
        remove_leftovers(folder)
        try:
            unfinished.mkdir()
            for name, content in files.items():
                write_durably(unfinished / name, content)
            sync_folder(unfinished)
            if place.exists():  # a damaged one that was passed over
                place.rename(folder / f".tmp-{place.name}")
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        sync_folder(folder)
        existing = _checkpoints(folder)
        older = [other for other in existing if other < place]  # newer ones were passed over too
        for other in set(existing) - {place, *older[: keep - 1]}:
            other.rename(folder / f".tmp-{other.name}")  # so that none is ever half-removed
        remove_leftovers(folder)
    return place


def latest_checkpoint(
    folder: Path,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], list[str]] | None:
    """Load the newest undamaged checkpoint.

    Returns:
        Its tensors by file, its state, and a line about each damaged checkpoint passed over;
        None if there is no checkpoint.

    Raises:
        RunError: If there are checkpoints, and all are damaged.
    """
    newest = _newest(folder, _load)
    if newest is None:
        return None
    (tensors, state), complaints = newest
    return tensors, state, complaints


def save_version(
    folder: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]
) -> Path:
    """Write the next checkpoint of a folder that keeps one, then remove the one before.

    One process writes at a time; others wait for it up to `LOCK_SECONDS`.

    Args:
        tensors, state: As of `save_checkpoint`.

    Raises:
        RunError: If another process keeps writing there.
        DiskError: If it cannot be written; the one before stays.
    """
    busy = f"another process has been saving to {folder} for {LOCK_SECONDS:g} s: wait, or stop it"
    with locked(folder, busy, seconds=LOCK_SECONDS):
        steps = [
            int(n) for p in _checkpoints(folder) if (n := p.name.removeprefix("step-")).isdecimal()
        ]
        return save_checkpoint(folder, max(steps, default=-1) + 1, tensors, state, keep=1)


def check_versions(folder: Path, what: str, is_own: Callable[[dict[str, Any]], bool]) -> None:
    """Refuse a folder that holds anything but versions of one kind.

    Args:
        what: The kind, in words.
        is_own: Whether a state is of that kind.

    Raises:
        RunError: If it holds anything else.
    """

    def state(place: Path) -> dict[str, Any]:
        return json.loads(_read(place / "state.json", MAX_BYTES))

    if not os.path.lexists(folder):
        return
    own = folder.is_dir() and all(
        path.name == ".lock" or path.name.startswith((".tmp-", "step-"))
        for path in folder.iterdir()
    )
    if own and _checkpoints(folder):
        try:
            newest = _newest(folder, state)
            own = newest is None or (isinstance(newest[0], dict) and is_own(newest[0]))
        except RunError:
            own = False
    if not own:
        raise RunError(f"{folder} exists and is not a saved {what}: name another")


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _newest(folder: Path, read: Callable[[Path], _T]) -> tuple[_T, list[str]] | None:
    """Read the newest checkpoint that can be read, with a line about each that cannot; None if
    there is no checkpoint.

    Raises:
        RunError: If none of them can be read.
    """
    for _ in range(READ_ATTEMPTS):
        complaints: list[str] = []
        for place in _checkpoints(folder):
            try:
                return read(place), complaints
            except (*_DAMAGE_ERRORS, OSError) as error:
                if not os.path.lexists(place):
                    break  # a writer has removed it, since there is a newer one
                complaints.append(f"{place} is damaged ({error}); falling back to the one before")
        else:
            if not complaints:
                return None
            raise RunError(
                f"no undamaged checkpoint in {folder}: start again in a new folder. "
                + "; ".join(complaints)
            )
    raise RunError(f"{folder} is written faster than it can be read: stop what writes there")


def _load(place: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    written = _read(place / "manifest.json", MAX_MANIFEST_BYTES)
    manifest = json.loads(written)
    if manifest["format"] != 1:
        raise ValueError(f"unknown format {manifest['format']}")
    contents = {name: _read(place / Path(name).name, MAX_BYTES) for name in manifest["sha256"]}
    hashes = {name: _hash(content) for name, content in contents.items()}
    for name, digest in hashes.items():
        if manifest["sha256"][name] != digest:
            raise ValueError(f"{name} does not match its hash")
    if _manifest(hashes) != written:
        raise ValueError("manifest.json is not as it was written")
    state = json.loads(contents.pop("state.json"))
    return {
        name.removesuffix(".safetensors"): safetensors.torch.load(content)
        for name, content in contents.items()
    }, state


def _read(path: Path, most: int) -> bytes:
    if (size := path.stat().st_size) > most:
        raise ValueError(f"expected {path.name} to have {most:,} bytes at most, got {size:,}")
    return path.read_bytes()


def _manifest(hashes: dict[str, str]) -> bytes:
    return json.dumps({"format": 1, "sha256": hashes}, indent=1).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically.

    Raises:
        DiskError: If it cannot be written; then it is the old one.
    """
    write_atomically(path, _tensor_bytes(tensors))


def load_tensors(path: Path, like: nn.Module | None = None) -> dict[str, Tensor]:
    """Read a safetensors file of weights.

    Args:
        like: What the tensors are for: a file that is much larger than its own is not read.

    Raises:
        RunError: If it is missing, damaged or too large, or `check_weights` refuses it.
    """
    most = MAX_BYTES if like is None else 2 * _most_bytes(like)  # a copy may be in float64
    try:
        if (size := path.stat().st_size) > most:
            raise RunError(
                f"expected {path} to have {most:,} bytes at most, got {size:,}: train the run anew"
            )
        tensors = safetensors.torch.load(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"expected {path}, found none: train the run first") from None
    except safetensors.SafetensorError as error:
        raise RunError(f"{path} is damaged ({error}): resume the run to write it anew") from None
    check_weights(tensors, path)
    return tensors


def check_weights(tensors: dict[str, Tensor], place: Path) -> None:
    """Refuse weights that are not finite real numbers, or too large to compute with.

    Args:
        tensors: By name.
        place: Where they were read, for the message.

    Raises:
        RunError: If one holds NaN, infinity, numbers beyond `MAX_WEIGHT` or complex ones.
    """
    for name, tensor in tensors.items():
        if defect := _defect(tensor):
            raise RunError(
                f"expected finite real weights, got {defect} in {name!r} of {place}: train it "
                "again, or bring back a copy from before"
            )


def _defect(tensor: Tensor) -> str | None:
    """What makes a tensor useless as weights, if anything does."""
    if tensor.is_complex():
        return "complex numbers"
    if not tensor.is_floating_point() or not tensor.numel():
        return None
    low, high = tensor.double().aminmax() if tensor.element_size() < 2 else tensor.aminmax()
    greatest = max(-float(low), float(high))
    if not math.isfinite(greatest):
        return "NaN or infinity"
    return f"{greatest:g}" if greatest > MAX_WEIGHT else None


def _most_bytes(module: nn.Module) -> int:
    """An upper bound of the size of a module's weights file: its tensors, and a header for each."""
    state = module.state_dict()
    return sum(t.nbytes + len(name) + 1000 for name, t in state.items()) + 100_000


def load_weights(learner: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a learner the weights and buffers read from a file.

    Raises:
        RuntimeError: If they are those of another learner; with the first tensor that differs.
    """
    state = learner.state_dict()
    for name, tensor in tensors.items():
        own = state.get(name, tensor)
        same_kind = tensor.is_floating_point() == own.is_floating_point()
        if tensor.shape != own.shape or not same_kind or tensor.is_complex():
            raise RuntimeError(
                f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, where {own.dtype} of "
                f"shape {tuple(own.shape)} is expected"
            )
    state.clear()  # keeps the versions of layers, without which batch norm expects a counter
    state.update(tensors)
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        raise RuntimeError(str(error).splitlines()[-1].strip()) from None


def flatten(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Move the tensors of a nested state into `tensors`; what stays behind is JSON."""
    if isinstance(tree, Tensor):
        tensors[path] = tree
        return {"$tensor": path}
    if isinstance(tree, dict):
        return {"$dict": [[k, flatten(v, tensors, f"{path}/{k}")] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        return [flatten(v, tensors, f"{path}/{i}") for i, v in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"cannot checkpoint a {type(tree).__name__} at {path or 'the root'}")


def unflatten(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `flatten`."""
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        return {k: unflatten(v, tensors) for k, v in tree["$dict"]}
    if isinstance(tree, list):
        return [unflatten(v, tensors) for v in tree]
    return tree


def _tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    # Copies, as safetensors refuses tied weights, which are one tensor of two names.
    return safetensors.torch.save(
        {n: t.detach().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}
    )
