"""Learners under one contract, and the literal catalogue of them."""

from quickstudy.learners.base import Learner, MetaGradient, Predictor
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.learners.metric.bayesian_prototypes import BayesianPrototypes
from quickstudy.learners.metric.local_matching import LocalMatching
from quickstudy.learners.metric.matching_networks import MatchingNetworks
from quickstudy.learners.metric.nearest_centroid import NearestCentroid
from quickstudy.learners.metric.prototypical_networks import PrototypicalNetworks
from quickstudy.learners.metric.psco import PsCo
from quickstudy.learners.metric.relation_networks import RelationNetworks
from quickstudy.learners.metric.siamese_networks import SiameseNetworks
from quickstudy.learners.model.causal_transformer import CausalTransformer
from quickstudy.learners.model.in_context_transformer import InContextTransformer
from quickstudy.learners.model.mann import MANN
from quickstudy.learners.model.meta_gmvae import MetaGMVAE
from quickstudy.learners.model.meta_networks import MetaNetworks
from quickstudy.learners.model.neural_processes import NeuralProcess
from quickstudy.learners.model.snail import SNAIL
from quickstudy.learners.model.tabular_transformer import TabularTransformer
from quickstudy.learners.model.tanp import TaNP
from quickstudy.learners.optimization.lstm_meta_learner import LSTMMetaLearner
from quickstudy.learners.optimization.maml import MAML
from quickstudy.learners.optimization.r2d2 import R2D2
from quickstudy.learners.optimization.reptile import Reptile
from quickstudy.learners.reinforcement.decision_pretrained_transformer import (
    DecisionPretrainedTransformer,
)
from quickstudy.learners.reinforcement.maml_trpo import MAMLTRPO
from quickstudy.learners.reinforcement.rl2 import RL2
from quickstudy.learners.reinforcement.rl3 import RL3
from quickstudy.learners.reinforcement.varibad import VariBAD
from quickstudy.learners.transfer.auto_adapt import AutoAdapt
from quickstudy.learners.transfer.closed_form import BayesianRidge, GaussianClasses
from quickstudy.learners.transfer.fine_tuning import FineTuning
from quickstudy.registry import Registry

__all__ = [
    "LEARNERS",
    "MAML",
    "MAMLTRPO",
    "MANN",
    "R2D2",
    "RL2",
    "RL3",
    "SNAIL",
    "AutoAdapt",
    "BayesianPrototypes",
    "BayesianRidge",
    "CausalTransformer",
    "DecisionPretrainedTransformer",
    "EmbeddingLearner",
    "FineTuning",
    "GaussianClasses",
    "InContextTransformer",
    "LSTMMetaLearner",
    "Learner",
    "LocalMatching",
    "MatchingNetworks",
    "MetaGMVAE",
    "MetaGradient",
    "MetaNetworks",
    "NearestCentroid",
    "NeuralProcess",
    "Predictor",
    "PrototypicalNetworks",
    "PsCo",
    "RelationNetworks",
    "Reptile",
    "SiameseNetworks",
    "TaNP",
    "TabularTransformer",
    "VariBAD",
]

LEARNERS: Registry[type[Learner]] = Registry(
    "learner",
    "learners",
    Learner,
    {
        # metric-based
        "siamese_networks": SiameseNetworks,
        "matching_networks": MatchingNetworks,
        "prototypical_networks": PrototypicalNetworks,
        "bayesian_prototypes": BayesianPrototypes,
        "relation_networks": RelationNetworks,
        "local_matching": LocalMatching,
        "psco": PsCo,
        "nearest_centroid": NearestCentroid,
        # model-based
        "mann": MANN,
        "meta_networks": MetaNetworks,
        "meta_gmvae": MetaGMVAE,
        "neural_process": NeuralProcess,
        "tanp": TaNP,
        "snail": SNAIL,
        "in_context_transformer": InContextTransformer,
        "causal_transformer": CausalTransformer,
        "tabular_transformer": TabularTransformer,
        # optimization-based
        "lstm_meta_learner": LSTMMetaLearner,
        "maml": MAML,
        "reptile": Reptile,
        "r2d2": R2D2,
        # reinforcement
        "rl2": RL2,
        "rl3": RL3,
        "varibad": VariBAD,
        "maml_trpo": MAMLTRPO,
        "decision_pretrained_transformer": DecisionPretrainedTransformer,
        # transfer
        "fine_tuning": FineTuning,
        "auto_adapt": AutoAdapt,
    },
    classes=True,
)
