"""Base recommenders: from what is known of a user to a score of every item."""

from quickstudy.apps.recommend.bases.base import Base
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.bases.clicks import CLICK_BASES, UNORDERED_CLICK_BASES
from quickstudy.apps.recommend.bases.implicit_feedback import ExpectedGainMF, ImplicitFeedbackMF
from quickstudy.apps.recommend.bases.ratings import ItemKNN, MatrixFactorization, UserBias

__all__ = ["CLICK_BASES", "RATING_BASES", "UNORDERED_CLICK_BASES", "Base"]

RATING_BASES: dict[str, type[Base]] = {
    "user_bias": UserBias,
    "factors": MatrixFactorization,
    "neighbours": ItemKNN,
    "bayes": BayesianMF,
    "implicit_feedback": ImplicitFeedbackMF,
    "expected_gain": ExpectedGainMF,
}
