"""A table with a target, as pipelines are fitted to it."""

# pandas types `frame[name]` as Series or DataFrame
# pyright: reportArgumentType=false

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from quickstudy.apps.automl.pipelines.budget import Deadline, fit_pipeline
from quickstudy.apps.automl.pipelines.build import make_model
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.prediction import predict_pipeline
from quickstudy.apps.automl.tables.columns import Column
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import DataError

__all__ = ["Problem"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A table with a target, as pipelines are fitted to it.

    Args:
        frame: Its n rows, with cells read (`read_columns`).
        target: Numbers of classes, or numbers, of shape (n,).
        columns: What the columns hold.
        n_classes: None for regression.
        seed: Of folds, draws of rows and models.
    """

    frame: pd.DataFrame
    target: np.ndarray
    columns: Sequence[Column]
    n_classes: int | None
    seed: int = 0

    @property
    def goal(self) -> Goal:
        """Regression without classes."""
        return "regression" if self.n_classes is None else "classification"

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return len(self.target)

    def at(self, rows: np.ndarray) -> Problem:
        """The problem of these rows alone, by their numbers."""
        return replace(self, frame=self.frame.iloc[rows], target=self.target[rows])

    def serving(self, families: Sequence[str]) -> list[str]:
        """The families among these that can learn from a table of this size."""
        size = (*self.frame.shape, self.n_classes)
        return [name for name in families if FAMILIES[name].serves(*size)]

    def draw(self, n: int) -> np.ndarray:
        """The numbers of n rows at random, in order, with at least one row of each class."""
        if n >= self.n_rows:
            return np.arange(self.n_rows)
        shuffled = np.random.default_rng(self.seed).permutation(self.n_rows)
        if self.n_classes is not None:
            first = np.unique(self.target[shuffled], return_index=True)[1]
            shuffled = np.concatenate([shuffled[first], np.delete(shuffled, first)])
            n = max(n, len(first))
        return np.sort(shuffled[:n])

    def splits(self, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The numbers of the rows to fit on and to score on, for each fold.

        Raises:
            DataError: If there are too few rows.
        """
        shuffled: dict[str, Any] = {"shuffle": True, "random_state": self.seed}
        if self.n_classes is None:
            n_folds = min(n_folds, self.n_rows // 2)  # R² needs two rows
            if n_folds < 2:
                raise DataError(f"expected 4 rows at least, got {self.n_rows}")
            return list(KFold(n_folds, **shuffled).split(self.target))
        most = int(np.bincount(self.target).max())
        if most < 2:
            raise DataError(f"expected two rows of a class at least, got {self.n_rows} classes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of rare classes, which notes_ mentions
            folds = StratifiedKFold(min(n_folds, most), **shuffled)
            return list(folds.split(self.target, self.target))

    def fit(self, config: PipelineConfig, deadline: Deadline) -> Pipeline:
        """A pipeline fitted to all rows.

        Raises:
            OutOfTime: If the deadline passes.
        """
        model = make_model(config.family, config.options, self.goal, self.seed, self.columns)
        return fit_pipeline(model, self.frame, self.target, deadline)

    def predict(self, model: Pipeline, deadline: Deadline) -> np.ndarray:
        """Probabilities of classes (n, n_classes), or numbers (n, 1), for all rows.

        Raises:
            OutOfTime: If the deadline passes.
        """
        return predict_pipeline(model, self.frame, self.n_classes, deadline)

    def as_scored(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions as metrics take them: probabilities (n, n_classes), or numbers (n,)."""
        return predictions[:, 0] if self.n_classes is None else predictions
