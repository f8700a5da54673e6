"""Calibration: whether a probability of 0.8 is right 8 times in 10, and how to make it so.

Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
arXiv:1706.04599.

What is learned from the support set alone, a temperature or a threshold, is learned from
`scores_left_out`. It adapts anew without the examples left out, so whatever a learner computes of
its support set (a mean, a scale, a strength of regularisation) has not seen them either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import Predictor, check_finite
from quickstudy.tasks import Support

__all__ = ["expected_calibration_error", "fit_temperature", "fit_threshold", "scores_left_out"]

MAX_FOLDS = 12
"""With at most this many examples, each is left out alone; with more, in groups."""

OPEN_SET_QUANTILE = 0.05
"""Share of the queries of known classes that a learned threshold refuses."""

LEAST_BELOW_QUANTILE = 2
"""Scores that have to be expected below a threshold for it to be their quantile."""

PRIOR_DEVIATION = 0.5
"""Standard deviation of the prior of the logarithm of a temperature."""


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
    confidence, predicted = probabilities.double().max(1)
    gap = confidence - (predicted == y).double()
    bins = (confidence * n_bins).long().clamp_max(n_bins - 1)
    return float(torch.bincount(bins, gap, minlength=n_bins).abs().sum() / len(y))


def fit_temperature(tasks: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The temperature T for which softmax(scores / T) fits the labels best (Guo et al., 4.2).

    Differs from the paper: few queries say little, and those that are all right would have a
    temperature of zero. So the logarithm of T has a normal prior, of mean 0 and standard deviation
    `PRIOR_DEVIATION`.

    Args:
        tasks: Scores (n, n_way) and labels (n,) of each task; tasks may differ in ways.

    Raises:
        DataError: If there is no query.

    Example:
        >>> y = torch.arange(1000) % 2
        >>> scores = 40.0 * torch.eye(2)[y]
        >>> scores[:200] = scores[:200].flip(1)  # 1 in 5 is wrong, at 40 each
        >>> temperature = fit_temperature([(scores, y)])
        >>> (scores / temperature).softmax(1).amax(1).mean().round(decimals=1)
        tensor(0.8000)
    """
    if not any(len(y) for _, y in tasks):
        raise DataError("expected queries to learn a temperature from, got none")

    def loss(log_temperature: float) -> float:
        inverse_temperature = math.exp(-log_temperature)
        negative_log_likelihood = sum(
            float(F.cross_entropy(inverse_temperature * scores.double(), y, reduction="sum"))
            for scores, y in tasks
        )
        return negative_log_likelihood + (log_temperature / PRIOR_DEVIATION) ** 2 / 2

    from scipy import optimize  # its import takes a sixth of a second

    minimum: Any = optimize.minimize_scalar(loss, bounds=(-15, 15), method="bounded")
    return math.exp(minimum.x)


def fit_threshold(scores: Tensor, quantile: float = OPEN_SET_QUANTILE) -> float:
    """The threshold: a query whose greatest score is below it is taken for one of no known class.

    The next query of a known class is below the i-th smallest of n such scores with probability
    i / (n + 1), if all are drawn alike (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random
    World", 2005). The threshold is interpolated between the two scores of the
    probabilities next to `quantile`.

    Where fewer than two scores are expected below it, one score decides, and chance with it. There
    the threshold is the bound above which the next of n normal scores of mean m and deviation s
    lies with probability 1 - quantile, m - t s sqrt(1 + 1 / n), with t the quantile of Student's
    distribution with n - 1 degrees of freedom; or the smallest score, if that is greater, so that
    about a point more is refused than `quantile` says.

    Args:
        scores: Of examples that were left out, shape (n, n_way).
        quantile: Share of the queries of known classes to refuse.

    Example:
        >>> fit_threshold(torch.arange(39.0)[:, None], quantile=0.1)
        3.0
    """
    greatest = scores.amax(1).double().numpy()
    n = len(greatest)
    if n < 2 or n * quantile >= LEAST_BELOW_QUANTILE:
        return float(np.quantile(greatest, quantile, method="weibull"))
    from scipy import special  # its import takes a while

    reach = special.stdtrit(n - 1, 1 - quantile) * math.sqrt(1 + 1 / n)
    return float(max(greatest.min(), greatest.mean() - reach * greatest.std(ddof=1)))


def scores_left_out(
    adapt: Callable[[Support], Predictor], support: Support
) -> tuple[Tensor, Tensor]:
    """Cross-validated scores of the support examples: each fold is scored after adapting to the
    other folds.

    Up to `MAX_FOLDS` examples are a fold each. More examples are dealt out to `MAX_FOLDS` folds in
    the order of classes, so that no fold holds all examples of a class that has two or more. The
    only example of a class is scored when nothing of its class is in the support set.

    Args:
        adapt: Adapts to a support set alone, and remembers nothing of those before.
        support: A classification task of n examples.

    Returns:
        Scores (n, n_way) and labels (n,), fold after fold, which is not the order in `support`.
    """
    order = support.y.argsort(stable=True)
    n_folds = min(len(order), MAX_FOLDS)
    scores, targets = [], []
    for fold in range(n_folds):
        left_out = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        left_out[order[fold::n_folds]] = True
        rest = Support(
            support.x[~left_out], support.y[~left_out], support.n_way, support.attributes
        )
        scores.append(check_finite(adapt(rest)(support.x[left_out]), "the learner"))
        targets.append(support.y[left_out].cpu())
    return torch.cat(scores), torch.cat(targets)
