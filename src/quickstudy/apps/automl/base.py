"""What the AutoML classifier and regressor share."""

# pandas types `frame[name]` as Series or DataFrame
# pyright: reportArgumentType=false

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from quickstudy.apps.automl.meta.advisors import Advisor
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.meta.prior import PriorResults, check_prior, prior_meta_learner
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.metrics import Metric
from quickstudy.apps.automl.pipelines.prediction import predict_pipeline
from quickstudy.apps.automl.search.ensemble import (
    FittedEnsemble,
    Selection,
    fit_ensemble,
    fit_on_more_rows,
)
from quickstudy.apps.automl.search.leaderboard import (
    LeaderboardEntry,
    SearchCallback,
    heaviest_alone,
    ranked,
)
from quickstudy.apps.automl.search.options import SearchOptions, check_options
from quickstudy.apps.automl.search.problem import Problem
from quickstudy.apps.automl.search.search import MIN_TRIED_ROWS, Search
from quickstudy.apps.automl.search.study import open_study
from quickstudy.apps.automl.tables.column_inference import learn_columns, number_format_of
from quickstudy.apps.automl.tables.columns import Column, as_numbers, match_columns, read_columns
from quickstudy.apps.automl.tables.frames import as_column, as_frame
from quickstudy.apps.automl.tables.meta_features import meta_features
from quickstudy.apps.automl.tables.notes import few_rows, table_notes, unreadable_cells
from quickstudy.apps.automl.tables.shift import TrainingCells, shift_line
from quickstudy.apps.automl.tables.targets import Goal, check_target
from quickstudy.errors import DataError, RunError, UsageError, hide_passwords

__all__ = ["BaseAutoML"]

MIN_JUDGED_ROWS = 50
"""From which on rows are looked through for wrong labels."""


