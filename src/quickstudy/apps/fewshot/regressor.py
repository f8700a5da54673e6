"""A few-shot regressor as scikit-learn has them: any learner, behind `fit` and `predict`.

Needs scikit-learn, which quickstudy's extra `fewshot` installs.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.fewshot.base import QUERY_BATCH, FewShotEstimator
from quickstudy.apps.fewshot.inputs import kind_of
from quickstudy.apps.fewshot.labels import as_targets
from quickstudy.apps.fewshot.regression_explanation import RegressionExplanation, explain_regression
from quickstudy.apps.fewshot.saving import RegressorState
from quickstudy.apps.fewshot.views import default_regression_blend, encoder_of_views
from quickstudy.errors import DataError, UsageError, require
from quickstudy.learners import Learner
from quickstudy.learners.transfer.closed_form import BayesianRidge
from quickstudy.learners.transfer.regression import BlendedRegression
from quickstudy.tasks import Support

try:
    from sklearn.base import RegressorMixin
    from sklearn.utils.validation import check_consistent_length, check_is_fitted
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = ["FewShotRegressor"]


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """A regressor of few examples: `fit` adapts a learner to them.

    Args:
        learner: Any learner of regression; a run folder; or None for `RegressionBlend`, which
            weighs many methods by what it has learned from other tasks (see `explain`). The learner
            that is given does not change.
        encoder: Turns a list of examples of any kind into numbers of shape (n, ...), or the name
            of one, as of `FewShotClassifier`. With neither learner nor encoder, texts, images and
            sounds are embedded as there, and X else is an array of what the learner takes.

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
        if self._is_closed_form:
            self.learner_ = self._closed_form(x[0].numel(), False).to(x.device)
        self._learn(Support(x, y))
        self.flat_ = flat
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each query, shaped as the targets were: (n,) or (n, d)."""
        predictions = self._scores(X).numpy()
        return predictions[:, 0] if self.flat_ else predictions

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """An interval for each query's target, from the default learner.

        The intervals of queries like the examples hold their targets in a share `coverage` of
        cases, as was learned from other tasks.

        Args:
            coverage: Between 0 and 1.

        Returns:
            The lower and the upper ends, each shaped as `predict` returns.

        Raises:
            UsageError: If a learner was given, or the coverage is out of range.
            DataError: If there are fewer than three examples.
        """
        if not 0 < coverage < 1:
            raise UsageError(f"expected a coverage between 0 and 1, got {coverage!r}")
        task = self._blended("tell intervals")
        x = self._inputs(X, reset=False)
        parts = [task.interval(part, coverage) for part in x.split(QUERY_BATCH)]
        low, high = (torch.cat(ends).numpy() for ends in zip(*parts, strict=True))
        return (low[:, 0], high[:, 0]) if self.flat_ else (low, high)

    def explain(self, target: int = 0) -> RegressionExplanation:
        """What the default learner weighed for these examples.

        Args:
            target: Which of several.

        Raises:
            UsageError: If a learner was given, which weighs nothing, or there is no such target.
        """
        task = self._blended("explain its choice")
        if not 0 <= target < len(task.tasks):
            raise UsageError(f"expected a target in 0..{len(task.tasks) - 1}, got {target}")
        return explain_regression(task, target)

    def _blended(self, purpose: str) -> BlendedRegression:
        """The default learner's predictor."""
        check_is_fitted(self)
        task = self._predictor.predictor
        if not isinstance(task, BlendedRegression):
            name = type(self.learner_).__name__
            raise UsageError(
                f"expected the default learner to {purpose}, got {name}: leave out learner="
            )
        return task

    def _reason(self) -> str:
        task = self._predictor.predictor
        return str(explain_regression(task, 0)) if isinstance(task, BlendedRegression) else ""

    def _default_encoder(self, X: Any) -> tuple[str | None, Any]:
        return encoder_of_views(kind_of(X), X)

    def _closed_form(self, size: int, described: bool) -> Learner:
        del described
        return default_regression_blend(self.encoder_, size, self._encoder_name)

    def _state(self) -> RegressorState:
        return RegressorState(flat=self.flat_)

    def _take(self, state: RegressorState) -> None:
        self.flat_ = state.flat

    def _support_of(self, tensors: dict[str, Tensor]) -> Support:
        return Support(tensors["x"], tensors["y"])
