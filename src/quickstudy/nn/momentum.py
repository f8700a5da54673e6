"""A copy of a network that follows it slowly."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

__all__ = ["MomentumCopy"]


class MomentumCopy(nn.Module):
    """A copy of a network whose weights are a moving average of the network's own (He et al.,
    "Momentum Contrast for Unsupervised Visual Representation Learning" (MoCo), CVPR 2020,
    arXiv:1911.05722, equation 2).

    Its weights are buffers: they get no gradient, and are saved with the others.

    Args:
        network: What is copied.
        momentum: Share of its own weights that the copy keeps when it follows.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> follower = MomentumCopy(network, momentum=0.75)
        >>> with torch.no_grad():
        ...     before = network.weight.item()
        ...     _ = network.weight.add_(4.0)
        >>> follower.follow(network)
        >>> round(follower.network.weight.item() - before, 4)
        1.0
    """

    def __init__(self, network: nn.Module, momentum: float = 0.99) -> None:
        super().__init__()
        self.network, self.momentum = copy.deepcopy(network), momentum
        for module in self.network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach().clone())

    def forward(self, *inputs: Any) -> Any:
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Move a share 1 - momentum of the way to the weights of the network that was copied."""
        own = dict(self.network.named_buffers())
        for name, parameter in network.named_parameters():
            own[name].lerp_(parameter, 1 - self.momentum)
