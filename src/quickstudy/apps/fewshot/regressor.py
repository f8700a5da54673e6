"""A few-shot regressor as scikit-learn has them: any learner, behind `fit` and `predict`.

Needs scikit-learn, which quickstudy's extra `fewshot` installs.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.fewshot.base import FewShotEstimator
from quickstudy.apps.fewshot.labels import as_targets
from quickstudy.apps.fewshot.saving import RegressorState
from quickstudy.errors import DataError, require
from quickstudy.learners.transfer.closed_form import BayesianRidge
from quickstudy.tasks import Support

try:
    from sklearn.base import RegressorMixin
    from sklearn.utils.validation import check_consistent_length
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = ["FewShotRegressor"]


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """A regressor of few examples: `fit` adapts a learner to them.

    Args:
        learner: Any learner of regression; a run folder; or None for `BayesianRidge`, which
            needs no meta-training. It stays as it is.
        encoder: Turns a list of examples of any kind into numbers of shape (n, ...), or the name
            of one, as of `FewShotClassifier`. With neither learner nor encoder, texts and images
            are embedded, and X else is an array of what the learner takes.

    Attributes:
        learner_, encoder_: What adapts, and what prepares the examples.
        support_: The examples seen, as tensors.

    Example:
        >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [1.0, 3.0, 5.0, 7.0, 9.0]
        >>> print(FewShotRegressor().fit(X, y).predict([[5.0]]).round(1))
        [11.]
    """

    _default = BayesianRidge

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to examples, and forget those seen before.

        Args:
            X: Numbers of shape (n, ...), or n examples for the encoder.
            y: Targets of shape (n,) or (n, d).

        Raises:
            ValueError: If the examples cannot serve; a `DataError` or of scikit-learn.
        """
        return self._fit(X, y, first=True)

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Adapt to these examples and all seen before.

        Raises:
            ValueError: If the examples cannot serve; a `DataError` or of scikit-learn.
        """
        return self._fit(X, y, first=not hasattr(self, "support_"))

    def _fit(self, X: Any, y: Any, *, first: bool) -> Self:
        targets = as_targets(y)
        if first:
            self._prepare(X)
        x = self._inputs(X, reset=first)
        check_consistent_length(x, targets)
        flat = targets.ndim == 1
        y = torch.tensor(targets).to(x).reshape(len(x), -1)
        if not first:
            if (flat, y.shape[1]) != (self.flat_, self.support_.y.shape[1]):
                raise DataError(
                    f"expected targets of size {self.support_.y.shape[1]} as before, got "
                    f"{targets.shape}"
                )
            x, y = torch.cat([self.support_.x, x]), torch.cat([self.support_.y, y])
        self._learn(Support(x, y))
        self.flat_ = flat
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each query, shaped as the targets were: (n,) or (n, d)."""
        predictions = self._scores(X).numpy()
        return predictions[:, 0] if self.flat_ else predictions

    def _state(self) -> RegressorState:
        return RegressorState(flat=self.flat_)

    def _take(self, state: RegressorState) -> None:
        self.flat_ = state.flat

    def _support_of(self, tensors: dict[str, Tensor]) -> Support:
        return Support(tensors["x"], tensors["y"])
