"""Pictures of episodes of images, and of comparisons."""

from __future__ import annotations

import contextlib
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch

from quickstudy.errors import MissingError, UsageError
from quickstudy.experiments.build import tasks_of_test
from quickstudy.experiments.compare import Comparison
from quickstudy.files import write_figure
from quickstudy.learners import Learner
from quickstudy.learners.base import check_finite
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Episode

__all__ = ["draw_comparison", "draw_episodes", "draw_frame", "episodes_to_draw"]

CORRECT_COLOUR, WRONG_COLOUR = "#2a9d43", "#d62828"
"""Colours of frames."""

QUERIES_PER_CLASS = 6


def episodes_to_draw(recipe: Recipe) -> list[tuple[str, Episode]]:
    """An episode of each 5-way 1-shot test whose data is here, and of each test whose tasks are
    fixed, by title.

    Raises:
        UsageError: If the recipe has no such test.
    """
    episodes: list[tuple[str, Episode]] = []
    for test in recipe.test:
        dataset = (test.data or recipe.data).dataset
        is_fixed = dataset is not None and test.split in dataset.fixed_tasks
        if is_fixed or (test.n_way == 5 and test.n_shot == 1):
            changed = {} if is_fixed else {"n_query": QUERIES_PER_CLASS}
            with contextlib.suppress(MissingError):
                tasks = tasks_of_test(recipe, test.model_copy(update=changed), stream=3)
                episodes.append((test.title.partition(" (")[0], tasks[0]))
    if not episodes:
        raise UsageError("expected a test of 5 ways and 1 shot to draw a picture of, got none")
    return episodes


def draw_episodes(episodes: list[tuple[str, Episode]], learner: Learner, path: Path) -> Path:
    """Draw episodes beside each other: support, queries, predictions, right or wrong.

    Args:
        episodes: By title, as `episodes_to_draw` finds them.
        path: A .png file.

    Raises:
        DiskError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(episodes), 4.2), layout="constrained", facecolor="white")
    figure.suptitle(
        "One example of each class is labelled with a letter; the learner named the others. "
        "Green: right. Red: wrong, with the class it named.",
        fontsize=10,
    )
    panels = figure.subfigures(1, len(episodes), squeeze=False)[0]
    for panel, (title, episode) in zip(panels, episodes, strict=True):
        _draw_task(panel, title, episode, learner)
    return write_figure(path, figure)


def _draw_task(panel: Any, title: str, episode: Episode, learner: Learner) -> None:
    """Five rows of classes, each with its example and then its queries."""
    with torch.no_grad():
        scores = learner.adapt(episode.support)(episode.query.x)
    named = check_finite(scores, title).argmax(1)
    right = named == episode.query.y
    panel.suptitle(f"{title}\n{int(right.sum())} of {len(right)} right", fontsize=10)
    ways = episode.support.n_way or 0
    per_row = -(-ways // 5)  # classes beside each other
    width = 1 + len(right) // ways  # an example and its queries
    axes = panel.subplots(5, per_row * width, squeeze=False)
    for way in range(ways):
        cells = axes[way % 5, way // 5 * width :]
        example = episode.support.x[episode.support.y == way][0, 0]
        _cell(cells[0], example, "black", ascii_uppercase[way])
        for k, i in enumerate((episode.query.y == way).nonzero().flatten()):
            colour = CORRECT_COLOUR if right[i] else WRONG_COLOUR
            note = "" if right[i] else ascii_uppercase[int(named[i])]
            _cell(cells[1 + k], episode.query.x[i, 0], colour, note)


def _cell(axis, image, colour: str, note: str) -> None:
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
    draw_frame(axis, colour)
    if note:
        axis.text(
            0.04,
            0.96,
            note,
            transform=axis.transAxes,
            va="top",
            fontsize=9,
            color=colour,
            fontweight="bold",
        )


def draw_frame(axis: Any, colour: str) -> None:
    """Draw a frame around a picture in place of its axes."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(2.5)


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Plot validation score against training time, a line a learner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
    axis = figure.subplots()
    for i, entry in enumerate(comparison.learners):
        seconds, scores = zip(*entry["curve"], strict=True)
        label = f"{entry['learner']} (test {100 * entry['mean']:.1f} %)"
        marker = "osD^v"[i // 10 % 5]  # colours come again after ten
        axis.plot(seconds, [100 * s for s in scores], marker=marker, ms=4, label=label)
    axis.axvline(comparison.about["seconds"], color="grey", linestyle=":", label="budget")
    axis.set_xlabel("training time with validation, seconds")
    axis.set_ylabel("validation accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend()
    return write_figure(path, figure)
