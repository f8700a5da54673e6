"""Backbones, distances and attention."""

from quickstudy.nn.attention import MultiHeadAttention, RMSNorm, attention, visible
from quickstudy.nn.backbones import (
    BACKBONES,
    MLP,
    Conv4,
    Conv5,
    Flatten,
    KochConv,
    StridedConv4,
)
from quickstudy.nn.distances import cosine_similarity, squared_euclidean, widen

__all__ = [
    "BACKBONES",
    "MLP",
    "Conv4",
    "Conv5",
    "Flatten",
    "KochConv",
    "MultiHeadAttention",
    "RMSNorm",
    "StridedConv4",
    "attention",
    "cosine_similarity",
    "squared_euclidean",
    "visible",
    "widen",
]
