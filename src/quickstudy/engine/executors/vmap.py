"""Tasks of equal shapes as one batch, by `torch.func.vmap`."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from quickstudy.engine.cost import activation_bytes
from quickstudy.engine.executors.base import Executor, Serial, first_line, mean_gradient, one_thread
from quickstudy.errors import UsageError
from quickstudy.learners import Learner, MetaGradient
from quickstudy.learners.base import device_of, loss_gradient, trainable
from quickstudy.tasks import Episode, stack

__all__ = [
    "DROPOUT",
    "NORMS",
    "Step",
    "Vmap",
    "has_module",
    "refusal_by_vmap",
    "same_gradient",
    "shape_of",
]


DROPOUT = (nn.modules.dropout._DropoutNd,)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm)  # _NormBase: batch and instance norm


class Vmap(Executor):
    """Tasks of one shape in one batched call: many times faster for small networks.

    Args:
        memory: Bytes that the activations of one call may take; where all tasks would take more,
            they go in several calls.

    The first call for tasks of one layout computes two of them one by one too, in float64, and
    compares: PyTorch gets some batched second derivatives wrong without saying so, such as those
    of the built-in norms.

    Raises:
        UsageError: For a learner whose loss cannot be batched (see `torch.func.vmap`: it may not
            branch on a value), for a network with dropout or a built-in batch, instance or layer
            norm, and for one whose batched gradient differs from that of its tasks one by one.
    """

    ONE_THREAD_BYTES = 2**24
    """A call whose activations take fewer bytes is computed by one thread, which is faster then."""

    def __init__(self, memory: int = 2**30) -> None:
        self.memory = memory
        self._activation_bytes: dict[Any, int] = {}
        self._checked_learner: Learner | None = None

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if learner is not self._checked_learner:
            if reason := refusal_by_vmap(learner):
                raise UsageError(f"executor 'vmap' cannot run {reason}: use 'threads' or 'serial'")
            self._checked_learner = learner
            self._activation_bytes.clear()
        groups: dict[Any, list[Episode]] = {}
        for episode in episodes:
            groups.setdefault(shape_of(episode), []).append(episode)
        parts, shares = [], []
        for shape, group in groups.items():
            if shape not in self._activation_bytes:
                self._check(learner, group)
                self._activation_bytes[shape] = max(1, activation_bytes(learner, group[0]))
            size = max(1, self.memory // self._activation_bytes[shape])
            for i in range(0, len(group), size):
                chunk = group[i : i + size]
                small = self._activation_bytes[shape] * len(chunk) < self.ONE_THREAD_BYTES
                with one_thread() if small else contextlib.nullcontext():
                    parts.append(self._batched(learner, chunk))
                shares.append(len(chunk) / len(episodes))
        return mean_gradient(parts, shares)

    def _check(self, learner: Learner, episodes: list[Episode]) -> None:
        """Refuse a learner whose batched gradient is not that of its tasks one by one."""
        two_tasks, tolerance = episodes[:2], 1e-6
        with torch.autocast(device_of(learner).type, enabled=False):
            try:
                exact_learner = copy.deepcopy(learner).double()
                in_float64 = [episode.to(torch.float64) for episode in two_tasks]
                expected = Serial()(exact_learner, in_float64)
                batched = Vmap._batched(Vmap(), exact_learner, in_float64)
            except RuntimeError:  # a network that computes in float32, whatever it is given
                expected, tolerance = Serial()(learner, two_tasks), 1e-2
                batched = Vmap._batched(Vmap(), learner, two_tasks)
        same_gradient(self, learner, batched, expected, tolerance)

    def _batched(self, learner: Learner, episodes: list[Episode]) -> MetaGradient:
        tensors, layout = pytree.tree_flatten(stack(episodes))
        buffers = dict(learner.named_buffers())
        step = Step(learner, layout)
        try:
            loss, gradients = self._run(step, trainable(learner), buffers, tensors)
        except (RuntimeError, NotImplementedError) as error:
            raise UsageError(
                f"executor {type(self).__name__.lower()!r} cannot run {type(learner).__name__} "
                f"({first_line(error)}): "
                "use 'threads' or 'serial'"
            ) from error
        return MetaGradient(loss, gradients, buffers)

    def _run(
        self,
        step: Step,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tensors: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # The gradient of the mean, which needs no gradient of each task in memory.
        return loss_gradient(parameters, lambda weights: step.loss(weights, buffers, tensors))


@dataclass(frozen=True)
class Step:
    """A learner, and how the tensors of stacked episodes become episodes again."""

    learner: Learner
    layout: pytree.TreeSpec

    def loss(
        self, weights: dict[str, Tensor], buffers: dict[str, Tensor], tensors: list[Tensor]
    ) -> Tensor:
        """The mean loss of the episodes."""

        def task_loss(weights: dict[str, Tensor], *tensors: Tensor) -> Tensor:
            episode = pytree.tree_unflatten(tensors, self.layout)
            state = {**weights, **buffers}
            value = functional_call(self.learner, state, (episode,))
            if any(state[name] is not buffer for name, buffer in buffers.items()):
                raise RuntimeError("a task of it changes a buffer")
            return value

        return vmap(task_loss, in_dims=(None, *[0] * len(tensors)))(weights, *tensors).mean()


def same_gradient(
    executor: Executor,
    learner: Learner,
    batched: MetaGradient,
    expected: MetaGradient,
    tolerance: float,
) -> None:
    """Refuse an executor whose meta-gradient differs from the expected one.

    Args:
        tolerance: Largest norm of the difference, as a share of the gradient's norm.
    """
    pairs = [(g, batched.gradients[name]) for name, g in expected.gradients.items()]
    norm = math.sqrt(sum(float(g.square().sum()) for g, _ in pairs))
    difference = math.sqrt(sum(float((g - other).square().sum()) for g, other in pairs))
    if difference > tolerance * norm + torch.finfo(torch.float32).tiny:
        raise UsageError(
            f"executor {type(executor).__name__.lower()!r} cannot run {type(learner).__name__}: "
            f"its gradient is {difference / max(norm, 1e-300):.2g} of its length off that of "
            "the tasks one by one, as when PyTorch batches a derivative wrongly: use 'threads' or "
            "'serial'"
        )


def refusal_by_vmap(learner: Learner) -> str | None:
    """Why `Vmap` cannot run a learner, as the subject of a sentence; None if it can."""
    if type(learner).meta_gradient is not Learner.meta_gradient:
        return f"{type(learner).__name__}, whose meta-gradient is not that of a loss"
    if not learner.batchable:
        return f"{type(learner).__name__}, which does not say it is batchable"
    kind = has_module(learner, (*NORMS, *DROPOUT))
    return f"a network with {kind}" if kind else None


def has_module(learner: Learner, kinds: tuple[type, ...]) -> str | None:
    """The class of the first module of these kinds; None if there is none."""
    return next((type(m).__name__ for m in learner.modules() if isinstance(m, kinds)), None)


def shape_of(episode: Episode) -> Any:
    """What episodes must have in common to be stacked."""
    support, query = episode.support, episode.query
    shape = (support.x.shape, support.y.shape, query.x.shape, query.y.shape)
    kinds = (support.x.dtype, support.y.dtype, query.x.dtype, query.y.dtype)
    optional = (support.attributes, episode.classes, episode.clusters)
    return support.n_way, shape, kinds, tuple(None if t is None else t.shape for t in optional)
