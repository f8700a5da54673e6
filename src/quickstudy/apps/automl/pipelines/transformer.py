"""The meta-trained transformer that comes with quickstudy, as a scikit-learn classifier.

Needs scikit-learn, which quickstudy's extra `automl` installs.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import numpy as np
import torch

from quickstudy.errors import DataError, UsageError, require
from quickstudy.experiments.run import load_run
from quickstudy.learners import TabularTransformer
from quickstudy.learners.base import check_finite
from quickstudy.tasks import Support

require("sklearn", "automl")
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402

__all__ = ["TransformerClassifier"]

AT_ONCE = 1000
"""Rows that are predicted in one pass, which bounds memory."""


class TransformerClassifier(ClassifierMixin, BaseEstimator):
    """Predict a table's classes without training: the shipped run `tables` reads its rows.

    It was meta-trained on synthetic tables of up to 300 rows, 20 columns and 10 classes. Missing
    and infinite values may be in a table. Memory and time grow with the square of the rows, and a
    little faster.

    Args:
        members: Orders of classes and columns that the prediction is the mean over.

    Attributes:
        classes_: The labels, in the order of probabilities.

    Example:
        >>> x, y = np.repeat([[0.0, 1.0], [1.0, 1.0]], 20, axis=0), np.repeat(["cold", "warm"], 20)
        >>> TransformerClassifier().fit(x, y).predict([[0.9, 1.0]]).tolist()
        ['warm']
    """

    def __init__(self, *, members: int = 4) -> None:
        self.members = members

    def fit(self, X: Any, y: Any) -> Self:
        """Take in the rows of a table and their labels.

        Raises:
            UsageError: If `members` is less than 1.
            DataError: If the table is no matrix of numbers with a label a row, or has one class or
                more than ten.
        """
        if self.members < 1:
            raise UsageError(f"expected members of 1 or more, got {self.members}")
        x, labels = _as_matrix(X), np.asarray(y)
        if labels.shape != x.shape[:1]:
            raise DataError(f"expected a label for each of {len(x)} rows, got {labels.shape}")
        classes, target = np.unique(labels, return_inverse=True)
        learner = _shipped(self.members)
        if not 2 <= len(classes) <= learner.n_outputs:
            raise DataError(f"expected 2 to {learner.n_outputs} classes, got {len(classes)}")
        self.classes_, self.n_features_in_ = classes, x.shape[1]
        with torch.inference_mode():
            self._predict = learner.adapt(Support(x, torch.from_numpy(target), len(classes)))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`, shape (n, n_classes)."""
        check_is_fitted(self, "classes_")
        x = _as_matrix(X)
        if x.shape[1] != self.n_features_in_:
            raise DataError(f"expected {self.n_features_in_} columns, got {x.shape[1]}")
        with torch.inference_mode():
            scores = torch.cat([self._predict(part) for part in x.split(AT_ONCE)])
            return check_finite(scores, "the transformer").softmax(1).double().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        return self.classes_[self.predict_proba(X).argmax(1)]


@cache
def _shipped(members: int) -> TabularTransformer:
    _, learner = load_run("tables", [f"learner.members={members}"])
    assert isinstance(learner, TabularTransformer)
    return learner


def _as_matrix(X: Any) -> torch.Tensor:
    try:
        x = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"expected a table of numbers: {error}") from None
    if x.ndim != 2 or not x.size:
        raise DataError(f"expected a table of rows and columns, got shape {x.shape}")
    return torch.from_numpy(x.astype(np.float32))
