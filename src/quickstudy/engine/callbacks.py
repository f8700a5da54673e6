"""What watches a training run: its progress, a log of metrics, TensorBoard."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from quickstudy.errors import require
from quickstudy.files import disk_errors, write_atomically
from quickstudy.progress import Progress

__all__ = ["Callback", "JsonLines", "ProgressBar", "TensorBoard"]


class Callback:
    """Hooks that do nothing; override the ones you need."""

    def on_start(self, step: int, steps: int) -> None:
        """Training begins after `step` of `steps` meta-steps."""

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        """A meta-step is done; metrics are "loss", "lr" and "seconds"."""

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        """A validation is done; metrics are the score by its name."""

    def on_end(self) -> None:
        """Training has ended, by whatever cause."""


class JsonLines(Callback):
    """One JSON line a step in a file.

    On a resume, lines after the step resumed from are dropped, as are damaged ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_start(self, step: int, steps: int) -> None:
        lines = []
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a kill
                    if json.loads(line)["step"] <= step:
                        lines.append(line + b"\n")
        write_atomically(self._path, b"".join(lines))
        with disk_errors(self._path):
            self._file = self._path.open("a", buffering=1, encoding="utf-8")

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._write({"step": step, **metrics})

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        self._write({"step": step, "validation": metrics})

    def on_end(self) -> None:
        with disk_errors(self._path):
            self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        with disk_errors(self._path):
            self._file.write(json.dumps(entry) + "\n")


class ProgressBar(Callback):
    """How far training is, with loss, score and time left, on standard error (see `Progress`).

    `meta_train` adds one, unless it is called with `show_progress=False`.
    """

    def on_start(self, step: int, steps: int) -> None:
        self._progress = Progress("meta-training", steps, done=step).__enter__()
        self._score = ""

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._progress.advance(note=f"loss {metrics['loss']:.3f}{self._score}")

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        self._score = "".join(f", {name} {score:.3f}" for name, score in metrics.items())

    def on_end(self) -> None:
        self._progress.__exit__(None, None, None)


class TensorBoard(Callback):
    """Write loss, rate and scores for TensorBoard; needs `quickstudy[tensorboard]`."""

    def __init__(self, folder: Path) -> None:
        require("tensorboardX", "tensorboard")
        from tensorboardX import SummaryWriter

        self._make = lambda: SummaryWriter(str(folder))

    def on_start(self, step: int, steps: int) -> None:
        self._writer = self._make()

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._writer.add_scalar("train/loss", metrics["loss"], step)
        self._writer.add_scalar("train/lr", metrics["lr"], step)

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, step)

    def on_end(self) -> None:
        self._writer.close()
