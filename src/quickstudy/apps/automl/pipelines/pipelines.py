"""What AutoML searches: named models with their hyperparameters, behind an encoder of raw tables.

Needs pandas, scikit-learn, Optuna and LightGBM, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier
from quickstudy.apps.automl.tables.columns import (
    Column,
    as_frame,
    as_numbers,
    learn_columns,
    match_columns,
    read_columns,
)
from quickstudy.apps.automl.tables.meta_features import Goal, shares_of_information
from quickstudy.errors import UsageError, require, unknown

for _package in ("sklearn", "optuna", "lightgbm"):
    require(_package, "automl")

import pandas as pd  # noqa: E402
from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: E402
from optuna import Trial  # noqa: E402
from optuna.distributions import (  # noqa: E402
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import TruncatedSVD  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.feature_selection import SelectKBest, f_classif, f_regression  # noqa: E402
from sklearn.gaussian_process import (  # noqa: E402
    GaussianProcessClassifier,
    GaussianProcessRegressor,
)
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import Lasso, LogisticRegression, Ridge  # noqa: E402
from sklearn.model_selection import KFold  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    OneHotEncoder,
    TargetEncoder,
)
from sklearn.svm import SVC, SVR, LinearSVC  # noqa: E402

__all__ = [
    "FAMILIES",
    "PREPARATION",
    "ColumnSelector",
    "Family",
    "TableEncoder",
    "as_parameters",
    "can_make",
    "make_model",
    "suggest_options",
]

FEW_LEVELS = 15
"""Categories of up to so many levels get a column a level, others the target's mean."""

RARE = 0.01
"""Share of rows below which a level counts as one of the rare ones."""

HUGE = 1e30
"""Numbers beyond it count as that, since trees take 32 bits."""

MOST_PAIRED, MOST_BUILT = 10, 10
"""Numbers of which pairs are tried, and pairs that are kept."""

