"""Heads: ways to classify vectors, or to predict numbers by them, fitted to all folds at once."""

from quickstudy.learners.transfer.heads.distances import NearestCentroid, NearestNeighbours
from quickstudy.learners.transfer.heads.folds import FoldedView, Folds
from quickstudy.learners.transfer.heads.gaussians import LinearDiscriminant, NaiveBayes
from quickstudy.learners.transfer.heads.head import FittedHead, Head
from quickstudy.learners.transfer.heads.kernels import KernelHead
from quickstudy.learners.transfer.heads.regression import (
    EvidenceRidge,
    GaussianProcess,
    Mean,
    NeighbourAverage,
    RegressionFolds,
    RegressionView,
)
from quickstudy.learners.transfer.heads.trees import ExtraTrees, RegressionTrees

__all__ = [
    "EvidenceRidge",
    "ExtraTrees",
    "FittedHead",
    "FoldedView",
    "Folds",
    "GaussianProcess",
    "Head",
    "KernelHead",
    "LinearDiscriminant",
    "Mean",
    "NaiveBayes",
    "NearestCentroid",
    "NearestNeighbours",
    "NeighbourAverage",
    "RegressionFolds",
    "RegressionTrees",
    "RegressionView",
]