class BaseAutoML(BaseEstimator, ABC):
    """What classifier and regressor share: options, the search, and the ensemble at its end."""

    _goal: ClassVar[Goal]
    _metrics: ClassVar[Mapping[str, Metric]]

    def __init__(
        self,
        *,
        n_trials: int | None = None,
        time_budget: float | None = 60.0,
        metric: str | None = None,
        families: Sequence[str] | None = None,
        n_folds: int = 5,
        storage: str | None = None,
        study_name: str | None = None,
        history: PriorResults = "shipped",
        seed: int = 0,
    ) -> None:
        self.n_trials = n_trials
        self.time_budget = time_budget
        self.metric = metric
        self.families = families
        self.n_folds = n_folds
        self.storage = storage
        self.study_name = study_name
        self.history = history
        self.seed = seed

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return hide_passwords(super().__repr__(N_CHAR_MAX))  # of the storage's URL

    def _html_repr(self) -> str:
        return hide_passwords(estimator_html_repr(self))

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        callback: SearchCallback | None = None,
        checkpoint: Callable[[Self], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Self:
        """Search, and fit the ensemble of the best pipelines on all rows.

        Args:
            X: A data frame or array of n rows; strings, dates, texts, missing and infinite values
                may be in it.
            y: The target, of shape (n,).
            callback: Called with the `LeaderboardEntry` of each pipeline as it ends;
                `remember_automl` returns one.
            checkpoint: Called with the estimator whenever it knows a new ensemble, to save it; the
                members are not fitted yet.
            deadline: When to be done; None for `time_budget` from now.

        Raises:
            UsageError: If an option cannot be used as given.
            DataError: If the table or target cannot be used.
            RunError: If all pipelines failed.
        """
        options = self._check_options()
        deadline = deadline or Deadline(self.time_budget)
        problem = self._learn_table(X, y)
        families = problem.serving(options.families)
        if not families:
            n_columns = problem.frame.shape[1]
            raise UsageError(
                f"expected a family for {self._goal} that can learn from a table of "
                f"{problem.n_rows} rows and {n_columns} columns, got none"
            )

        def on_selection(selection: Selection) -> None:
            self._take(selection)
            if checkpoint:
                checkpoint(self)

        options = replace(options, families=families)
        self._take(self._search(problem, options, deadline, callback, on_selection))
        self._fit_selected(problem, deadline)
        self._note_wrong_labels(problem.target)
        return self

    def refit(
        self,
        X: Any,
        y: Any,
        leaderboard: Sequence[LeaderboardEntry],
        columns: Sequence[Column] | None = None,
        n_rows: int | None = None,
        deadline: Deadline | None = None,
    ) -> Self:
        """Fit the ensemble of an earlier search, without a search.

        Args:
            X, y: As in `fit`.
            leaderboard: `leaderboard_` of the estimator that searched.
            columns: What the columns hold and how they are read, its `columns_`; None to learn it
                from these rows.
            n_rows: Rows to fit on, its `n_fitted_rows_`; None for all.
            deadline: When to be done; None for no limit.

        Raises:
            UsageError: If an option cannot be used as given, or no entry has a weight.
            DataError: If the table or target cannot be used.
            OutOfTime: If the deadline passes before a pipeline is fitted.
        """
        self._check_options()
        if not any(entry.weight for entry in leaderboard):
            raise UsageError("expected an entry of the leaderboard with a weight, got none")
        problem = self._learn_table(X, y, columns)
        n_rows = min(n_rows or problem.n_rows, problem.n_rows)
        fitted = fit_ensemble(problem, ranked(leaderboard), n_rows, deadline or Deadline(None))
        if fitted is None:
            raise OutOfTime
        self._take_fitted(fitted)
        return self

    def suggest(self, X: Any, y: Any, k: int = 5) -> list[PipelineConfig]:
        """The k pipelines to try first, by results on other tables; nothing is fitted.

        Args:
            X, y: As in `fit`.
            k: How many; there are fewer where the history has fewer.

        Returns:
            Families with their options, the best first.

        Raises:
            UsageError: If an option cannot be used as given, or k is below 1.
            DataError: If the table or target cannot be used.
        """
        advisor = self.advise(X, y)
        names = advisor.suggest(k) if advisor else []
        return [config for name in names if (config := PipelineConfig.from_name(name))]

    def advise(self, X: Any, y: Any) -> Advisor | None:
        """The advisor behind `suggest`: it also gives reasons, and the tables most like this one.

        Args:
            X, y: As in `fit`.

        Returns:
            An advisor of configurations that `PipelineConfig` names; None without a history.

        Raises:
            UsageError: If an option cannot be used as given.
            DataError: If the table or target cannot be used.
        """
        options = self._check_options()
        frame = as_frame(X)
        target = self._as_target(check_target(y, len(frame)))
        problem = Problem(frame, target, learn_columns(frame), self._n_classes, self.seed)
        meta, features = self._prior(problem, problem.serving(options.families))
        return meta.advise(features) if meta and meta.history_.configs else None

    def _check_options(self) -> SearchOptions:
        options = check_options(
            n_trials=self.n_trials,
            time_budget=self.time_budget,
            metric=self.metric,
            metrics=self._metrics,
            families=self.families,
            n_folds=self.n_folds,
            storage=self.storage,
            study_name=self.study_name,
            seed=self.seed,
        )
        check_prior(self.history)
        self.metric_ = options.metric
        return options

    def _learn_table(self, X: Any, y: Any, columns: Sequence[Column] | None = None) -> Problem:
        """The table, with its cells read as its columns are written, and the target."""
        frame = as_frame(X)
        target = self._as_target(check_target(y, len(frame)))
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.n_features_in_ = frame.shape[1]
        self.target_name_ = str(name) if (name := getattr(y, "name", None)) else None
        self.columns_ = learn_columns(frame) if columns is None else tuple(columns)
        self.kinds_ = {column.name: column.kind for column in self.columns_}
        if not any(column.is_used for column in self.columns_):
            raise DataError(
                "expected a column to learn from, got only such as hold fewer than two different "
                f"values, or a different one in nearly every row: {', '.join(self.kinds_)}"
            )
        frame, _ = match_columns(frame, self.columns_)
        table = read_columns(frame, self.columns_)
        self._training_cells = TrainingCells(table, self.columns_)
        notes = table_notes(frame, table, self.columns_, target, self._goal)
        self.notes_ = [note.text for note in notes]
        if self._goal == "regression" and np.isnan(as_numbers(as_column(y))).any():
            self.notes_.append(f"the target is read as {number_format_of(as_column(y))}")
        for note in notes if columns is None else ():
            if note.is_warning:
                warnings.warn(note.text, stacklevel=3)
        self.meta_features_: dict[str, float] = {}
        return Problem(table, target, self.columns_, self._n_classes, self.seed)

    def _prior(
        self, problem: Problem, families: Sequence[str]
    ) -> tuple[MetaLearner | None, dict[str, float]]:
        """A meta-learner of other tables, and this one's meta-features; none without a history."""
        if self.history is None:
            return None, {}
        features = meta_features(problem.frame, problem.target, self._goal, columns=problem.columns)
        meta = prior_meta_learner(
            self.history, self._goal, self.metric_, features, families, self.seed
        )
        return meta, features

    def _search(
        self,
        problem: Problem,
        options: SearchOptions,
        deadline: Deadline,
        callback: SearchCallback | None,
        on_selection: Callable[[Selection], None],
    ) -> Selection:
        search = Search(problem, options, deadline)
        self.rows_ = search.rows
        self.notes_ += few_rows(problem.target[self.rows_], self._goal, self.n_folds)
        meta, self.meta_features_ = self._prior(problem, options.families)
        first = search.quick if search.is_partial else None
        study = open_study(options, meta, self.meta_features_, first)
        if search.is_partial:
            self.notes_.append(
                f"pipelines were tried on {len(self.rows_)} of {problem.n_rows} rows, as the time "
                "budget does not suffice for all"
            )
        return search.run(study, callback, on_selection)

    def _take(self, selection: Selection) -> None:
        """Set what is known of the ensemble before it is fitted."""
        self.leaderboard_, self.n_fitted_rows_ = selection.leaderboard, selection.n_rows
        self.out_of_fold_, self.out_of_fold_score_ = selection.out_of_fold, selection.score

    def _fit_selected(self, problem: Problem, deadline: Deadline) -> None:
        """Fit the selected ensemble on as many rows as the time suffices for."""
        fitted = fit_ensemble(problem, self.leaderboard_, self.n_fitted_rows_, deadline)
        if fitted is None:
            few = max(MIN_TRIED_ROWS, len(self.rows_) // 4)
            one = heaviest_alone(self.leaderboard_)
            fitted = fit_ensemble(problem, one, min(self.n_fitted_rows_, few), Deadline(None))
            assert fitted is not None  # without a deadline
        self._take_fitted(fitted)
        larger = fit_on_more_rows(problem, fitted, deadline)
        if larger is not fitted:
            self._take_fitted(larger)
        if self.n_fitted_rows_ < problem.n_rows:
            self.notes_.append(
                f"the ensemble learned from {self.n_fitted_rows_} of {problem.n_rows} rows, as the "
                "time budget does not suffice for all"
            )

    def _note_wrong_labels(self, target: np.ndarray) -> None:
        """Mention rows whose class is too unlikely by the predictions out of fold."""
        from quickstudy.diagnostics.tables import suspect_rows

        if self._goal != "classification":
            return
        labels = target[self.rows_]
        # No fold learns enough of a rarer class to call one of its rows unlikely.
        judged = np.bincount(labels)[labels] >= self.n_folds
        if judged.sum() < MIN_JUDGED_ROWS:
            return
        found = suspect_rows(self.out_of_fold_[judged], labels[judged])
        if found.is_warning:
            rows = ", ".join(str(self.rows_[judged][i] + 1) for i in found.examples)
            self.notes_.append(f"{found.verdict} Look at rows {rows}" if rows else found.verdict)

    def _take_fitted(self, fitted: FittedEnsemble) -> None:
        self.members_, self.leaderboard_ = fitted.members, fitted.leaderboard
        self.n_fitted_rows_, self.fit_seconds_ = fitted.n_rows, fitted.seconds
        if fitted.n_late:
            self.notes_.append(
                "left out of the ensemble, as the time budget did not suffice to fit them on all "
                f"rows: {fitted.n_late} pipeline{'s' * (fitted.n_late > 1)}"
            )

    @property
    @abstractmethod
    def _n_classes(self) -> int | None:
        """None for regression."""

    @abstractmethod
    def _as_target(self, column: pd.Series) -> np.ndarray:
        """The target as numbers, after it was checked, of shape (n,)."""

    def _predict_mean(self, X: Any) -> np.ndarray:
        """The members' weighted mean prediction, of shape (n, n_classes) or (n, 1)."""
        check_is_fitted(self, "members_")
        frame, others = match_columns(X, self.columns_)
        table = read_columns(frame, self.columns_)
        if others := [name for name in others if name != self.target_name_]:
            warnings.warn(
                f"columns that were not there at fit are left out: {', '.join(others)}",
                stacklevel=3,
            )
        for line in unreadable_cells(frame, table, self.columns_):
            warnings.warn(line, stacklevel=3)
        if shifts := self._training_cells.shifts(table):
            warnings.warn(shift_line(shifts), stacklevel=3)
        total, no_limit = sum(weight for weight, _ in self.members_), Deadline(None)
        parts = [
            weight * predict_pipeline(model, table, self._n_classes, no_limit)
            for weight, model in self.members_
        ]
        mean = np.sum(parts, axis=0) / total
        if not np.isfinite(mean).all():
            raise RunError(
                "expected finite predictions, got others: fit again, or look for extreme values in "
                "the table"
            )
        return mean
