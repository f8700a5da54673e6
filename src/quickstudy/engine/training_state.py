"""The state of meta-training: everything that a run needs to resume."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quickstudy.engine import checkpoints
from quickstudy.engine.executors import Auto, Executor
from quickstudy.engine.meta_test import TestReport
from quickstudy.errors import RunError
from quickstudy.learners import Learner

__all__ = ["TrainingState", "error_of"]


@dataclass
class Progress:
    """Meta-steps and seconds so far, and the best validation."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_error: float | None = None
    best_step: int = 0

    def waited(self, validate_every: int) -> int:
        """Validations since the best one."""
        if self.best is None:
            return 0
        return self.step // validate_every - self.best_step // validate_every


class TrainingState:
    """Weights, the best weights, optimiser, schedule, executor, precision and progress."""

    def __init__(
        self,
        learner: Learner,
        outer: Optimizer | None,
        scheduler: LRScheduler | None,
        executor: Executor,
        precision: Literal["auto", "float32", "bfloat16"],
    ) -> None:
        self.learner, self.outer, self.scheduler = learner, outer, scheduler
        self.executor = executor
        self.precision: str = precision
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self._saved_step = -1

    def keep_if_best(self, report: TestReport) -> None:
        """Copy the weights if a validation is the best so far."""
        progress = self.progress
        if progress.best_error is None or error_of(report) < progress.best_error:
            progress.best, progress.best_error = report.mean, error_of(report)
            progress.best_step = progress.step
            self.best = {k: v.clone() for k, v in self.learner.state_dict().items()}

    def save(self, run: Path, keep: int) -> None:
        """Write a checkpoint, and the weights that the run would end with."""
        if self._saved_step != self.progress.step:
            tensors: dict[str, Tensor] = {}
            outer = self.outer.state_dict() if self.outer else {}
            schedule = self.scheduler.state_dict() if self.scheduler else {}
            json_state = {
                "progress": vars(self.progress),
                "executor": self.executor.chosen if isinstance(self.executor, Auto) else None,
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "optimizer": checkpoints.flatten(outer, tensors, "optimizer"),
                "schedule": checkpoints.flatten(schedule, tensors, "schedule"),
            }
            parts = {"weights": self.learner.state_dict(), "optimizer": tensors}
            if self.best is not None:
                parts["best"] = self.best
            checkpoints.save_checkpoint(run / "state", self.progress.step, parts, json_state, keep)
            self._saved_step = self.progress.step
        weights = self.learner.state_dict() if self.best is None else self.best
        checkpoints.write_tensors(run / "weights.safetensors", weights)

    def restore(self, folder: Path) -> None:
        """Restore the newest checkpoint of a folder, if it has one."""
        latest = checkpoints.latest_checkpoint(folder)
        if latest is None:
            return
        tensors, json_state, complaints = latest
        before, now = json_state.get("threads"), torch.get_num_threads()
        if before not in (None, now):
            complaints.append(
                f"{folder} was written with {before} threads, and training goes on with {now}: its "
                "weights will be those of an uninterrupted run to rounding, not bit for bit"
            )
        for complaint in complaints:
            warnings.warn(complaint, stacklevel=3)
        for part in ("weights", "best"):
            checkpoints.check_weights(tensors.get(part, {}), folder)
        try:
            checkpoints.load_weights(self.learner, tensors["weights"])
        except RuntimeError as error:
            raise RunError(f"{folder} holds another learner's weights: {error}") from None
        if self.outer:
            optimizer_state = checkpoints.unflatten(json_state["optimizer"], tensors["optimizer"])
            self.outer.load_state_dict(optimizer_state)
            for parameter, state in self.outer.state.items():
                for name, value in state.items():  # with the strides that it had
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if self.scheduler:
            schedule_state = checkpoints.unflatten(json_state["schedule"], tensors["optimizer"])
            self.scheduler.load_state_dict(schedule_state)
        if isinstance(self.executor, Auto):  # a resumed run goes on as it began, bit for bit
            self.executor.chosen = json_state.get("executor")
        if self.precision == "auto":
            self.precision = json_state.get("precision", "auto")
        self.progress = Progress(**json_state["progress"])
        self.best = tensors.get("best")
        self._saved_step = self.progress.step


def error_of(report: TestReport) -> float:
    """The error that validation minimises: the mean squared error, 1 - accuracy, or the return's
    negative."""
    return {"mse": report.mean, "return": -report.mean}.get(report.metric, 1 - report.mean)
