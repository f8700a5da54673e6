"""How accurate a blend will be on queries to come, said before any is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quickstudy.learners.transfer.blend.features import N_FEATURES

__all__ = ["AccuracyModel", "ExpectedAccuracy"]

N_INPUTS = N_FEATURES + 4


@dataclass(frozen=True)
class ExpectedAccuracy:
    """The accuracy to expect on queries like the examples.

    Args:
        mean: The expectation.
        low, high: It lies between these nine times in ten.
        chance: The accuracy of always naming the most frequent class.
        is_significant: Whether examples left out were right more often than by chance, at the level
            of 5 % (binomial test); true where none could be left out.
    """

    mean: float
    low: float
    high: float
    chance: float
    is_significant: bool = True

    @property
    def beats_chance(self) -> bool:
        """Whether the interval lies above guessing, and examples left out say so too."""
        return self.low > self.chance and self.is_significant

    def __str__(self) -> str:
        text = f"{self.mean:.0%} ({self.low:.0%} to {self.high:.0%})"
        if not self.beats_chance:
            text += f"; guessing would give {self.chance:.0%}, which this may not beat"
        return text


class AccuracyModel(nn.Module):
    """A Beta distribution of the accuracy, from what the gate saw and how well the blend did on the
    examples left out. It is trained by the likelihood of how many queries of a task were right.

    Args:
        width: Of the hidden layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(N_INPUTS))
        self.register_buffer("deviation", torch.ones(N_INPUTS))
        self.network = nn.Sequential(nn.Linear(N_INPUTS, width), nn.GELU(), nn.Linear(width, 2))

    @staticmethod
    def inputs(values: Tensor, weights: Tensor, left_out: Tensor, labels: Tensor) -> Tensor:
        """What it looks at, shape (N_INPUTS,).

        Args:
            values: Meta-features of the candidates, shape (k, N_FEATURES).
            weights: Of the candidates, shape (k,).
            left_out: The blend's log-probabilities (n, c) of examples left out; n may be 0.
            labels: Of these examples.
        """
        blended = weights @ values.to(weights)
        if not len(labels):
            return torch.cat([blended, blended.new_zeros(4)])
        right = (left_out.argmax(1) == labels).to(blended)
        confidence = left_out.exp().amax(1)
        n = torch.tensor(float(len(labels)))
        # Agresti & Coull's estimate, so that all right is not taken for certain.
        share = (right.sum() + 2) / (n + 4)
        summary = [share.logit(), confidence.mean().clamp(0.01, 0.99).logit(), n.log(), n / n]
        return torch.cat([blended, torch.stack([s.to(blended) for s in summary])])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The two parameters of the Beta distribution, shape (t,) each, of inputs
        (t, N_INPUTS)."""
        z = ((inputs - self.mean) / self.deviation).clamp(-4, 4)
        out = self.network(z)
        mean = out[..., 0].sigmoid().clamp(1e-3, 1 - 1e-3)
        concentration = out[..., 1].clamp(-1, 6).exp() + 1
        return mean * concentration, (1 - mean) * concentration
