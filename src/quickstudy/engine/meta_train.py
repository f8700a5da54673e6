"""Meta-training: change the learner so that its predictors do well on queries."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import LBFGS, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from quickstudy.engine import checkpoints
from quickstudy.engine.callbacks import Callback, JsonLines, ProgressBar
from quickstudy.engine.distributed import Ranks, ranks
from quickstudy.engine.executors import Auto, Executor, make_executor
from quickstudy.engine.meta_test import TestReport, meta_test
from quickstudy.engine.precision import autocast, bfloat16_is_faster
from quickstudy.errors import RunError, UsageError, check_option
from quickstudy.files import disk_errors, locked, remove_leftovers
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of, trainable
from quickstudy.memory import tuned_malloc
from quickstudy.tasks import Tasks

__all__ = ["TrainReport", "meta_train"]


@dataclass(frozen=True)
class TrainReport:
    """What a call of `meta_train` did.

    Args:
        steps: Meta-steps in all, those before a resume included.
        seconds: Seconds spent on them, validation included.
        best: Best validation score, and None without validation.
        stopped: Why training ended: all steps done, no better validation ("early"), no time left
            ("time"), or Ctrl-C or SIGTERM.
        precision: What the networks were computed in.
    """

    steps: int
    seconds: float
    best: float | None
    stopped: Literal["done", "early", "time", "interrupted"]
    precision: str


@dataclass
class _Progress:
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


def fused_adam(parameters: Iterable[Tensor]) -> Adam:
    """Adam at PyTorch's own rates, in one pass over the weights where each fills its memory: a
    fused optimiser takes no notice of gaps, as in a slice of a larger matrix.
    """
    given = list(parameters)
    return Adam(given, fused=all(p.stride() == torch.empty_like(p).stride() for p in given))


def meta_train(
    learner: Learner,
    tasks: Tasks,
    *,
    steps: int,
    meta_batch_size: int = 1,
    optimizer: Callable[[Iterable[Tensor]], Optimizer] = fused_adam,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    clip_norm: float | None = None,
    executor: str | Executor = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    validation: Tasks | None = None,
    validation_tasks: int = 100,
    validate_every: int = 200,
    patience: int | None = None,
    seconds: float | None = None,
    run: str | Path | None = None,
    checkpoint_every: int = 200,
    keep_checkpoints: int = 2,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    show_progress: bool = True,
    tune_malloc: bool = True,
) -> TrainReport:
    """Meta-train a learner, in place.

    Step s uses the episodes `tasks[s * meta_batch_size]` onwards, so an interrupted run that is
    resumed gives the same weights, bit for bit, as one that was not (on the same machine, with as
    many threads; elsewhere the same to rounding). Ctrl-C and SIGTERM stop
    after the step at hand, with a checkpoint. With validation, the learner ends with the best
    weights; without, with the last.

    Training is where the learner is: `learner.to("cuda")` first, to train on a GPU.

    Under `torchrun` each process takes its share of the tasks of every step and of validation;
    the first one writes the run, which the others must be able to read.

    Args:
        steps: Meta-steps in all, those before a resume included.
        meta_batch_size: Episodes per step.
        optimizer: Makes the outer optimiser from the parameters.
        schedule: Makes a learning-rate schedule, stepped once per meta-step
            (`ReduceLROnPlateau`: once per validation, with the error: 1 - accuracy, or mse).
        clip_norm: Largest norm of the meta-gradient; longer ones are scaled down.
        executor: "serial", "threads", "vmap", "compiled" or "auto", or an executor of your own,
            which stays open.
        precision: "bfloat16" computes the networks in half the bits where PyTorch deems it safe;
            weights and gradients stay float32. "auto" is bfloat16 where the processor has
            instructions for it and the first task shows that it is faster, and else float32.
        validation: Tasks to choose the best weights by.
        patience: Stop after this many validations without a better score.
        seconds: Stop when these are spent, if the steps take longer; validation counts, and so does
            choosing an executor, which compiles nothing then. Training ends with the step after
            which another one and the last validation would not fit, but not before the first.
        run: Folder for `metrics.jsonl`, checkpoints and `weights.safetensors`.
        checkpoint_every: Meta-steps between checkpoints.
        keep_checkpoints: How many stay; with 2 or more, a damaged one is passed over for the one
            before.
        resume: Continue from the newest checkpoint in `run`, or begin if there is none.
        callbacks: What else watches the training.
        show_progress: Show how far training is, on standard error (see `Progress`).
        tune_malloc: Keep freed memory in this process until training ends (see `tuned_malloc`);
            False leaves the settings of a host process alone.

    Raises:
        UsageError: If an argument cannot be used.
        RunError: If `run` holds a run already and `resume` is false, another process trains in
            it, or loss or gradient are not finite.
        DiskError: If `run` cannot be written; its last checkpoint stays.

    Example:
        >>> from quickstudy import MAML, SinusoidTasks
        >>> from quickstudy.nn import MLP
        >>> learner = MAML(MLP((1,)), 1, inner_lr=0.01)
        >>> meta_train(learner, SinusoidTasks(n_shot=10, n_query=10), steps=2).steps
        2
    """
    counts = (meta_batch_size, validate_every, checkpoint_every, keep_checkpoints, patience or 1)
    if steps < 0 or min(counts) < 1:
        raise UsageError(
            "expected steps >= 0, and patience, keep_checkpoints and every size and interval >= 1"
        )
    if clip_norm is not None and clip_norm <= 0:
        raise UsageError(f"expected clip_norm > 0, got {clip_norm}")
    check_option("precision", precision, ("auto", "float32", "bfloat16"))
    if seconds is not None and not seconds > 0:
        raise UsageError(f"expected seconds > 0, got {seconds}")
    if patience and validation is None:
        raise UsageError("expected validation tasks with patience, got none")
    if resume and run is None:
        raise UsageError("expected a run folder to resume from, got run=None")
    run = None if run is None else Path(run)
    if run is not None and not resume and (run / "state").exists():
        raise RunError(f"{run} holds a run already: resume it, or name another folder")
    parameters, device = trainable(learner), device_of(learner)
    _check_own_memory(parameters)
    outer = optimizer(parameters.values()) if parameters else None
    if isinstance(outer, LBFGS):
        raise UsageError("expected an optimiser that steps by gradients alone, got LBFGS")
    scheduler = schedule(outer) if schedule and outer else None
    plateau = scheduler if isinstance(scheduler, ReduceLROnPlateau) else None
    if plateau and (validation is None or plateau.mode != "min"):
        raise UsageError("expected validation tasks and mode='min' with ReduceLROnPlateau")
    with contextlib.ExitStack() as ending:
        ending.enter_context(tuned_malloc(tune_malloc))
        team = ending.enter_context(ranks())
        team.check(meta_batch_size, validation_tasks if validation else None)
        own = team.count(meta_batch_size)
        compute = executor
        if not isinstance(compute, Executor):
            long = steps if seconds is None else 0  # compiling could take all the time
            compute = make_executor(compute, learner, own, long, trial=team.size == 1)
            ending.callback(compute.close)
        state = _State(learner, outer, scheduler, compute, precision)
        team.same_weights(learner)
        callbacks = [*callbacks, *([ProgressBar()] if show_progress else [])] if team.first else []
        if run is not None:
            if team.first:
                ending.enter_context(_alone(run))
                callbacks = [*callbacks, JsonLines(run / "metrics.jsonl")]
            if resume:
                state.restore(run / "state")
                if state.progress.step > steps:
                    raise RunError(f"{run} has {state.progress.step} steps already, not {steps}")
                team.agree(state.progress.step)
        progress = state.progress
        stopped: Literal["done", "early", "time", "interrupted"] = "done"
        began = time.perf_counter()
        begun = progress.step
        of_validation = 0.0  # seconds that the last one took

        def tick() -> float:
            nonlocal began
            now = time.perf_counter()
            took, began = now - began, now
            progress.seconds += took
            return took

        def no_time_left(to_come: float) -> bool:
            return seconds is not None and team.any(progress.seconds + to_come >= seconds)

        for callback in callbacks:
            callback.on_start(progress.step, steps)
            ending.callback(callback.on_end)
        learner.train()
        if state.precision == "auto":
            faster = progress.step < steps and bfloat16_is_faster(
                learner, tasks, progress.step * meta_batch_size + team.rank
            )
            state.precision = "float32" if team.any(not faster) else "bfloat16"
        stop_requested = ending.enter_context(_stop_requests())
        while progress.step < steps:
            if patience and progress.waited(validate_every) >= patience:
                stopped = "early"
                break
            if team.any(stop_requested.is_set()):
                stopped = "interrupted"
                break
            first = progress.step * meta_batch_size + team.rank
            episodes = [tasks[first + i * team.size].to(device) for i in range(own)]
            for episode in episodes:
                learner.check(episode.support)
            seed = progress.step * team.size + team.rank
            with _own_randomness(seed, device), autocast(state.precision, device):
                result = compute(learner, episodes)
            result = team.mean(result, own, meta_batch_size)
            rate = _step(learner, parameters, result, outer, clip_norm, progress.step)
            if scheduler and not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            progress.step += 1
            of_step = tick()
            if progress.step == begun + 1:
                of_step = 0.0  # the first one is no measure of the next
            over = no_time_left(of_step + of_validation)
            metrics = {
                "loss": float(result.loss),
                "lr": rate,
                "seconds": round(progress.seconds, 3),
            }
            for callback in callbacks:
                callback.on_step(progress.step, metrics)
            last = over or progress.step == steps
            if validation and (progress.step % validate_every == 0 or last):
                report = _validate(learner, validation, validation_tasks, team)
                state.keep_if_best(report)
                if plateau:
                    plateau.step(_error(report))
                of_validation = tick()
                over = over or no_time_left(of_step + of_validation)
                for callback in callbacks:
                    callback.on_validation(progress.step, {report.metric: report.mean})
            if run is not None and team.first and progress.step % checkpoint_every == 0:
                state.save(run, keep_checkpoints)
            if over and progress.step < steps:
                stopped = "time"
                break
        if run is not None and team.first:
            state.save(run, keep_checkpoints)
    if state.best is not None and stopped != "interrupted":
        checkpoints.load_weights(learner, state.best)
    learner.eval()
    return TrainReport(progress.step, progress.seconds, progress.best, stopped, state.precision)


def _check_own_memory(parameters: dict[str, Tensor]) -> None:
    """Refuse parameters that share memory, which a step would change once for each of them."""
    places: dict[int, str] = {}
    for name, parameter in parameters.items():
        if parameter.numel() and (other := places.setdefault(parameter.data_ptr(), name)) != name:
            raise UsageError(
                f"expected parameters with memory of their own, got {other} and {name} that share "
                "it: clone one, or use one parameter in both places"
            )


def _step(learner, parameters, result, outer, clip_norm, step) -> float:
    """One outer update; returns the learning rate it used."""
    gradients = list(result.gradients.values())
    norm = torch.nn.utils.get_total_norm(gradients)
    if not math.isfinite(float(result.loss)) or not math.isfinite(float(norm)):
        raise RunError(
            f"loss {float(result.loss):.4g} and gradient norm {float(norm):.4g} at step {step}: "
            "lower the learning rates, or look for bad examples"
        )
    for name, buffer in learner.named_buffers():
        buffer.copy_(result.buffers[name])
    if outer is None:
        return 0.0
    for name, parameter in parameters.items():
        gradient = result.gradients[name]
        if clip_norm is not None or gradient.stride() != parameter.stride():
            gradient = _own(gradient, parameter)
        parameter.grad = gradient
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters.values(), clip_norm, norm)
    rate = float(outer.param_groups[0]["lr"])
    outer.step()
    outer.zero_grad(set_to_none=True)
    return rate


def _own(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A copy of the gradient, in the parameter's order of memory: fused optimisers go through both
    by that order, and on a CPU (PyTorch 2.13) mix elements up without a word where it is another.
    Gradients that share memory, as those of a + b do, would be clipped once for each.
    """
    return gradient.new_empty_strided(gradient.shape, parameter.stride()).copy_(gradient)


