"""The families of models that AutoML searches, each with the ranges of its options.

Needs scikit-learn, Optuna and LightGBM, which quickstudy's extra `automl` installs.
"""

# scikit-learn types predictions as tuples too
# pyright: reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import UsageError, require

for _package in ("sklearn", "optuna", "lightgbm"):
    require(_package, "automl")

from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: E402
from optuna.distributions import (  # noqa: E402
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.ensemble import (  # noqa: E402
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.gaussian_process import (  # noqa: E402
    GaussianProcessClassifier,
    GaussianProcessRegressor,
)
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.svm import SVC, SVR  # noqa: E402

__all__ = ["FAMILIES", "Family"]


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
    """What makes the classifier or the regressor, with a seed where it takes one."""

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
        self._mean, self._deviation = y.mean(), y.std() or 1.0
        return super().fit(X, (y - self._mean) / self._deviation)

    def predict(self, X: Any) -> np.ndarray:
        return self._mean + self._deviation * super().predict(X)


class _ScaledTargetSVR(SVR):
    """As `_ScaledTargetMLP`, since the tube has a fixed width."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        y = np.asarray(y, dtype=np.float64)
        self._mean, self._deviation = y.mean(), y.std() or 1.0
        return super().fit(X, (y - self._mean) / self._deviation)

    def predict(self, X: Any) -> np.ndarray:
        return self._mean + self._deviation * super().predict(X)


def _gaussian_process(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    kernel = ConstantKernel() * Matern(nu=options["nu"])
    if goal == "classification":
        return GaussianProcessClassifier(kernel, random_state=seed)
    return GaussianProcessRegressor(kernel + WhiteKernel(), normalize_y=True, random_state=seed)


def _transformer(goal: Goal, options: Mapping[str, Any], seed: int) -> Any:
    if goal == "regression":
        raise UsageError("expected classification for the family 'transformer', got regression")
    from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier  # needs torch

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
