"""Everything that `quickstudy doctor` finds, in the order it is told."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickstudy.apps.doctor.examples import LoadedSupport, load_support
from quickstudy.apps.doctor.run_checks import (
    Measure,
    Measures,
    RunTasks,
    costs,
    learning_curve,
    of_run,
    of_tasks,
)
from quickstudy.apps.doctor.support_checks import against_training, of_support
from quickstudy.diagnostics.finding import Finding, Skipped
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments.run import find_run, load_run
from quickstudy.progress import Progress

if TYPE_CHECKING:
    from quickstudy.experience import ExperienceStore

__all__ = ["Diagnosis", "diagnose"]

Result = Finding | Skipped


@dataclass
class Diagnosis:
    """What was found.

    Args:
        run: The run folder.
        about: The run in words.
        sections: Findings, and what was left out, by their subject.
        support: The support set that was looked at.
        curve: Shots, mean accuracies and half-widths of intervals.
    """

    run: str
    about: str
    sections: dict[str, list[Result]] = field(default_factory=dict)
    support: LoadedSupport | None = None
    curve: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [one for each in self.sections.values() for one in each if isinstance(one, Finding)]

    @property
    def warnings(self) -> list[Finding]:
        return [one for one in self.findings if one.is_warning]

    @property
    def skipped(self) -> list[Skipped]:
        return [one for each in self.sections.values() for one in each if isinstance(one, Skipped)]

    def as_dict(self) -> dict[str, Any]:
        """The same, for JSON."""
        return {
            "run": self.run,
            "about": self.about,
            "warnings": len(self.warnings),
            "sections": {
                title: [one.as_dict() for one in each if isinstance(one, Finding)]
                for title, each in self.sections.items()
            },
            "left_out": [vars(one) for one in self.skipped],
            "curve": [list(point) for point in self.curve],
        }


def diagnose(
    run: str | Path,
    *,
    support: Path | None = None,
    tasks: str | None = None,
    label: str | None = None,
    n_tasks: int = 40,
    store: ExperienceStore | None = None,
) -> Diagnosis:
    """Look at a run, its tasks, new tasks and a support set, as far as each is there.

    A measure that cannot be taken is left out with the reason.

    Args:
        run: A run folder, or the name of one that comes with quickstudy.
        support: Examples that the learner is to adapt to; see `load_support`.
        tasks: New tasks: the name of a data set, or a folder of class folders. By default those of
            the recipe's tests.
        label: The column of labels of a table.
        n_tasks: How many tasks each measure draws.
        store: Of experience, for what other learners scored and cost.

    Raises:
        MissingError, RunError: If there is no such run, or it is damaged.
        MissingError, DataError, UsageError: If the support set or the tasks cannot serve.
    """
    folder = find_run(run)
    recipe, learner = load_run(folder)
    loaded = None if support is None else load_support(support, recipe, label)
    found = Diagnosis(str(run), recipe.about, support=loaded)
    if learner.acts:
        why = f"{recipe.data.name} are environments to act in; `quickstudy rollout` shows them"
        found.sections["Run"] = [Skipped("all measures of examples", why)]
        return found
    here = RunTasks(recipe, learner, tasks, n_tasks)
    sections: dict[str, Measures] = {}
    if support is not None and loaded is not None:
        sections["Support set"] = of_support(learner, loaded)
        sections["Support set and training"] = against_training(folder, here, support, loaded)
    sections["Run"] = of_run(here)
    sections["Training tasks"] = of_tasks(here)
    sections["Scarcity and sample efficiency"] = learning_curve(here, folder, found.curve)
    sections["Cost"] = costs(here, store)
    measures = {title: list(each) for title, each in sections.items()}
    with Progress("diagnosing", sum(map(len, measures.values()))) as progress:
        for title, each in measures.items():
            found.sections[title] = []
            for name, measure in each:
                progress.update(name)
                found.sections[title] += _taken(name, measure)
                progress.advance()
    return found


def _taken(name: str, measure: Measure) -> list[Result]:
    """Take a measure; one that refuses its data is left out with the reason, and any other error
    is a fault of the program, which has to surface."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.filterwarnings("ignore", "There is a performance drop")  # PyTorch's vmap
            result = measure()
    except (DataError, MissingError, UsageError) as error:
        result = Skipped(name, str(error))
    return result if isinstance(result, list) else [result]
