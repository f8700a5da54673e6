"""Numbers that describe a table, by which tables are compared.

After the groups of A. Rivolli, L. P. F. Garcia, C. Soares, J. Vanschoren and A. de Carvalho:
"Meta-features for meta-learning", 2022, https://arxiv.org/abs/1808.10406. Needs pandas and
scikit-learn, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from quickstudy.apps.automl.tables.column_inference import learn_columns
from quickstudy.apps.automl.tables.columns import Column, Kind, as_numbers, read_columns
from quickstudy.apps.automl.tables.frames import as_column, as_frame
from quickstudy.apps.automl.tables.targets import Goal, as_target_numbers
from quickstudy.errors import DataError, check_option, require

require("pandas", "automl")
require("sklearn", "automl")
import pandas as pd  # noqa: E402
from sklearn.base import ClassifierMixin, RegressorMixin, clone  # noqa: E402
from sklearn.linear_model import Ridge, RidgeClassifier  # noqa: E402
from sklearn.metrics import balanced_accuracy_score, r2_score  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

__all__ = ["meta_features", "shares_of_information"]

MAX_ROWS, MAX_COLUMNS, MAX_LANDMARK_ROWS = 2000, 100, 600
"""Of larger tables so many rows and columns are drawn; for what has to be fitted, fewer rows."""

N_BINS = 8


def meta_features(
    X: Any,
    y: Any,
    goal: Goal,
    *,
    rich: bool = False,
    seed: int = 0,
    columns: Sequence[Column] | None = None,
) -> dict[str, float]:
    """The meta-features of a table, all finite.

    Simple ones (sizes, kinds of columns, missing values, classes), statistical ones (shapes and
    correlations of columns), mutual information with the target, and landmarks: how well a stump, a
    tree, the nearest neighbour, a linear model and naive Bayes do on rows that they were not fitted
    on, 0 for what a constant does and 1 for perfect. Quantities without bound are logarithms.

    Args:
        X: A data frame or array of n rows; missing values, texts and dates may be in it.
        y: The target, of shape (n,).
        goal: "classification" or "regression".
        rich: Add about a hundred of pymfe, of 600 rows at most, as "pymfe." with its name; they
            take seconds. E. Alcobaça et al.: "MFE: Towards reproducible meta-feature extraction",
            JMLR 2020.
        seed: Decides which rows and columns are drawn of large tables.
        columns: What the columns hold and how they are read; None to learn it (`learn_columns`).

    Raises:
        MissingError: If rich is true, and pymfe (the extra `pymfe`) is not installed.
        DataError: If the table or target is empty, constant, or of another length.

    Example:
        >>> table = [[i // 4, "red"] for i in range(8)]
        >>> features = meta_features(table, list("aaaabbbb"), "classification")
        >>> round(features["log_rows"], 2), features["share_empty"], features["stump"]
        (2.08, 0.5, 1.0)
    """
    check_option("goal", goal, ["classification", "regression"])
    frame = as_frame(X)
    target = _target(y, goal, len(frame))
    columns = learn_columns(frame) if columns is None else columns
    frame, rng = read_columns(frame, columns), np.random.default_rng(seed)
    features = {**_table_features(frame, columns), **_target_features(target, goal)}
    used = [column for column in columns if column.is_used]
    if len(used) > MAX_COLUMNS:
        used = [used[i] for i in np.sort(rng.choice(len(used), MAX_COLUMNS, replace=False))]
    if len(frame) > MAX_ROWS:
        drawn = np.sort(rng.choice(len(frame), MAX_ROWS, replace=False))
        frame, target = frame.iloc[drawn], target[drawn]
    levels = [frame[column.name].nunique() for column in used if column.kind == "category"]
    features["log_levels"] = float(np.mean(np.log1p(levels))) if levels else 0.0
    x = [_encoded(frame[column.name], column.kind) for column in used]
    table = np.column_stack(x) if x else np.zeros((len(frame), 1))  # (n, d)
    is_number = np.array([column.kind in ("number", "date") for column in used] or [False])
    features |= _statistics(table[:, is_number])
    features |= _information(table, target, goal)
    features |= _landmarks(_standard(table), target, goal, rng)
    if rich:
        drawn = rng.permutation(len(target))[:MAX_LANDMARK_ROWS]
        classes = _bins(target) if goal == "regression" else target
        features |= _pymfe(_standard(table)[drawn], classes[drawn], seed)
    return {name: float(np.nan_to_num(value)) for name, value in features.items()}


def _table_features(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, float]:
    """Sizes, the shares of each kind of column, and missing values."""
    n_rows, n_columns = len(frame), len(columns)
    is_missing = frame.isna()
    return {
        "log_rows": math.log(n_rows),
        "log_columns": math.log(n_columns),
        **{
            f"share_{kind}": sum(column.kind == kind for column in columns) / n_columns
            for kind in get_args(Kind)
        },
        "share_missing": float(is_missing.to_numpy().mean()),
        "share_rows_with_missing": float(is_missing.any(axis=1).mean()),
    }


def _pymfe(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
    """The meta-features of pymfe that x (n, d) with classes y (n,) has, as logarithms with sign."""
    require("pymfe", "pymfe")
    from pymfe.mfe import MFE  # pyright: ignore[reportMissingImports]

    groups = ["general", "statistical", "info-theory", "landmarking", "model-based"]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of features that a table does not have
        extractor = MFE(groups=groups, summary=("mean", "sd"), random_state=seed)
        extractor.fit(x, y, cat_cols=[], suppress_warnings=True)
        names, values = extractor.extract(suppress_warnings=True)
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64))
    logs = np.sign(numbers) * np.log1p(np.abs(numbers))
    return {f"pymfe.{name}": float(value) for name, value in zip(names, logs, strict=True)}


def _target(y: Any, goal: Goal, n_rows: int) -> np.ndarray:
    """The target as class numbers or float64, of shape (n,)."""
    column = as_column(y).infer_objects()
    if len(column) != n_rows:
        raise DataError(f"expected a target for each of {n_rows} rows, got {len(column)}")
    if column.isna().any():
        raise DataError(f"expected a target in each row, got none in {column.isna().sum()}")
    if goal == "regression":
        target = as_target_numbers(column)
        if np.isnan(target).any():
            raise DataError("expected finite numbers as target of regression, got others")
    else:
        target = pd.factorize(column.astype(str))[0]
    if (target == target[0]).all():
        raise DataError(f"expected a target that varies, got {column[0]!r} in all rows")
    return target


def _target_features(target: np.ndarray, goal: Goal) -> dict[str, float]:
    if goal == "regression":
        z = (target - target.mean()) / target.std()
        different = len(np.unique(target)) / len(target)
        return {**_shape(z[:, None], "target_"), "target_different": different}
    shares = np.bincount(target) / len(target)
    entropy = -(shares * np.log(shares)).sum() / math.log(len(shares))
    return {
        "log_classes": math.log(len(shares)),
        "class_entropy": entropy,
        "smallest_class": shares.min(),
        "largest_class": shares.max(),
    }


def _encoded(column: pd.Series, kind: Kind) -> np.ndarray:
    """A column as numbers, NaN where missing; categories by frequency, texts by length."""
    if kind in ("date", "number"):
        return as_numbers(column)
    if kind == "text":
        return column.str.len().to_numpy(np.float64)
    ranks = column.value_counts().rank(method="first", ascending=False)
    return column.map(ranks).to_numpy(np.float64)


def _standard(x: np.ndarray) -> np.ndarray:
    """Columns in standard deviations from their mean, missing values at the mean."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # columns that are empty in these rows
        z = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    return np.clip(np.where(np.isfinite(z), z, 0.0), -10, 10)


def _shape(z: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Skewness, kurtosis and outliers of standardised columns (n, d), in the mean over them."""
    if not z.shape[1]:
        return {f"{prefix}{name}": 0.0 for name in ("skewness", "kurtosis", "outliers")}
    return {
        f"{prefix}skewness": float(np.log1p(np.abs((z**3).mean(0))).mean()),
        f"{prefix}kurtosis": float(np.log1p((z**4).mean(0)).mean()),
        f"{prefix}outliers": float((np.abs(z) > 3).mean()),
    }


def _statistics(x: np.ndarray) -> dict[str, float]:
    z = _standard(x)
    features = {**_shape(z), "correlation": 0.0, "first_component": 1.0}
    if x.shape[1] > 1:
        values = z.T @ z / len(z)
        off = values[~np.eye(len(values), dtype=bool)]
        spectrum = np.linalg.eigvalsh(values)
        features["correlation"] = float(np.abs(off).mean())
        features["first_component"] = float(spectrum[-1] / max(spectrum.sum(), 1e-12))
    return features


def _information(x: np.ndarray, target: np.ndarray, goal: Goal) -> dict[str, float]:
    shares = shares_of_information(x, target, goal)
    return {"information": float(np.mean(shares)), "most_information": float(max(shares))}


def shares_of_information(x: np.ndarray, target: np.ndarray, goal: Goal) -> list[float]:
    """Mutual information of each column with the target, as a share of the target's entropy.

    Numbers are taken in 8 bins of about as many values each, NaN is one of its own.

    Args:
        x: Of shape (n, n_columns).
        target: Numbers of classes, or float64, of shape (n,).
        goal: "classification" or "regression".

    Example:
        >>> same = np.arange(8.0)
        >>> shares_of_information(np.column_stack([same, same * 0]), same, "regression")
        [1.0, 0.0]
    """
    y = _bins(target) if goal == "regression" else target
    entropy = _entropy(np.bincount(y))
    shares = []
    for column in x.T:
        bins = np.where(np.isnan(column), 0, _bins(column) + 1)
        joint = np.bincount(bins * (y.max() + 1) + y)
        total = _entropy(np.bincount(bins)) + entropy - _entropy(joint)
        shares.append(total / max(entropy, 1e-12))
    return shares


def _bins(column: np.ndarray) -> np.ndarray:
    """Numbers of bins of about as many values each."""
    known = column[~np.isnan(column)]
    if not len(known):
        return np.zeros(len(column), dtype=np.int64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    return np.searchsorted(edges, column, side="right")


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _landmarks(
    x: np.ndarray, target: np.ndarray, goal: Goal, rng: np.random.Generator
) -> dict[str, float]:
    """How well simple models do on a half of the rows after fitting the other, both ways."""
    if goal == "classification":
        models: dict[str, Any] = {
            "stump": DecisionTreeClassifier(max_depth=1, random_state=0),
            "tree": DecisionTreeClassifier(max_depth=6, random_state=0),
            "nearest": KNeighborsClassifier(1),
            "linear": RidgeClassifier(),
            "bayes": GaussianNB(var_smoothing=1e-3),
        }
    else:
        models = {
            "stump": DecisionTreeRegressor(max_depth=1, random_state=0),
            "tree": DecisionTreeRegressor(max_depth=6, random_state=0),
            "nearest": KNeighborsRegressor(1),
            "linear": Ridge(),
        }
    drawn = rng.permutation(len(x))[:MAX_LANDMARK_ROWS]
    drawn = drawn[np.argsort(target[drawn], kind="stable")]  # halves of like targets
    halves = [(drawn[::2], drawn[1::2]), (drawn[1::2], drawn[::2])]
    return {
        name: float(np.mean([_skill(model, x, target, a, b) for a, b in halves]))
        for name, model in models.items()
    }


def _skill(
    model: ClassifierMixin | RegressorMixin,
    x: np.ndarray,
    target: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> float:
    """From 0 for a constant to 1 for perfect; what is worse than a constant is 0."""
    y = target[test]
    if len(train) < 2 or len(np.unique(target[train])) < 2 or len(np.unique(y)) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ill-conditioned, or classes that one half lacks
        predicted = clone(model).fit(x[train], target[train]).predict(x[test])  # pyright: ignore
        if isinstance(model, RegressorMixin):
            return max(0.0, float(r2_score(y, predicted)))
        chance = 1 / len(np.unique(y))
        return max(0.0, (float(balanced_accuracy_score(y, predicted)) - chance) / (1 - chance))
