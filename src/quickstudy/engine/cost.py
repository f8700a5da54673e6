"""What a task costs: arithmetic, memory, time."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.engine.meta_test import meta_test
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.tasks import Episode
from quickstudy.tasks.environments import Trials

__all__ = [
    "Cost",
    "activation_bytes",
    "adapting_cost",
    "peak_memory",
    "training_cost",
    "trial_cost",
]


@dataclass(frozen=True)
class Cost:
    """What one task costs.

    Args:
        flops: Floating-point operations of matrix products and convolutions, a multiplication
            and an addition being two.
        seconds: Time on this machine; to adapt, the median of several tasks.
        activation_bytes: What autograd keeps for the meta-gradient of one task; 0 without one.
    """

    flops: int
    seconds: float
    activation_bytes: int = 0


def training_cost(learner: Learner, episode: Episode) -> Cost:
    """The cost of the meta-gradient of one task. The learner is left as it was.

    Example:
        >>> from quickstudy import MAML, SinusoidTasks
        >>> from quickstudy.nn import MLP
        >>> episode = SinusoidTasks(n_shot=10, n_query=10)[0]
        >>> first, more = (
        ...     training_cost(MAML(MLP((1,)), 1, inner_lr=0.01, inner_steps=n), episode)
        ...     for n in (1, 3)
        ... )
        >>> more.flops > 2 * first.flops
        True
    """
    was_training = learner.training
    learner.train()
    try:
        with FlopCounterMode(display=False) as counter:
            n_bytes = activation_bytes(learner, episode)
        seconds = _seconds(lambda: learner.meta_gradient(episode))
        return Cost(counter.get_total_flops(), seconds, n_bytes)
    finally:
        learner.train(was_training)


def adapting_cost(learner: Learner, episodes: list[Episode]) -> Cost:
    """The cost of adapting to a task and of predicting one query: that of the first in
    operations, and the median of all in time."""
    was_training = learner.training
    learner.eval()
    episodes = [episode.to(device_of(learner)) for episode in episodes]
    try:
        with torch.no_grad():
            runs = [lambda e=e: learner.adapt(e.support)(e.query.x[:1]) for e in episodes]
            with FlopCounterMode(display=False) as counter:
                runs[0]()
            seconds = statistics.median(map(_seconds, runs))
        return Cost(counter.get_total_flops(), seconds)
    finally:
        learner.train(was_training)


def trial_cost(learner: Learner, trials: Trials) -> Cost:
    """The cost of living through one trial, its environment included."""
    was_training = learner.training
    learner.eval()
    run = partial(meta_test, learner, trials, 2)
    try:
        with FlopCounterMode(display=False) as counter:
            run()
        return Cost(counter.get_total_flops() // 2, _seconds(run))
    finally:
        learner.train(was_training)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def activation_bytes(learner: Learner, episode: Episode) -> int:
    """Bytes that autograd keeps for the loss of one task."""
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.meta_gradient(episode)
    return sum(saved.values())


def peak_memory() -> int | None:
    """Most bytes of memory that this process has had so far, Python and PyTorch included; None
    where the system does not say."""
    with contextlib.suppress(OSError, StopIteration):  # Linux; rusage counts the parent's too
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return None
