"""Select the columns that say most about the target.

Needs scikit-learn, which quickstudy's extra `automl` installs.
"""

# scikit-learn types constants and optional arrays too narrowly
# pyright: reportArgumentType=false

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Self

import numpy as np

from quickstudy.apps.automl.tables.meta_features import shares_of_information
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import require

require("sklearn", "automl")
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402
from sklearn.feature_selection import SelectKBest, f_classif, f_regression  # noqa: E402
from sklearn.linear_model import Lasso  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

__all__ = ["ColumnSelector", "best_columns"]

MAX_SCORED_ROWS = 2000
"""Rows by which columns are scored; of a larger table so many are drawn."""


class ColumnSelector(TransformerMixin, BaseEstimator):
    """Selects the columns that say most about the target, at least one.

    Args:
        how: "anova" (the F-statistic of each column alone), "information" (its mutual information
            with the target, in bins) or "l1" (its weight in a linear model with an L1 penalty).
        kept: The share of columns to select.
        goal: "classification" or "regression".

    Example:
        >>> x = np.array([[0.0, 5.0], [0.1, 1.0], [1.0, 4.0], [1.1, 2.0]])
        >>> ColumnSelector("anova", 0.5, "classification").fit_transform(x, [0, 0, 1, 1]).shape
        (4, 1)
    """

    def __init__(self, how: str, kept: float, goal: Goal) -> None:
        self.how = how
        self.kept = kept
        self.goal = goal

    def fit(self, X: np.ndarray, y: Any) -> Self:
        n = max(1, round(self.kept * X.shape[1]))
        self.columns_ = np.sort(best_columns(X, y, self.how, self.goal, n))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X[:, self.columns_]


def best_columns(x: np.ndarray, y: Any, how: str, goal: Goal, k: int) -> np.ndarray:
    """The numbers of the k columns that say most about the target, of shape (k,).

    Args:
        x: Of shape (n, n_columns).
        y: The target, of shape (n,).
        how, goal: As `ColumnSelector` takes them.
        k: How many.
    """
    y = np.asarray(y)
    if len(x) > MAX_SCORED_ROWS:
        rows = np.random.default_rng(0).choice(len(x), MAX_SCORED_ROWS, replace=False)
        x, y = x[rows], y[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant columns, which come last
        selector = SelectKBest(partial(_column_scores, how=how, goal=goal), k=k).fit(x, y)
    return np.flatnonzero(selector.get_support())


def _column_scores(x: np.ndarray, y: np.ndarray, how: str, goal: Goal) -> np.ndarray:
    """How much each column says about the target, of shape (n_columns,): greater is more."""
    is_class = goal == "classification"
    if how == "anova":
        return (f_classif if is_class else f_regression)(x, y)[0]
    if how == "information":
        target = np.unique(y, return_inverse=True)[1] if is_class else y
        return np.array(shares_of_information(x, target, goal))
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    if is_class:
        model: Any = LinearSVC(C=0.1, penalty="l1", dual=False, random_state=0).fit(z, y)
    else:
        model = Lasso(alpha=0.01).fit(z, (y - y.mean()) / (y.std() or 1.0))
    return np.abs(np.atleast_2d(model.coef_)).sum(0)
