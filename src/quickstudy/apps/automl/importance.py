"""What each column of a table is worth to an ensemble that AutoML found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from quickstudy.apps.automl.columns import as_column, as_frame, as_target_numbers
from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor

__all__ = ["column_importance"]

REPEATS, MOST_ROWS, MOST_COLUMNS = 5, 1000, 100
"""Shuffles of a column, rows to predict, and columns to ask of a wide table (drawn at random)."""


def column_importance(
    model: AutoMLClassifier | AutoMLRegressor, X: Any, y: Any
) -> dict[str, tuple[float, float]]:
    """How much of its score the ensemble loses when a column is shuffled, the most first.

    It is fitted again on three quarters of the rows and asked for the others, so a column by which
    rows are learned by heart is worth nothing. Of columns that tell the same, each seems of little
    worth. L. Breiman: "Random forests", Machine Learning 2001.

    Args:
        model: After `fit`.
        X, y: What it was fitted on.

    Returns:
        Mean and standard deviation over shuffles, in accuracy or R², by column.

    Example:
        >>> table = pd.DataFrame({"a": np.arange(40.0), "b": [i % 3 for i in range(40)]})
        >>> model = AutoMLRegressor(n_trials=1, families=["linear"]).fit(table, table["a"] * 2)
        >>> list(column_importance(model, table, table["a"] * 2))
        ['a', 'b']
    """
    frame, target = as_frame(X), as_column(y).infer_objects()
    is_class = isinstance(model, AutoMLClassifier)
    if not is_class:
        target = pd.Series(as_target_numbers(target))
    alike = target if is_class and target.value_counts().min() >= 4 else None
    shown, asked = train_test_split(
        np.arange(len(frame)), test_size=0.25, random_state=model.seed, stratify=alike
    )
    asked = asked[:MOST_ROWS]
    again: Any = clone(model)
    fitted = again.refit(frame.iloc[shown], target.iloc[shown], model.leaderboard_, model.columns_)
    table, truth = as_frame(frame.iloc[asked]), target.iloc[asked]
    names = [n for n, kind in fitted.kinds_.items() if kind not in ("identifier", "empty")]
    if len(names) > MOST_COLUMNS:
        rng = np.random.default_rng(model.seed)
        names = [names[i] for i in np.sort(rng.choice(len(names), MOST_COLUMNS, replace=False))]

    def score(fitted: Any, some: pd.DataFrame, truth: pd.Series) -> float:
        return fitted.score(table.assign(**{name: some[name] for name in names}), truth)

    found: Any = permutation_importance(
        fitted, table[names], truth, scoring=score, n_repeats=REPEATS, random_state=model.seed
    )
    lost = zip(names, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    return {name: (mean, spread) for name, mean, spread in sorted(lost, key=lambda row: -row[1])}
