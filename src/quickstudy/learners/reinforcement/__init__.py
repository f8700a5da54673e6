"""Learners of reinforcement learning, and the classical policies and oracles they are judged by."""

from quickstudy.learners.reinforcement.classical import (
    UCB1,
    BayesOptimal,
    ClassicalPolicy,
    EpsilonGreedy,
    Greedy,
    RandomPolicy,
    ThompsonSampling,
)
from quickstudy.learners.reinforcement.experience import Experience, Policy, play
from quickstudy.learners.reinforcement.gittins import GittinsIndex
from quickstudy.learners.reinforcement.model_predictive import (
    AdaptiveModel,
    ModelPredictivePolicy,
    TrueModel,
)
from quickstudy.learners.reinforcement.oracles import (
    BestArm,
    GoalSearcher,
    ShortestWay,
    StraightLine,
    oracle,
)
from quickstudy.learners.reinforcement.planning import (
    PSRL,
    GreedyPlanner,
    OptimalPlanner,
    OptimisticPSRL,
)
from quickstudy.learners.reinforcement.shooting import CrossEntropyMethod, RandomShooting

__all__ = [
    "PSRL",
    "UCB1",
    "AdaptiveModel",
    "BayesOptimal",
    "BestArm",
    "ClassicalPolicy",
    "CrossEntropyMethod",
    "EpsilonGreedy",
    "Experience",
    "GittinsIndex",
    "GoalSearcher",
    "Greedy",
    "GreedyPlanner",
    "ModelPredictivePolicy",
    "OptimalPlanner",
    "OptimisticPSRL",
    "Policy",
    "RandomPolicy",
    "RandomShooting",
    "ShortestWay",
    "StraightLine",
    "ThompsonSampling",
    "TrueModel",
    "oracle",
    "play",
]
