"""The importance of each column of a table to an ensemble of AutoML."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from quickstudy.apps.automl.estimators import AutoML, AutoMLClassifier
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime
from quickstudy.apps.automl.tables.frames import as_column, as_frame
from quickstudy.apps.automl.tables.targets import as_target_numbers

__all__ = ["column_importance"]

FIT_SHARE, MIN_TRAIN_ROWS = 0.4, 1000
"""Of the time, to fit the ensemble again; and rows to fit on without which it says too little."""

N_SHUFFLES, MAX_TEST_ROWS, MAX_COLUMNS = 5, 1000, 100
"""Shuffles of a column, rows to predict, and columns of a wide table (drawn at random)."""


def column_importance(
    model: AutoML, X: Any, y: Any, deadline: Deadline | None = None
) -> dict[str, tuple[float, float]]:
    """How much of its score the ensemble loses when a column is shuffled, the most first.

    It is fitted again on three quarters of the rows, or as many as two fifths of the time suffice
    for, and predicts others, so a column by which rows are memorised has no importance. Of columns
    that hold the same, each seems of little importance. L. Breiman: "Random forests", Machine
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
        >>> from quickstudy.apps.automl import AutoMLRegressor
        >>> model = AutoMLRegressor(n_trials=1, families=["linear"]).fit(table, table["a"] * 2)
        >>> list(column_importance(model, table, table["a"] * 2))
        ['a', 'b']
    """
    deadline = deadline or Deadline(None)
    frame, target = as_frame(X), as_column(y).infer_objects()
    is_class = isinstance(model, AutoMLClassifier)
    if not is_class:
        target = pd.Series(as_target_numbers(target))
    strata = target if is_class and target.value_counts().min() >= 4 else None
    train, test = train_test_split(
        np.arange(len(frame)), test_size=0.25, random_state=model.seed, stratify=strata
    )
    copy: Any = clone(model)
    fitted = copy.refit(
        frame.iloc[train],
        target.iloc[train],
        model.leaderboard_,
        model.columns_,
        n_rows=_affordable_rows(model, len(train), deadline),
        deadline=deadline,
    )
    test = test[:MAX_TEST_ROWS]
    names = _drawn_columns(fitted)
    losses = _losses(fitted, as_frame(frame.iloc[test]), target.iloc[test], names, deadline)
    means, deviations = np.mean(losses, axis=0).tolist(), np.std(losses, axis=0).tolist()
    rows = sorted(zip(names, means, deviations, strict=True), key=lambda row: -row[1])
    return {name: (mean, deviation) for name, mean, deviation in rows}


def _affordable_rows(model: AutoML, n_rows: int, deadline: Deadline) -> int:
    """Rows of so many that the ensemble can be fitted on in its share of the time."""
    if not deadline.is_finite or not model.fit_seconds_:
        return n_rows
    most = int(model.n_fitted_rows_ * FIT_SHARE * deadline.left / model.fit_seconds_)
    if most < min(n_rows, MIN_TRAIN_ROWS):
        raise OutOfTime
    return min(n_rows, most)


def _drawn_columns(model: AutoML) -> list[str]:
    """Names of the columns that the model uses; of many, some at random."""
    names = [column.name for column in model.columns_ if column.is_used]
    if len(names) <= MAX_COLUMNS:
        return names
    drawn = np.random.default_rng(model.seed).choice(len(names), MAX_COLUMNS, replace=False)
    return [names[i] for i in np.sort(drawn)]


def _losses(
    model: AutoML, table: pd.DataFrame, target: pd.Series, names: list[str], deadline: Deadline
) -> list[np.ndarray]:
    """What each column's shuffling costs, of shape (n_columns,), for each shuffle."""

    def score(model: Any, shuffled: pd.DataFrame, target: pd.Series) -> float:
        deadline.check()
        return model.score(table.assign(**{name: shuffled[name] for name in names}), target)

    losses: list[np.ndarray] = []
    try:
        for shuffle in range(N_SHUFFLES):
            result: Any = permutation_importance(
                model,
                table[names],
                target,
                scoring=score,
                n_repeats=1,
                random_state=model.seed + shuffle,
            )
            losses.append(result.importances_mean)
    except OutOfTime:
        if not losses:
            raise
    return losses
