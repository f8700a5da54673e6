"""A blend of heads of regression, weighed by a gate that is meta-trained over many tasks."""

from quickstudy.learners.transfer.regression.gate import RegressionGate
from quickstudy.learners.transfer.regression.regression_blend import (
    BlendedRegression,
    RegressionBlend,
)
from quickstudy.learners.transfer.regression.storage import (
    read_regression_gate,
    shipped_regression_gate,
    write_regression_gate,
)

__all__ = [
    "BlendedRegression",
    "RegressionBlend",
    "RegressionGate",
    "read_regression_gate",
    "shipped_regression_gate",
    "write_regression_gate",
]
