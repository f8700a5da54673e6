"""Pictures of what AutoML tried, how well its ensemble predicts, and by which columns.

Needs matplotlib, which quickstudy's extra `demo` installs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from quickstudy.apps.automl.estimators import AutoML, AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.pipelines.budget import Deadline
from quickstudy.apps.automl.search.leaderboard import LeaderboardEntry
from quickstudy.apps.automl.tables.frames import as_column
from quickstudy.apps.automl.tables.targets import as_target_numbers
from quickstudy.errors import require
from quickstudy.files import write_figure

require("matplotlib", "demo")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

__all__ = ["draw_automl"]

MAX_DRAWN = 20
"""Pipelines, columns or classes in a picture at most."""

BLUE, GREY, RED = "#2f6fab", "#9aa3ab", "#c43c39"


def draw_automl(
    model: AutoML,
    y: Any,
    importance: Mapping[str, tuple[float, float]],
    folder: Path,
    deadline: Deadline | None = None,
) -> list[Path]:
    """Draw `search.png`, `leaderboard.png`, `importance.png`, and `confusion.png` of classes or
    `predictions.png` of numbers.

    Args:
        model: After `fit`, with its out-of-fold predictions.
        y: The target it was fitted on, of shape (n,).
        importance: Of `column_importance`.
        folder: Where to.
        deadline: When no further picture is begun; None for no limit.

    Raises:
        DiskError: If it cannot be written.
    """
    y, deadline = np.asarray(y)[model.rows_], deadline or Deadline(None)
    metric = model.metric_.replace("neg_", "minus ").replace("_", " ")
    tried = sorted(model.leaderboard_, key=lambda entry: entry.number)
    pictures: dict[str, Callable[[Axes], None]] = {
        "search": lambda axis: _search(axis, tried, metric),
        "leaderboard": lambda axis: _leaderboard(axis, model.leaderboard_, metric),
    }
    if isinstance(model, AutoMLClassifier):
        pictures["confusion"] = lambda axis: _confusion(axis, model, y)
    else:
        pictures["predictions"] = lambda axis: _predictions(axis, model, y)
    if importance:
        score = "accuracy" if isinstance(model, AutoMLClassifier) else "R²"
        pictures["importance"] = lambda axis: _importance(axis, importance, score)
    return [
        _draw(folder / f"{name}.png", draw)
        for name, draw in pictures.items()
        if not deadline.passed
    ]


def _draw(path: Path, draw: Callable[[Axes], None]) -> Path:
    figure = Figure(figsize=(7, 4.6), layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    draw(axis)
    return write_figure(path, figure)


def _search(axis: Axes, tried: Sequence[LeaderboardEntry], metric: str) -> None:
    """The score of each pipeline in the order they were tried, and the best so far."""
    done = [entry for entry in tried if entry.failure is None]
    numbers = [entry.number + 1 for entry in done]
    best = np.maximum.accumulate([entry.mean for entry in done])
    axis.step([*numbers, len(tried)], [*best, best[-1]], where="post", color=BLUE)
    axis.plot(numbers, [entry.mean for entry in done], "o", color=BLUE, ms=5, label="finished")
    bottom = axis.get_ylim()[0]
    ended: dict[str, list[int]] = {"pruned": [], "failed": []}
    for entry in tried:
        if entry.failure:
            ended["pruned" if entry.is_pruned else "failed"].append(entry.number + 1)
    for (what, others), marker, colour in zip(ended.items(), "|x", (GREY, RED), strict=True):
        if others:
            where = [bottom] * len(others)
            axis.plot(others, where, marker, color=colour, label=what, clip_on=False)
    axis.set_title("Each pipeline tried, and the best so far")
    axis.set_xlabel("pipeline")
    axis.set_ylabel(f"{metric}, mean over folds")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False)


def _leaderboard(axis: Axes, entries: Sequence[LeaderboardEntry], metric: str) -> None:
    """The best pipelines: the score of each fold, the mean, and who is in the ensemble."""
    best = [entry for entry in entries if entry.failure is None][:MAX_DRAWN]
    for place, entry in enumerate(best):
        colour = BLUE if entry.weight else GREY
        axis.plot(entry.scores, [place] * len(entry.scores), ".", color=colour, alpha=0.5)
        axis.plot([entry.mean], [place], "D", color=colour)
    names = [
        f"{entry.number + 1}. {entry.family}" + (f" ({entry.weight:.0%})" if entry.weight else "")
        for entry in best
    ]
    axis.set_yticks(range(len(best)), names)
    axis.set_ylim(len(best) - 0.5, -0.5)
    axis.grid(axis="y", alpha=0.3)
    axis.set_title("The best pipelines; blue: in the ensemble, with its share")
    axis.set_xlabel(f"{metric}: of each fold, and the mean")


def _confusion(axis: Axes, model: AutoMLClassifier, y: Any) -> None:
    """Predicted against true classes, out of fold; of many classes the most frequent ones."""
    labels, codes = np.unique(np.asarray(y).astype(str), return_inverse=True)
    predicted = model.classes_.astype(str)[model.out_of_fold_.argmax(1)]
    frequencies = np.bincount(codes)
    drawn = [str(labels[i]) for i in np.sort(np.argsort(-frequencies, kind="stable")[:MAX_DRAWN])]
    counts = confusion_matrix(labels[codes], predicted, labels=drawn)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(drawn) <= MAX_DRAWN // 2:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axis.text(j, i, str(count), ha="center", va="center", color=colour)
    is_long = max(map(len, drawn)) > 3 and len(drawn) > 5
    short = [_short(name) for name in drawn]
    axis.set_xticks(range(len(drawn)), short, rotation=45 if is_long else 0)
    axis.set_yticks(range(len(drawn)), short)
    axis.figure.colorbar(image, ax=axis, label="share of the class")
    some = (
        f", the {MAX_DRAWN} most frequent of {len(labels)} classes"
        if len(labels) > MAX_DRAWN
        else ""
    )
    axis.set_title(f"Rows left out{some}")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")


def _predictions(axis: Axes, model: AutoMLRegressor, y: Any) -> None:
    """Predictions for rows left out against their true values."""
    true = as_target_numbers(as_column(y))
    both = np.concatenate([true, model.out_of_fold_])
    diagonal = [both.min(), both.max()]
    axis.plot(diagonal, diagonal, color=GREY, lw=1)
    many = len(true) > 1000
    axis.plot(true, model.out_of_fold_, ".", color=BLUE, alpha=0.3 if many else 0.6, ms=5)
    axis.set_title("Rows left out; on the line is right")
    axis.set_xlabel("true")
    axis.set_ylabel("predicted")


def _importance(axis: Axes, importance: Mapping[str, tuple[float, float]], score: str) -> None:
    """The columns whose shuffling costs most."""
    best = sorted(importance.items(), key=lambda item: -item[1][0])[:MAX_DRAWN]
    means, deviations = zip(*(value for _, value in best), strict=True)
    axis.barh(range(len(best)), means, xerr=deviations, color=BLUE, ecolor=GREY)
    axis.set_yticks(range(len(best)), [_short(name) for name, _ in best])
    axis.set_ylim(len(best) - 0.5, -0.5)
    axis.set_title("Importance of each column")
    axis.set_xlabel(f"{score} lost on rows left out when the column is shuffled")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
