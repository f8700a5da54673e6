"""What a learner with a belief thinks of where the goal of a grid is, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.experiments.behaviour import GOAL_COLOUR, in_last_test
from quickstudy.files import write_figure
from quickstudy.learners import Learner, VariBAD
from quickstudy.learners.base import device_of
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks.environments import GridNavi

__all__ = ["GoalBeliefs", "draw_goal_beliefs", "goal_beliefs"]

PATH_COLOUR = "#e07b00"


@dataclass(frozen=True)
class GoalBeliefs:
    """Trials of n tasks, t steps long.

    Args:
        family: The grids.
        goals: (n, 2).
        experience: What the learner did.
        probabilities: That a step to each cell earns the goal's reward, decoded from the belief
            before the first step and after each, (t + 1, n, size, size). They need not add up to 1:
            an agent that has found a goal stays, so of all steps to a cell many are rewarded.
    """

    family: GridNavi
    goals: Tensor
    experience: Experience
    probabilities: Tensor


@torch.no_grad()
def goal_beliefs(recipe: Recipe, learner: Learner, n_tasks: int = 3, seed: int = 0) -> GoalBeliefs:
    """Play tasks of the recipe's last test, and decode the belief after each step.

    Args:
        n_tasks: How many, the first ones.
        seed: Of actions, of the environments' luck and of latents.

    Raises:
        UsageError: If the learner has no belief from which a goal can be decoded.
    """
    actor, trials = in_last_test(recipe, learner)
    decodes = (
        isinstance(actor, VariBAD)
        and actor.reward_model == "bernoulli"
        and actor.reward_inputs == ("next_observation",)
    )
    family = trials.family
    if not decodes or not isinstance(family, GridNavi):
        raise UsageError(
            "expected a run of varibad on gridnavi, with the options of varibad_gridnavi, got "
            f"{recipe.learner.name} on {recipe.data.name}"
        )
    assert isinstance(actor, VariBAD)
    indices = trials.indices(n_tasks)
    environments = family.environments(indices, seed=seed, device=device_of(actor))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        experience = play(environments, actor.policy(), trials.n_shot + trials.n_query)
    after_all = experience.then(experience.final_observations)
    beliefs = actor.belief(actor.remember(after_all))  # (t + 1, n, 2l)
    size = family.size
    cells = torch.cartesian_prod(torch.arange(size), torch.arange(size)).to(experience.rewards)
    decoded = actor.expected_rewards(beliefs.flatten(0, 1), actor.backbone(cells), seed=seed)
    grids = decoded.view(len(after_all), n_tasks, size, size)
    return GoalBeliefs(family, environments.parameters["goals"], experience, grids)


def draw_goal_beliefs(found: GoalBeliefs, path: Path) -> Path:
    """Draw a row a task, with a panel after each few steps of the first episode and one after each
    later episode: the probability of each cell, the way of that episode so far, and the goal.

    Args:
        path: A .png file.

    Raises:
        DiskError: If the picture cannot be written.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    horizon, n_steps = found.family.horizon, len(found.experience)
    first = range(0, horizon, math.ceil(horizon / 5))
    moments = [*first, *range(horizon, n_steps + 1, horizon)]
    n_tasks, n_columns = len(found.goals), len(moments)
    figure = Figure(figsize=(1.35 * n_columns + 1, 1.5 * n_tasks + 0.6), layout="constrained")
    panels: Any = figure.subplots(n_tasks, n_columns, squeeze=False)
    shades = ScalarMappable(PowerNorm(0.5, vmin=0, vmax=1), "Blues")
    for task, row in enumerate(panels):
        row[0].set_ylabel(f"task {task + 1}")
        for panel, moment in zip(row, moments, strict=True):
            grid = found.probabilities[moment, task].T.numpy(
                force=True
            )  # a row of the picture is one y
            panel.imshow(grid, cmap=shades.cmap, norm=shades.norm, origin="lower")
            x, y = _way(found, task, moment).T.tolist()
            panel.plot(x, y, color=PATH_COLOUR, linewidth=1.2)
            panel.plot(x[-1], y[-1], "o", color=PATH_COLOUR, markersize=4)
            goal = found.goals[task].tolist()
            panel.plot(*goal, "*", color="none", markeredgecolor=GOAL_COLOUR, markersize=11)
            panel.set(xticks=[], yticks=[])
            if task == 0:
                episode = max(0, moment - 1) // horizon
                panel.set_title(f"episode {episode + 1}\nstep {moment - episode * horizon}", size=8)
    bar = figure.colorbar(shades, ax=panels, ticks=[0, 0.05, 0.25, 0.5, 1], shrink=0.9, pad=0.01)
    bar.set_label("decoded probability that the cell pays", size=8)
    bar.ax.tick_params(labelsize=7)
    return write_figure(path, figure)


def _way(found: GoalBeliefs, task: int, moment: int) -> Tensor:
    """Cells of the episode that a moment belongs to, up to it, (steps + 1, 2)."""
    begin = max(0, moment - 1) // found.family.horizon * found.family.horizon
    lived = found.experience
    cells = lived.observations[begin : max(moment, begin + 1), task].long()
    if moment == begin:
        return cells.cpu()
    # Where the last step of an episode led is not observed: the next one begins elsewhere.
    rows = {"goals": found.goals[task][None]}
    last = {"cells": cells[-1:]}
    actions = lived.actions[moment - 1, task][None]
    after, _, _ = found.family.step(rows, last, actions, torch.Generator(actions.device))
    return torch.cat([cells, after["cells"]]).cpu()
