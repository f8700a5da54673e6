"""What a target is like, and how it lies along the vectors of a view."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["TARGET_FEATURES", "describe_target"]

TARGET_FEATURES = (
    "skewness of the target",
    "log kurtosis of the target",
    "distinct targets",
    "smoothness along the first component",
    "smoothness along the nearest feature",
    "greatest correlation",
    "mean squared correlation",
)


def describe_target(x: Tensor, y: Tensor) -> list[float]:
    """The `TARGET_FEATURES` of targets (n,), of mean 0 and variance 1, on vectors (n, d)."""
    n = len(y)
    if n < 3 or not bool(y.any()):
        return [0.0] * len(TARGET_FEATURES)
    x, y = x.double(), y.double()
    centred = x - x.mean(0)
    deviation = centred.std(0, correction=0)
    z = centred / torch.where(deviation > 1e-8, deviation, torch.inf)
    if z.shape[1] < n:
        first = z @ torch.linalg.eigh(z.T @ z)[1][:, -1]
    else:
        first = torch.linalg.eigh(z @ z.T)[1][:, -1]
    correlations = z.T @ y / n / y.square().mean().sqrt()
    nearest = z[:, int(correlations.abs().argmax())]
    return [
        float(y.pow(3).mean().clamp(-5, 5)),
        float((y.pow(4).mean() + 0.1).log()),
        len(y.unique()) / n,
        _smoothness(first, y),
        _smoothness(nearest, y),
        float(correlations.abs().max()),
        float(correlations.square().mean()),
    ]


def _smoothness(along: Tensor, y: Tensor) -> float:
    """The correlation of neighbouring targets in the order of `along` (von Neumann's ratio)."""
    ordered = y[along.argsort(stable=True)]
    return float(1 - ordered.diff().square().mean() / 2 / y.square().mean())