MOST_JUDGED = 2000
"""Rows that decide what a column tells of the target."""


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turns a raw table into numbers; all that it knows, it learns in `fit`.

    Numbers and dates are filled with the median, with a column that says where. Dates become days,
    month, weekday and hour. Categories of few levels get a column a level, rare levels one
    together; those of many, the mean of the target, fitted across folds. Texts become 20 directions
    of their TF-IDF. Identifiers and columns with nothing in them are left out.

    Args:
        goal: "classification" or "regression".
        scaled: Bring each column to zero mean and unit variance, and cut it off at 10 deviations.
        construct: "products" adds products of two numbers' deviations from their means, "ratios"
            one number over another: the 10 that tell most of the target (by ANOVA) among all pairs
            of the 10 numbers that do. "none" adds nothing.
        columns: What the columns hold and how they are read (`learn_columns`); None to learn it
            from the rows that are fitted.

    Attributes:
        columns_: What each column holds, and how it is read.

    Example:
        >>> table = [[1.0, "red"], [None, "blue"], [3.0, "red"]]
        >>> TableEncoder("classification").fit_transform(table, [0, 1, 0]).tolist()
        [[1.0, 0.0, 0.0, 1.0], [2.0, 1.0, 1.0, 0.0], [3.0, 0.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        goal: Goal,
        *,
        scaled: bool = False,
        construct: str = "none",
        columns: Sequence[Column] | None = None,
    ) -> None:
        self.goal = goal
        self.scaled = scaled
        self.construct = construct
        self.columns = columns

    def fit(self, X: Any, y: Any) -> Self:
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None, **_: Any) -> np.ndarray:
        frame = as_frame(X)
        self.columns_ = learn_columns(frame) if self.columns is None else tuple(self.columns)
        frame = read_columns(frame, self.columns_)

        def named(kind: str) -> list[str]:
            return [column.name for column in self.columns_ if column.kind == kind]

        levels = {name: frame[name].nunique() for name in named("category")}

        fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        few = [name for name in named("category") if levels[name] <= FEW_LEVELS]
        many = [name for name in named("category") if levels[name] > FEW_LEVELS]
        one_hot = OneHotEncoder(
            min_frequency=RARE, handle_unknown="infrequent_if_exist", sparse_output=False
        )
        target_type = "auto" if self.goal == "classification" else "continuous"
        mean_of_target = TargetEncoder(
            target_type=target_type, cv=KFold(5, shuffle=True, random_state=0)
        )
        parts: list[tuple[str, Any, Any]] = [
            ("numbers", _after(_numbers, fill), named("number")),
            ("dates", _after(_date_parts, fill), named("date")),
            ("few levels", _after(_levels, one_hot), few),
            ("many levels", _after(_levels, mean_of_target), many),
            *((f"text {name}", _TextEncoder(), [name]) for name in named("text")),
        ]
        self._parts = ColumnTransformer([p for p in parts if p[2]], sparse_threshold=0)
        x = self._parts.fit_transform(frame, y) if any(p[2] for p in parts) else None
        if x is None:  # nothing to learn from: a constant
            self._parts = None
            return np.zeros((len(frame), 1))
        x = np.asarray(x, dtype=np.float64)
        self._centre = x.mean(0)
        self._pairs = self._best_pairs(x[:, : len(named("number"))], y)
        x = self._constructed(x)
        self._mean, width = x.mean(0), x.std(0)
        self._width = np.where(width > 1e-6 * (1 + np.abs(self._mean)), width, np.inf)
        return self._scale(x)

    def transform(self, X: Any) -> np.ndarray:
        frame, _ = match_columns(X, self.columns_)
        if self._parts is None:
            return np.zeros((len(frame), 1))
        frame = read_columns(frame, self.columns_)
        x = np.asarray(self._parts.transform(frame), dtype=np.float64)
        return self._scale(self._constructed(x))

    def _best_pairs(self, x: np.ndarray, y: Any) -> np.ndarray:
        """The pairs of numbers to construct columns from, of shape (n, 2)."""
        if self.construct == "none" or x.shape[1] < 2:
            return np.zeros((0, 2), dtype=np.int64)
        n = x.shape[1]
        top = np.sort(_best(x, y, "anova", self.goal, min(n, MOST_PAIRED)))
        pairs = np.array(
            [(i, j) for i in top for j in top if i < j or (i > j and self.construct == "ratios")]
        )
        built = self._built(x, pairs)
        return pairs[_best(built, y, "anova", self.goal, min(len(pairs), MOST_BUILT))]

    def _constructed(self, x: np.ndarray) -> np.ndarray:
        return np.hstack([x, self._built(x, self._pairs)]) if len(self._pairs) else x

    def _built(self, x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Columns from pairs of columns, of shape (n_rows, n_pairs)."""
        left, right = pairs.T
        if self.construct == "products":
            built = (x[:, left] - self._centre[left]) * (x[:, right] - self._centre[right])
        else:
            below = x[:, right]
            is_some = np.abs(below) > 1e-9
            built = np.divide(x[:, left], below, out=np.zeros_like(below), where=is_some)
        return np.clip(built, -HUGE, HUGE)

    def _scale(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self._mean) / self._width, -10, 10) if self.scaled else x

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "columns_")


def _after(prepare: Callable[[pd.DataFrame], Any], encoder: Any) -> Pipeline:
    return make_pipeline(FunctionTransformer(prepare), encoder)


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    return np.clip(np.column_stack([as_numbers(frame[name]) for name in frame]), -HUGE, HUGE)


def _date_parts(frame: pd.DataFrame) -> np.ndarray:
    parts = []
    for name in frame:
        stamps = frame[name]
        parts.append(as_numbers(stamps))
        parts += [
            getattr(stamps.dt, part).to_numpy(np.float64)
            for part in ("month", "day_of_week", "hour")
        ]
    return np.column_stack(parts)


def _levels(frame: pd.DataFrame) -> np.ndarray:
    """Categories as strings, of which a missing value is one."""
    return frame.fillna("").to_numpy(object)


def _texts(frame: pd.DataFrame) -> list[str]:
    return frame.iloc[:, 0].fillna("").tolist()


class _TextEncoder(TransformerMixin, BaseEstimator):
    """Up to 20 directions of greatest variance of a text's TF-IDF.

    Words of a single row are left out: new rows do not have them, and so would be longer in the
    others. Texts that share no word become a constant.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        words = TfidfVectorizer(
            max_features=2000, min_df=2, sublinear_tf=True, token_pattern=r"(?u)\w+"
        )
        self.parts_: Pipeline | None = None
        try:
            counts = words.fit_transform(_texts(X))
        except ValueError:  # no word is left
            return self
        directions = TruncatedSVD(min(20, counts.shape[1]), random_state=0).fit(counts)
        self.parts_ = make_pipeline(words, directions)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        return self.parts_.transform(_texts(X)) if self.parts_ else np.zeros((len(X), 1))


class ColumnSelector(TransformerMixin, BaseEstimator):
    """Keeps the columns that tell most of the target, at least one.

    Args:
        how: "anova" (the F-statistic of each column alone), "information" (its mutual information
            with the target, in bins) or "l1" (its weight in a linear model with an L1 penalty).
        kept: The share of columns to keep.
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
        self.columns_ = np.sort(_best(X, y, self.how, self.goal, n))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X[:, self.columns_]


def _best(x: np.ndarray, y: Any, how: str, goal: Goal, n: int) -> np.ndarray:
    """The numbers of the n columns that tell most of the target."""
    y = np.asarray(y)
    if len(x) > MOST_JUDGED:
        drawn = np.random.default_rng(0).choice(len(x), MOST_JUDGED, replace=False)
        x, y = x[drawn], y[drawn]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant columns, which come last
        judge = SelectKBest(partial(_told, how=how, goal=goal), k=n).fit(x, y)
    return np.flatnonzero(judge.get_support())


def _told(x: np.ndarray, y: np.ndarray, how: str, goal: Goal) -> np.ndarray:
    """How much each column tells of the target: of shape (n_columns,), greater is more."""
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


@dataclass(frozen=True)
class Family:
    """A kind of model, and what can be chosen of it.

    Args:
        make: The model for a goal, options and a seed.
        space: The options' ranges, by name.
        default: The options to begin with.
        scaled: It needs columns of like scale.
        most_rows: More are too slow; None for any number.
        most_columns: Of the raw table; None for any number.
        most_classes: None for any number.
        regression: Whether it predicts numbers too.
        growth: Exponent of the time of a fit in its rows.
    """

    make: Callable[[Goal, Mapping[str, Any], int], Any]
    space: Mapping[str, BaseDistribution]
    default: Mapping[str, Any]
    scaled: bool = False
    most_rows: int | None = None
    most_columns: int | None = None
    most_classes: int | None = None
    regression: bool = True
    growth: float = 1.0

    def serves(self, n_rows: int, n_columns: int, n_classes: int | None) -> bool:
        """Whether it can learn from a table of this size; no classes are regression."""
        if n_classes is None and not self.regression:
            return False
        sizes = ((n_rows, self.most_rows), (n_columns, self.most_columns))
        return all(
            most is None or size <= most
            for size, most in (*sizes, (n_classes or 0, self.most_classes))
        )


def _either(classifier: Any, regressor: Any, **fixed: Any) -> Callable[..., Any]:
    """Makes one or the other, with a seed where it takes one."""

    def make(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
        model = classifier if goal == "classification" else regressor
        takes_seed = "random_state" in model().get_params()
        return model(**fixed, **options, **({"random_state": seed} if takes_seed else {}))

    return make


def _linear(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    if goal == "classification":
        return LogisticRegression(C=options["C"], max_iter=1000)
    return Ridge(alpha=1 / options["C"])


def _mlp(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    options = {**options, "hidden_layer_sizes": (options["width"],) * options["layers"]}
    options = {k: v for k, v in options.items() if k not in ("width", "layers")}
    model = MLPClassifier if goal == "classification" else _ScaledTargetMLP
    return model(max_iter=200, random_state=seed, **options)


class _ScaledTargetMLP(MLPRegressor):
    """Fits the target in standard deviations from its mean, as step sizes assume."""

    def fit(self, X: Any, y: Any) -> Self:
        y = np.asarray(y, dtype=np.float64)
        self._mean, self._width = y.mean(), y.std() or 1.0
        return super().fit(X, (y - self._mean) / self._width)

    def predict(self, X: Any) -> np.ndarray:
        return self._mean + self._width * super().predict(X)


class _ScaledTargetSVR(SVR):
    """As `_ScaledTargetMLP`, for the width of the tube."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        y = np.asarray(y, dtype=np.float64)
        self._mean, self._width = y.mean(), y.std() or 1.0
        return super().fit(X, (y - self._mean) / self._width)

    def predict(self, X: Any) -> np.ndarray:
        return self._mean + self._width * super().predict(X)


def _gaussian_process(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    kernel = ConstantKernel() * Matern(nu=options["nu"])
    if goal == "classification":
        return GaussianProcessClassifier(kernel, random_state=seed)
    return GaussianProcessRegressor(kernel + WhiteKernel(), normalize_y=True, random_state=seed)


def _transformer(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    if goal == "regression":
        raise UsageError("expected classification for the family 'transformer', got regression")
    return TransformerClassifier(**options)


def _log(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(low, high, log=True)


def _log_int(low: int, high: int) -> IntDistribution:
    return IntDistribution(low, high, log=True)


_FOREST = {
    "max_features": FloatDistribution(0.1, 1.0),
    "min_samples_leaf": _log_int(1, 20),
}

FAMILIES: dict[str, Family] = {
    "linear": Family(_linear, {"C": _log(1e-4, 1e4)}, {"C": 1.0}, scaled=True),
    "lightgbm": Family(
        _either(LGBMClassifier, LGBMRegressor, verbose=-1, n_jobs=1, subsample_freq=1),
        {
            "n_estimators": _log_int(30, 600),
            "learning_rate": _log(0.01, 0.3),
            "num_leaves": _log_int(4, 128),
            "min_child_samples": _log_int(2, 60),
            "subsample": FloatDistribution(0.5, 1.0),
            "colsample_bytree": FloatDistribution(0.3, 1.0),
            "reg_lambda": _log(1e-3, 10),
        },
        {
            "n_estimators": 100,
            "learning_rate": 0.1,
            "num_leaves": 31,
            "min_child_samples": 20,
            "subsample": 1.0,
            "colsample_bytree": 1.0,
            "reg_lambda": 1e-3,
        },
    ),
    "random forest": Family(
        _either(RandomForestClassifier, RandomForestRegressor, n_estimators=200),
        _FOREST,
        {"max_features": 0.4, "min_samples_leaf": 1},
    ),
    "extra trees": Family(
        _either(ExtraTreesClassifier, ExtraTreesRegressor, n_estimators=200),
        _FOREST,
        {"max_features": 0.4, "min_samples_leaf": 1},
    ),
    "svm": Family(
        _either(SVC, _ScaledTargetSVR),
        {"C": _log(1e-2, 1e3), "gamma": _log(1e-4, 10)},
        {"C": 1.0, "gamma": 0.05},
        scaled=True,
        most_rows=10_000,
        growth=2.0,
    ),
    "k-nearest neighbours": Family(
        _either(KNeighborsClassifier, KNeighborsRegressor),
        {
            "n_neighbors": _log_int(1, 50),
            "weights": CategoricalDistribution(["uniform", "distance"]),
        },
        {"n_neighbors": 5, "weights": "distance"},
        scaled=True,
    ),
    "mlp": Family(
        _mlp,
        {
            "width": _log_int(8, 256),
            "layers": IntDistribution(1, 3),
            "alpha": _log(1e-6, 1),
            "learning_rate_init": _log(1e-4, 3e-2),
        },
        {"width": 64, "layers": 2, "alpha": 1e-3, "learning_rate_init": 3e-3},
        scaled=True,
    ),
    "gaussian process": Family(
        _gaussian_process,
        {"nu": CategoricalDistribution([0.5, 1.5, 2.5])},
        {"nu": 1.5},
        scaled=True,
        most_rows=500,
        growth=3.0,
    ),
    "transformer": Family(
        _transformer,
        {"members": _log_int(1, 16)},
        {"members": 4},
        most_rows=1000,
        most_columns=20,
        most_classes=10,
        regression=False,
    ),
}
"""The families, in the order in which their defaults are tried where nothing is known."""


PREPARATION: dict[str, BaseDistribution] = {
    "construct": CategoricalDistribution(["products", "ratios"]),
    "select": CategoricalDistribution(["anova", "information", "l1"]),
    "kept": FloatDistribution(0.05, 0.95),
}
"""Options of every family, each of which may be left out: columns to construct (`TableEncoder`),
and which of all to select (`ColumnSelector`), and then the share to keep.
"""

PREPARED = ["none", "construct", "select", "construct+select"]
"""Which of these a search may use."""


def make_model(
    family: str,
    options: Mapping[str, Any],
    goal: Goal,
    seed: int = 0,
    columns: Sequence[Column] | None = None,
) -> Pipeline:
    """A pipeline from a raw table to predictions.

    Args:
        family: A name of `FAMILIES`.
        options: All of the family's, and any of `PREPARATION`.
        goal: "classification" or "regression".
        seed: Of the model.
        columns: As `TableEncoder` takes them.

    Raises:
        UsageError: If the family or an option is unknown, or an option is missing or out of range.

    Example:
        >>> model = make_model("linear", {"C": 1.0}, "classification")
        >>> model.fit([["red"], ["blue"], ["red"], ["blue"]], [1, 0, 1, 0]).predict([["red"]])
        array([1])
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    found = FAMILIES[family]
    prepare = {name: options[name] for name in PREPARATION if name in options}
    own = {name: value for name, value in options.items() if name not in PREPARATION}
    for name in own:
        if name not in found.space:
            raise unknown(f"option of {family}", name, [*found.space, *PREPARATION])
    if ("select" in prepare) != ("kept" in prepare):
        raise UsageError(f"expected 'select' and 'kept' together, got {prepare}")
    for name, allowed in {**found.space, **{n: PREPARATION[n] for n in prepare}}.items():
        if name not in options:
            raise UsageError(f"expected the option {name!r} of {family}, got {dict(options)}")
        if not _contains(allowed, options[name]):
            raise UsageError(f"expected {name} of {family} in {allowed}, got {options[name]!r}")
    construct = prepare.get("construct", "none")
    steps: list[tuple[str, Any]] = [
        (
            "encoder",
            TableEncoder(goal, scaled=found.scaled, construct=construct, columns=columns),
        )
    ]
    if "select" in prepare:
        steps.append(("selector", ColumnSelector(prepare["select"], prepare["kept"], goal)))
    return Pipeline([*steps, ("model", found.make(goal, own, seed))])


def _contains(allowed: BaseDistribution, value: Any) -> bool:
    if isinstance(allowed, CategoricalDistribution):
        return value in allowed.choices
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    return isinstance(value, int | float) and allowed.low <= value <= allowed.high


def can_make(family: str, options: Mapping[str, Any], goal: Goal) -> bool:
    """Whether there is such a pipeline.

    Example:
        >>> can_make("linear", {"C": 1.0}, "regression"), can_make("forest", {}, "regression")
        (True, False)
    """
    try:
        make_model(family, options, goal)
    except UsageError:
        return False
    return True


def suggest_options(trial: Trial, families: list[str]) -> tuple[str, dict[str, Any]]:
    """A family and its options, as Optuna's sampler chooses them."""
    family = trial.suggest_categorical("family", families)
    space = FAMILIES[family].space
    options = {name: _suggest(trial, f"{family}.{name}", d) for name, d in space.items()}
    prepared = trial.suggest_categorical("prepared", PREPARED)
    for name in prepared.split("+") if prepared != "none" else ():
        options[name] = _suggest(trial, name, PREPARATION[name])
    if "select" in options:
        options["kept"] = _suggest(trial, "kept", PREPARATION["kept"])
    return family, options


def as_parameters(family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline as the parameters of a trial of Optuna, of which `suggest_options` makes it again.

    Example:
        >>> as_parameters("linear", {"C": 1.0})
        {'family': 'linear', 'linear.C': 1.0, 'prepared': 'none'}
    """
    prepared = "+".join(name for name in ("construct", "select") if name in options) or "none"
    named = {n if n in PREPARATION else f"{family}.{n}": value for n, value in options.items()}
    return {"family": family, **named, "prepared": prepared}


def _suggest(trial: Trial, name: str, allowed: BaseDistribution) -> Any:
    if isinstance(allowed, CategoricalDistribution):
        return trial.suggest_categorical(name, allowed.choices)
    if isinstance(allowed, IntDistribution):
        return trial.suggest_int(name, allowed.low, allowed.high, log=allowed.log)
    assert isinstance(allowed, FloatDistribution)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
