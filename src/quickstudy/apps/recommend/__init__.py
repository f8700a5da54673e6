"""Recommending to users of whom little is known."""

from quickstudy.apps.recommend.adapted import AdaptedRecommender
from quickstudy.apps.recommend.cold_users import ColdUsers, user_folds
from quickstudy.apps.recommend.evaluate import Scores, ScoreTable, evaluate
from quickstudy.apps.recommend.generated import generated
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.reading import load_interactions, load_ml_100k, load_movielens
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.apps.recommend.suggestions import Suggestion, Suggestions

__all__ = [
    "AdaptedRecommender",
    "ColdUsers",
    "Interactions",
    "Recommender",
    "ScoreTable",
    "Scores",
    "Suggestion",
    "Suggestions",
    "evaluate",
    "generated",
    "load_interactions",
    "load_ml_100k",
    "load_movielens",
    "user_folds",
]
