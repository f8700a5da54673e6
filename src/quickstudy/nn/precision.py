"""Where half precision would not do."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

__all__ = ["full_precision", "widen"]


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Compute what is inside in full precision, whatever `torch.autocast` says.

    Args:
        x: Any tensor on the device at hand.
    """
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


def widen(x: Tensor) -> Tensor:
    """As float32, if it is of half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
