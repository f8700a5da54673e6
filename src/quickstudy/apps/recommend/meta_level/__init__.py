"""The meta-level above the base recommenders, which blends their predictions for each user."""

from quickstudy.apps.recommend.meta_level.base import Kind, MetaLevel
from quickstudy.apps.recommend.meta_level.choice_level import ChoiceLevel, UnorderedChoiceLevel
from quickstudy.apps.recommend.meta_level.inputs import (
    Configuration,
    MetaExamples,
    MetaInputs,
    OwnPredictions,
)
from quickstudy.apps.recommend.meta_level.rating_level import RatingLevel

__all__ = [
    "ChoiceLevel",
    "Configuration",
    "Kind",
    "MetaExamples",
    "MetaInputs",
    "MetaLevel",
    "OwnPredictions",
    "RatingLevel",
    "UnorderedChoiceLevel",
]
