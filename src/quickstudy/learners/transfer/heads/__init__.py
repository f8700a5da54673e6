"""Heads: ways to classify vectors, each fitted to all folds of a support set at once."""

from quickstudy.learners.transfer.heads.distances import NearestCentroid, NearestNeighbours
from quickstudy.learners.transfer.heads.folds import FoldedView, Folds
from quickstudy.learners.transfer.heads.gaussians import LinearDiscriminant, NaiveBayes
from quickstudy.learners.transfer.heads.head import FittedHead, Head
from quickstudy.learners.transfer.heads.kernels import KernelHead
from quickstudy.learners.transfer.heads.trees import ExtraTrees

__all__ = [
    "ExtraTrees",
    "FittedHead",
    "FoldedView",
    "Folds",
    "Head",
    "KernelHead",
    "LinearDiscriminant",
    "NaiveBayes",
    "NearestCentroid",
    "NearestNeighbours",
]
