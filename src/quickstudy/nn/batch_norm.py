"""Whose statistics batch norm uses: a learner decides, not the mode the module is in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

__all__ = [
    "batch_norms",
    "batch_statistics",
    "forget_running_statistics",
    "fresh_running_statistics",
    "give_up_running_statistics",
]


def batch_norms(model: nn.Module) -> dict[str, Any]:
    """The batch norms of a network, by name."""
    kind = nn.modules.batchnorm._BatchNorm
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Have batch norm use the statistics of the batch, also in evaluation."""
    norms = [norm for norm in batch_norms(model).values() if not norm.training]
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for norm in norms:
            norm.training = False


def forget_running_statistics(model: nn.Module) -> None:
    """Have batch norm use the statistics of the batch for ever, and keep none."""
    for norm in batch_norms(model).values():
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def give_up_running_statistics(model: nn.Module) -> None:
    """Have batch norm keep no running statistics of its own, but use and update those that a
    call by `torch.func.functional_call` brings along (see `fresh_running_statistics`)."""
    for norm in batch_norms(model).values():
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def fresh_running_statistics(model: nn.Module, like: Tensor) -> dict[str, Tensor]:
    """Running statistics of no batch yet, by name, of the type of `like`."""
    fresh: dict[str, Tensor] = {}
    for name, norm in batch_norms(model).items():
        fresh[f"{name}.running_mean"] = like.new_zeros(norm.num_features)
        fresh[f"{name}.running_var"] = like.new_ones(norm.num_features)
    return fresh
