"""AutoML as scikit-learn estimators: from a raw table to an ensemble of good pipelines.

Needs pandas, scikit-learn, Optuna and LightGBM, which quickstudy's extra `automl` installs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin

from quickstudy.apps.automl.base import BaseAutoML
from quickstudy.apps.automl.pipelines.metrics import CLASSIFICATION_METRICS, REGRESSION_METRICS
from quickstudy.apps.automl.tables.targets import class_target, number_target

__all__ = ["AutoML", "AutoMLClassifier", "AutoMLRegressor"]


class AutoMLClassifier(ClassifierMixin, BaseAutoML):
    """Finds good pipelines for a raw table of classes, and averages the best.

    First it tries what results on other tables advise (`MetaSampler`), or without such results each
    family's default; then what Optuna's TPE suggests; all on the same folds.
    From all of them it selects an ensemble greedily (R. Caruana, A. Niculescu-Mizil, G. Crew,
    A. Ksikes: "Ensemble selection from libraries of models", ICML 2004) by the predictions for the
    rows that each fold leaves out. All that a pipeline learns of a column, it learns in the fold.

    Args:
        n_trials: Pipelines to try; None for no limit.
        time_budget: Seconds for search and fit of the ensemble; None for no limit. Where it does
            not suffice for all rows, pipelines are tried, and if need be the ensemble is fitted, on
            as many as it suffices for, which `notes_` mentions. One pipeline at least is finished.
        metric: "accuracy", "balanced_accuracy" or "neg_log_loss".
        families: Names of `FAMILIES`, in the order to begin with; None for all.
        n_folds: Of the cross-validation.
        storage: Of Optuna, a URL: many processes with one `study_name` share a search, each with
            an ensemble of its own trials. None for memory.
        study_name: In the storage; a study begun is continued. It should name the table.
        history: Results on other tables to begin with: "shipped" for those that come with
            quickstudy, "experience" for these and those of the experience store, a `History` whose
            configurations `PipelineConfig` names, a meta-learner fitted to one, or None.
        seed: Of folds, models and search.

    Attributes:
        classes_: The labels, in the order of probabilities.
        leaderboard_: A `LeaderboardEntry` a trial, the best first.
        members_: The ensemble: weights and fitted pipelines.
        rows_: Numbers of the rows that pipelines were tried on, of shape (n_tried,).
        out_of_fold_: Its predictions for these rows, each by pipelines that were not fitted on the
            row, of shape (n_tried,), or (n_tried, n_classes) for probabilities.
        out_of_fold_score_: Of these. It is a little too good, as the weights were chosen by it.
        kinds_: What each column holds.
        columns_: The same, with the formats by which cells are read.
        n_fitted_rows_: Rows that the ensemble was fitted on.
        fit_seconds_: How long that took.
        notes_: What of the table deserves attention, in words.
        meta_features_: By which the table was compared with others; empty without a history.

    Example:
        >>> table = [["red", i] for i in range(20)] + [["blue", i] for i in range(20)]
        >>> labels = ["warm"] * 20 + ["cold"] * 20
        >>> model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(table, labels)
        >>> model.predict([["blue", 3], ["red", 30]]).tolist()
        ['cold', 'warm']
    """

    _goal = "classification"
    _metrics = CLASSIFICATION_METRICS

    def _as_target(self, column: pd.Series) -> np.ndarray:
        self.classes_, target = class_target(column)
        return target

    @property
    def _n_classes(self) -> int:
        return len(self.classes_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`, shape (n, n_classes)."""
        return self._predict_mean(X)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        return self.classes_[self._predict_mean(X).argmax(1)]


class AutoMLRegressor(RegressorMixin, BaseAutoML):
    """Finds good pipelines for a raw table with a target of numbers, and averages the best.

    As `AutoMLClassifier`, but for the metrics: "r2", "neg_root_mean_squared_error" or
    "neg_mean_absolute_error".

    Example:
        >>> table = [[i * 7 % 40, "even" if i % 2 == 0 else "odd"] for i in range(80)]
        >>> target = [number for number, _ in table]
        >>> model = AutoMLRegressor(n_trials=1, families=["linear"]).fit(table, target)
        >>> model.predict([[10, "even"]]).round().tolist()
        [10.0]
    """

    _goal = "regression"
    _metrics = REGRESSION_METRICS

    def _as_target(self, column: pd.Series) -> np.ndarray:
        return number_target(column)

    @property
    def _n_classes(self) -> None:
        return None

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each row, shape (n,)."""
        return self._predict_mean(X)[:, 0]


AutoML = AutoMLClassifier | AutoMLRegressor
