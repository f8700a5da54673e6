"""AutoML that learns from other tables: which pipelines to try first on a new one.

Imports go one way, from the first of these to the last: `tables` (what a raw table holds),
`pipelines` (what can be fitted to it), `meta` (what other tables say about it), `search` (trying
pipelines, and the ensemble at the end), and the modules here (estimators, run folders, pictures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.lazy import lazy_exports

if TYPE_CHECKING:
    from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
    from quickstudy.apps.automl.importance import column_importance
    from quickstudy.apps.automl.meta.advisors import Advisor, Portfolio, RandomOrder
    from quickstudy.apps.automl.meta.experience import history_of
    from quickstudy.apps.automl.meta.history import History, read_oboe, read_results
    from quickstudy.apps.automl.meta.meta_learner import MetaLearner, regret_curve
    from quickstudy.apps.automl.meta.mixture import MixtureAdvisor
    from quickstudy.apps.automl.meta.sampler import MetaSampler
    from quickstudy.apps.automl.meta.studies import import_studies
    from quickstudy.apps.automl.pipelines.config import PipelineConfig
    from quickstudy.apps.automl.pipelines.encoder import TableEncoder
    from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier
    from quickstudy.apps.automl.remember import remember_automl
    from quickstudy.apps.automl.runs import load_automl
    from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry
    from quickstudy.apps.automl.tables.meta_features import meta_features

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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "estimators": ["AutoMLClassifier", "AutoMLRegressor"],
        "importance": ["column_importance"],
        "meta.advisors": ["Advisor", "Portfolio", "RandomOrder"],
        "meta.experience": ["history_of"],
        "meta.history": ["History", "read_oboe", "read_results"],
        "meta.meta_learner": ["MetaLearner", "regret_curve"],
        "meta.mixture": ["MixtureAdvisor"],
        "meta.sampler": ["MetaSampler"],
        "meta.studies": ["import_studies"],
        "pipelines.config": ["PipelineConfig"],
        "pipelines.encoder": ["TableEncoder"],
        "pipelines.transformer": ["TransformerClassifier"],
        "remember": ["remember_automl"],
        "runs": ["load_automl"],
        "search.leaderboard": ["LeaderboardEntry"],
        "tables.meta_features": ["meta_features"],
    },
)
