"""Beliefs over a latent variable of the task, and the bound by which they are learned.

Shapes: t steps, p beliefs, n environments, l numbers of a latent, s of a step, o of what is
predicted.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

__all__ = ["Belief", "StepDecoder", "divergences", "perceptron"]


class Belief(NamedTuple):
    """A normal distribution of the latent with independent numbers.

    Args:
        mean, log_variance: (..., l).
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> Self:
        """That of its parameters side by side, (..., 2l)."""
        return cls(*parameters.chunk(2, dim=-1))

    def at(self, noise: Tensor) -> Tensor:
        """Latents (..., l) as a function of the parameters and standard normal numbers (..., l)."""
        return self.mean + (self.log_variance / 2).exp() * noise


def divergences(beliefs: Belief) -> Tensor:
    """The KL divergence of each belief of a trial from the one before it (p, n), of the first from
    the standard normal distribution. Beliefs are (p, n, l).

    Example:
        >>> moves = Belief(torch.tensor([[[1.0]], [[1.0]], [[4.0]]]), torch.zeros(3, 1, 1))
        >>> divergences(moves)[:, 0]
        tensor([0.5000, 0.0000, 4.5000])
    """
    before = Belief(*(torch.cat([torch.zeros_like(x[:1]), x[:-1]]) for x in beliefs))
    change = beliefs.log_variance - before.log_variance
    distance = (beliefs.mean - before.mean).square() / before.log_variance.exp()
    return 0.5 * (change.exp() + distance - 1 - change).sum(-1)


class StepDecoder(nn.Module):
    """Predicts something of every step of a trial from every latent: the product of a network of
    the latent and a network of the step, so that all pairs of them are one matrix product.

    Args:
        latent: l.
        step: s.
        outputs: o.
        width: Units of the hidden layers, and terms of the product.

    Example:
        >>> StepDecoder(5, 4, 1, 8)(torch.zeros(7, 3, 5), torch.zeros(6, 3, 4)).shape
        torch.Size([3, 7, 6, 1])
    """

    def __init__(self, latent: int, step: int, outputs: int, width: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.of_latent = nn.Sequential(perceptron(latent, width), nn.Linear(width, width))
        self.of_step = nn.Sequential(
            perceptron(step, width, width), nn.Linear(width, (width + 1) * outputs)
        )

    def forward(self, latents: Tensor, steps: Tensor) -> Tensor:
        """Latents (p, n, l) and steps (t, n, s) to predictions (n, p, t, o)."""
        left = self.of_latent(latents).transpose(0, 1)  # (n, p, width)
        factors = self.of_step(steps).unflatten(-1, (self.outputs, -1))  # (t, n, o, width + 1)
        right, bias = factors[..., :-1].permute(1, 3, 0, 2), factors[..., -1].transpose(0, 1)
        product = left @ right.flatten(2)  # (n, p, t * o)
        return product.unflatten(2, (len(steps), -1)) + bias[:, None]


def perceptron(size: int, *widths: int) -> nn.Sequential:
    """Layers with ReLU, for inputs (..., size)."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers)
