"""Several processes, on one machine or many, that meta-train one learner.

Each takes its share of the tasks of every meta-batch, and one all-reduce adds up the flat
meta-gradient. (`DistributedDataParallel` cannot be used: it hooks into `backward`, and a
meta-gradient is made by `torch.autograd.grad`.) `torchrun` starts the processes, and starts them
again when one has died.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from quickstudy.errors import RunError, UsageError
from quickstudy.learners import MetaGradient
from quickstudy.tasks import Episode, Tasks
from quickstudy.tasks.environments import Trials

__all__ = ["Ranks", "ranks"]

T = TypeVar("T")


class Ranks:
    """This process's place among those that train together; alone, it is the only one.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def check(self, meta_batch_size: int, validation_tasks: int | None) -> None:
        """Refuse fewer tasks than processes.

        Raises:
            UsageError: If a process would have no task, or fewer than two to validate by.
        """
        if meta_batch_size < self.size:
            raise UsageError(
                f"expected a meta_batch_size of at least {self.size} for {self.size} processes, "
                f"got {meta_batch_size}"
            )
        if validation_tasks is not None and validation_tasks < 2 * self.size:
            raise UsageError(
                f"expected at least {2 * self.size} validation tasks for {self.size} processes, "
                f"got {validation_tasks}"
            )

    def share(self, tasks: Tasks) -> Tasks:
        """Every `size`-th task, from this process's own on."""
        if self.size == 1:
            return tasks
        if isinstance(tasks, Trials):
            return tasks.share(self.rank, self.size)
        return _Share(tasks, self)

    def count(self, n_tasks: int) -> int:
        """How many of the first `n_tasks` are this process's."""
        return len(range(self.rank, n_tasks, self.size))

    def same_weights(self, module: nn.Module) -> None:
        """Give all processes the weights and buffers of the first."""
        if self.size > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)

    def together(self, parts: Iterable[T]) -> Iterator[T]:
        """This process's parts of a meta-step, one for each update that all processes make.

        Raises:
            UsageError: If some processes have more parts than others.
        """
        if self.size == 1:
            yield from parts
            return
        own = iter(parts)
        while True:
            part = next(own, None)
            found = torch.tensor([float(part is not None), float(part is None)])
            dist.all_reduce(found, dist.ReduceOp.MAX)
            if bool(found.all()):
                raise UsageError(
                    "expected as many updates of a meta-step in each process, got more in some: "
                    "give them more tasks (meta_batch_size), or the learner fewer batches"
                )
            if part is None:
                return
            yield part

    def mean(self, own: MetaGradient, n_own: int, n_tasks: int) -> MetaGradient:
        """The mean over all tasks of a meta-batch, from the mean over this process's own."""
        if self.size == 1:
            return own
        parts = {"loss": own.loss, **{f"g {n}": g for n, g in own.gradients.items()}}
        parts |= {f"b {n}": b for n, b in own.buffers.items() if b.is_floating_point()}
        flat = torch.cat([part.detach().flatten() for part in parts.values()])
        flat *= n_own / n_tasks
        dist.all_reduce(flat)
        pieces = flat.split([part.numel() for part in parts.values()])
        each = zip(parts.items(), pieces, strict=True)
        done = {n: p.view_as(part).to(part.dtype) for (n, part), p in each}  # the widest of all
        return MetaGradient(
            done["loss"],
            {n: done[f"g {n}"] for n in own.gradients},
            {n: done.get(f"b {n}", b) for n, b in own.buffers.items()},
        )

    def scores(self, own: list[float], n_tasks: int) -> list[float]:
        """The scores of all tasks, in their order, from those of this process's own."""
        if self.size == 1:
            return own
        everyone = torch.zeros(n_tasks, dtype=torch.float64)
        everyone[self.rank :: self.size] = torch.tensor(own, dtype=torch.float64)
        dist.all_reduce(everyone)
        return everyone.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        total = torch.tensor(float(flag))
        dist.all_reduce(total, dist.ReduceOp.MAX)
        return bool(total)

    def agree(self, step: int) -> None:
        """Check that all processes are at the same step.

        Raises:
            RunError: If they are not, as when they see different run folders.
        """
        if self.size > 1:
            steps = torch.tensor([step, -step])
            dist.all_reduce(steps, dist.ReduceOp.MAX)
            if int(steps[0]) != -int(steps[1]):
                raise RunError(
                    f"expected all processes at one step, got {-int(steps[1])} to {int(steps[0])}: "
                    "give them a run folder on a disk they share"
                )


class _Share:
    def __init__(self, tasks: Tasks, ranks: Ranks) -> None:
        self._tasks, self._ranks = tasks, ranks

    def __getitem__(self, index: int) -> Episode:
        return self._tasks[index * self._ranks.size + self._ranks.rank]


@contextlib.contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, if it did, or those already joined."""
    if dist.is_available() and dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield Ranks()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
