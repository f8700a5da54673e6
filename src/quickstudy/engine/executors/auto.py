"""Which executor to use: by name, or the fastest by trial."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from quickstudy.engine.executors.base import Executor, Serial, Threads, n_cores
from quickstudy.engine.executors.compiled import Compiled
from quickstudy.engine.executors.vmap import DROPOUT, Vmap, has_module, refusal_by_vmap, shape_of
from quickstudy.errors import UsageError, unknown
from quickstudy.files import write_atomically
from quickstudy.learners import Learner, MetaGradient
from quickstudy.learners.base import device_of
from quickstudy.tasks import Episode

__all__ = ["EXECUTORS", "Auto", "make_executor"]


class Auto(Executor):
    """The executor that is fastest for this learner and these tasks, by trial.

    The first call times those that can run the learner, and keeps the seconds in the user's cache
    folder, so the next training of the same learner on such tasks makes the same choice at once.
    Compiling is tried only where the steps to come would take longer than it does. When tasks come
    that the chosen executor cannot run, as they are too long to compile, the next simpler one goes
    on: `Vmap`, then the tasks one by one.

    Args:
        steps: Meta-steps to come.
        trial: Whether to try; if not, it begins with `Vmap`.
    """

    WORTH_COMPILING = 120.0
    """Compiling is tried if training would take more seconds without."""

    def __init__(self, steps: int = 0, *, trial: bool = True) -> None:
        self.steps = steps
        self.chosen: str | None = None if trial else "vmap"
        self._made: dict[str, Executor] = {}

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if self.chosen is None:
            self.chosen = self._choose(learner, episodes)
        simpler = {"compiled": "vmap", "vmap": _unbatched_executor(learner)}
        while True:
            try:
                return self._make(self.chosen)(learner, episodes)
            except UsageError:
                if self.chosen not in simpler:
                    raise
                self.chosen = simpler[self.chosen]

    def close(self) -> None:
        for executor in self._made.values():
            executor.close()

    def _make(self, name: str) -> Executor:
        if name not in self._made:
            made = Compiled(longest=3000) if name == "compiled" else EXECUTORS[name]()
            self._made[name] = made
        return self._made[name]

    def _choose(self, learner: Learner, episodes: Sequence[Episode]) -> str:
        name = f"{_fingerprint(learner, episodes)}.json"
        path = user_cache_path("quickstudy") / "executors" / name
        seconds = _read_seconds(path)

        def seconds_of(name: str) -> float:
            if name not in seconds:
                seconds[name] = _seconds(self._make(name), learner, episodes)
            return seconds[name]

        unbatched = _unbatched_executor(learner)
        best = min(("vmap", unbatched), key=seconds_of)
        is_long = self.steps * seconds_of("vmap") > self.WORTH_COMPILING
        if best == "vmap" and is_long and seconds_of("compiled") < seconds_of("vmap"):
            best = "compiled"
        with contextlib.suppress(OSError):  # a cache that cannot be written is done without
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(seconds).encode())
        return best


def _seconds(executor: Executor, learner: Learner, episodes: Sequence[Episode]) -> float:
    """Seconds of a second meta-batch; infinity if the executor cannot run it."""
    try:
        float(executor(learner, episodes).loss)  # which waits for a GPU
    except UsageError:
        return math.inf
    began = time.perf_counter()
    float(executor(learner, episodes).loss)
    return time.perf_counter() - began


def _read_seconds(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _fingerprint(learner: Learner, episodes: Sequence[Episode]) -> str:
    """A hash of what decides how fast an executor is: learner, tasks, machine and PyTorch."""
    options = {k: v for k, v in vars(learner).items() if isinstance(v, int | float | str)}
    identity = (
        repr(learner),
        sorted(options.items()),
        [repr(shape_of(episode)) for episode in episodes],
        torch.is_autocast_enabled(device_of(learner).type),
        _device_name(device_of(learner)),
        (platform.processor(), n_cores(), torch.get_num_threads(), torch.__version__),
    )
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:32]


EXECUTORS: dict[str, type[Executor]] = {
    "serial": Serial,
    "threads": Threads,
    "vmap": Vmap,
    "compiled": Compiled,
}


def make_executor(
    name: str, learner: Learner, meta_batch_size: int, steps: int = 0, *, trial: bool = True
) -> Executor:
    """Make an executor by name; "auto" chooses one for this learner.

    "auto" is threads where there are several tasks and cores, and serial otherwise, as for a
    learner that acts, whose batches are large; for networks
    that `Vmap` can batch, on a CPU only those without convolutions, it tries which is fastest (see
    `Auto`).

    Args:
        steps: Meta-steps to come; "auto" compiles only for long trainings.
        trial: Whether "auto" may try; if not, it takes `Vmap` where that can run.

    Raises:
        UsageError: If there is no such executor, or it cannot run the learner.
    """
    if name not in ("auto", *EXECUTORS):
        raise unknown("executor", name, ["auto", *EXECUTORS])
    reason = refusal_by_vmap(learner)
    if name in ("vmap", "compiled") and reason:
        raise UsageError(f"executor {name!r} cannot run {reason}: use 'threads' or 'serial'")
    if name != "auto":
        return EXECUTORS[name]()
    if meta_batch_size == 1 or learner.acts:
        return Serial()
    on_cpu = device_of(learner).type == "cpu"
    if not reason and not (on_cpu and has_module(learner, (nn.modules.conv._ConvNd,))):
        return Auto(steps, trial=trial)
    return EXECUTORS[_unbatched_executor(learner)]()


def _unbatched_executor(learner: Learner) -> str:
    """The executor for tasks that cannot be batched."""
    serial = n_cores() == 1 or has_module(learner, DROPOUT) or device_of(learner).type != "cpu"
    return "serial" if serial else "threads"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
