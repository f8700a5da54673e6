"""What each column of a table is worth to an ensemble that AutoML found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime
from quickstudy.apps.automl.tables.columns import as_column, as_frame, as_target_numbers

__all__ = ["column_importance"]

FIT_SHARE, FEWEST_ROWS = 0.4, 1000
"""Of the time, to fit the ensemble again; and rows without which that tells too little."""

REPEATS, MOST_ROWS, MOST_COLUMNS = 5, 1000, 100
"""Shuffles of a column, rows to predict, and columns to ask of a wide table (drawn at random)."""


def column_importance(
    model: AutoMLClassifier | AutoMLRegressor, X: Any, y: Any, deadline: Deadline | None = None
) -> dict[str, tuple[float, float]]:
    """How much of its score the ensemble loses when a column is shuffled, the most first.

    It is fitted again on three quarters of the rows, or as many as two fifths of the time suffice
    for, and predicts others, so a column by which rows are learned by heart is worth nothing. Of
    columns that tell the same, each seems of little worth. L. Breiman: "Random forests", Machine
    Learning 2001.

    Args:
        model: After `fit`.
        X, y: What it was fitted on.
        deadline: When to be done; None for no limit.

    Returns:
        Mean and standard deviation over shuffles, in accuracy or R², by column. There are five
        shuffles, or fewer if the time ends.

    Raises:
        OutOfTime: If it does not suffice for one shuffle of all columns.

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
    asked, deadline = asked[:MOST_ROWS], deadline or Deadline(None)
    n_rows = len(shown)
    if deadline.is_finite and model.fit_seconds_:
        most = model.n_fitted_rows_ * FIT_SHARE * deadline.left / model.fit_seconds_
        n_rows = min(n_rows, int(most))
        if n_rows < min(len(shown), FEWEST_ROWS):
            raise OutOfTime
    again: Any = clone(model)
    fitted = again.refit(
        frame.iloc[shown],
        target.iloc[shown],
        model.leaderboard_,
        model.columns_,
        n_rows=n_rows,
        deadline=deadline,
    )
    table, truth = as_frame(frame.iloc[asked]), target.iloc[asked]
    names = [n for n, kind in fitted.kinds_.items() if kind not in ("identifier", "empty")]
    if len(names) > MOST_COLUMNS:
        rng = np.random.default_rng(model.seed)
        names = [names[i] for i in np.sort(rng.choice(len(names), MOST_COLUMNS, replace=False))]

    def score(fitted: Any, some: pd.DataFrame, truth: pd.Series) -> float:
        deadline.check()
        return fitted.score(table.assign(**{name: some[name] for name in names}), truth)

    lost: list[np.ndarray] = []
    try:
        for repeat in range(REPEATS):
            found: Any = permutation_importance(
                fitted,
                table[names],
                truth,
                scoring=score,
                n_repeats=1,
                random_state=model.seed + repeat,
            )
            lost.append(found.importances_mean)
    except OutOfTime:
        if not lost:
            raise
    means, spreads = np.mean(lost, axis=0).tolist(), np.std(lost, axis=0).tolist()
    rows = sorted(zip(names, means, spreads, strict=True), key=lambda row: -row[1])
    return {name: (mean, spread) for name, mean, spread in rows}
