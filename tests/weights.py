"""Learners whose weights are not those they start with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def with_noise(make: Callable[[], Module]) -> Module:
    """What `make` makes, from a seed of its own, with noise on all weights, so that the actions of
    a policy are not all alike."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
        return module
