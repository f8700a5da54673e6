"""How far apart two sets of vectors are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from quickstudy.nn.precision import full_precision, widen

__all__ = ["cosine_similarity", "squared_euclidean"]


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of `a` (n, d) to every row of `b` (m, d): (n, m).

    Example:
        >>> import torch
        >>> squared_euclidean(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[25.]])
    """
    # Expanded, so that it is one matrix product; rounding may leave it a little below zero.
    with full_precision(a):  # 8 bits cannot hold the difference
        a, b = widen(a), widen(b)
        centre = b.mean(0)  # far from the origin, the squares would swallow the difference
        a, b = a - centre, b - centre
        distance = a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)
        return distance.clamp_min(0)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between every row of `a` (n, d) and of `b` (m, d): (n, m)."""
    with full_precision(a):
        return F.normalize(widen(a), dim=1) @ F.normalize(widen(b), dim=1).T
