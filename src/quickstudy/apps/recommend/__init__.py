"""Recommending to users of whom little is known."""

from quickstudy.apps.recommend.evaluate import Scores, evaluate
from quickstudy.apps.recommend.interactions import (
    ColdUsers,
    Interactions,
    generated,
    user_folds,
)
from quickstudy.apps.recommend.reading import load_interactions, load_ml_100k, load_movielens
from quickstudy.apps.recommend.recommender import Adapted, Recommender, Suggestion

__all__ = [
    "Adapted",
    "ColdUsers",
    "Interactions",
    "Recommender",
    "Scores",
    "Suggestion",
    "evaluate",
    "generated",
    "load_interactions",
    "load_ml_100k",
    "load_movielens",
    "user_folds",
]
