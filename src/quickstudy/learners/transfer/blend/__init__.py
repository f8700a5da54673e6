"""A blend of heads, weighed by a gate that is meta-trained over tasks of many domains."""

from quickstudy.learners.transfer.blend.accuracy import AccuracyModel, ExpectedAccuracy
from quickstudy.learners.transfer.blend.candidates import JOINED, PIXELS, RAW, Kind, View
from quickstudy.learners.transfer.blend.gate import Gate
from quickstudy.learners.transfer.blend.learned_blend import BlendedTask, LearnedBlend
from quickstudy.learners.transfer.blend.pool_gate import PoolGate
from quickstudy.learners.transfer.blend.refinement import (
    MAX_POOL,
    Refinement,
    VectorSpace,
    view_shares,
)
from quickstudy.learners.transfer.blend.storage import read_gate, shipped_gate, write_gate

__all__ = [
    "JOINED",
    "MAX_POOL",
    "PIXELS",
    "RAW",
    "AccuracyModel",
    "BlendedTask",
    "ExpectedAccuracy",
    "Gate",
    "Kind",
    "LearnedBlend",
    "PoolGate",
    "Refinement",
    "VectorSpace",
    "View",
    "read_gate",
    "shipped_gate",
    "view_shares",
    "write_gate",
]
