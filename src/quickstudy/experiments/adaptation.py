"""Adaptation curves: the return after each episode or step, over runs of several seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.experiments.behaviour import in_last_test
from quickstudy.experiments.significance import InterquartileMean, interquartile_mean
from quickstudy.files import write_figure
from quickstudy.learners import Learner
from quickstudy.learners.reinforcement import RandomPolicy, oracle, play
from quickstudy.learners.reinforcement.experience import Policy
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks.environments import Environments, Trials

__all__ = ["Curve", "adaptation_curves", "draw_curves"]

PLAIN = {"random": "grey", "oracle": "black"}
"""Policies that do not adapt, with the colours of their lines."""


@dataclass(frozen=True)
class Curve:
    """How the return of a learner changes as it adapts.

    Args:
        name: Of the learner.
        adapts_by: What it adapts by, such as "episodes"; None of a policy that does not adapt.
        returns: Of each run and task, before it has adapted and after each time of adapting,
            (runs, times, tasks).
    """

    name: str
    adapts_by: str | None
    returns: Tensor

    @cached_property
    def points(self) -> list[InterquartileMean]:
        """Over runs and tasks, for each time."""
        return [
            interquartile_mean(scores) for scores in self.returns.double().numpy().swapaxes(0, 1)
        ]

    def as_dict(self) -> dict[str, Any]:
        """What is printed as JSON."""
        points = [asdict(point) for point in self.points]
        return {"adapts_by": self.adapts_by, "runs": len(self.returns), "returns": points}


@torch.no_grad()
def adaptation_curves(
    runs: Mapping[str, tuple[Recipe, Learner]], n_tasks: int = 40, n_times: int = 3, seed: int = 0
) -> list[Curve]:
    """Play the same tasks with every run, and with the policies that do not adapt.

    Runs of one recipe, but for the seed, are one curve. The tasks are those of the recipes' last
    tests with this seed in place of their own.

    Args:
        runs: Recipes and their meta-trained learners, by run folder, in environments of one family.
        n_tasks: Tasks to play.
        n_times: How often learners adapt.
        seed: Decides the tasks, the environments' luck and what policies draw.

    Raises:
        UsageError: If there is no run, a learner does not act, a recipe has no test, or families
            differ.
    """
    if not runs:
        raise UsageError("expected one run or more, got none")
    groups: dict[str, list[str]] = {}
    for folder, (recipe, _) in runs.items():
        groups.setdefault(recipe.model_copy(update={"seed": 0}).as_json(), []).append(folder)
    data = next(iter(runs.values()))[0].data
    curves: list[Curve] = []
    with torch.random.fork_rng():
        for folders in groups.values():
            returns: list[Tensor] = []
            for folder in folders:
                recipe, learner = runs[folder]
                if recipe.data != data:
                    raise UsageError(
                        "expected runs in environments of one family with the same options, got "
                        f"{data.name} and in {folder} {recipe.data.name}"
                    )
                actor, trials = in_last_test(recipe.model_copy(update={"seed": seed}), learner)
                torch.manual_seed(seed)
                indices = trials.indices(n_tasks)
                returns.append(actor.adaptation_curve(trials, indices, n_times, seed).cpu())
            name = recipe.about.partition(" (")[0]
            if any(curve.name == name for curve in curves):
                name = f"{name}, {folders[0]}"
            curves.append(Curve(name, actor.adapts_by(trials), torch.stack(returns)))
        curves.append(Curve("random", None, _plain(RandomPolicy, trials, n_tasks, n_times, seed)))
        with contextlib.suppress(UsageError):  # no oracle is known for the family
            curves.append(Curve("oracle", None, _plain(oracle, trials, n_tasks, n_times, seed)))
    return curves


def _plain(
    make: Callable[[Environments], Policy], trials: Trials, n_tasks: int, n_times: int, seed: int
) -> Tensor:
    """Returns (1, times, tasks) of a policy that does not adapt."""
    environments = trials.family.environments(trials.indices(n_tasks), seed=seed)
    lived = play(environments, make(environments), n_times + 1)
    return lived.returns(trials.family.horizon)[None]


def draw_curves(curves: Sequence[Curve], path: Path) -> Path:
    """Draw interquartile means with their intervals, a line a learner.

    Args:
        path: A .png file.

    Raises:
        DiskError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
    axis = figure.subplots()
    for i, curve in enumerate(curves):
        points, colour = curve.points, PLAIN.get(curve.name, f"C{i}")
        times, means = range(len(points)), [point.mean for point in points]
        if curve.adapts_by is None:
            axis.axhline(float(np.mean(means)), color=colour, linestyle=":", label=curve.name)
            continue
        label = f"{curve.name}, by {curve.adapts_by} (runs: {len(curve.returns)})"
        axis.plot(times, means, color=colour, marker="o", markersize=4, label=label)
        if all(point.interval for point in points):
            low, high = zip(*(point.interval for point in points if point.interval), strict=True)
            axis.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set_xticks(range(curves[0].returns.shape[1]))
    axis.set_xlabel("times of adapting")
    axis.set_ylabel("return, interquartile mean")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return write_figure(path, figure)
