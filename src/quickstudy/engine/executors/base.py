"""Executors: ways to compute the meta-gradient of a meta-batch.

All of them return the same mean over the tasks, up to rounding.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.learners import Learner, MetaGradient
from quickstudy.learners.base import device_of
from quickstudy.tasks import Episode

__all__ = ["Executor", "Serial", "Threads", "first_line", "mean_gradient", "n_cores", "one_thread"]


class Executor(ABC):
    """Compute the mean meta-gradient of several episodes."""

    @abstractmethod
    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient: ...

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Release threads, if any."""


class Serial(Executor):
    """One task after the other."""

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        return mean_gradient(map(learner.meta_gradient, episodes))


class Threads(Executor):
    """Tasks spread over cores: one intra-op thread each, a copy of the module each.

    The copies share the learner's parameters and buffers; they are needed since
    `functional_call` swaps parameters in place. The tasks' gradients are added in the order of
    the tasks, so the number of workers does not change a bit of the result.

    Raises:
        UsageError: For a learner that draws random numbers, as by dropout: threads share the
            generator, and each run would give other weights.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or n_cores()
        self._pool = ThreadPoolExecutor(self.workers, initializer=lambda: torch.set_num_threads(1))

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if (device := device_of(learner)).type != "cpu":
            raise UsageError(f"executor 'threads' is for the CPU, got a learner on {device}")
        bfloat16 = torch.is_autocast_enabled("cpu")  # a property of the thread
        replicas: SimpleQueue[Learner] = SimpleQueue()
        for _ in range(min(self.workers, len(episodes))):
            shared = {id(t): t for t in (*learner.parameters(), *learner.buffers())}
            replicas.put(copy.deepcopy(learner, shared))

        def work(episode: Episode) -> MetaGradient:
            replica = replicas.get()
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
                    return replica.meta_gradient(episode)
            finally:
                replicas.put(replica)

        random_state = torch.get_rng_state()
        # Each gradient is added as it comes, so that memory need not hold all of them.
        with one_thread():
            result = mean_gradient(self._pool.map(work, episodes))
        if not torch.equal(random_state, torch.get_rng_state()):
            raise UsageError(
                f"executor 'threads' cannot run {type(learner).__name__}, which draws random "
                "numbers: use 'serial'"
            )
        return result

    def close(self) -> None:
        self._pool.shutdown()


def mean_gradient(
    parts: Iterable[MetaGradient], shares: Sequence[float] | None = None
) -> MetaGradient:
    """The mean of meta-gradients, added in their order, each as soon as it is computed.

    Args:
        shares: Weight of each part, such as its share of the tasks; by default all alike.
    """
    if isinstance(parts, list) and len(parts) == 1:
        return parts[0]
    each = iter(parts)
    first = next(each)
    weights = iter(shares or itertools.repeat(1.0))
    weight = next(weights)
    # Counters are the same for every task. A copy, as gradients may share memory.
    totals = [t * weight if t.is_floating_point() else t for t in _tensors(first)]
    n = 1
    for part in each:
        weight, n = next(weights), n + 1
        for total, value in zip(totals, _tensors(part), strict=True):
            if total.is_floating_point():
                total.add_(value, alpha=weight)
    if not shares and n > 1:
        totals = [t / n if t.is_floating_point() else t for t in totals]
    loss, *rest = totals
    k = len(first.gradients)
    return MetaGradient(
        loss,
        dict(zip(first.gradients, rest[:k], strict=True)),
        dict(zip(first.buffers, rest[k:], strict=True)),
    )


def _tensors(part: MetaGradient) -> list[Tensor]:
    return [part.loss, *part.gradients.values(), *part.buffers.values()]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute each operation by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0]


def n_cores() -> int:
    """Cores this process may use, which in a container is fewer than there are; processes that
    `torchrun` started on one machine share them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
