"""Meta-training: change the learner so that its predictors do well on queries."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import LBFGS, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from quickstudy.engine import checkpoints
from quickstudy.engine.callbacks import Callback, JsonLines
from quickstudy.engine.executors import make_executor
from quickstudy.engine.meta_test import meta_test
from quickstudy.errors import RunError, UsageError
from quickstudy.learners import Learner
from quickstudy.tasks import Tasks

__all__ = ["TrainReport", "meta_train"]


@dataclass(frozen=True)
class TrainReport:
    """What a call of `meta_train` did.

    Args:
        steps: Meta-steps the learner has had in all, earlier calls included.
        seconds: Seconds spent in all, validation included.
        best: Best validation score, and None without validation.
        stopped: Why training ended.
    """

    steps: int
    seconds: float
    best: float | None
    stopped: Literal["done", "early", "interrupted"]


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0


def meta_train(
    learner: Learner,
    tasks: Tasks,
    *,
    steps: int,
    meta_batch_size: int = 1,
    optimizer: Callable[[Iterable[Tensor]], Optimizer] = Adam,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    clip_norm: float | None = None,
    executor: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    validation: Tasks | None = None,
    validation_tasks: int = 100,
    validate_every: int = 200,
    patience: int | None = None,
    run: Path | None = None,
    checkpoint_every: int = 200,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainReport:
    """Meta-train a learner, in place.

    Step s uses the episodes `tasks[s * meta_batch_size]` onwards, so an interrupted run that is
    resumed gives the same weights, bit for bit, as one that was not. Ctrl-C and SIGTERM stop
    after the step at hand, with a checkpoint. With validation, the learner ends with the best
    weights; without, with the last.

    Args:
        steps: Meta-steps in all, those before a resume included.
        meta_batch_size: Episodes per step.
        optimizer: Makes the outer optimiser from the parameters.
        schedule: Makes a learning-rate schedule, stepped once per meta-step
            (`ReduceLROnPlateau`: once per validation, with its score).
        clip_norm: Largest norm of the meta-gradient; longer ones are scaled down.
        executor: "serial", "threads", "vmap" or "auto".
        precision: "bfloat16" computes the networks in half the bits where PyTorch deems it safe;
            weights and gradients stay float32.
        validation: Tasks to choose the best weights by.
        patience: Stop after this many validations without a better score.
        run: Folder for `metrics.jsonl`, checkpoints and `weights.safetensors`.
        checkpoint_every: Meta-steps between checkpoints.
        resume: Continue from the newest checkpoint in `run`, or begin if there is none.

    Raises:
        UsageError: If an argument cannot be used.
        RunError: If `run` holds a run already and `resume` is false, or the loss is not finite.

    Example:
        >>> from quickstudy import MAML, SinusoidTasks
        >>> from quickstudy.nn import MLP
        >>> learner = MAML(MLP((1,)), 1, inner_lr=0.01)
        >>> meta_train(learner, SinusoidTasks(n_shot=10, n_query=10), steps=2).steps
        2
    """
    if steps < 0 or min(meta_batch_size, validate_every, checkpoint_every) < 1:
        raise UsageError("expected steps >= 0 and every batch size and interval >= 1")
    if resume and run is None:
        raise UsageError("expected a run folder to resume from, got run=None")
    if run is not None and not resume and (run / "state").exists():
        raise RunError(f"{run} holds a run already: resume it, or name another folder")
    parameters = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    outer = optimizer(parameters.values()) if parameters else None
    if isinstance(outer, LBFGS):
        raise UsageError("expected an optimiser that steps by gradients alone, got LBFGS")
    scheduler = schedule(outer) if schedule and outer else None
    if isinstance(scheduler, ReduceLROnPlateau) and validation is None:
        raise UsageError("expected validation tasks, as ReduceLROnPlateau follows their score")
    progress = _Progress()
    best_weights: dict[str, Tensor] | None = None
    if resume and run is not None:
        best_weights = _restore(run / "state", learner, outer, scheduler, progress, callbacks)
    if run is not None:
        run.mkdir(parents=True, exist_ok=True)
        callbacks = [*callbacks, JsonLines(run / "metrics.jsonl", progress.step)]
    compute = make_executor(executor, learner, meta_batch_size)
    saved_step = -1

    def save() -> None:
        nonlocal saved_step
        if run is None or saved_step == progress.step:
            return
        _save(run / "state", learner, best_weights, outer, scheduler, progress)
        checkpoints.write_tensors(
            run / "weights.safetensors",
            learner.state_dict() if best_weights is None else best_weights,
        )
        saved_step = progress.step

    stopped: Literal["done", "early", "interrupted"] = "done"
    began = time.perf_counter()
    learner.train()
    for callback in callbacks:
        callback.on_start(progress.step, steps)
    try:
        with _stop_requests() as asked:
            while progress.step < steps:
                first = progress.step * meta_batch_size
                episodes = [tasks[first + i] for i in range(meta_batch_size)]
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                    result = compute(learner, episodes)
                if not math.isfinite(loss := float(result.loss)):
                    raise RunError(
                        f"the loss is {loss} at step {progress.step}: lower the learning rates"
                    )
                rates = _step(learner, parameters, result, outer, scheduler, clip_norm)
                progress.step += 1
                now = time.perf_counter()
                progress.seconds, began = progress.seconds + now - began, now
                metrics = {"loss": loss, "lr": rates, "seconds": round(progress.seconds, 3)}
                for callback in callbacks:
                    callback.on_step(progress.step, metrics)
                due = progress.step % validate_every == 0 or progress.step == steps
                if validation is not None and due:
                    report = meta_test(learner, validation, validation_tasks)
                    if isinstance(scheduler, ReduceLROnPlateau):
                        scheduler.step(report.mean)
                    better = -1 if report.metric == "mse" else 1
                    if progress.best is None or better * (report.mean - progress.best) > 0:
                        progress.best, progress.best_step = report.mean, progress.step
                        best_weights = {k: v.clone() for k, v in learner.state_dict().items()}
                    for callback in callbacks:
                        callback.on_validation(progress.step, {report.metric: report.mean})
                    if patience and progress.step - progress.best_step >= patience * validate_every:
                        stopped = "early"
                        break
                if asked.is_set():
                    stopped = "interrupted"
                    break
                if progress.step % checkpoint_every == 0:
                    save()
            save()
    finally:
        compute.close()
        for callback in callbacks:
            callback.on_end()
    if best_weights is not None and stopped != "interrupted":
        learner.load_state_dict(best_weights)
    learner.eval()
    return TrainReport(progress.step, progress.seconds, progress.best, stopped)


def _step(learner, parameters, result, outer, scheduler, clip_norm) -> float:
    """One outer update; returns the learning rate it used."""
    if outer is None:
        return 0.0
    for name, parameter in parameters.items():
        parameter.grad = result.gradients[name]
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip_norm)
    rate = float(outer.param_groups[0]["lr"])
    outer.step()
    outer.zero_grad(set_to_none=True)
    if scheduler is not None and not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()
    for name, buffer in learner.named_buffers():
        buffer.copy_(result.buffers[name])
    return rate


def _save(folder, learner, best_weights, outer, scheduler, progress) -> None:
    tensors: dict[str, Tensor] = {}
    state = {
        "progress": vars(progress),
        "optimizer": checkpoints.flatten(outer.state_dict() if outer else {}, tensors, "optimizer"),
        "schedule": checkpoints.flatten(
            scheduler.state_dict() if scheduler else {}, tensors, "schedule"
        ),
    }
    parts = {"weights": learner.state_dict(), "optimizer": tensors}
    if best_weights is not None:
        parts["best"] = best_weights
    checkpoints.save_checkpoint(folder, progress.step, parts, state)


def _restore(folder, learner, outer, scheduler, progress, callbacks) -> dict[str, Tensor] | None:
    found = checkpoints.latest_checkpoint(folder)
    if found is None:
        return None
    tensors, state, complaints = found
    for complaint in complaints:
        for callback in callbacks:
            callback.on_warning(complaint)
    try:
        learner.load_state_dict(tensors["weights"])
    except RuntimeError as error:
        raise RunError(f"{folder} holds another learner's weights: {error}") from None
    if outer is not None:
        outer.load_state_dict(checkpoints.unflatten(state["optimizer"], tensors["optimizer"]))
    if scheduler is not None:
        scheduler.load_state_dict(checkpoints.unflatten(state["schedule"], tensors["optimizer"]))
    vars(progress).update(state["progress"])
    return tensors.get("best")


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one acts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    old: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: Any) -> None:
        asked.set()
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        old[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
