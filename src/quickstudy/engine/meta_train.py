"""Meta-training: change the learner so that its predictors do well on queries."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.optim import LBFGS, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from quickstudy.engine import checkpoints
from quickstudy.engine.callbacks import Callback, JsonLines, ProgressBar
from quickstudy.engine.distributed import Ranks, ranks
from quickstudy.engine.executors import Executor, make_executor
from quickstudy.engine.meta_test import TestReport, check_kind, meta_test
from quickstudy.engine.precision import autocast, bfloat16_is_faster
from quickstudy.engine.stop_requests import stop_requests
from quickstudy.engine.training_state import TrainingState, error_of
from quickstudy.errors import RunError, UsageError, check_option
from quickstudy.files import disk_errors, locked, remove_leftovers
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of, trainable
from quickstudy.memory import tuned_malloc
from quickstudy.tasks import Tasks
from quickstudy.tasks.environments import Trial

__all__ = ["TrainReport", "meta_train"]

Stopped = Literal["done", "early", "time", "interrupted"]


@dataclass(frozen=True)
class TrainReport:
    """What a call of `meta_train` did.

    Args:
        steps: Meta-steps in all, those before a resume included.
        seconds: Seconds spent on them, validation included.
        best: Best validation score, and None without validation.
        stopped: Why training ended: all steps done, no better validation ("early"), no time left
            ("time"), or Ctrl-C or SIGTERM.
        precision: Number format that the networks were computed in.
    """

    steps: int
    seconds: float
    best: float | None
    stopped: Stopped
    precision: str


def fused_adam(parameters: Iterable[Tensor]) -> Adam:
    """Adam with PyTorch's default rates, fused if every weight is dense in memory: a fused
    optimiser ignores gaps, as in a slice of a larger matrix.
    """
    weights = list(parameters)
    return Adam(weights, fused=all(w.stride() == torch.empty_like(w).stride() for w in weights))


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
    after the current step, with a checkpoint. With validation, the learner ends with the best
    weights; without, with the last.

    Training runs on the learner's device: call `learner.to("cuda")` first to train on a GPU.

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
            instructions for it and is faster with it on the first task, and float32 otherwise.
        validation: Tasks to choose the best weights by.
        patience: Stop after this many validations without a better score.
        seconds: Time limit, over all sessions of a run that is resumed. Steps, validations and
            checkpoints count, and so does the choice of executor and precision; "auto" then does
            not compile. At least one step is made. Training ends when one more step and a
            validation would not fit, each taken to last as long as the last one did.
        run: Folder for `metrics.jsonl`, checkpoints and `weights.safetensors`.
        checkpoint_every: Meta-steps between checkpoints.
        keep_checkpoints: How many stay; with 2 or more, the one before replaces a damaged one.
        resume: Continue from the newest checkpoint in `run`, or begin if there is none.
        callbacks: Called as training goes on.
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
    options = _Options(
        steps=steps,
        meta_batch_size=meta_batch_size,
        clip_norm=clip_norm,
        validation=validation,
        validation_tasks=validation_tasks,
        validate_every=validate_every,
        patience=patience,
        seconds=seconds,
        run=None if run is None else Path(run),
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
        resume=resume,
    )
    options.check()
    check_option("precision", precision, ("auto", "float32", "bfloat16"))
    outer, scheduler = _outer_loop(learner, optimizer, schedule, validation)
    with contextlib.ExitStack() as stack:
        stack.enter_context(tuned_malloc(tune_malloc))
        team = stack.enter_context(ranks())
        team.check(meta_batch_size, validation_tasks if validation else None)
        compute = executor
        if not isinstance(compute, Executor):
            planned_steps = steps if seconds is None else 0  # compiling could take all the time
            n_own = team.count(meta_batch_size)
            compute = make_executor(compute, learner, n_own, planned_steps, trial=team.size == 1)
            stack.callback(compute.close)
        state = TrainingState(learner, outer, scheduler, compute, precision)
        team.same_weights(learner)
        callbacks = [*callbacks, *([ProgressBar()] if show_progress else [])] if team.first else []
        if options.run is not None:
            if team.first:
                stack.enter_context(_locked_run(options.run))
                callbacks = [*callbacks, JsonLines(options.run / "metrics.jsonl")]
            if resume:
                state.restore(options.run / "state")
                if (step := state.progress.step) > steps:
                    raise RunError(f"{run} has {step} steps already, not {steps}")
                team.agree(step)
        training = _Training(tasks, state, team, options, callbacks)
        for callback in callbacks:
            callback.on_start(state.progress.step, steps)
            stack.callback(callback.on_end)
        learner.train()
        training.choose_precision()
        stopped = training.run(stack.enter_context(stop_requests()))
        if options.run is not None and team.first:
            state.save(options.run, keep_checkpoints)
    if state.best is not None and stopped != "interrupted":
        checkpoints.load_weights(learner, state.best)
    learner.eval()
    progress = state.progress
    return TrainReport(progress.step, progress.seconds, progress.best, stopped, state.precision)


@dataclass(frozen=True)
class _Options:
    """Arguments of `meta_train`."""

    steps: int
    meta_batch_size: int
    clip_norm: float | None
    validation: Tasks | None
    validation_tasks: int
    validate_every: int
    patience: int | None
    seconds: float | None
    run: Path | None
    checkpoint_every: int
    keep_checkpoints: int
    resume: bool

    def check(self) -> None:
        """Refuse arguments that cannot be used."""
        counts = (
            self.meta_batch_size,
            self.validate_every,
            self.checkpoint_every,
            self.keep_checkpoints,
            self.patience or 1,
        )
        if self.steps < 0 or min(counts) < 1:
            raise UsageError(
                "expected steps >= 0, and patience, keep_checkpoints and every size and interval "
                ">= 1"
            )
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UsageError(f"expected clip_norm > 0, got {self.clip_norm}")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"expected seconds > 0, got {self.seconds}")
        if self.patience and self.validation is None:
            raise UsageError("expected validation tasks with patience, got none")
        if self.resume and self.run is None:
            raise UsageError("expected a run folder to resume from, got run=None")
        if self.run is not None and not self.resume and (self.run / "state").exists():
            raise RunError(f"{self.run} holds a run already: resume it, or name another folder")


class _Training:
    """The loop of meta-steps and validations."""

    def __init__(
        self,
        tasks: Tasks,
        state: TrainingState,
        team: Ranks,
        options: _Options,
        callbacks: Sequence[Callback],
    ) -> None:
        self.tasks, self.state, self.team = tasks, state, team
        self.options, self.callbacks = options, callbacks
        self.learner, self.device = state.learner, device_of(state.learner)
        self.parameters = trainable(state.learner)
        self.n_own_episodes = team.count(options.meta_batch_size)  # of a step, for this process
        self._lap_began = time.perf_counter()
        self._validation_seconds = 0.0  # of the last one

    def choose_precision(self) -> None:
        """Replace "auto" by what is faster for the first task, unless a checkpoint has chosen."""
        if self.state.precision != "auto":
            return
        step = self.state.progress.step
        is_faster = step < self.options.steps and bfloat16_is_faster(
            self.learner, self.tasks, step * self.options.meta_batch_size + self.team.rank
        )
        self.state.precision = "float32" if self.team.any(not is_faster) else "bfloat16"

    def run(self, stop_requested: threading.Event) -> Stopped:
        """Train until the steps are done, or something stops training earlier."""
        options, progress, team = self.options, self.state.progress, self.team
        first_step = progress.step + 1
        while progress.step < options.steps:
            if options.patience and progress.waited(options.validate_every) >= options.patience:
                return "early"
            if team.any(stop_requested.is_set()):
                return "interrupted"
            metrics = self._step()
            step_seconds = self._lap()
            if progress.step == first_step:
                step_seconds = 0.0  # the first step takes longer than the others
            is_out_of_time = self._no_time_left(step_seconds + self._validation_seconds)
            metrics["seconds"] = round(progress.seconds, 3)
            for callback in self.callbacks:
                callback.on_step(progress.step, metrics)
            is_last = is_out_of_time or progress.step == options.steps
            if options.validation and (progress.step % options.validate_every == 0 or is_last):
                report = self._validate(options.validation)
                is_out_of_time = is_out_of_time or self._no_time_left(
                    step_seconds + self._validation_seconds
                )
                for callback in self.callbacks:
                    callback.on_validation(progress.step, {report.metric: report.mean})
            if (
                options.run is not None
                and team.first
                and progress.step % options.checkpoint_every == 0
            ):
                self.state.save(options.run, options.keep_checkpoints)
            if is_out_of_time and progress.step < options.steps:
                return "time"
        return "done"

    def _step(self) -> dict[str, float]:
        """A meta-step; returns its loss and learning rate."""
        state, team, size = self.state, self.team, self.options.meta_batch_size
        step, scheduler = state.progress.step, state.scheduler
        first = step * size + team.rank
        tasks = [
            self.tasks[first + i * team.size].to(self.device) for i in range(self.n_own_episodes)
        ]
        check_kind(self.learner, in_environments=isinstance(tasks[0], Trial))
        losses, rate = [], 0.0
        with _seeded(step * team.size + team.rank, self.device):
            for parts in team.together(self.learner.updates(tasks)):
                with autocast(state.precision, self.device):
                    result = state.executor(self.learner, parts)
                result = team.mean(result, self.n_own_episodes, size)
                losses.append(float(result.loss))
                rate = _outer_update(
                    self.learner, self.parameters, result, state.outer, self.options.clip_norm, step
                )
        if scheduler and not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
        state.progress.step += 1
        return {"loss": sum(losses) / len(losses), "lr": rate}

    def _validate(self, validation: Tasks) -> TestReport:
        """Validate, and keep the weights if they are the best so far."""
        report = _validation_report(
            self.learner, validation, self.options.validation_tasks, self.team
        )
        self.state.keep_if_best(report)
        if isinstance(self.state.scheduler, ReduceLROnPlateau):
            self.state.scheduler.step(error_of(report))
        self._validation_seconds = self._lap()
        return report

    def _lap(self) -> float:
        """Count the seconds since the last lap."""
        now = time.perf_counter()
        seconds, self._lap_began = now - self._lap_began, now
        self.state.progress.seconds += seconds
        return seconds

    def _no_time_left(self, seconds_to_come: float) -> bool:
        seconds, so_far = self.options.seconds, self.state.progress.seconds
        return seconds is not None and self.team.any(so_far + seconds_to_come >= seconds)


def _outer_loop(
    learner: Learner,
    optimizer: Callable[[Iterable[Tensor]], Optimizer],
    schedule: Callable[[Optimizer], LRScheduler] | None,
    validation: Tasks | None,
) -> tuple[Optimizer | None, LRScheduler | None]:
    """The outer optimiser and its schedule, if the learner has weights to learn."""
    parameters = trainable(learner)
    _check_no_shared_memory(parameters)
    outer = optimizer(parameters.values()) if parameters else None
    if isinstance(outer, LBFGS):
        raise UsageError("expected an optimiser that steps by gradients alone, got LBFGS")
    scheduler = schedule(outer) if schedule and outer else None
    if isinstance(scheduler, ReduceLROnPlateau) and (validation is None or scheduler.mode != "min"):
        raise UsageError("expected validation tasks and mode='min' with ReduceLROnPlateau")
    return outer, scheduler


def _check_no_shared_memory(parameters: dict[str, Tensor]) -> None:
    """Refuse parameters that share memory, which each step would change more than once."""
    names: dict[int, str] = {}
    for name, parameter in parameters.items():
        if parameter.numel() and (other := names.setdefault(parameter.data_ptr(), name)) != name:
            raise UsageError(
                f"expected parameters with memory of their own, got {other} and {name} that share "
                "it: clone one, or use one parameter in both places"
            )


def _outer_update(learner, parameters, result, outer, clip_norm, step) -> float:
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
            gradient = _copy_in_layout_of(parameter, gradient)
        parameter.grad = gradient
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters.values(), clip_norm, norm)
    rate = float(outer.param_groups[0]["lr"])
    outer.step()
    outer.zero_grad(set_to_none=True)
    return rate


def _copy_in_layout_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A copy of the gradient with the parameter's strides. Fused optimisers read both in the order
    of memory, and on a CPU (PyTorch 2.13) silently mix up the elements if the orders differ. And
    gradients that share memory, as those of a + b do, would be clipped twice.
    """
    return gradient.new_empty_strided(gradient.shape, parameter.stride()).copy_(gradient)


def _validation_report(learner: Learner, tasks: Tasks, n_tasks: int, team: Ranks) -> TestReport:
    """Meta-test on tasks that the processes share among them.

    With several processes, mean and scores are over all tasks, the intervals over this process's
    tasks alone.
    """
    report = meta_test(learner, team.share(tasks), team.count(n_tasks))
    if team.size == 1:
        return report
    scores = team.scores(report.scores, n_tasks)
    return replace(report, mean=sum(scores) / n_tasks, scores=scores)


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let the random numbers of a step, as of dropout, depend on its seed alone."""
    if device.type != "cpu":
        with torch.random.fork_rng([device], device_type=device.type):
            torch.manual_seed(seed)
            yield
        return
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes longer than small steps
        yield


@contextlib.contextmanager
def _locked_run(run: Path) -> Iterator[None]:
    """Keep other processes from training into a folder, and remove what killed ones left there."""
    with locked(run, f"another process is training in {run}: wait, or stop it"):
        with disk_errors(run):
            remove_leftovers(run)
            remove_leftovers(run / "state")
        yield
