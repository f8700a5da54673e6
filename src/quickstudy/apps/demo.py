"""The demo's picture: one task, what was shown, what was asked, what was answered."""

from __future__ import annotations

from pathlib import Path

import torch

from quickstudy.learners import Learner
from quickstudy.recipes.recipe import Recipe

__all__ = ["draw_episode"]

PER_CLASS = 6


def draw_episode(recipe: Recipe, learner: Learner, path: Path) -> Path:
    """Draw an episode of each kind of data: support, queries, predictions, right or wrong."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from quickstudy.errors import MissingError

    shown = []
    for test in recipe.test:
        if test.n_way == 5 and test.n_shot == 1:
            spec = test.model_copy(update={"n_query": PER_CLASS})
            try:
                tasks = recipe.test_tasks(spec, stream=3)
            except MissingError:
                continue
            shown.append((test.title, tasks[0]))
    figure = Figure(figsize=(4.6 * len(shown), 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "One example of each class was shown (left); the learner named the rest. "
        "Green: right. Red: wrong, with the class it named.",
        fontsize=10,
    )
    panels = figure.subfigures(1, len(shown), squeeze=False)[0]
    for panel, (title, episode) in zip(panels, shown, strict=True):
        with torch.no_grad():
            named = learner.adapt(episode.support)(episode.query.x).argmax(1)
        right = named == episode.query.y
        panel.suptitle(f"{title}\n{int(right.sum())} of {len(right)} right", fontsize=10)
        axes = panel.subplots(5, 1 + PER_CLASS)
        for way in range(5):
            example = episode.support.x[episode.support.y == way][0, 0]
            _cell(axes[way, 0], example, "black", "ABCDE"[way])
            for k, i in enumerate((episode.query.y == way).nonzero().flatten()):
                colour = "#2a9d43" if right[i] else "#d62828"
                note = "" if right[i] else "ABCDE"[int(named[i])]
                _cell(axes[way, 1 + k], episode.query.x[i, 0], colour, note)
    figure.savefig(path, dpi=110)
    return path


def _cell(axis, image, colour: str, note: str) -> None:
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(2.5)
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
