"""From a raw table to numbers, as models take them.

Needs pandas and scikit-learn, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from quickstudy.apps.automl.pipelines.selector import best_columns
from quickstudy.apps.automl.tables.column_inference import learn_columns
from quickstudy.apps.automl.tables.columns import (
    MAX_NUMBER,
    Column,
    Kind,
    as_numbers,
    match_columns,
    read_columns,
)
from quickstudy.apps.automl.tables.frames import as_frame
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import require

require("sklearn", "automl")
import pandas as pd  # noqa: E402
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import TruncatedSVD  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.model_selection import KFold  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    OneHotEncoder,
    TargetEncoder,
)

__all__ = ["TableEncoder"]

MAX_ONE_HOT_LEVELS = 15
"""Categories of up to so many levels get a column a level, others the target's mean."""

RARE_SHARE = 0.01
"""Share of rows below which a level counts as one of the rare ones."""

MAX_PAIRED_COLUMNS, MAX_PAIRS = 10, 10
"""Columns of numbers of which pairs are tried, and pairs that become new columns."""


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turns a raw table into numbers.

    All it uses is learned in `fit`. Numbers and dates are filled with the median, with a column
    that says where. Dates become days, month, weekday and hour. Categories of few levels get a
    column a level, rare levels one together; those of many, the mean of the target, fitted across
    folds. Texts become 20 directions of their TF-IDF. Identifiers and empty columns are left out.

    Args:
        goal: "classification" or "regression".
        scaled: Bring each column to zero mean and unit variance, and cut it off at 10 deviations.
        construct: "products" adds products of two numbers' deviations from their means, "ratios"
            one number over another: the 10 that say most about the target (by ANOVA) among all
            pairs of the 10 numbers that do. "none" adds nothing.
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
        """Learn how to encode a table of n rows; y, of shape (n,), chooses constructed columns."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None, **_: Any) -> np.ndarray:
        """`fit`, and the encoded table, of shape (n, columns)."""
        frame = as_frame(X)
        self.columns_ = learn_columns(frame) if self.columns is None else tuple(self.columns)
        frame = read_columns(frame, self.columns_)
        encoders = self._encoders(frame)
        if not encoders:  # nothing to learn from: a constant
            self._encoder = None
            return np.zeros((len(frame), 1))
        self._encoder = ColumnTransformer(encoders, sparse_threshold=0)
        x = np.asarray(self._encoder.fit_transform(frame, y), dtype=np.float64)
        self._centre = x.mean(0)
        self._pairs = self._best_pairs(x[:, : len(self._named("number"))], y)
        x = self._with_pairs(x)
        self._mean, deviation = x.mean(0), x.std(0)
        is_constant = deviation <= 1e-6 * (1 + np.abs(self._mean))
        self._deviation = np.where(is_constant, np.inf, deviation)
        return self._scale(x)

    def transform(self, X: Any) -> np.ndarray:
        """A table of n rows as numbers, of shape (n, columns)."""
        frame, _ = match_columns(X, self.columns_)
        if self._encoder is None:
            return np.zeros((len(frame), 1))
        frame = read_columns(frame, self.columns_)
        x = np.asarray(self._encoder.transform(frame), dtype=np.float64)
        return self._scale(self._with_pairs(x))

    def _named(self, kind: Kind) -> list[str]:
        return [column.name for column in self.columns_ if column.kind == kind]

    def _encoders(self, frame: pd.DataFrame) -> list[tuple[str, Any, list[str]]]:
        """A name, an encoder and the columns it takes, for each kind of column there is."""
        n_levels = {name: frame[name].nunique() for name in self._named("category")}
        few = [name for name, n in n_levels.items() if n <= MAX_ONE_HOT_LEVELS]
        many = [name for name, n in n_levels.items() if n > MAX_ONE_HOT_LEVELS]
        median = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        one_hot = OneHotEncoder(
            min_frequency=RARE_SHARE, handle_unknown="infrequent_if_exist", sparse_output=False
        )
        target_type = "auto" if self.goal == "classification" else "continuous"
        folds = KFold(5, shuffle=True, random_state=0)
        target_mean = TargetEncoder(target_type=target_type, cv=folds)
        encoders: list[tuple[str, Any, list[str]]] = [
            ("numbers", _after(_numbers, median), self._named("number")),
            ("dates", _after(_date_parts, median), self._named("date")),
            ("few levels", _after(_levels, one_hot), few),
            ("many levels", _after(_levels, target_mean), many),
            *((f"text {name}", _TextEncoder(), [name]) for name in self._named("text")),
        ]
        return [(name, encoder, columns) for name, encoder, columns in encoders if columns]

    def _best_pairs(self, x: np.ndarray, y: Any) -> np.ndarray:
        """The pairs of numbers (n, d) to construct columns from, of shape (n_pairs, 2)."""
        n_columns = x.shape[1]
        if self.construct == "none" or n_columns < 2:
            return np.zeros((0, 2), dtype=np.int64)
        k = min(n_columns, MAX_PAIRED_COLUMNS)
        best = np.sort(best_columns(x, y, "anova", self.goal, k))
        pairs = np.array(
            [(i, j) for i in best for j in best if i < j or (i > j and self.construct == "ratios")]
        )
        constructed, k = self._construct(x, pairs), min(len(pairs), MAX_PAIRS)
        return pairs[best_columns(constructed, y, "anova", self.goal, k)]

    def _with_pairs(self, x: np.ndarray) -> np.ndarray:
        return np.hstack([x, self._construct(x, self._pairs)]) if len(self._pairs) else x

    def _construct(self, x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Columns from pairs of columns, of shape (n, n_pairs)."""
        left, right = pairs.T
        if self.construct == "products":
            columns = (x[:, left] - self._centre[left]) * (x[:, right] - self._centre[right])
        else:
            divisors = x[:, right]
            columns = np.zeros_like(divisors)
            np.divide(x[:, left], divisors, out=columns, where=np.abs(divisors) > 1e-9)
        return np.clip(columns, -MAX_NUMBER, MAX_NUMBER)

    def _scale(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self._mean) / self._deviation, -10, 10) if self.scaled else x

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "columns_")


def _after(prepare: Callable[[pd.DataFrame], Any], encoder: Any) -> Pipeline:
    return make_pipeline(FunctionTransformer(prepare), encoder)


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    x = np.column_stack([as_numbers(frame[name]) for name in frame])
    return np.clip(x, -MAX_NUMBER, MAX_NUMBER)


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
