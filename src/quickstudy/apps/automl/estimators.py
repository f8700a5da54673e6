"""AutoML as scikit-learn estimators: from a raw table to an ensemble of good pipelines.

Needs pandas, scikit-learn, Optuna and LightGBM, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import optuna
import pandas as pd
from scipy.special import softmax
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from quickstudy.apps.automl.meta.advisors import Advisor
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.knowledge import parse_pipeline, shipped_meta_learner
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.meta.sampler import MetaSampler
from quickstudy.apps.automl.pipelines.budget import (
    Deadline,
    OutOfTime,
    fit_pipeline,
    forecast,
    predict_in_parts,
)
from quickstudy.apps.automl.pipelines.pipelines import (
    FAMILIES,
    HUGE,
    as_parameters,
    can_make,
    make_model,
    suggest_options,
)
from quickstudy.apps.automl.tables.columns import (
    CALLED,
    FEWEST_IDS,
    NUMBERED,
    ONLY_NUMBERED,
    Column,
    as_column,
    as_frame,
    as_numbers,
    as_target_numbers,
    column_notes,
    learn_columns,
    match_columns,
    number_format_of,
    read_columns,
    unreadable_cells,
)
from quickstudy.apps.automl.tables.meta_features import Goal, meta_features
from quickstudy.errors import (
    DataError,
    QuickstudyError,
    RunError,
    UsageError,
    hide_passwords,
    require,
    unknown,
)
from quickstudy.progress import Progress

__all__ = ["AutoMLClassifier", "AutoMLRegressor", "LeaderboardEntry"]

Metric = Callable[[np.ndarray, np.ndarray], float]
"""From targets, and predictions or probabilities, to a score: greater is better."""

ENSEMBLE_ROUNDS = 25
"""Members of an ensemble, with repetition."""

PARTS, LEAST_ROWS = (1 / 9, 1 / 3), 300
"""Shares of a fold's rows that a pipeline is judged on first, if they are so many rows."""

MOST_DIFFERENT, ORDERED, ORDER_TOLD, SIGMAS = 0.95, 0.95, 0.3, 5.0
"""A column is warned of from such a share of different values and such a correlation with the
numbers of the rows on, if the target of a row tells so much of the next one's: as a share, and in
standard errors.
"""

FOLLOWS_ORDER = (
    "the target follows the order of the rows, as these columns do, so scores may not hold for new "
    "rows"
)

QUICK = ("lightgbm", "linear")
"""Families of which the first there is can always be tried in time."""

WARM_UP, PROBED, PROBE_SHARE = 200, (1000, 4000, 16_000), 0.08
"""Rows by which it is known how long a fit takes on more, after a first one that is not timed; and
the share of the time for one of these.
"""

FEWEST_TRIED = 4000
"""Rows of a larger table that pipelines are tried on at least, however short the time."""

QUICK_SHARE, FIRST_SHARE, REFIT_SHARE = 0.35, 0.4, 0.35
"""Shares of the time for a quick pipeline, for the first one tried, and to fit the ensemble."""

MOST_WEIGHED = 20_000
"""Rows at most by which the members of the ensemble are chosen."""

ENDED = ("pruned", "out of time")
"""How the failures of pipelines begin that were ended for their score or for the time."""

TPE = "found by search, by the pipelines before"

Past = History | MetaLearner | Literal["shipped", "experience"] | None
"""Results on other tables: those that ship with quickstudy, these and the user's own, others, or
none.
"""


def _log_likelihood(y: np.ndarray, p: np.ndarray) -> float:
    return -float(log_loss(y, p, labels=np.arange(p.shape[1])))


CLASSIFICATION_METRICS: dict[str, Metric] = {
    "accuracy": lambda y, p: float(accuracy_score(y, p.argmax(1))),
    "balanced_accuracy": lambda y, p: float(balanced_accuracy_score(y, p.argmax(1))),
    "neg_log_loss": _log_likelihood,
}
REGRESSION_METRICS: dict[str, Metric] = {
    "r2": lambda y, p: float(r2_score(y, p)),
    "neg_root_mean_squared_error": lambda y, p: -float(root_mean_squared_error(y, p)),
    "neg_mean_absolute_error": lambda y, p: -float(mean_absolute_error(y, p)),
}


@dataclass(frozen=True)
class LeaderboardEntry:
    """What came of a pipeline.

    Args:
        family, options: The pipeline.
        scores: One a fold; fewer where it was pruned.
        seconds: For all folds.
        weight: In the ensemble.
        failure: Why it has no score; None if it has.
        number: How many were tried before.
        reasons: Why it was tried, in words.
    """

    family: str
    options: dict[str, Any]
    scores: list[float]
    seconds: float
    weight: float = 0.0
    failure: str | None = None
    number: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def is_pruned(self) -> bool:
        """Whether it was ended before its last fold, for what it scored or for the time."""
        return self.failure is not None and self.failure.startswith(ENDED)

    @property
    def mean(self) -> float:
        """The mean score; minus infinity for what failed or was pruned."""
        return -math.inf if self.failure else float(np.mean(self.scores))


