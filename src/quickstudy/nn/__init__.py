"""Backbones and distances."""

from quickstudy.nn.backbones import BACKBONES, MLP, Conv4, Conv5, Flatten, StridedConv4
from quickstudy.nn.distances import cosine_similarity, squared_euclidean, widen

__all__ = [
    "BACKBONES",
    "MLP",
    "Conv4",
    "Conv5",
    "Flatten",
    "StridedConv4",
    "cosine_similarity",
    "squared_euclidean",
    "widen",
]
