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
from collections.abc import Callable, Mapping, Sequence
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
from threadpoolctl import threadpool_limits

from quickstudy.apps.automl.advisors import Advisor
from quickstudy.apps.automl.columns import (
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
from quickstudy.apps.automl.history import History
from quickstudy.apps.automl.knowledge import parse_pipeline, shipped_meta_learner
from quickstudy.apps.automl.meta import MetaLearner
from quickstudy.apps.automl.metafeatures import Goal, meta_features
from quickstudy.apps.automl.pipelines import (
    FAMILIES,
    HUGE,
    as_parameters,
    can_make,
    make_model,
    suggest_options,
)
from quickstudy.apps.automl.sampler import MetaSampler
from quickstudy.errors import (
    DataError,
    QuickstudyError,
    RunError,
    UsageError,
    hide_passwords,
    require,
    unknown,
)

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
        return self.failure is not None and self.failure.startswith(("pruned", "out of time"))

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

    def fit(self, X: Any, y: Any, *, told: Told | None = None) -> Self:
        """Search, and fit the ensemble of what was best on all rows.

        Args:
            X: A data frame or array of n rows; strings, dates, texts, missing and infinite values
                may be in it.
            y: The target, of shape (n,).
            told: Is told of each pipeline as it ends, such as what `remember_automl` returns.

        Raises:
            UsageError: If an option cannot be used as given.
            DataError: If the table or target cannot serve.
            RunError: If all pipelines failed.
        """
        families = self._check_options()
        frame, target = self._learn_table(X, y)
        families = self._serving(families, frame)
        if not families:
            raise UsageError(
                f"expected a family for {self._goal} that can learn from a table of "
                f"{len(frame)} rows and {frame.shape[1]} columns, got none"
            )
        entries, predictions = self._search(frame, target, self._splits(target), families, told)
        done = [i for i, entry in enumerate(entries) if entry.failure is None]
        weights = _greedy_ensemble(
            [predictions[i] for i in done], target, self._metrics[self.metric_]
        )
        for i, weight in zip(done, weights, strict=True):
            entries[i] = replace(entries[i], weight=weight)
        chosen = [predictions[i] * entries[i].weight for i in done if entries[i].weight]
        self.out_of_fold_ = np.sum(chosen, axis=0)
        self.out_of_fold_score_ = self._metrics[self.metric_](target, self.out_of_fold_)
        self._fit_members(entries, frame, target)
        return self

    def refit(
        self,
        X: Any,
        y: Any,
        leaderboard: Sequence[LeaderboardEntry],
        columns: Sequence[Column] | None = None,
    ) -> Self:
        """Fit an ensemble that was found before, without a search.

        Args:
            X, y: As in `fit`.
            leaderboard: Of the estimator that found it.
            columns: What the columns hold and how they are read, `columns_` of that estimator;
                None to learn it from these rows.

        Raises:
            UsageError: If an option cannot be used as given, or no entry has a weight.
            DataError: If the table or target cannot serve.
        """
        self._check_options()
        if not any(entry.weight for entry in leaderboard):
            raise UsageError("expected an entry of the leaderboard with a weight, got none")
        self._fit_members(leaderboard, *self._learn_table(X, y, columns))
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
            from quickstudy.apps.automl.own import own_store, with_experience

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

    def _fit_members(
        self, entries: Sequence[LeaderboardEntry], frame: pd.DataFrame, target: np.ndarray
    ) -> None:
        self.leaderboard_ = sorted(entries, key=lambda entry: -entry.mean)
        self.members_ = []
        for entry in self.leaderboard_:
            if entry.weight:
                model = make_model(
                    entry.family, entry.options, self._goal, self.seed, self.columns_
                )
                self.members_.append((entry.weight, _fitted(model, frame, target)))

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
        splits: list[tuple[np.ndarray, np.ndarray]],
        families: list[str],
        told: Told | None,
    ) -> tuple[list[LeaderboardEntry], list[np.ndarray]]:
        """Try pipelines until the budget is spent; with predictions for rows left out."""
        ends = math.inf if self.time_budget is None else time.monotonic() + self.time_budget
        study = self._study(frame, target, families)
        metric = self._metrics[self.metric_]
        stages = _stages(splits, self.seed)
        entries: list[LeaderboardEntry] = []
        everything: list[np.ndarray] = []
        found = False
        while len(entries) < (self.n_trials or math.inf):
            if time.monotonic() >= ends and (found or len(entries) >= len(families)):
                break
            trial = study.ask()
            try:
                family, options = suggest_options(trial, families)
            except ValueError as error:  # of Optuna, whose ranges never change
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise UsageError(
                    f"the study {self.study_name!r} chose among other families, as for a table of "
                    f"another size: name another ({error})"
                ) from error
            began, scores, failure = time.monotonic(), [], None
            predictions = np.zeros((len(frame), self._n_outputs))
            try:
                for step, (shown, asked, is_fold) in enumerate(stages):
                    if step and trial.should_prune():
                        failure = f"pruned after {_so_far(stages[:step])}"
                    elif step and found and time.monotonic() >= ends:
                        failure = f"out of time after {_so_far(stages[:step])}"
                    if failure:
                        break
                    model = make_model(family, options, self._goal, self.seed, self.columns_)
                    _fitted(model, frame.iloc[shown], target[shown])
                    predictions[asked] = self._predictions(model, frame.iloc[asked])
                    score = metric(target[asked], self._shaped(predictions[asked]))
                    if is_fold:
                        scores.append(score)
                    trial.report(float(np.mean(scores)) if is_fold else score, step)
            except Exception as error:  # whatever a library raises is this pipeline's failure
                failure = f"{type(error).__name__}: {error}".partition("\n")[0]
                ended = study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                state = optuna.trial.TrialState.PRUNED if failure else None
                score = None if failure else float(np.mean(scores))
                ended = study.tell(trial, score, state=state)
            found = found or failure is None
            seconds = time.monotonic() - began
            entries.append(
                LeaderboardEntry(
                    family,
                    options,
                    scores,
                    seconds,
                    failure=failure,
                    number=len(entries),
                    reasons=ended.user_attrs.get("reasons", [TPE]),
                )
            )
            if told:
                told(entries[-1])
            everything.append(self._shaped(predictions))
        if not found:
            first = entries[0]
            raise RunError(f"all pipelines failed, the first ({first.family}) by {first.failure}")
        return entries, everything

    def _study(self, frame: pd.DataFrame, target: np.ndarray, families: list[str]) -> optuna.Study:
        """A study that begins with what other tables advise, or, without any, with each family's
        default; a stored one of this table goes on.
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
        for family in () if is_advised else families:
            fixed = as_parameters(family, FAMILIES[family].default)
            reasons = ["the default of its family"]
            study.enqueue_trial(fixed, user_attrs={"reasons": reasons}, skip_if_exists=True)
        return study

    @property
    def _n_outputs(self) -> int:
        return 1

    @abstractmethod
    def _predictions(self, model: Any, frame: pd.DataFrame) -> np.ndarray:
        """Of shape (n, n_outputs)."""

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
        parts = [w * self._predictions(model, table) for w, model in self.members_]
        return self._shaped(np.sum(parts, axis=0) / total)


class AutoMLClassifier(ClassifierMixin, _AutoML):
    """Finds good pipelines for a raw table of classes, and averages the best.

    First it tries what results on other tables advise (`MetaSampler`), or without such results each
    family's default; then what Optuna's TPE suggests; all on the same folds.
    The end is a greedy ensemble (R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes: "Ensemble
    selection from libraries of models", ICML 2004) by the predictions for rows left out. All that a
    pipeline learns of a column, it learns inside the fold.

    Args:
        n_trials: Pipelines to try; None for no limit.
        time_budget: Seconds to search for; None for no limit. The fitting under way is not cut
            short, the ensemble is fitted after it, and one pipeline at least is finished.
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
        out_of_fold_: Its predictions for the rows of each fold by what did not learn from them;
            probabilities for classes. Its weights were chosen by them.
        out_of_fold_score_: Of these, which is a little too good for it.
        kinds_: What each column holds.
        columns_: The same, with the formats by which cells are read.
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

    def _predictions(self, model: Any, frame: pd.DataFrame) -> np.ndarray:
        return class_probabilities(model, frame, len(self.classes_))

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

    def _predictions(self, model: Any, frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(model.predict(frame), dtype=np.float64)[:, None]

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


def _fitted(model: Any, frame: pd.DataFrame, target: np.ndarray) -> Any:
    """A model after fitting, without the warnings of a search, as of steps that were too few.

    On one core: products of small matrices are slower on more (a Gaussian process of 142 rows took
    six times as long on two), and a search is spread by processes.
    """
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return model.fit(frame, target)


def _stages(
    splits: list[tuple[np.ndarray, np.ndarray]], seed: int
) -> list[tuple[np.ndarray, np.ndarray, bool]]:
    """Rows to learn from, rows to predict and whether it is a fold, from little work to much: the
    first fold from a ninth and a third of its rows, where these are many enough, then all folds.
    """
    shown, asked = splits[0]
    shuffled = np.random.default_rng(seed).permutation(shown)
    sizes = [n for part in PARTS if (n := round(part * len(shown))) >= LEAST_ROWS]
    parts = [(np.sort(shuffled[:n]), asked, False) for n in sizes]
    return [*parts, *((shown, asked, True) for shown, asked in splits)]


def _so_far(stages: list[tuple[np.ndarray, np.ndarray, bool]]) -> str:
    folds = sum(is_fold for *_, is_fold in stages)
    return f"{folds} fold{'s' * (folds > 1)}" if folds else f"{len(stages[-1][0])} rows"


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
