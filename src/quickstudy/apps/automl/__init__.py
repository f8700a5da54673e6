"""AutoML that learns from experience: which configurations to try first on a new table."""

from quickstudy.apps.automl.advisors import Advisor, MixtureAdvisor, Portfolio, RandomOrder
from quickstudy.apps.automl.history import History, read_oboe, read_results
from quickstudy.apps.automl.meta import MetaLearner, regret_curve

__all__ = [
    "Advisor",
    "History",
    "MetaLearner",
    "MixtureAdvisor",
    "Portfolio",
    "RandomOrder",
    "read_oboe",
    "read_results",
    "regret_curve",
]