def _validate(learner: Learner, tasks: Tasks, n_tasks: int, team: Ranks) -> TestReport:
    """Meta-test on tasks that the processes share among them.

    Of several processes, mean and scores are those of all tasks, the intervals of its own alone.
    """
    report = meta_test(learner, team.share(tasks), team.count(n_tasks))
    if team.size == 1:
        return report
    scores = team.scores(report.scores, n_tasks)
    return replace(report, mean=sum(scores) / n_tasks, scores=scores)


def _error(report: TestReport) -> float:
    """What validation minimises."""
    return report.mean if report.metric == "mse" else 1 - report.mean


class _State:
    """All that a resumed run needs: weights, the best weights, optimiser, schedule, progress."""

    def __init__(
        self,
        learner: Learner,
        outer: Optimizer | None,
        scheduler: LRScheduler | None,
        compute: Executor,
        precision: Literal["auto", "float32", "bfloat16"],
    ) -> None:
        self.learner, self.outer, self.scheduler = learner, outer, scheduler
        self.compute = compute
        self.precision: str = precision
        self.progress = _Progress()
        self.best: dict[str, Tensor] | None = None
        self._saved_step = -1

    def keep_if_best(self, report: TestReport) -> None:
        progress = self.progress
        if progress.best_error is None or _error(report) < progress.best_error:
            progress.best, progress.best_error = report.mean, _error(report)
            progress.best_step = progress.step
            self.best = {k: v.clone() for k, v in self.learner.state_dict().items()}

    def save(self, run: Path, keep: int) -> None:
        if self._saved_step != self.progress.step:
            tensors: dict[str, Tensor] = {}
            outer = self.outer.state_dict() if self.outer else {}
            rates = self.scheduler.state_dict() if self.scheduler else {}
            plain = {
                "progress": vars(self.progress),
                "executor": self.compute.chosen if isinstance(self.compute, Auto) else None,
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "optimizer": checkpoints.flatten(outer, tensors, "optimizer"),
                "schedule": checkpoints.flatten(rates, tensors, "schedule"),
            }
            parts = {"weights": self.learner.state_dict(), "optimizer": tensors}
            if self.best is not None:
                parts["best"] = self.best
            checkpoints.save_checkpoint(run / "state", self.progress.step, parts, plain, keep)
            self._saved_step = self.progress.step
        weights = self.learner.state_dict() if self.best is None else self.best
        checkpoints.write_tensors(run / "weights.safetensors", weights)

    def restore(self, folder: Path) -> None:
        latest = checkpoints.latest_checkpoint(folder)
        if latest is None:
            return
        tensors, plain, complaints = latest
        before, now = plain.get("threads"), torch.get_num_threads()
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
            optimizer_state = checkpoints.unflatten(plain["optimizer"], tensors["optimizer"])
            self.outer.load_state_dict(optimizer_state)
            for parameter, state in self.outer.state.items():
                for name, value in state.items():  # lay it out in memory as it was
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if self.scheduler:
            schedule_state = checkpoints.unflatten(plain["schedule"], tensors["optimizer"])
            self.scheduler.load_state_dict(schedule_state)
        if isinstance(self.compute, Auto):  # a resumed run goes on as it began, bit for bit
            self.compute.chosen = plain.get("executor")
        if self.precision == "auto":
            self.precision = plain.get("precision", "auto")
        self.progress = _Progress(**plain["progress"])
        self.best = tensors.get("best")
        self._saved_step = self.progress.step


@contextlib.contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Let what is drawn in a step, as by dropout, depend on its seed alone."""
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder, and clear what they left."""
    with locked(run, f"another process is training in {run}: wait, or stop it"):
        with disk_errors(run):
            remove_leftovers(run)
            remove_leftovers(run / "state")
        yield


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one acts at once."""
    stop_requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    old: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: Any) -> None:
        stop_requested.set()
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        old[number] = signal.signal(number, ask)
    try:
        yield stop_requested
    finally:
        restore()
