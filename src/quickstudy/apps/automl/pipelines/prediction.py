"""Predictions of a fitted pipeline: probabilities of classes, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.pipeline import Pipeline

from quickstudy.apps.automl.pipelines.budget import Deadline, predict_in_parts

__all__ = ["class_probabilities", "predict_pipeline"]


def predict_pipeline(
    model: Pipeline, frame: Any, n_classes: int | None, deadline: Deadline
) -> np.ndarray:
    """Probabilities of shape (n, n_classes), or numbers of shape (n, 1) without classes.

    Args:
        model: A fitted pipeline.
        frame: The rows, n of them.
        n_classes: Of the whole table; None for regression.
        deadline: When to be done.

    Raises:
        OutOfTime: If the deadline passes.
    """

    def predict(x: np.ndarray) -> np.ndarray:
        if n_classes is None:
            return np.asarray(model[-1].predict(x), dtype=np.float64)[:, None]
        return class_probabilities(model[-1], x, n_classes)

    return predict_in_parts(predict, model[:-1].transform(frame), deadline)


def class_probabilities(model: Any, rows: Any, n_classes: int) -> np.ndarray:
    """Probabilities of classes numbered from 0, of shape (n, n_classes).

    Args:
        model: A fitted classifier, with probabilities or a decision function.
        rows: Of shape (n, n_columns).
        n_classes: Of the whole table; a class that the model has not seen has probability 0.
    """
    if hasattr(model, "predict_proba"):
        of_seen = model.predict_proba(rows)
    else:
        margins = model.decision_function(rows)
        margins = margins if margins.ndim == 2 else np.column_stack([-margins, margins])
        of_seen = softmax(margins, axis=1)
    probabilities = np.zeros((len(of_seen), n_classes))
    probabilities[:, model.classes_] = of_seen
    return probabilities
