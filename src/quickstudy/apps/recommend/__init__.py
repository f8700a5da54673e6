"""Recommending to users of whom little is known."""

from quickstudy.apps.recommend.interactions import (
    ColdUsers,
    Interactions,
    generated,
    load_interactions,
    load_ml_100k,
    load_movielens,
    user_folds,
)

__all__ = [
    "ColdUsers",
    "Interactions",
    "generated",
    "load_interactions",
    "load_ml_100k",
    "load_movielens",
    "user_folds",
]
