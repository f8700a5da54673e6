"""Calibration: whether a probability of 0.8 is right 8 times in 10, and how to make it so.

Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
arXiv:1706.04599.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor

from quickstudy.errors import DataError, UsageError

__all__ = ["expected_calibration_error", "fit_temperature"]


def expected_calibration_error(probabilities: Tensor, y: Tensor, n_bins: int = 15) -> float:
    """Mean distance of accuracy from confidence, over bins of confidence (Guo et al., equation 3).

    Args:
        probabilities: Shape (n, n_way).
        y: Labels 0..n_way-1, shape (n,).
        n_bins: Number of bins of equal width.

    Returns:
        From 0, calibrated, to 1.

    Raises:
        DataError, UsageError: If there is nothing to bin, or no bin.

    Example:
        >>> right_half_the_time = torch.tensor([[0.8, 0.2], [0.8, 0.2]])
        >>> round(expected_calibration_error(right_half_the_time, torch.tensor([0, 1])), 3)
        0.3
    """
    if n_bins < 1:
        raise UsageError(f"expected n_bins >= 1, got {n_bins}")
    if probabilities.ndim != 2 or probabilities.shape[:1] != y.shape or not len(y):
        raise DataError(
            "expected probabilities (n, n_way) and labels (n,), got "
            f"{tuple(probabilities.shape)} and {tuple(y.shape)}"
        )
    confidence, named = probabilities.double().max(1)
    over = confidence - (named == y).double()
    bins = (confidence * n_bins).long().clamp_max(n_bins - 1)
    return float(torch.bincount(bins, over, minlength=n_bins).abs().sum() / len(y))


def fit_temperature(tasks: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The temperature T for which softmax(scores / T) fits the labels best (Guo et al., 4.2).

    Scores that are all right would have a temperature of zero. So the label of one of n queries
    counts (n + 1) / (n + n_way), and each other class 1 / (n + n_way), as in Platt (1999),
    "Probabilistic Outputs for Support Vector Machines".

    Args:
        tasks: Scores (n, n_way) and labels (n,) of each task; tasks may differ in ways.

    Example:
        >>> y = torch.arange(100) % 2
        >>> scores = 40.0 * torch.eye(2)[y]
        >>> scores[:20] = scores[:20].flip(1)  # 20 in 100 are wrong, at 40 each
        >>> temperature = fit_temperature([(scores, y)])
        >>> (scores / temperature).softmax(1).amax(1).mean().round(decimals=1)
        tensor(0.8000)
    """
    n = sum(len(y) for _, y in tasks)
    if not n:
        raise DataError("expected queries to learn a temperature from, got none")
    smooth = [
        (scores.double(), (F.one_hot(y, k) * n + 1) / (n + k))
        for scores, y in tasks
        for k in [scores.shape[1]]
    ]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return sum(float(F.cross_entropy(s * scale, t, reduction="sum")) for s, t in smooth)

    spread = max(float((s.amax(1) - s.amin(1)).max()) for s, _ in smooth)
    centre = math.log(spread) if spread > 0 else 0.0
    found: Any = optimize.minimize_scalar(
        loss, bounds=(centre - 10, centre + 10), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x)
