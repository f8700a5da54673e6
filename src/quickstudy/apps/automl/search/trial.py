"""One trial: a pipeline that the study chooses, fitted on more and more rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from quickstudy.apps.automl.meta.sampler import REASONS
from quickstudy.apps.automl.pipelines.budget import Deadline, OutOfTime, forecast
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.parameters import suggest_config
from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry, Outcome
from quickstudy.apps.automl.search.options import SearchOptions
from quickstudy.apps.automl.search.problem import Problem
from quickstudy.apps.automl.search.stages import Stage, describe_stages
from quickstudy.errors import UsageError

__all__ = ["TrialResult", "run_trial"]

DEFAULT_REASON = "found by search, by the pipelines before"
"""Why a pipeline was tried of which the sampler says nothing, as Optuna's TPE."""

STATES = {
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.OUT_OF_TIME: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Args:
        entry: For the leaderboard.
        predictions: For the rows that each fold left out, of shape (n,) or (n, n_classes).
        times: Rows and seconds of each fit.
    """

    entry: LeaderboardEntry
    predictions: np.ndarray
    times: list[tuple[int, float]]


def run_trial(
    study: optuna.Study,
    problem: Problem,
    stages: Sequence[Stage],
    options: SearchOptions,
    number: int,
    deadline: Deadline,
    unlimited: str | None,
) -> TrialResult:
    """Let the study choose a pipeline, fit it stage by stage, and tell the study what came of it.

    Args:
        study: It chooses the pipeline, and when to prune it.
        problem: The rows that pipelines are tried on.
        stages: From few rows to all folds.
        options: Of the search.
        number: How many pipelines were tried before.
        deadline: When to be done.
        unlimited: A family without a deadline, so that one pipeline is finished; None for none.

    Raises:
        UsageError: If the study has other families.
    """
    trial = study.ask()
    try:
        config = suggest_config(trial, options.families)
    except ValueError as error:  # of Optuna, whose ranges never change
        study.tell(trial, state=TrialState.FAIL)
        raise UsageError(
            f"the study {options.study_name!r} chose among other families, as for a table of "
            f"another size: name another ({error})"
        ) from error
    deadline = Deadline(None) if config.family == unlimited else deadline
    began, run = time.monotonic(), _Run(trial, config, problem, stages, options, deadline)
    outcome, failure = run.execute()
    if outcome == Outcome.FINISHED:
        ended = study.tell(trial, float(np.mean(run.scores)))
    else:
        ended = study.tell(trial, state=STATES[outcome])
    entry = LeaderboardEntry(
        config.family,
        config.options,
        run.scores,
        time.monotonic() - began,
        failure=failure,
        number=number,
        reasons=ended.user_attrs.get(REASONS, [DEFAULT_REASON]),
        outcome=outcome,
    )
    return TrialResult(entry, problem.as_scored(run.predictions), run.times)


class _Run:
    """A pipeline that is fitted stage by stage, until it is pruned, fails or is finished."""

    def __init__(
        self,
        trial: optuna.Trial,
        config: PipelineConfig,
        problem: Problem,
        stages: Sequence[Stage],
        options: SearchOptions,
        deadline: Deadline,
    ) -> None:
        self._trial, self._config, self._problem = trial, config, problem
        self._stages, self._options, self._deadline = stages, options, deadline
        self.scores: list[float] = []
        self.times: list[tuple[int, float]] = []
        self.predictions = np.zeros((problem.n_rows, problem.n_classes or 1))

    def execute(self) -> tuple[Outcome, str | None]:
        """How it ended, and why it was not finished, in words."""
        n_done = 0
        try:
            for n_done, stage in enumerate(self._stages):
                started = time.monotonic()
                if self._trial.should_prune():
                    so_far = describe_stages(self._stages[:n_done])
                    return Outcome.PRUNED, f"{Outcome.PRUNED} after {so_far}"
                self._check_time(n_done)
                self._fit(stage)
                self.times.append((len(stage.train), time.monotonic() - started))
                if stage.is_scored:
                    self._score(stage, step=sum(s.is_scored for s in self._stages[:n_done]))
        except OutOfTime:
            so_far = describe_stages(self._stages[:n_done])
            return Outcome.OUT_OF_TIME, f"{Outcome.OUT_OF_TIME} after {so_far}"
        except Exception as error:  # whatever a library raises is this pipeline's failure
            return Outcome.FAILED, f"{type(error).__name__}: {error}".partition("\n")[0]
        return Outcome.FINISHED, None

    def _check_time(self, n_done: int) -> None:
        """End the trial if the time will not suffice: for the next stage after one fit, which says
        little, and for all of them after more.
        """
        stages = self._stages[n_done:] if len(self.times) > 1 else [self._stages[n_done]]
        growth = FAMILIES[self._config.family].growth
        seconds = sum(
            forecast(self.times, len(stage.train), growth) for stage in stages if self.times
        )
        if seconds > self._deadline.left:
            raise OutOfTime

    def _fit(self, stage: Stage) -> None:
        model = self._problem.at(stage.train).fit(self._config, self._deadline)
        validation = self._problem.at(stage.validation)
        self.predictions[stage.validation] = validation.predict(model, self._deadline)

    def _score(self, stage: Stage, step: int) -> None:
        """Report the score of a stage; of folds, the mean so far."""
        predictions = self._problem.as_scored(self.predictions[stage.validation])
        score = self._options.score(self._problem.target[stage.validation], predictions)
        if not math.isfinite(score):
            raise ValueError(f"a {self._options.metric} that is not finite")
        if stage.is_fold:
            self.scores.append(score)
            score = float(np.mean(self.scores))
        self._trial.report(score, step)
