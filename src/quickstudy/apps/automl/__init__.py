"""AutoML that learns from other tables: which pipelines to try first on a new one.

Imports go one way, from the first of these to the last: `tables` (what a raw table holds),
`pipelines` (what can be fitted to it), `meta` (what other tables say about it), `search` (trying
pipelines, and the ensemble at the end), and the modules here (estimators, run folders, pictures).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.apps.automl.estimators import AutoMLClassifier as AutoMLClassifier
    from quickstudy.apps.automl.estimators import AutoMLRegressor as AutoMLRegressor
    from quickstudy.apps.automl.importance import column_importance as column_importance
    from quickstudy.apps.automl.meta.advisors import Advisor as Advisor
    from quickstudy.apps.automl.meta.advisors import Portfolio as Portfolio
    from quickstudy.apps.automl.meta.advisors import RandomOrder as RandomOrder
    from quickstudy.apps.automl.meta.experience import history_of as history_of
    from quickstudy.apps.automl.meta.history import History as History
    from quickstudy.apps.automl.meta.history import read_oboe as read_oboe
    from quickstudy.apps.automl.meta.history import read_results as read_results
    from quickstudy.apps.automl.meta.meta_learner import MetaLearner as MetaLearner
    from quickstudy.apps.automl.meta.meta_learner import regret_curve as regret_curve
    from quickstudy.apps.automl.meta.mixture import MixtureAdvisor as MixtureAdvisor
    from quickstudy.apps.automl.meta.sampler import MetaSampler as MetaSampler
    from quickstudy.apps.automl.meta.studies import import_studies as import_studies
    from quickstudy.apps.automl.pipelines.config import PipelineConfig as PipelineConfig
    from quickstudy.apps.automl.pipelines.encoder import TableEncoder as TableEncoder
    from quickstudy.apps.automl.pipelines.transformer import (
        TransformerClassifier as TransformerClassifier,
    )
    from quickstudy.apps.automl.remember import remember_automl as remember_automl
    from quickstudy.apps.automl.runs import load_automl as load_automl
    from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry as LeaderboardEntry
    from quickstudy.apps.automl.tables.meta_features import meta_features as meta_features

__all__ = [
    "Advisor",
    "AutoMLClassifier",
    "AutoMLRegressor",
    "History",
    "LeaderboardEntry",
    "MetaLearner",
    "MetaSampler",
    "MixtureAdvisor",
    "PipelineConfig",
    "Portfolio",
    "RandomOrder",
    "TableEncoder",
    "TransformerClassifier",
    "column_importance",
    "history_of",
    "import_studies",
    "load_automl",
    "meta_features",
    "read_oboe",
    "read_results",
    "regret_curve",
    "remember_automl",
]

_MODULES = {
    "AutoMLClassifier": "estimators",
    "AutoMLRegressor": "estimators",
    "Advisor": "meta.advisors",
    "History": "meta.history",
    "LeaderboardEntry": "search.leaderboard",
    "MetaLearner": "meta.meta_learner",
    "MetaSampler": "meta.sampler",
    "MixtureAdvisor": "meta.mixture",
    "PipelineConfig": "pipelines.config",
    "Portfolio": "meta.advisors",
    "RandomOrder": "meta.advisors",
    "TableEncoder": "pipelines.encoder",
    "TransformerClassifier": "pipelines.transformer",
    "column_importance": "importance",
    "history_of": "meta.experience",
    "import_studies": "meta.studies",
    "load_automl": "runs",
    "meta_features": "tables.meta_features",
    "read_oboe": "meta.history",
    "read_results": "meta.history",
    "regret_curve": "meta.meta_learner",
    "remember_automl": "remember",
}
"""The module of each exported name: it is imported on first use, as each needs other packages."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*(name for name in globals() if name.startswith("__")), *__all__]
