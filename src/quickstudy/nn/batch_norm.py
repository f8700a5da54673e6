"""Batch norm: its statistics to full precision, and whose they are, which a learner decides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "BatchNorm2d",
    "batch_norms",
    "batch_statistics",
    "forget_running_statistics",
    "fresh_running_statistics",
    "give_up_running_statistics",
]


PIXELS_PER_SUM = 256
"""Pixels that float32 may add up: so few that their sum has all of its digits."""


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose statistics of channels-last images are as exact as of others.

    On a CPU, PyTorch adds up all pixels of channels-last images in plain float32, which leaves
    four digits of the variance of 60,000 pixels; second derivatives of several inner steps lose
    all of them. Here PyTorch computes the statistics of parts of the pixels, which are combined in
    float64, in the same time.

    Example:
        >>> BatchNorm2d(3)(torch.rand(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        of_batch = self.training or self.running_mean is None
        if not (of_batch and _adds_up_plainly(input)):
            return super().forward(input)
        self._check_input_dim(input)
        with torch.no_grad():
            mean, var = _moments(input)  # (channels,), (channels,), float64
            if self.training and self.track_running_stats:
                self._update_running_statistics(mean, var, input.numel() // input.shape[1])
        return _Normalize.apply(input, self.weight, self.bias, mean.float(), var.float(), self.eps)

    def _update_running_statistics(self, mean: Tensor, var: Tensor, n: int) -> None:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked or 1)
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((var * (n / (n - 1))).to(self.running_var.dtype), share)


def _adds_up_plainly(x: Tensor) -> bool:
    """Whether PyTorch computes the statistics of (n, channels, height, width) in plain float32."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
        and x.numel() > PIXELS_PER_SUM * x.shape[1]
    )


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of channels-last images, of shape (channels,), float64.

    In memory, channels-last images are rows of one pixel each. Pixels that stand beside each
    other become one longer row, so that PyTorch takes them for other channels, and adds up
    `PIXELS_PER_SUM` pixels or few more of each.
    """
    channels = x.shape[1]
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)  # (n * height * width, channels)
    folded = max(1, len(pixels) // PIXELS_PER_SUM)
    even = len(pixels) // folded * folded
    means, variances, shares = [], [], []
    for part, beside in ((pixels[:even], folded), (pixels[even:], 1)):
        if len(part):
            rows = part.view(1, -1, 1, beside * channels).permute(0, 3, 1, 2)
            mean, var = torch.ops.aten.batch_norm_update_stats(rows, None, None, 0.0)
            means.append(mean.view(beside, channels))
            variances.append(var.view(beside, channels))
            share = len(part) / beside / len(pixels)
            shares.append(torch.full((beside,), share, dtype=torch.float64))
    share = torch.cat(shares)  # (parts,)
    each = torch.cat(means).double()  # (parts, channels)
    mean = share @ each
    return mean, share @ (torch.cat(variances).double() + (each - mean).square())


class _Normalize(torch.autograd.Function):
    """Batch norm by statistics that are given; differentiated as functions of the input."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, mean, invstd = ctx.saved_tensors
        needed = [bool(needs) for needs in ctx.needs_input_grad[:3]]
        # Which has a derivative of its own, also as to the statistics.
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, None, None, mean, invstd, True, ctx.eps, needed
        )
        return (*gradients, None, None, None)


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
