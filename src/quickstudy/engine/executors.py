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
from torch.func import functional_call, grad_and_value, vmap
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
    """Tasks spread over cores: one intra-op thread each, a copy of the learner each.

    The tasks' gradients are added in the order of the tasks, so the number of workers does not
    change a bit of the result.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._main_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.workers, initializer=lambda: torch.set_num_threads(1))
        self._replicas: list[Learner] = []
        self._of: Learner | None = None

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if self._of is not learner:
            self._replicas = [copy.deepcopy(learner) for _ in range(self.workers)]
            self._of = learner
        for replica in self._replicas:
            _share(learner, replica)

        autocast = torch.is_autocast_enabled("cpu")  # a property of the thread

        def work(worker: int) -> list[MetaGradient]:
            replica, mine = self._replicas[worker], episodes[worker :: self.workers]
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return [replica.meta_gradient(episode) for episode in mine]

        shares = list(self._pool.map(work, range(self.workers)))
        torch.set_num_threads(self._main_threads)
        return _mean([shares[i % self.workers][i // self.workers] for i in range(len(episodes))])

    def close(self) -> None:
        self._pool.shutdown()


class Vmap(Executor):
    """All tasks in one batched call: many times faster for small networks.

    Raises:
        UsageError: For a network with a built-in batch, instance or layer norm, whose batched
            second derivative PyTorch gets wrong without saying so, or with dropout.
    """

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if reason := _not_for_vmap(learner):
            raise UsageError(f"executor 'vmap' cannot run {reason}: use 'threads' or 'serial'")
        if type(learner).meta_gradient is not Learner.meta_gradient:
            raise UsageError(
                f"executor 'vmap' needs the default meta_gradient, which "
                f"{type(learner).__name__} overrides: use 'threads' or 'serial'"
            )
        parameters = {n: p.detach() for n, p in learner.named_parameters() if p.requires_grad}
        buffers = dict(learner.named_buffers())

        tensors, layout = pytree.tree_flatten(stack(list(episodes)))

        def loss(weights: dict[str, Tensor], *tensors: Tensor) -> Tensor:
            episode = pytree.tree_unflatten(tensors, layout)
            return functional_call(learner, {**weights, **buffers}, (episode,))

        in_dims = (None, *[0] * len(tensors))
        gradients, losses = vmap(grad_and_value(loss), in_dims=in_dims)(parameters, *tensors)
        return MetaGradient(losses.mean(), {n: g.mean(0) for n, g in gradients.items()}, buffers)


EXECUTORS: dict[str, type[Executor]] = {"serial": Serial, "threads": Threads, "vmap": Vmap}


def make_executor(name: str, learner: Learner, meta_batch_size: int) -> Executor:
    """Make an executor by name; "auto" chooses one for this learner.

    "auto" is vmap for small networks it can batch (no convolution), threads where there are
    several tasks and cores, and serial otherwise.
    """
    if name != "auto":
        if name not in EXECUTORS:
            raise unknown("executor", name, [*EXECUTORS, "auto"])
        return EXECUTORS[name]()
    if meta_batch_size == 1:
        return Serial()
    default = type(learner).meta_gradient is Learner.meta_gradient
    convolutional = any(isinstance(m, nn.modules.conv._ConvNd) for m in learner.modules())
    if default and not convolutional and not _not_for_vmap(learner):
        return Vmap()
    return Threads() if (os.cpu_count() or 1) > 1 else Serial()


def _not_for_vmap(learner: Learner) -> str | None:
    norms = (
        nn.modules.batchnorm._NormBase,  # batch and instance norm
        nn.LayerNorm,
        nn.modules.dropout._DropoutNd,
    )
    found = [type(m).__name__ for m in learner.modules() if isinstance(m, norms)]
    return f"a network with {found[0]}" if found else None


def _share(learner: Learner, replica: Learner) -> None:
    """Point the replica's parameters and buffers at the learner's own memory."""
    for mine, its in zip(learner.parameters(), replica.parameters(), strict=True):
        its.data = mine.data
    for mine, its in zip(learner.buffers(), replica.buffers(), strict=True):
        its.data = mine.data
    replica.train(learner.training)


def _mean(parts: Sequence[MetaGradient]) -> MetaGradient:
    def mean(values: list[Tensor]) -> Tensor:
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total / len(values) if total.is_floating_point() else values[0]

    first = parts[0]
    return MetaGradient(
        mean([p.loss for p in parts]),
        {n: mean([p.gradients[n] for p in parts]) for n in first.gradients},
        {n: mean([p.buffers[n] for p in parts]) for n in first.buffers},
    )
