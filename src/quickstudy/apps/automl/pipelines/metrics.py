"""Metrics that score pipelines: greater is better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

__all__ = ["CLASSIFICATION_METRICS", "REGRESSION_METRICS", "Metric"]

Metric = Callable[[np.ndarray, np.ndarray], float]
"""From targets of shape (n,), and predictions (n,) or probabilities (n, n_classes), to a score."""


def _log_likelihood(y: np.ndarray, probabilities: np.ndarray) -> float:
    return -float(log_loss(y, probabilities, labels=np.arange(probabilities.shape[1])))


CLASSIFICATION_METRICS: dict[str, Metric] = {
    "accuracy": lambda y, p: float(accuracy_score(y, p.argmax(1))),
    "balanced_accuracy": lambda y, p: float(balanced_accuracy_score(y, p.argmax(1))),
    "neg_log_loss": _log_likelihood,
}
REGRESSION_METRICS: dict[str, Metric] = {
    "r2": lambda y, p: float(r2_score(y, p)),
    "neg_root_mean_squared_error": lambda y, p: -float(root_mean_squared_error(y, p)),
    "neg_mean_absolute_error": lambda y, p: -float(mean_absolute_error(y, p)),
}
