"""The search: try pipelines until the rest of the time is needed to fit the ensemble."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import optuna

from quickstudy.apps.automl.pipelines.budget import Deadline, forecast
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.search.ensemble import ModelLibrary, Selection
from quickstudy.apps.automl.search.leaderboard import SearchCallback
from quickstudy.apps.automl.search.options import SearchOptions
from quickstudy.apps.automl.search.problem import Problem
from quickstudy.apps.automl.search.stages import Stage, stages_of
from quickstudy.apps.automl.search.study import enqueue_quick
from quickstudy.apps.automl.search.trial import run_trial
from quickstudy.errors import RunError
from quickstudy.progress import Progress

__all__ = ["MIN_TRIED_ROWS", "Search"]

QUICK_FAMILIES = ("lightgbm", "linear")
"""Fast families: one pipeline of the first one allowed is finished however short the time is."""

WARM_UP_ROWS, PROBE_ROWS, PROBE_SHARE = 200, (1000, 4000, 16_000), 0.08
"""Rows of a first fit that is not timed, and of the next ones, whose times forecast those of more
rows; and the share of the time for one of them.
"""

MIN_TRIED_ROWS = 4000
"""Rows of a larger table that pipelines are tried on at least, however short the time."""

QUICK_SHARE, FIRST_SHARE, FIT_SHARE = 0.35, 0.4, 0.35
"""Shares of the time for a quick pipeline, for the first one tried, and to fit the ensemble."""


class Search:
    """Tries pipelines on a table, as many as the time or the number of trials allows.

    Args:
        problem: The whole table.
        options: Of the search.
        deadline: When the ensemble is to be fitted.

    Attributes:
        rows: Numbers of the rows that pipelines are tried on, of shape (n_tried,).
        quick: A fast family, of which one pipeline is finished however short the time is.
    """

    def __init__(self, problem: Problem, options: SearchOptions, deadline: Deadline) -> None:
        families = options.families
        self.quick = next((name for name in QUICK_FAMILIES if name in families), families[0])
        self._options, self._deadline, self._n_rows = options, deadline, problem.n_rows
        self._fit_seconds = FIT_SHARE * max(deadline.left, 0.0)
        self.rows = problem.draw(affordable_rows(problem, self.quick, options.n_folds, deadline))
        self._problem = problem.at(self.rows) if self.is_partial else problem

    @property
    def is_partial(self) -> bool:
        """Whether pipelines are tried on a part of the rows."""
        return len(self.rows) < self._n_rows

    def run(
        self,
        study: optuna.Study,
        callback: SearchCallback | None,
        on_selection: Callable[[Selection], None],
    ) -> Selection:
        """Try what the study chooses.

        Args:
            study: It chooses the pipelines.
            callback: Called with each pipeline as it ends.
            on_selection: Called with the ensemble whenever a new one is known.

        Returns:
            The ensemble at the end.

        Raises:
            RunError: If all pipelines failed.
            DataError: If there are too few rows for folds.
        """
        splits = self._problem.splits(self._options.n_folds)
        stages = stages_of(splits, self._options.seed, timed=self._deadline.is_finite)
        library = ModelLibrary(
            self._problem.target, self._options.score, self._fit_seconds, self._n_rows
        )
        needs_quick = self.is_partial
        with self._progress() as progress:
            while needs_quick or len(library.entries) < (self._options.n_trials or math.inf):
                if self._is_over(library, needs_quick):
                    break
                needs_quick = self._try_next(study, stages, library, needs_quick)
                if callback:
                    callback(library.entries[-1])
                self._show(progress, library)
                if library.has_new and library.is_cheap_to_select:
                    on_selection(library.select())
        if not library.finished:
            first = library.entries[0]
            raise RunError(f"all pipelines failed, the first ({first.family}) by {first.failure}")
        return library.select()

    def _is_over(self, library: ModelLibrary, needs_quick: bool) -> bool:
        if not self._deadline.before(1.3 * library.selected_seconds).passed:
            return False
        # Another process may take the quick pipeline out of the queue.
        most = len(self._options.families) * (1 + needs_quick)
        return bool(library.finished) or len(library.entries) >= most

    def _try_next(
        self,
        study: optuna.Study,
        stages: Sequence[Stage],
        library: ModelLibrary,
        needs_quick: bool,
    ) -> bool:
        """Run a trial; returns whether a quick pipeline is still needed."""
        deadline = self._deadline.before(1.3 * library.selected_seconds)
        limit = deadline if library.finished else deadline.share(FIRST_SHARE)
        unlimited = self.quick if needs_quick or not library.finished else None
        n_tried = len(library.entries)
        result = run_trial(study, self._problem, stages, self._options, n_tried, limit, unlimited)
        library.add(result)
        needs_quick = needs_quick and result.entry.family != self.quick and not library.finished
        if result.entry.is_pruned and not library.finished and not needs_quick:
            enqueue_quick(study, self.quick)
            return True
        return needs_quick

    def _progress(self) -> Progress:
        if self._deadline.is_finite:
            return Progress("searching", max(1, math.ceil(self._deadline.left)))
        return Progress("trying pipelines", self._options.n_trials)

    def _show(self, progress: Progress, library: ModelLibrary) -> None:
        best = max(library.entries, key=lambda entry: entry.mean)
        note = f"{len(library.entries)} pipelines"
        if not best.failure:
            note += f", best {self._options.metric} {best.mean:.4g}"
        if self._deadline.is_finite:
            progress.done = min(round(progress.elapsed), progress.total or 0)
            progress.update(note)
        else:
            progress.advance(note=note)


def affordable_rows(problem: Problem, family: str, n_folds: int, deadline: Deadline) -> int:
    """Rows on which the default of a family goes through all folds in a share of the time.

    Args:
        problem: The whole table; fits on few of its rows are timed.
        family: A quick one.
        n_folds: Of the cross-validation.
        deadline: Of the search.
    """
    n, times = problem.n_rows, []
    if not deadline.is_finite or n <= PROBE_ROWS[-1]:
        return n
    config = PipelineConfig(family, dict(FAMILIES[family].default))
    for size in (WARM_UP_ROWS, *PROBE_ROWS):
        if times and forecast(times, size) > PROBE_SHARE * deadline.left:
            break
        rows, began = problem.draw(size), time.monotonic()
        problem.at(rows).fit(config, Deadline(None))
        if size != WARM_UP_ROWS:
            times.append((size, time.monotonic() - began))
    allowed, train_share = QUICK_SHARE * max(deadline.left, 0.0), 1 - 1 / n_folds
    while n > MIN_TRIED_ROWS and n_folds * forecast(times, int(train_share * n)) > allowed:
        n = max(int(0.8 * n), MIN_TRIED_ROWS)
    return n
