"""Recommending to users of whom little is known."""

from quickstudy.apps.recommend.adapted import AdaptedRecommender
from quickstudy.apps.recommend.cold_users import ColdUsers, user_folds
from quickstudy.apps.recommend.correction import CorrectedScores, correct_scores
from quickstudy.apps.recommend.evaluate import Scores, ScoreTable, evaluate
from quickstudy.apps.recommend.generated import generated
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.reading import load_interactions, load_ml_100k, load_movielens
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.apps.recommend.suggestions import Suggestion, Suggestions
from quickstudy.apps.recommend.worlds import World, click_world, rating_world

__all__ = [
    "AdaptedRecommender",
    "ColdUsers",
    "CorrectedScores",
    "Interactions",
    "Recommender",
    "ScoreTable",
    "Scores",
    "Suggestion",
    "Suggestions",
    "World",
    "click_world",
    "correct_scores",
    "evaluate",
    "generated",
    "load_interactions",
    "load_ml_100k",
    "load_movielens",
    "rating_world",
    "user_folds",
]
