"""What each column of a table is worth to an ensemble that AutoML found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from quickstudy.apps.automl.columns import as_frame
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
        >>> table = pd.DataFrame({"a": range(40), "b": [i % 3 for i in range(40)]})
        >>> model = AutoMLRegressor(n_trials=1, families=["linear"]).fit(table, table["a"] * 2)
        >>> list(column_importance(model, table, table["a"] * 2))
        ['a', 'b']
    """
    frame, target = as_frame(X), pd.Series(np.asarray(y))
    rng = np.random.default_rng(model.seed)
    is_class = isinstance(model, AutoMLClassifier)
    alike = target if is_class and target.value_counts().min() >= 4 else None
    shown, asked = train_test_split(
        np.arange(len(frame)), test_size=0.25, random_state=model.seed, stratify=alike
    )
    asked = asked[:MOST_ROWS]
    again: Any = clone(model)
    fitted = again.refit(frame.iloc[shown], target.iloc[shown], model.leaderboard_)
    table, truth = as_frame(frame.iloc[asked]), target.iloc[asked]
    usual = fitted.score(table, truth)
    names = [n for n, kind in fitted.kinds_.items() if kind not in ("identifier", "empty")]
    if len(names) > MOST_COLUMNS:
        names = [names[i] for i in np.sort(rng.choice(len(names), MOST_COLUMNS, replace=False))]
    lost = {}
    for name in names:
        column = table[name]
        drops = []
        for _ in range(REPEATS):
            shuffled = column.iloc[rng.permutation(len(column))].reset_index(drop=True)
            drops.append(usual - fitted.score(table.assign(**{name: shuffled}), truth))
        lost[name] = (float(np.mean(drops)), float(np.std(drops)))
    return dict(sorted(lost.items(), key=lambda item: -item[1][0]))