Told = Callable[[LeaderboardEntry], None]
"""What is told of each pipeline as it ends."""


class _AutoML(BaseEstimator, ABC):
    """What classifier and regressor share: the search, and the ensemble at its end."""

    _goal: Goal
    _metrics: dict[str, Metric]

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
        history: Past = "shipped",
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
        told: Told | None = None,
        checkpoint: Callable[[Self], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Self:
        """Search, and fit the ensemble of what was best on all rows.

        Args:
            X: A data frame or array of n rows; strings, dates, texts, missing and infinite values
                may be in it.
            y: The target, of shape (n,).
            told: Is told of each pipeline as it ends, such as what `remember_automl` returns.
            checkpoint: Is called with the estimator whenever it knows a new ensemble, to save it;
                the members are not fitted yet.
            deadline: When to be done; None for `time_budget` from now.

        Raises:
            UsageError: If an option cannot be used as given.
            DataError: If the table or target cannot serve.
            RunError: If all pipelines failed.
        """
        families = self._check_options()
        deadline = deadline or Deadline(self.time_budget)
        frame, target = self._learn_table(X, y)
        families = self._serving(families, frame)
        if not families:
            raise UsageError(
                f"expected a family for {self._goal} that can learn from a table of "
                f"{len(frame)} rows and {frame.shape[1]} columns, got none"
            )
        self._search(frame, target, families, deadline, told, checkpoint)
        if not self._fit_members(frame, target, deadline):
            few = max(FEWEST_TRIED, len(self.rows_) // 4)
            self.n_fitted_rows_ = min(self.n_fitted_rows_, few)
            self.leaderboard_ = _alone(self.leaderboard_)
            self._fit_members(frame, target, Deadline(None))
        self._fit_more_rows(frame, target, deadline)
        if self.n_fitted_rows_ < len(frame):
            self.notes_.append(
                f"the ensemble learned from {self.n_fitted_rows_} of {len(frame)} rows, as the "
                "time budget does not suffice for all"
            )
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
        """Fit an ensemble that was found before, without a search.

        Args:
            X, y: As in `fit`.
            leaderboard: Of the estimator that found it.
            columns: What the columns hold and how they are read, `columns_` of that estimator;
                None to learn it from these rows.
            n_rows: Rows to learn from, its `n_fitted_rows_`; None for all.
            deadline: When to be done; None for no limit.

        Raises:
            UsageError: If an option cannot be used as given, or no entry has a weight.
            DataError: If the table or target cannot serve.
            OutOfTime: If the deadline passes before a pipeline is fitted.
        """
        self._check_options()
        if not any(entry.weight for entry in leaderboard):
            raise UsageError("expected an entry of the leaderboard with a weight, got none")
        frame, target = self._learn_table(X, y, columns)
        self.leaderboard_ = _ranked(leaderboard)
        self.n_fitted_rows_ = min(n_rows or len(frame), len(frame))
        if not self._fit_members(frame, target, deadline or Deadline(None)):
            raise OutOfTime
        return self

    def suggest(self, X: Any, y: Any, k: int = 5) -> list[tuple[str, dict[str, Any]]]:
        """The k pipelines to try first, by results on other tables; nothing is fitted.

        Args:
            X, y: As in `fit`.
            k: How many; there are fewer where the history has fewer.

        Returns:
            Families with their options, the best first.

        Raises:
            UsageError: If an option cannot be used as given, or k is below 1.
            DataError: If the table or target cannot serve.
        """
        advisor = self.advise(X, y)
        names = advisor.suggest(k) if advisor else []
        return [found for name in names if (found := parse_pipeline(name))]

    def advise(self, X: Any, y: Any) -> Advisor | None:
        """What `suggest` asks: it says too why it suggests a pipeline, and which tables are near.

        Args:
            X, y: As in `fit`.

        Returns:
            An advisor whose configurations `parse_pipeline` reads; None without a history.

        Raises:
            UsageError: If an option cannot be used as given.
            DataError: If the table or target cannot serve.
        """
        families = self._check_options()
        frame = as_frame(X)
        target = self._learn_target(y, len(frame))
        columns, serving = learn_columns(frame), self._serving(families, frame)
        meta, features = self._meta_learner(frame, target, serving, columns)
        return meta.advise(features) if meta and meta.history_.configs else None

    def _meta_learner(
        self,
        frame: pd.DataFrame,
        target: np.ndarray,
        families: list[str],
        columns: Sequence[Column],
    ) -> tuple[MetaLearner | None, Mapping[str, float]]:
        """Of the pipelines among a history's configurations that this search can try; and the
        table's meta-features.
        """
        if self.history is None:
            return None, {}
        meta = self.history
        if meta in ("shipped", "experience"):
            meta = shipped_meta_learner(self._goal, self.metric_)
        elif isinstance(meta, History):
            meta = MetaLearner(seed=self.seed).fit(meta)
        names = [
            name
            for name in meta.history_.configs
            if (found := parse_pipeline(name))
            and found[0] in families
            and can_make(*found, self._goal)
        ]
        meta = MetaLearner.restore(meta.learned(), meta.history_.only(names), meta.own_)
        features = meta_features(frame, target, self._goal, columns=columns)
        if self.history == "experience":
            from quickstudy.apps.automl.meta.own_tables import own_store, with_experience

            try:
                if store := own_store():
                    serves = families.__contains__
                    meta = with_experience(meta, store, self._goal, self.metric_, features, serves)
            except QuickstudyError as error:
                warnings.warn(f"the experience store is not read: {error}", stacklevel=3)
        return meta, features

    def _learn_table(
        self, X: Any, y: Any, columns: Sequence[Column] | None = None
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """The table, read as its columns are written, and the target."""
        frame = as_frame(X)
        target = self._learn_target(y, len(frame))
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
        self.notes_ = _notes(frame, table, self.columns_, target, self._goal)
        if self._goal == "regression" and np.isnan(as_numbers(as_column(y))).any():
            self.notes_.append(f"the target is read as {number_format_of(as_column(y))}")
        if columns is None:
            for note in self.notes_:
                if note.startswith((CALLED, NUMBERED, ONLY_NUMBERED, FOLLOWS_ORDER)):
                    warnings.warn(note, stacklevel=3)
        self.meta_features_ = {}
        return table, target

    def _fit_members(self, frame: pd.DataFrame, target: np.ndarray, deadline: Deadline) -> bool:
        """Fit what has a weight, the greatest first; what the time does not suffice for loses it.

        Returns:
            Whether there was time for one at least; without, all keep their weights.
        """
        began, self.members_, late = time.monotonic(), [], []
        for entry in sorted((e for e in self.leaderboard_ if e.weight), key=lambda e: -e.weight):
            try:
                model = self._fit_member(entry, frame, target, deadline)
                self.members_.append((entry.weight, model))
            except OutOfTime:
                late.append(entry.number)
        self.fit_seconds_ = time.monotonic() - began
        if late and self.members_:
            total = sum(weight for weight, _ in self.members_)
            self.leaderboard_ = [
                replace(e, weight=0.0 if e.number in late else e.weight / total)
                for e in self.leaderboard_
            ]
            self.notes_.append(
                f"{len(late)} pipelines are left out of the ensemble, as the time budget did not "
                "suffice to fit them on all rows"
            )
        return bool(self.members_)

    def _fit_more_rows(self, frame: pd.DataFrame, target: np.ndarray, deadline: Deadline) -> None:
        """Fit the ensemble on more rows while there is time for that."""
        while (n := self.n_fitted_rows_) < len(frame):
            more = min(
                len(frame), 4 * n, int(0.7 * n * deadline.left / max(self.fit_seconds_, 1e-6))
            )
            if more < 1.5 * n:
                return
            before = self.members_, self.leaderboard_, list(self.notes_), self.fit_seconds_
            self.n_fitted_rows_ = more
            if not self._fit_members(frame, target, deadline) or self.notes_ != before[2]:
                self.members_, self.leaderboard_, self.notes_, self.fit_seconds_ = before
                self.n_fitted_rows_ = n
                return

    def _fit_member(
        self, entry: LeaderboardEntry, frame: pd.DataFrame, target: np.ndarray, deadline: Deadline
    ) -> Any:
        model = make_model(entry.family, entry.options, self._goal, self.seed, self.columns_)
        rows = self._drawn(target, self.n_fitted_rows_)
        if len(rows) < len(frame):
            frame, target = frame.iloc[rows], target[rows]
        return fit_pipeline(model, frame, target, deadline)

    def _drawn(self, target: np.ndarray, n: int) -> np.ndarray:
        """The numbers of n rows at random, with at least one of each class."""
        if n >= len(target):
            return np.arange(len(target))
        mixed = np.random.default_rng(self.seed).permutation(len(target))
        if self._goal == "classification":
            first = np.unique(target[mixed], return_index=True)[1]
            mixed = np.concatenate([mixed[first], np.delete(mixed, first)])
            n = max(n, len(first))
        return np.sort(mixed[:n])

    def _check_options(self) -> list[str]:
        if self.n_trials is None and self.time_budget is None:
            raise UsageError("expected n_trials or time_budget, got neither")
        if self.n_trials is not None and self.n_trials < 1:
            raise UsageError(f"expected n_trials >= 1, got {self.n_trials}")
        if self.time_budget is not None and not self.time_budget > 0:
            raise UsageError(f"expected time_budget > 0 seconds, got {self.time_budget}")
        if not (
            self.history in (None, "shipped", "experience")
            or isinstance(self.history, History | MetaLearner)
        ):
            raise UsageError(
                "expected history to be 'shipped', 'experience', None or a History, got "
                f"{self.history!r}"
            )
        if self.history == "experience":
            require("sqlalchemy", "experience")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"expected a seed from 0 to 2**32 - 1, got {self.seed}")
        if self.n_folds < 2:
            raise UsageError(f"expected n_folds >= 2, got {self.n_folds}")
        self.metric_ = self.metric or next(iter(self._metrics))
        if self.metric_ not in self._metrics:
            raise unknown("metric", self.metric_, self._metrics)
        families = list(FAMILIES if self.families is None else self.families)
        for family in families:
            if family not in FAMILIES:
                raise unknown("family", family, FAMILIES)
        return families

    def _learn_target(self, y: Any, n_rows: int) -> np.ndarray:
        """The target as numbers, after it was checked."""
        column = as_column(y)
        if len(column) != n_rows:
            raise DataError(f"expected a target for each of {n_rows} rows, got {len(column)}")
        if n_missing := int(column.isna().sum()):
            raise DataError(
                f"expected a target in each row, got none in {n_missing}: leave these out"
            )
        target = self._as_target(column)
        if (target == target[0]).all():
            raise DataError(f"expected a target that varies, got {column[0]!r} in all rows")
        return target

    @abstractmethod
    def _as_target(self, column: pd.Series) -> np.ndarray:
        """The target as numbers."""

    def _splits(self, target: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        n_folds = min(self.n_folds, len(target) // 2)  # R² needs two rows
        shuffled: dict[str, Any] = {"shuffle": True, "random_state": self.seed}
        if self._goal == "regression":
            if n_folds < 2:
                raise DataError(f"expected 4 rows at least, got {len(target)}")
            return list(KFold(n_folds, **shuffled).split(target))
        most = int(np.bincount(target).max())
        if most < 2:
            raise DataError(f"expected two rows of a class at least, got {len(target)} classes")
        n_folds = min(self.n_folds, most)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of rare classes, which notes_ mentions
            return list(StratifiedKFold(n_folds, **shuffled).split(target, target))

    def _serving(self, families: list[str], frame: Any) -> list[str]:
        """The families that can learn from such a table."""
        n_classes = self._n_outputs if self._goal == "classification" else None
        return [f for f in families if FAMILIES[f].serves(*frame.shape, n_classes)]

    def _search(
        self,
        frame: pd.DataFrame,
        target: np.ndarray,
        families: list[str],
        deadline: Deadline,
        told: Told | None,
        checkpoint: Callable[[Self], None] | None,
    ) -> None:
        """Try pipelines until what is left of the time is needed to fit the ensemble."""
        quick = next((name for name in QUICK if name in families), families[0])
        self.n_fitted_rows_, room = len(frame), REFIT_SHARE * max(deadline.left, 0.0)
        self.rows_ = self._drawn(target, self._affordable_rows(frame, target, quick, deadline))
        is_part = len(self.rows_) < len(frame)
        study = self._study(frame, target, families, quick if is_part else None)
        if is_part:
            self.notes_.append(
                f"pipelines were tried on {len(self.rows_)} of {len(frame)} rows, as the time "
                "budget does not suffice for all"
            )
            frame, target = frame.iloc[self.rows_], target[self.rows_]
        stages = _stages(self._splits(target), self.seed, timed=deadline.is_finite)
        search = _Search(target, self._metrics[self.metric_], stages, room, self.n_fitted_rows_)
        total = max(1, math.ceil(deadline.left)) if deadline.is_finite else self.n_trials
        needs_quick = is_part
        with Progress("searching" if deadline.is_finite else "trying pipelines", total) as progress:
            while needs_quick or len(search.entries) < (self.n_trials or math.inf):
                ends = deadline.before(1.3 * search.refit_seconds)
                most = len(families) * (1 + needs_quick)  # another process may take the quick one
                if ends.passed and (search.done or len(search.entries) >= most):
                    break
                limit = ends if search.done else ends.share(FIRST_SHARE)
                unlimited = quick if needs_quick or not search.done else None
                entry, *found = self._try(study, frame, families, search, limit, unlimited)
                search.add(entry, *found)
                needs_quick &= entry.family != quick and not search.done
                if entry.is_pruned and not search.done and not needs_quick:
                    needs_quick = True
                    _enqueue_quick(study, quick)
                if told:
                    told(entry)
                best = max(search.entries, key=lambda e: e.mean)
                note = "" if best.failure else f"best {self.metric_} {best.mean:.4g}"
                note = f"{len(search.entries)} pipelines, {note}".rstrip(", ")
                if deadline.is_finite:
                    progress.done = min(round(progress.elapsed), total or 0)
                    progress.update(note)
                else:
                    progress.advance(note=note)
                if search.improved and search.is_cheap_to_combine:
                    self._take(search)
                    if checkpoint:
                        checkpoint(self)
        if not search.done:
            first = search.entries[0]
            raise RunError(f"all pipelines failed, the first ({first.family}) by {first.failure}")
        self._take(search)

    def _take(self, search: _Search) -> None:
        """Set what is known of the ensemble so far."""
        entries, self.n_fitted_rows_ = search.combine()
        self.leaderboard_ = _ranked(entries)
        weighed = [
            (e.weight, p) for e, p in zip(entries, search.predictions, strict=True) if e.weight
        ]
        self.out_of_fold_ = np.sum([weight * p for weight, p in weighed], axis=0)
        self.out_of_fold_score_ = search.metric(search.target, self.out_of_fold_)

    def _affordable_rows(
        self, frame: pd.DataFrame, target: np.ndarray, family: str, deadline: Deadline
    ) -> int:
        """Rows on which the default of a quick family goes through all folds in a share of the
        time, by how long it takes on few rows.
        """
        n, times = len(frame), []
        if not deadline.is_finite or n <= PROBED[-1]:
            return n
        for size in (WARM_UP, *PROBED):
            if times and forecast(times, size) > PROBE_SHARE * deadline.left:
                break
            rows, began = self._drawn(target, size), time.monotonic()
            model = make_model(
                family, FAMILIES[family].default, self._goal, self.seed, self.columns_
            )
            fit_pipeline(model, frame.iloc[rows], target[rows], Deadline(None))
            if size != WARM_UP:
                times.append((size, time.monotonic() - began))
        allowed, learned = QUICK_SHARE * max(deadline.left, 0.0), 1 - 1 / self.n_folds
        while n > FEWEST_TRIED and self.n_folds * forecast(times, int(learned * n)) > allowed:
            n = max(int(0.8 * n), FEWEST_TRIED)
        return n

    def _try(
        self,
        study: optuna.Study,
        frame: pd.DataFrame,
        families: list[str],
        search: _Search,
        limit: Deadline,
        unlimited: str | None,
    ) -> tuple[LeaderboardEntry, np.ndarray, list[tuple[int, float]]]:
        """A pipeline that the study chooses, on more and more rows; with its predictions, and the
        rows and seconds of each fit. One family may have no limit, so that something is found.
        """
        trial = study.ask()
        try:
            family, options = suggest_options(trial, families)
        except ValueError as error:  # of Optuna, whose ranges never change
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise UsageError(
                f"the study {self.study_name!r} chose among other families, as for a table of "
                f"another size: name another ({error})"
            ) from error
        target, stages, growth = search.target, search.stages, FAMILIES[family].growth
        limit = Deadline(None) if family == unlimited else limit
        began, scores, failure, done = time.monotonic(), [], None, 0
        times: list[tuple[int, float]] = []
        predictions = np.zeros((len(frame), self._n_outputs))
        try:
            for done, stage in enumerate(stages):
                started = time.monotonic()
                if trial.should_prune():
                    failure = f"pruned after {_so_far(stages[:done])}"
                    break
                ahead = stages[done:] if len(times) > 1 else stages[done : done + 1]
                needed = [forecast(times, len(s.learned), growth) for s in ahead if times]
                if sum(needed) > limit.left:
                    raise OutOfTime
                model = make_model(family, options, self._goal, self.seed, self.columns_)
                fit_pipeline(model, frame.iloc[stage.learned], target[stage.learned], limit)
                rows = frame.iloc[stage.predicted]
                predictions[stage.predicted] = self._predictions(model, rows, limit)
                times.append((len(stage.learned), time.monotonic() - started))
                if stage.is_judged:
                    part = self._shaped(predictions[stage.predicted])
                    score = search.metric(target[stage.predicted], part)
                    if not math.isfinite(score):
                        raise ValueError(f"a {self.metric_} that is not finite")
                    scores += [score] if stage.is_fold else []
                    number = sum(other.is_judged for other in stages[:done])
                    trial.report(float(np.mean(scores)) if stage.is_fold else score, number)
        except OutOfTime:
            failure = f"out of time after {_so_far(stages[:done])}"
        except Exception as error:  # whatever a library raises is this pipeline's failure
            failure = f"{type(error).__name__}: {error}".partition("\n")[0]
        states, is_ended = (
            optuna.trial.TrialState,
            failure is not None and failure.startswith(ENDED),
        )
        if failure is None:
            ended = study.tell(trial, float(np.mean(scores)))
        else:
            ended = study.tell(trial, state=states.PRUNED if is_ended else states.FAIL)
        entry = LeaderboardEntry(
            family,
            options,
            scores,
            time.monotonic() - began,
            failure=failure,
            number=len(search.entries),
            reasons=ended.user_attrs.get("reasons", [TPE]),
        )
        return entry, self._shaped(predictions), times

    def _study(
        self, frame: pd.DataFrame, target: np.ndarray, families: list[str], first: str | None
    ) -> optuna.Study:
        """A study that begins with what other tables advise, or, without any, with each family's
        default; a stored one of this table goes on. Before all comes the default of `first`.
        """
        meta, features = self._meta_learner(frame, target, families, self.columns_)
        self.meta_features_ = dict(features)
        sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=self.seed)
        is_advised = False
        if meta is not None and meta.history_.datasets and meta.chosen_ != "random":
            is_advised = True
            pipelines = {name: parse_pipeline(name) for name in meta.history_.configs}
            params = {name: as_parameters(*found) for name, found in pipelines.items() if found}
            sampler = MetaSampler(meta, params, features, seed=self.seed)
        told = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(
                storage=self.storage,
                study_name=self.study_name,
                load_if_exists=self.study_name is not None,
                direction="maximize",
                sampler=sampler,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
            )
        except Exception as error:  # each database has errors of its own
            reason = hide_passwords(str(error).partition("\n")[0])
            raise UsageError(
                f"the storage cannot be opened ({reason}): give a URL such as sqlite:///search.db"
            ) from error
        finally:
            optuna.logging.set_verbosity(told)
        if first:
            _enqueue_quick(study, first)
        for family in () if is_advised else families:
            fixed = as_parameters(family, FAMILIES[family].default)
            reasons = ["the default of its family"]
            study.enqueue_trial(fixed, user_attrs={"reasons": reasons}, skip_if_exists=True)
        return study

    @property
    def _n_outputs(self) -> int:
        return 1

    def _predictions(self, model: Any, frame: pd.DataFrame, deadline: Deadline) -> np.ndarray:
        """Of shape (n, n_outputs)."""
        return predict_in_parts(
            lambda x: self._predicted(model[-1], x), model[:-1].transform(frame), deadline
        )

    @abstractmethod
    def _predicted(self, model: Any, x: np.ndarray) -> np.ndarray:
        """What a pipeline's last step makes of encoded rows, of shape (n, n_outputs)."""

    def _shaped(self, predictions: np.ndarray) -> np.ndarray:
        """As metrics take them."""
        return predictions

    def _ensemble(self, X: Any) -> np.ndarray:
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
        total = sum(weight for weight, _ in self.members_)
        ends = Deadline(None)
        parts = [w * self._predictions(model, table, ends) for w, model in self.members_]
        mean = self._shaped(np.sum(parts, axis=0) / total)
        if not np.isfinite(mean).all():
            raise RunError(
                "expected finite predictions, got others: fit again, or look for extreme values in "
                "the table"
            )
        return mean


class AutoMLClassifier(ClassifierMixin, _AutoML):
    """Finds good pipelines for a raw table of classes, and averages the best.

    First it tries what results on other tables advise (`MetaSampler`), or without such results each
    family's default; then what Optuna's TPE suggests; all on the same folds.
    The end is a greedy ensemble (R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: "Ensemble
    selection from libraries of models", ICML 2004) by the predictions for rows left out. All that a
    pipeline learns of a column, it learns inside the fold.

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
            configurations are named by `pipeline_name`, a meta-learner fitted to one, or None.
        seed: Of folds, models and search.

    Attributes:
        classes_: The labels, in the order of probabilities.
        leaderboard_: A `LeaderboardEntry` a trial, the best first.
        members_: The ensemble: weights and fitted pipelines.
        rows_: Numbers of the rows that pipelines were tried on, of shape (n_tried,).
        out_of_fold_: Its predictions for these rows by what did not learn from them, of shape
            (n_tried,), or (n_tried, n_classes) for probabilities. Its weights were chosen by them.
        out_of_fold_score_: Of these, which is a little too good for it.
        kinds_: What each column holds.
        columns_: The same, with the formats by which cells are read.
        n_fitted_rows_: Rows that the ensemble learned from.
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

    _goal: Goal = "classification"
    _metrics = CLASSIFICATION_METRICS

    def _as_target(self, column: pd.Series) -> np.ndarray:
        texts = column.infer_objects()
        if pd.api.types.infer_dtype(column) in ("mixed", "mixed-integer"):
            texts = column.astype(str)
        if pd.api.types.is_float_dtype(texts) and not np.isfinite(texts).all():
            raise DataError("expected labels, got an infinite number as target")
        self.classes_, target = np.unique(texts.to_numpy(), return_inverse=True)
        if len(self.classes_) > max(2, len(column) // 2):
            is_number = not np.isnan(as_numbers(column)).any()
            raise DataError(
                f"expected classes with several rows each, got {len(self.classes_)} classes in "
                f"{len(column)} rows: "
                + (
                    "for a target of numbers, use AutoMLRegressor (--goal regression)"
                    if is_number
                    else "texts, names and dates cannot be predicted, name another column"
                )
            )
        return target

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _predicted(self, model: Any, x: np.ndarray) -> np.ndarray:
        return class_probabilities(model, x, len(self.classes_))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`, shape (n, n_classes)."""
        return self._ensemble(X)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        return self.classes_[self._ensemble(X).argmax(1)]


class AutoMLRegressor(RegressorMixin, _AutoML):
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

    _goal: Goal = "regression"
    _metrics = REGRESSION_METRICS

    def _as_target(self, column: pd.Series) -> np.ndarray:
        target = as_target_numbers(column)
        if (strange := np.isnan(target)).any():
            raise DataError(
                f"expected finite numbers as target, got {column[int(strange.argmax())]!r} in "
                f"{strange.sum()} of {len(column)} rows: leave these out, or, for labels, use "
                "AutoMLClassifier"
            )
        if (most := float(np.abs(target).max())) > HUGE:
            raise DataError(
                f"expected a target of {HUGE:g} at most, got {most:g}: scale it, or take its "
                "logarithm"
            )
        return target

    def _predicted(self, model: Any, x: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(x), dtype=np.float64)[:, None]

    def _shaped(self, predictions: np.ndarray) -> np.ndarray:
        return predictions[:, 0]

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each row, shape (n,)."""
        return self._ensemble(X)


def class_probabilities(model: Any, rows: Any, n_classes: int) -> np.ndarray:
    """Probabilities of classes numbered from 0, shape (n, n_classes), 0 for those not fitted."""
    if hasattr(model, "predict_proba"):
        known = model.predict_proba(rows)
    else:
        margins = model.decision_function(rows)
        margins = margins if margins.ndim == 2 else np.column_stack([-margins, margins])
        known = softmax(margins, axis=1)
    probabilities = np.zeros((len(known), n_classes))
    probabilities[:, model.classes_] = known
    return probabilities


@dataclass(frozen=True)
class _Stage:
    """A fit of a pipeline on a part of the rows.

    Args:
        learned, predicted: Numbers of rows.
        is_fold: Of the cross-validation, so its score counts.
        is_judged: Whether the pipeline may be pruned after it; else it is for its time alone.
    """

    learned: np.ndarray
    predicted: np.ndarray
    is_fold: bool = True
    is_judged: bool = True


def _stages(
    splits: list[tuple[np.ndarray, np.ndarray]], seed: int, *, timed: bool = False
) -> list[_Stage]:
    """From little work to much: the first fold from a ninth and a third of its rows, where these
    are many enough, then all folds.

    If they are to be timed, many rows begin with few, which tell how long more will take.
    """
    learned, predicted = splits[0]
    shuffled = np.random.default_rng(seed).permutation(learned)
    sizes = [n for part in PARTS if (n := round(part * len(learned))) >= LEAST_ROWS]
    parts = [_Stage(np.sort(shuffled[:n]), predicted, is_fold=False) for n in sizes]
    if timed and len(learned) >= 4 * LEAST_ROWS:
        few = np.sort(shuffled[:LEAST_ROWS])
        parts.insert(0, _Stage(few, predicted[:LEAST_ROWS], is_fold=False, is_judged=False))
    return [*parts, *(_Stage(*split) for split in splits)]


def _so_far(stages: list[_Stage]) -> str:
    if not stages:
        return "no fit"
    folds = sum(stage.is_fold for stage in stages)
    return f"{folds} fold{'s' * (folds > 1)}" if folds else f"{len(stages[-1].learned)} rows"


def _enqueue_quick(study: optuna.Study, family: str) -> None:
    """Let the default of a family be tried next, or after what is in the queue already."""
    reasons = {"reasons": ["quick, so that one is finished in time"]}
    study.enqueue_trial(as_parameters(family, FAMILIES[family].default), user_attrs=reasons)


def _ranked(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    return sorted(entries, key=lambda entry: -entry.mean)


def _alone(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    """The entries, of which the one of greatest weight takes all of it."""
    first = max(entries, key=lambda entry: entry.weight)
    return [replace(entry, weight=float(entry is first)) for entry in entries]


class _Search:
    """What was tried, and the ensemble of it that can be fitted in the time for that.

    Args:
        target: Of the rows that pipelines are tried on.
        metric: From target and predictions to a score.
        stages: Of each pipeline.
        room: Seconds to fit the ensemble in.
        n_rows: To fit it on.
    """

    def __init__(
        self, target: np.ndarray, metric: Metric, stages: list[_Stage], room: float, n_rows: int
    ) -> None:
        self.target, self.metric, self.stages = target, metric, stages
        self.entries: list[LeaderboardEntry] = []
        self.predictions: list[np.ndarray] = []
        self.done: list[int] = []
        self._times: list[list[tuple[int, float]]] = []
        self.improved = False
        self.refit_seconds = 0.0
        self._room, self._n_rows = room, n_rows
        self._combined_at, self._combining = -math.inf, 0.0
        self._judged = np.arange(len(target))
        if len(target) > MOST_WEIGHED:
            self._judged = np.random.default_rng(0).choice(len(target), MOST_WEIGHED, replace=False)

    def add(
        self, entry: LeaderboardEntry, predictions: np.ndarray, times: list[tuple[int, float]]
    ) -> None:
        """Take in a pipeline with its predictions for rows left out, and what its fits took."""
        if entry.failure is None:
            self.done.append(len(self.entries))
            self.improved = True
        self.entries.append(entry)
        self.predictions.append(predictions)
        self._times.append(times)

    @property
    def is_cheap_to_combine(self) -> bool:
        """Whether it takes at most a twentieth of the time."""
        return time.monotonic() - self._combined_at >= 20 * self._combining

    def combine(self) -> tuple[list[LeaderboardEntry], int]:
        """The entries with their weights in the ensemble, and the rows to fit it on."""
        began, self.improved = time.monotonic(), False
        parts = [self.predictions[i][self._judged] for i in self.done]
        found = _greedy_ensemble(parts, self.target[self._judged], self.metric)
        weights = {i: w for i, w in zip(self.done, found, strict=True) if w}
        tried, n_rows = len(self.target), self._n_rows
        while len(weights) > 1 and self._seconds(weights, tried) > self._room:
            weights.pop(
                min(weights, key=lambda i: weights[i] / max(self._seconds([i], tried), 1e-9))
            )
        while n_rows > tried and self._seconds(weights, n_rows) > self._room:
            n_rows = max(int(0.8 * n_rows), tried)
        total, self.refit_seconds = sum(weights.values()), self._seconds(weights, n_rows)
        entries = [
            replace(e, weight=weights.get(i, 0.0) / total) for i, e in enumerate(self.entries)
        ]
        self._combined_at = time.monotonic()
        self._combining = self._combined_at - began
        return entries, n_rows

    def _seconds(self, numbers: Iterable[int], n_rows: int) -> float:
        """What fitting these pipelines on so many rows will take."""
        growths = {i: FAMILIES[self.entries[i].family].growth for i in numbers}
        return sum(forecast(self._times[i], n_rows, growth) for i, growth in growths.items())


def _greedy_ensemble(
    predictions: list[np.ndarray], target: np.ndarray, metric: Metric
) -> list[float]:
    """Weights of models: each round adds the one that makes the mean best, with repetition."""
    total = np.zeros_like(predictions[0])
    counts, best, best_counts = [0] * len(predictions), -math.inf, []
    for size in range(1, ENSEMBLE_ROUNDS + 1):
        scores = [metric(target, (total + p) / size) for p in predictions]
        new = int(np.argmax(scores))
        counts[new] += 1
        total = total + predictions[new]
        if scores[new] > best:
            best, best_counts = scores[new], list(counts)
    return [count / sum(best_counts) for count in best_counts]


def _notes(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    columns: Sequence[Column],
    target: np.ndarray,
    goal: Goal,
) -> list[str]:
    """What of a table deserves attention, before and after it was read."""
    notes = column_notes(frame, table, columns)
    numbers = [column.name for column in columns if column.kind == "number"]
    categories = [column.name for column in columns if column.kind == "category"]
    if huge := [name for name in numbers if (np.abs(table[name]) > HUGE).any()]:
        notes.append(f"numbers beyond {HUGE:g} count as that: {', '.join(huge)}")
    if mixed := [name for name in categories if _is_mixed(table[name])]:
        notes.append(f"numbers among other values, all taken as categories: {', '.join(mixed)}")
    if many := [name for name in categories if table[name].nunique() > 1000]:
        notes.append(f"more than 1000 categories, by the target's mean: {', '.join(many)}")
    if goal == "classification" and (rare := int((np.bincount(target) == 1).sum())):
        notes.append(f"{rare} classes have a single row, which no fold can both learn and test")
    if ordered := _ordered(table, columns, target, goal):
        notes.append(f"{FOLLOWS_ORDER}: {', '.join(ordered)}")
    return notes


def _ordered(
    table: pd.DataFrame, columns: Sequence[Column], target: np.ndarray, goal: Goal
) -> list[str]:
    """Columns of numbers and dates that rise or fall with the rows of a table, if the target of a
    row is told by that of the row before.
    """
    n = len(target)
    if n < FEWEST_IDS or not _follows_rows(target, goal):
        return []
    found = []
    for column in columns:
        if column.kind not in ("number", "date"):
            continue
        values = as_numbers(table[column.name])
        known = ~np.isnan(values)
        if known.sum() < FEWEST_IDS or len(np.unique(values[known])) < MOST_DIFFERENT * known.sum():
            continue
        ranks, rows = rankdata(values[known]), np.flatnonzero(known)
        if abs(np.corrcoef(ranks, rows)[0, 1]) >= ORDERED:
            found.append(column.name)
    return found


def _follows_rows(target: np.ndarray, goal: Goal) -> bool:
    n = len(target) - 1
    if goal == "regression":
        told = float(np.corrcoef(rankdata(target[1:]), rankdata(target[:-1]))[0, 1])
        return told > ORDER_TOLD and told * math.sqrt(n) > SIGMAS
    chance = float(((np.bincount(target) / len(target)) ** 2).sum())
    told = (float((target[1:] == target[:-1]).mean()) - chance) / (1 - chance)
    return told > ORDER_TOLD and told * (1 - chance) * math.sqrt(n / chance / (1 - chance)) > SIGMAS


def _is_mixed(column: pd.Series) -> bool:
    """Whether some categories are numbers, and others not."""
    missing = np.isnan(as_numbers(pd.Series(column.dropna().unique())))
    return bool(missing.any() and not missing.all())
