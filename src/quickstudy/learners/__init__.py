"""Learners under one contract, and the literal catalogue of them."""

from quickstudy.learners.base import Learner, MetaGradient, Predictor
from quickstudy.learners.metric.nearest_centroid import NearestCentroid
from quickstudy.learners.metric.prototypical_networks import PrototypicalNetworks
from quickstudy.learners.optimization.maml import MAML

__all__ = [
    "LEARNERS",
    "MAML",
    "Learner",
    "MetaGradient",
    "NearestCentroid",
    "Predictor",
    "PrototypicalNetworks",
]

LEARNERS: dict[str, type[Learner]] = {
    "prototypical_networks": PrototypicalNetworks,
    "nearest_centroid": NearestCentroid,
    "maml": MAML,
}
