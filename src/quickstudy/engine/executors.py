"""How the meta-gradient of a meta-batch is computed; never what it is.

All executors return the mean over the tasks, equal to rounding.
"""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from quickstudy.errors import UsageError, unknown
from quickstudy.learners import Learner, MetaGradient
from quickstudy.tasks import Episode, stack

__all__ = ["EXECUTORS", "Executor", "Serial", "Threads", "Vmap", "make_executor"]


class Executor(ABC):
    """Compute the mean meta-gradient of several episodes."""

    @abstractmethod
    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient: ...

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Give back threads, if any."""


class Serial(Executor):
    """One task after the other."""

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        return _mean([learner.meta_gradient(episode) for episode in episodes])


class Threads(Executor):
    """Tasks spread over cores: one intra-op thread each, a copy of the module each.

    The copies share the learner's parameters and buffers; they are needed since
    `functional_call` swaps parameters in place. The tasks' gradients are added in the order of
    the tasks, so the number of workers does not change a bit of the result.

    Raises:
        UsageError: For a network with dropout, as threads share the random generator.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cores()
        self._main_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.workers, initializer=lambda: torch.set_num_threads(1))

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if _has(learner, DROPOUT):
            raise UsageError("executor 'threads' cannot run dropout: use 'serial'")
        bfloat16 = torch.is_autocast_enabled("cpu")  # a property of the thread
        n = min(self.workers, len(episodes))

        def work(worker: int) -> list[MetaGradient]:
            shared = {id(t): t for t in (*learner.parameters(), *learner.buffers())}
            replica = copy.deepcopy(learner, shared)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
                return [replica.meta_gradient(episode) for episode in episodes[worker::n]]

        try:
            shares = list(self._pool.map(work, range(n)))
        finally:
            torch.set_num_threads(self._main_threads)
        return _mean([shares[i % n][i // n] for i in range(len(episodes))])

    def close(self) -> None:
        self._pool.shutdown()


class Vmap(Executor):
    """All tasks of one shape in one batched call: many times faster for small networks.

    Raises:
        UsageError: For a learner that is not `batchable`, and for a network with a built-in
            batch, instance or layer norm, whose batched second derivative PyTorch gets wrong
            without saying so, or with dropout.
    """

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if reason := _not_for_vmap(learner):
            raise UsageError(f"executor 'vmap' cannot run {reason}: use 'threads' or 'serial'")
        groups: dict[tuple, list[Episode]] = {}
        for episode in episodes:
            shape = (episode.n_way, episode.support.x.shape, episode.query.x.shape)
            groups.setdefault(shape, []).append(episode)
        parts = [self._batched(learner, group) for group in groups.values()]
        return _mean(parts, [len(group) / len(episodes) for group in groups.values()])

    def _batched(self, learner: Learner, episodes: list[Episode]) -> MetaGradient:
        buffers = dict(learner.named_buffers())
        tensors, layout = pytree.tree_flatten(stack(episodes))

        def loss(weights: dict[str, Tensor], *tensors: Tensor) -> Tensor:
            episode = pytree.tree_unflatten(tensors, layout)
            return functional_call(learner, {**weights, **buffers}, (episode,))

        parameters = {
            n: p.detach().requires_grad_() for n, p in learner.named_parameters() if p.requires_grad
        }
        in_dims = (None, *[0] * len(tensors))
        # The gradient of the mean, which needs no gradient of each task in memory.
        mean = vmap(loss, in_dims=in_dims)(parameters, *tensors).mean()
        if not parameters:
            return MetaGradient(mean, {}, buffers)
        gradients = torch.autograd.grad(
            mean, list(parameters.values()), allow_unused=True, materialize_grads=True
        )
        return MetaGradient(mean.detach(), dict(zip(parameters, gradients, strict=True)), buffers)


EXECUTORS: dict[str, type[Executor]] = {"serial": Serial, "threads": Threads, "vmap": Vmap}


def make_executor(name: str, learner: Learner, meta_batch_size: int) -> Executor:
    """Make an executor by name; "auto" chooses one for this learner.

    "auto" is vmap for small networks it can batch (no convolution), threads where there are
    several tasks and cores, and serial otherwise.

    Raises:
        UsageError: If there is no such executor, or it cannot run the learner.
    """
    if name not in ("auto", *EXECUTORS):
        raise unknown("executor", name, ["auto", *EXECUTORS])
    reason = _not_for_vmap(learner)
    if name == "vmap" and reason:
        raise UsageError(f"executor 'vmap' cannot run {reason}: use 'threads' or 'serial'")
    if name != "auto":
        return EXECUTORS[name]()
    if meta_batch_size == 1:
        return Serial()
    if not reason and not _has(learner, (nn.modules.conv._ConvNd,)):
        return Vmap()
    return Serial() if _cores() == 1 or _has(learner, DROPOUT) else Threads()


DROPOUT = (nn.modules.dropout._DropoutNd,)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm)  # _NormBase: batch and instance norm


def _not_for_vmap(learner: Learner) -> str | None:
    if not learner.batchable or type(learner).meta_gradient is not Learner.meta_gradient:
        return f"{type(learner).__name__}, which does not say it is batchable"
    found = _has(learner, (*NORMS, *DROPOUT))
    return f"a network with {found}" if found else None


def _has(learner: Learner, kinds: tuple[type, ...]) -> str | None:
    return next((type(m).__name__ for m in learner.modules() if isinstance(m, kinds)), None)


def _cores() -> int:
    """Cores this process may use, which in a container is fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _mean(parts: Sequence[MetaGradient], shares: Sequence[float] | None = None) -> MetaGradient:
    """The mean of the parts, weighted by their shares of the tasks, added in their order."""
    weights = shares or [1 / len(parts)] * len(parts)

    def mean(values: list[Tensor]) -> Tensor:
        if not values[0].is_floating_point():  # a counter, the same for every task
            return values[0]
        total = values[0] * weights[0]
        for value, weight in zip(values[1:], weights[1:], strict=True):
            total = total + value * weight
        return total

    first = parts[0]
    return MetaGradient(
        mean([p.loss for p in parts]),
        {n: mean([p.gradients[n] for p in parts]) for n in first.gradients},
        {n: mean([p.buffers[n] for p in parts]) for n in first.buffers},
    )
