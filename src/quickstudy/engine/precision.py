"""In which precision networks are computed, and what the processor has for it."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager

import torch

from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.tasks import Tasks
from quickstudy.tasks.environments import Trial

__all__ = ["autocast", "bfloat16_is_faster", "bfloat16_is_native", "instruction_set"]

MAX_TIME_RATIO = 0.9
"""Share of the time in float32 that bfloat16 may take at most to be chosen: where both take about
the same, float32 has more digits, and noise would decide otherwise."""


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Compute networks inside in `precision`, where PyTorch deems that safe."""
    if precision == "float32":
        return contextlib.nullcontext()
    # The cache of converted weights is shared by threads, and outlives a task.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(
        there is True for name, there in capabilities.items() if name.endswith("bf16")
    )


def bfloat16_is_faster(learner: Learner, tasks: Tasks, index: int, repeats: int = 3) -> bool:
    """Whether the meta-gradient of `tasks[index]` takes less time in bfloat16, by trial.

    It is not tried where the device only emulates bfloat16, nor for a learner that acts or for
    regression, whose rewards and targets need more digits.
    """
    device = device_of(learner)
    if learner.acts or not bfloat16_is_native(device):
        return False
    episode = tasks[index].to(device)
    if isinstance(episode, Trial) or episode.n_way is None:
        return False
    learner.check(episode.support)
    seconds: dict[str, float] = {}
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        for repeat in range(repeats + 1):  # the first does not count
            for precision in ("float32", "bfloat16"):
                began = time.perf_counter()
                with autocast(precision, device):
                    float(learner.meta_gradient(episode).loss)  # which waits for a GPU
                took = time.perf_counter() - began
                seconds[precision] = min(took, seconds.get(precision, took)) if repeat else 1e9
    return seconds["bfloat16"] < MAX_TIME_RATIO * seconds["float32"]


def instruction_set() -> str:
    """What PyTorch uses of the processor, as "AVX512, bfloat16 emulated"."""
    native = "native" if bfloat16_is_native(torch.device("cpu")) else "emulated"
    return f"{torch.backends.cpu.get_cpu_capability()}, bfloat16 {native}"
