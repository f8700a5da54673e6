"""Backbones, distances, attention, and whose statistics batch norm uses."""

from quickstudy.nn.attention import (
    LinearAttention,
    MultiHeadAttention,
    RMSNorm,
    attention,
    visible,
)
from quickstudy.nn.backbones import (
    BACKBONES,
    MLP,
    AlignInk,
    Conv4,
    Conv5,
    Flatten,
    KochConv,
    Linear,
    OneHot,
    ResNet12,
    SeriesConv4,
    StridedConv4,
)
from quickstudy.nn.batch_norm import (
    BatchNorm2d,
    batch_norms,
    batch_statistics,
    forget_running_statistics,
    fresh_running_statistics,
    give_up_running_statistics,
)
from quickstudy.nn.distances import cosine_similarity, squared_euclidean
from quickstudy.nn.momentum import MomentumCopy
from quickstudy.nn.precision import full_precision, widen

__all__ = [
    "BACKBONES",
    "MLP",
    "AlignInk",
    "BatchNorm2d",
    "Conv4",
    "Conv5",
    "Flatten",
    "KochConv",
    "Linear",
    "LinearAttention",
    "MomentumCopy",
    "MultiHeadAttention",
    "OneHot",
    "RMSNorm",
    "ResNet12",
    "SeriesConv4",
    "StridedConv4",
    "attention",
    "batch_norms",
    "batch_statistics",
    "cosine_similarity",
    "forget_running_statistics",
    "fresh_running_statistics",
    "full_precision",
    "give_up_running_statistics",
    "squared_euclidean",
    "visible",
    "widen",
]
