"""How a learner that acts behaves in new tasks: before it has adapted, after, and the oracle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.experiments.build import tasks_of_test
from quickstudy.files import write_figure
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.learners.reinforcement import oracle
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks.environments import EnvironmentFamily, Trials
from quickstudy.tasks.environments.bandits import Bandits

__all__ = ["AFTER", "Behaviour", "behaviour", "draw_behaviour", "in_last_test"]

BEFORE, AFTER, ORACLE = "before", "after", "oracle"

LEARNED_COLOUR, GOAL_COLOUR = "#1d6fb8", "#d62828"


@dataclass(frozen=True)
class Behaviour:
    """An episode of some tasks, by each policy.

    Args:
        family: The environments.
        parameters: Of the tasks, tensors with a row a task.
        episodes: By the name of the policy: the first episode of a trial, the last of the query
            episodes if it has more than one, and that of the oracle, if the family has one.
    """

    family: EnvironmentFamily
    parameters: dict[str, Tensor]
    episodes: dict[str, Experience]

    def returns(self) -> dict[str, list[float]]:
        """The return of each task, by policy."""
        horizon = self.family.horizon
        return {
            name: episode.returns(horizon)[0].tolist() for name, episode in self.episodes.items()
        }


@torch.no_grad()
def behaviour(recipe: Recipe, learner: Learner, n_tasks: int = 6, seed: int = 0) -> Behaviour:
    """Play tasks of the recipe's last test.

    Args:
        n_tasks: How many, the first ones.
        seed: Of actions, and of the environments' luck, which all policies share.

    Raises:
        UsageError: If the learner does not act, or the recipe has no test.
    """
    actor, trials = in_last_test(recipe, learner)
    family, indices = trials.family, trials.indices(n_tasks)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        environments = family.environments(indices, seed=seed, device=device_of(learner))
        episodes = {BEFORE: play(environments, actor.policy())}
        if trials.n_shot + trials.n_query > 1:
            query = actor.query_episodes(trials, indices, seed)
            copies = query.rewards.shape[1] // n_tasks
            last = query.after(len(query) - family.horizon)
            episodes[AFTER] = last.of(torch.arange(0, n_tasks * copies, copies))
        with contextlib.suppress(UsageError):  # no oracle is known for the family
            environments = family.environments(indices, seed=seed, device=device_of(learner))
            episodes[ORACLE] = play(environments, oracle(environments))
    return Behaviour(family, environments.parameters, episodes)


def in_last_test(recipe: Recipe, learner: Learner) -> tuple[ReinforcementLearner, Trials]:
    """The learner, in evaluation mode, and the trials of the recipe's last test.

    Raises:
        UsageError: If the learner does not act, or the recipe has no test.
    """
    if not isinstance(learner, ReinforcementLearner):
        raise UsageError(
            f"{recipe.learner.name} does not act: expected a run of a learner such as rl2"
        )
    if not recipe.test:
        raise UsageError("expected a recipe with a test, got none: give it a [[test]] table")
    trials = tasks_of_test(recipe, recipe.test[-1])
    assert isinstance(trials, Trials)
    return learner.eval(), trials


def draw_behaviour(found: Behaviour, path: Path) -> Path:
    """Draw a panel for each policy and task: the way and the goal where there are some, the arms
    that were pulled, or else the rewards.

    Args:
        path: A .png file.

    Raises:
        DiskError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    n_tasks = next(iter(found.episodes.values())).rewards.shape[1]
    figure = Figure(figsize=(2.1 * n_tasks + 0.6, 2.2 * len(found.episodes) + 0.3))
    panels: Any = figure.subplots(len(found.episodes), n_tasks, squeeze=False, sharey=True)
    draw = _draw_of(found)
    for row, (name, episode), returns in zip(
        panels, found.episodes.items(), found.returns().values(), strict=True
    ):
        for task, (panel, value) in enumerate(zip(row, returns, strict=True)):
            draw(panel, episode, task)
            panel.set_title(f"return {value:.4g}", fontsize=8)
            panel.tick_params(labelsize=7)
        row[0].set_ylabel(name)
    figure.tight_layout()
    return write_figure(path, figure)


def _draw_of(found: Behaviour) -> Callable[[Any, Experience, int], None]:
    """What draws one task of an episode."""
    parameters = found.parameters
    if isinstance(found.family, Bandits):
        lived = torch.cat([episode.rewards for episode in found.episodes.values()])
        scale = float(lived.min()), float(lived.max())
        means = parameters["means"]
        return lambda panel, episode, task: _arms(panel, episode, task, means, scale)
    if "goals" in parameters and found.family.observation_size == 2:
        return lambda panel, episode, task: _way(panel, episode, task, parameters["goals"])
    return _rewards


def _arms(
    panel: Any, episode: Experience, task: int, means: Tensor, scale: tuple[float, float]
) -> None:
    """The arm of each pull, darker for more reward on one scale for all panels, and the best arm as
    a line."""
    pulled, rewards = episode.actions[:, task], episode.rewards[:, task]
    panel.axhline(float(means[task].argmax()), color=GOAL_COLOUR, linewidth=1, alpha=0.6)
    low, high = scale
    colours = {"c": rewards, "cmap": "Blues", "vmin": low, "vmax": high, "edgecolors": "grey"}
    panel.scatter(range(len(pulled)), pulled, s=14, **colours)
    panel.set_ylim(-0.5, means.shape[1] - 0.5)
    panel.set_xlabel("pull; dark: paid; line: best arm", fontsize=7)


def _way(panel: Any, episode: Experience, task: int, goals: Tensor) -> None:
    """Positions from the start on, and the goal."""
    seen = torch.cat([episode.observations[:, task], episode.final_observations[task][None]])
    panel.plot(seen[:, 0], seen[:, 1], color=LEARNED_COLOUR, linewidth=1)
    panel.plot(*seen[0].tolist(), "o", color=LEARNED_COLOUR, markersize=3)
    panel.plot(*goals[task].tolist(), "*", color=GOAL_COLOUR, markersize=9)
    panel.set_aspect("equal", adjustable="datalim")


def _rewards(panel: Any, episode: Experience, task: int) -> None:
    panel.plot(episode.rewards[:, task], color=LEARNED_COLOUR, linewidth=1)
