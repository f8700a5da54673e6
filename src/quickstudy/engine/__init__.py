"""The engine: meta-training, meta-testing, executors and checkpoints."""

from quickstudy.engine.calibration import expected_calibration_error
from quickstudy.engine.callbacks import Callback, JsonLines, ProgressBar, TensorBoard
from quickstudy.engine.executors import EXECUTORS, Executor, make_executor
from quickstudy.engine.meta_test import TestReport, meta_test
from quickstudy.engine.meta_train import TrainReport, meta_train

__all__ = [
    "EXECUTORS",
    "Callback",
    "Executor",
    "JsonLines",
    "ProgressBar",
    "TensorBoard",
    "TestReport",
    "TrainReport",
    "expected_calibration_error",
    "make_executor",
    "meta_test",
    "meta_train",
]
