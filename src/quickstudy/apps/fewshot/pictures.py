"""Pictures of tasks of images: what was shown, what was asked, what was answered."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any

import torch

from quickstudy.apps.fewshot.adapt import Adaptation
from quickstudy.errors import MissingError, UsageError
from quickstudy.files import write_figure
from quickstudy.learners import Learner
from quickstudy.learners.base import check_finite
from quickstudy.recipes.schema import RUNS, Recipe
from quickstudy.tasks import Episode
from quickstudy.tasks.images import decode_image, list_images

__all__ = ["draw_episodes", "draw_predictions", "episodes_to_draw"]

RIGHT, WRONG, PREDICTED = "#2a9d43", "#d62828", "#2f6fb3"
"""Colours of frames: a prediction whose label is not known is neither right nor wrong."""

PER_CLASS = 6
MOST_CLASSES, EXAMPLES, QUERIES = 30, 3, 8


def episodes_to_draw(recipe: Recipe) -> list[tuple[str, Episode]]:
    """An episode of each 5-way 1-shot test whose data is here, and of the one-shot runs, by title.

    Raises:
        UsageError: If the recipe has no such test.
    """
    found: list[tuple[str, Episode]] = []
    for test in recipe.test:
        one_shot_runs = test.split == RUNS
        if one_shot_runs or (test.n_way == 5 and test.n_shot == 1):
            changed = {} if one_shot_runs else {"n_query": PER_CLASS}
            with contextlib.suppress(MissingError):
                tasks = recipe.test_tasks(test.model_copy(update=changed), stream=3)
                found.append((test.title.partition(" (")[0], tasks[0]))
    if not found:
        raise UsageError("expected a test of 5 ways and 1 shot to draw a picture of, got none")
    return found


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
            colour = RIGHT if right[i] else WRONG
            note = "" if right[i] else ascii_uppercase[int(named[i])]
            _cell(cells[1 + k], episode.query.x[i, 0], colour, note)


def draw_predictions(found: Adaptation, support: Path, query: Path, path: Path) -> Path:
    """Draw what was adapted to, and what was predicted: a row a class, up to 30 of them.

    A row has up to three examples of the class, and up to eight queries predicted as it, those of
    the highest probability first, with that probability.

    Args:
        found: The predictions, of images.
        support: The images adapted to, as they were given to `adapt`.
        query: The images predicted, likewise.
        path: A .png file.

    Raises:
        UsageError: If the predictions are not of images.
        DiskError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    if found.kind != "image":
        raise UsageError(f"expected images to draw a picture of, got predictions of {found.kind}s")
    classes = list(found.predictions[0].probabilities)[:MOST_CLASSES]
    shown, asked = list_images(support), dict(list_images(query))
    examples = {
        name: [f for f in shown if str(PurePosixPath(f[0]).parent) == name] for name in classes
    }
    named = {
        name: sorted(
            (p for p in found.predictions if p.label == name),
            key=lambda p: -p.probabilities[name],
        )
        for name in classes
    }
    left = min(EXAMPLES, max(map(len, examples.values())))
    columns = max(5, left + min(QUERIES, max(map(len, named.values()))))
    figure = Figure((1.0 * columns + 1.2, 1.25 * len(classes) + 0.6), layout="constrained")
    figure.suptitle("Examples (black), and queries predicted as the same (blue), the surest first")
    for row, name in zip(
        figure.subplots(len(classes), columns, squeeze=False), classes, strict=True
    ):
        for axis in row:
            axis.axis("off")
        row[0].set_title(f"{name}: {len(named[name])} predicted", fontsize=9, loc="left")
        for axis, (file, read) in zip(row, examples[name][:left], strict=False):
            _image(axis, decode_image(read(), file, size=96, channels=3), "black")
        for axis, p in zip(row[left:], named[name], strict=False):
            file = decode_image(asked[p.example](), p.example, size=96, channels=3)
            _image(axis, file, PREDICTED)
            axis.set_title(f"{100 * p.probabilities[name]:.0f} %", fontsize=8)
    return write_figure(path, figure)


def _image(axis, pixels, colour: str) -> None:
    axis.axis("on")
    axis.imshow(pixels.transpose(1, 2, 0))
    _frame(axis, colour)


def _cell(axis, image, colour: str, note: str) -> None:
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
    _frame(axis, colour)
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


def _frame(axis, colour: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(2.5)
