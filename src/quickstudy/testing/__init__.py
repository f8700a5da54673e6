"""The contracts that learners and data sets keep, as pytest classes that anyone can inherit.

class TestMine(LearnerContract):
    def make(self, n_way):
        return MyLearner(...)


class TestMyActing(ReinforcementContract):
    def make(self, family):
        return MyActingLearner(MLP((family.observation_size,)), family.actions)


class TestFlowers(DatasetContract):
    def make(self):
        return FLOWERS
"""

from __future__ import annotations

from quickstudy.testing.datasets import DatasetContract
from quickstudy.testing.learners import LearnerContract
from quickstudy.testing.reinforcement import ReinforcementContract
from quickstudy.testing.training import blob_classes, train_until

__all__ = [
    "DatasetContract",
    "LearnerContract",
    "ReinforcementContract",
    "blob_classes",
    "train_until",
]
