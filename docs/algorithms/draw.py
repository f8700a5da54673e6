"""Draw the picture of each algorithm page into docs/algorithms/pictures/.

    python docs/algorithms/draw.py [NAME ...]

Without names, all pictures are drawn. A picture is a small SVG without a background, in colours
that read on white and on black. Needs matplotlib (`pip install 'quickstudy[demo]'`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

PICTURES = Path(__file__).parent / "pictures"

INK, BLUE, ORANGE, GREEN, PURPLE = "#797979", "#3b82f6", "#e07b00", "#16a34a", "#a855f7"
CLASSES = (BLUE, ORANGE, GREEN)

Point = tuple[float, float]


def text(
    ax: Axes, at: Point, words: str, color: str = INK, size: float = 9, **options: Any
) -> None:
    options = {"ha": "center", "va": "center", "linespacing": 1.3} | options
    ax.text(*at, words, color=color, fontsize=size, **options)


def box(ax: Axes, at: Point, size: Point, words: str = "", color: str = INK) -> None:
    """A rounded box around a centre, with words in it."""
    (x, y), (width, height) = at, size
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=0.25"
    ax.add_patch(FancyBboxPatch(corner, width, height, style, fc="none", ec=color, lw=1.3))
    text(ax, at, words, color)


def arrow(ax: Axes, start: Point, end: Point, color: str = INK, **options: Any) -> None:
    options = {"lw": 1.3, "shrinkA": 0, "shrinkB": 0} | options
    style = options.pop("style", "-|>")
    ax.add_patch(
        FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=9, color=color, **options)
    )


def line(ax: Axes, points: Sequence[Point], color: str = INK, **options: Any) -> None:
    options = {"lw": 1.3} | options
    ax.plot(*zip(*points, strict=True), color=color, **options)


def dots(
    ax: Axes, points: Sequence[Point], color: str, marker: str = "o", size: float = 28
) -> None:
    places = zip(*points, strict=True)
    ax.scatter(*places, color=color, marker=marker, s=size, linewidths=1.6, zorder=3)


def cells(
    ax: Axes, corner: Point, filled: np.ndarray, color: str = BLUE, side: float = 0.6
) -> None:
    """A grid of cells; `filled` says how strong each is, from 0 to 1."""
    rows, columns = filled.shape
    for i in range(rows):
        for j in range(columns):
            at = (corner[0] + j * side, corner[1] + (rows - 1 - i) * side)
            ax.add_patch(Rectangle(at, side, side, fc=color, alpha=float(filled[i, j]), lw=0))
            ax.add_patch(Rectangle(at, side, side, fc="none", ec=INK, lw=0.6))


# Metric-based


def siamese_networks(ax: Axes) -> None:
    for y, name in ((4.4, "image 1"), (1.6, "image 2")):
        text(ax, (1.3, y), name)
        arrow(ax, (2.4, y), (3.6, y))
        box(ax, (5.4, y), (3.6, 1.6), "network h", BLUE)
        arrow(ax, (7.2, y), (8.8, 3.5 if y > 3 else 2.5))
    line(ax, [(5.4, 2.4), (5.4, 3.6)], BLUE, ls=":")
    text(ax, (5.6, 3), "same weights", BLUE, 8, ha="left")
    box(ax, (10.5, 3), (3.4, 1.8), "weighted\n$|h(x_1) - h(x_2)|$")
    arrow(ax, (12.2, 3), (13.4, 3))
    text(ax, (14.6, 3), "p(same)", ORANGE, 11)


def matching_networks(ax: Axes) -> None:
    examples = [(2.0, 5.0), (3.2, 1.2), (9.6, 4.9), (10.6, 2.8), (8.2, 0.8)]
    query, classes = (5.2, 3.2), (0, 0, 1, 1, 2)
    near = np.array([-np.hypot(x - query[0], y - query[1]) for x, y in examples]) / 1.6
    weights = np.exp(near) / np.exp(near).sum()
    for at, label, weight in zip(examples, classes, weights, strict=True):
        line(ax, [query, at], CLASSES[label], lw=1 + 9 * weight, alpha=0.75)
        dots(ax, [at], CLASSES[label], size=60)
    dots(ax, [query], INK, "s", 60)
    text(ax, (5.4, 2.3), "query", INK)
    text(ax, (13.6, 5.2), "p(class)", INK)
    totals = [weights[[c == k for c in classes]].sum() for k in range(3)]
    for k, total in enumerate(totals):
        ax.add_patch(Rectangle((12.2, 3.8 - 1.2 * k), 3 * total, 0.7, fc=CLASSES[k], lw=0))
    text(ax, (13.6, 0.5), "attention, summed by class", INK, 8)


def three_classes() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    centres = ((2.6, 1.7), (6.6, 4.6), (10.6, 1.5))
    return [rng.normal(centre, (0.8, 0.55), size=(5, 2)) for centre in centres]


def prototypical_networks(ax: Axes) -> None:
    means = []
    for points, color in zip(three_classes(), CLASSES, strict=True):
        mean = points.mean(0)
        for point in points:
            line(ax, [tuple(mean), tuple(point)], color, lw=0.7, alpha=0.7)
        dots(ax, [tuple(p) for p in points], color)
        dots(ax, [tuple(mean)], color, "X", 110)
        means.append(mean)
    query = (7.9, 2.5)
    for mean, color in zip(means, CLASSES, strict=True):
        arrow(ax, query, tuple(mean), color, lw=1, ls="--", shrinkA=5, shrinkB=7)
    dots(ax, [query], INK, "s", 60)
    text(ax, (7.9, 1.7), "query")
    text(ax, (14.0, 4.2), "✕ prototype:\nmean of a class's\nembedded examples")
    text(ax, (14.0, 1.6), "nearest\nprototype wins")


def bayesian_prototypes(ax: Axes) -> None:
    description, examples = np.array([0.9, 3.6]), np.array([[3.1, 2.2], [3.7, 3.3], [3.2, 2.9]])
    for i, (n, name) in enumerate(((0, "no example"), (1, "one example"), (3, "three examples"))):
        left = np.array([0.9 + 5.1 * i, 0])
        mean = (description + examples[:n].sum(0)) / (1 + n)
        spread = 1.5 * np.sqrt(1 + 1 / (1 + n))
        ax.add_patch(Circle(left + mean, spread - 0.55, fc=BLUE, alpha=0.15, lw=0))
        dots(ax, [tuple(left + description)], ORANGE, "D", 120)
        if n:
            dots(ax, [tuple(left + x) for x in examples[:n]], BLUE)
            arrow(ax, tuple(left + description), tuple(left + mean), shrinkA=9, shrinkB=6)
        dots(ax, [tuple(left + mean)], BLUE, "X", 70)
        text(ax, (left[0] + 2.1, 5.7), name)
    text(ax, (3, 0.5), "◆ description", ORANGE)
    text(ax, (8, 0.5), "● examples", BLUE)
    text(ax, (13, 0.5), "✕ posterior mean", BLUE)


def relation_networks(ax: Axes) -> None:
    rng = np.random.default_rng(0)
    for y, name, color in ((3.4, "class: mean of its examples", BLUE), (0.7, "query", ORANGE)):
        cells(ax, (1.2, y), rng.uniform(0.1, 0.9, (3, 3)), color)
        text(ax, (2.1, y + 2.15), name, color, 8)
    arrow(ax, (3.4, 4.3), (5.0, 3.5))
    arrow(ax, (3.4, 1.6), (5.0, 2.5))
    box(ax, (6.6, 3), (3.0, 1.8), "put one\nbehind the other")
    arrow(ax, (8.1, 3), (9.2, 3))
    box(ax, (10.9, 3), (3.2, 1.8), "comparator g\n(learned)", PURPLE)
    arrow(ax, (12.5, 3), (13.5, 3))
    text(ax, (14.7, 3), "relation\n0 to 1", PURPLE, 10)


def local_matching(ax: Axes) -> None:
    query, example = np.zeros((5, 5)), np.zeros((5, 5))
    query[[0, 1, 2, 3, 3], [1, 1, 1, 1, 2]] = 0.55
    example[[1, 2, 3, 4, 4], [2, 2, 2, 2, 3]] = 0.55
    cells(ax, (1.6, 1.2), query, ORANGE, 0.75)
    cells(ax, (9.6, 1.2), example, BLUE, 0.75)
    text(ax, (3.5, 5.5), "map of the query", ORANGE)
    text(ax, (11.5, 5.5), "map of an example", BLUE)
    start = (1.6 + 1.5 * 0.75, 1.2 + 3.5 * 0.75)
    ax.add_patch(Rectangle((9.6, 1.2 + 1.5), 2.25, 2.25, fc="none", ec=PURPLE, lw=2))
    arrow(ax, start, (9.6 + 2.5 * 0.75, 1.2 + 3.5 * 0.75), PURPLE, connectionstyle="arc3,rad=-0.15")
    text(ax, (8, 0.5), "each cell takes its best match in a window near the same place", PURPLE)


# Without labels


def glyph(
    ax: Axes, at: Point, kind: int, color: str, angle: float = 0.0, size: float = 1.0
) -> None:
    """One of three characters around a centre, turned and resized."""
    strokes = (
        [(-0.5, -0.6), (0, 0.6), (0.5, -0.6)],
        [(-0.5, 0.6), (0.5, 0.6), (0, 0.6), (0, -0.6)],
        [(0.45, 0.5), (-0.45, 0.5), (-0.45, -0.5), (0.45, -0.5)],
    )[kind]
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    line(
        ax,
        [(at[0] + cos * x - sin * y, at[1] + sin * x + cos * y) for x, y in strokes],
        color,
        lw=2,
    )


def umtra(ax: Axes) -> None:
    rng = np.random.default_rng(1)
    for i in range(12):
        at = (0.9 + 1.15 * (i % 3), 5.2 - 1.2 * (i // 3))
        glyph(ax, at, int(rng.integers(3)), INK, rng.normal(0, 0.5), 0.5)
    text(ax, (2.0, 0.5), "images without labels", INK, 8)
    for kind, color in enumerate(CLASSES):
        y = 4.9 - 1.7 * kind
        arrow(ax, (4.0, y), (5.4, y))
        glyph(ax, (6.6, y), kind, color, 0, 0.75)
        arrow(ax, (7.8, y), (10.2, y), PURPLE)
        glyph(ax, (11.4, y + 0.05), kind, color, 0.45 - 0.5 * kind, 0.6)
        text(ax, (14.2, y), f"label {kind}", color)
    text(ax, (6.6, 0.4), "support:\neach image a class", INK, 8)
    text(ax, (9.0, 5.3), "distort", PURPLE, 8)
    text(ax, (11.4, 0.4), "query:\na distorted copy", INK, 8)


def protoclr(ax: Axes) -> None:
    rng = np.random.default_rng(2)
    for kind, (at, color) in enumerate(
        zip(((2.4, 4.4), (6.4, 1.6), (9.6, 4.5)), CLASSES, strict=True)
    ):
        ax.add_patch(Circle(at, 1.35, fc=color, alpha=0.1, lw=0))
        glyph(ax, at, kind, color, 0, 0.6)
        for turn in (0.5, 2.6, 4.7):
            copy = (at[0] + 1.9 * np.cos(turn), at[1] + 1.25 * np.sin(turn))
            glyph(ax, copy, kind, color, rng.normal(0, 0.5), 0.35)
            arrow(ax, copy, at, color, lw=0.9, shrinkA=8, shrinkB=13)
    text(ax, (13.9, 4.4), "prototype:\nthe image itself")
    text(ax, (13.9, 2.2), "distorted copies\nare pulled to it, and\naway from the others")


def psco(ax: Axes) -> None:
    rng = np.random.default_rng(5)
    text(ax, (1.6, 0.5), "two distorted copies", INK, 8)
    for kind, color in enumerate(CLASSES):
        y = 4.9 - 1.7 * kind
        glyph(ax, (1.0, y), kind, color, 0.35, 0.5)
        glyph(ax, (2.4, y), kind, color, -0.3, 0.6)
        arrow(ax, (3.3, y), (4.7, y), color)
        dots(ax, [(5.2, y)], color, "s", 60)
        line(ax, [(5.6, y), (9.2, y)], color)
        dots(ax, [(9.6, y)], color, size=60)
    text(ax, (5.2, 0.5), "queries", INK, 8)
    text(ax, (9.6, 0.5), "own keys,\nmomentum copy", INK, 8)
    for i in range(9):
        y = 5.4 - 0.52 * i
        kind = int(rng.integers(3))
        ax.add_patch(Rectangle((13.0, y - 0.22), 0.9, 0.44, fc="none", ec=INK, lw=0.8))
        assigned = i in (1, 4, 7)
        kind = (i - 1) // 3 if assigned else kind
        dots(ax, [(13.45, y)], CLASSES[kind] if assigned else INK, size=26)
        if assigned:
            line(ax, [(9.9, 4.9 - 1.7 * kind), (12.9, y)], PURPLE, ls=":")
    text(ax, (11.4, 5.6), "assign", PURPLE, 8)
    text(ax, (13.45, 0.5), "queue of keys", INK, 8)


def cactus(ax: Axes) -> None:
    rng = np.random.default_rng(3)
    centres = np.array([[1.3, 4.3], [2.7, 2.4], [3.5, 4.7]])
    points = np.concatenate([rng.normal(c, 0.3, (6, 2)) for c in centres])
    text(ax, (2.2, 0.5), "embedding, no labels", INK, 8)
    dots(ax, [tuple(p) for p in points], INK)
    for y, stretch in ((4.7, (1.5, 0.5)), (2.3, (0.7, 1.0))):
        moved = (points - points.mean(0)) * stretch * 0.5 + (8.2, y)
        distance = ((points * stretch)[:, None] - (centres * stretch)[None]) ** 2
        for k, color in enumerate(CLASSES):
            dots(ax, [tuple(p) for p in moved[distance.sum(2).argmin(1) == k]], color)
        arrow(ax, (4.6, 3.2 + 0.25 * (y - 3)), (5.9, y))
        arrow(ax, (10.6, y), (11.8, y))
        text(ax, (13.8, y), "tasks:\nclusters as classes", INK, 8)
    text(ax, (8.2, 0.35), "k-means, features scaled at random", PURPLE, 8)


# Model-based


def mann(ax: Axes) -> None:
    for i, (x, y) in enumerate((("x₁", "none"), ("x₂", "y₁"), ("x₃", "y₂"))):
        left = 2 + 3.4 * i
        text(ax, (left, 0.5), f"{x}, {y}", BLUE, 10)
        arrow(ax, (left, 0.9), (left, 1.5))
        box(ax, (left, 2.1), (2.4, 1.1), "controller")
        if i:
            arrow(ax, (left - 2.2, 2.1), (left - 1.2, 2.1))
        arrow(ax, (left - 0.4, 2.7), (left - 0.4, 4.0), ORANGE)
        arrow(ax, (left + 0.4, 4.0), (left + 0.4, 2.7), GREEN)
    cells(ax, (0.8, 4.1), np.random.default_rng(1).uniform(0, 0.8, (2, 13)), PURPLE, 0.7)
    text(ax, (13.2, 4.8), "memory, wiped\nfor each task", PURPLE)
    text(ax, (13.2, 3.3), "↑ write", ORANGE)
    text(ax, (13.2, 2.5), "↓ read", GREEN)
    text(ax, (13.2, 1.0), "labels come\none step late", BLUE)


def meta_networks(ax: Axes) -> None:
    text(ax, (1.6, 4.6), "support\nexample", BLUE)
    arrow(ax, (2.7, 4.6), (3.5, 4.6))
    box(ax, (5.1, 4.6), (3.2, 1.4), "gradient of\nits loss")
    arrow(ax, (6.7, 4.6), (7.7, 4.6))
    box(ax, (9.3, 4.6), (3.2, 1.4), "meta-learner", PURPLE)
    arrow(ax, (10.9, 4.6), (12.0, 4.6), PURPLE)
    text(ax, (13.6, 4.6), "fast weights W*", PURPLE, 10)
    arrow(ax, (13.6, 4.1), (10.0, 2.1), PURPLE, connectionstyle="arc3,rad=-0.2")
    text(ax, (1.6, 1.5), "query", ORANGE)
    arrow(ax, (2.6, 1.5), (5.0, 1.5))
    box(ax, (8.0, 1.5), (6.0, 1.2), "ReLU(W h) + ReLU(W* h)")
    arrow(ax, (11.0, 1.5), (12.4, 1.5))
    text(ax, (13.6, 1.5), "scores", INK, 10)
    text(ax, (8.0, 0.5), "slow weights W are the same for all tasks", size=8)


def neural_processes(ax: Axes) -> None:
    rng = np.random.default_rng(2)
    x = np.array([0.1, 0.25, 0.42, 0.85])
    for i in range(4):
        y = 4.9 - 1.25 * i
        text(ax, (1.4, y), f"(x{'₁₂₃₄'[i]}, y{'₁₂₃₄'[i]})", BLUE)
        arrow(ax, (2.4, y), (3.3, y))
        box(ax, (4.0, y), (1.3, 0.9), "h")
        arrow(ax, (4.7, y), (6.1, 3.1 + 0.1 * (1.5 - i)))
    box(ax, (7.0, 3.1), (1.7, 1.4), "mean or\nattention", PURPLE)
    arrow(ax, (7.9, 3.1), (8.7, 3.1))
    box(ax, (9.2, 3.1), (0.9, 0.9), "g")
    arrow(ax, (9.7, 3.1), (10.4, 3.1))
    grid = np.linspace(0, 1, 80)
    near = np.exp(-(((np.append(grid, x)[:, None] - x) / 0.17) ** 2))  # a Gaussian process
    y = np.sin(5 * x) + 0.1 * rng.normal(size=4)
    solve = near[:80] @ np.linalg.inv(near[80:] + 0.01 * np.eye(4))
    mean = 3 + 1.3 * solve @ y
    band = 1.3 * np.sqrt((1 - (solve * near[:80]).sum(1)).clip(0))
    left = 10.7 + 4.8 * grid
    ax.fill_between(left, mean - band, mean + band, color=ORANGE, alpha=0.3, lw=0)
    ax.plot(left, mean, color=ORANGE, lw=1.5)
    dots(ax, list(zip(10.7 + 4.8 * x, 3 + 1.3 * y, strict=True)), BLUE)
    text(ax, (13.1, 0.4), "mean and standard deviation at x", ORANGE, 8)


def meta_gmvae(ax: Axes) -> None:
    for kind in range(3):
        glyph(ax, (1.2, 4.9 - 1.7 * kind), kind, INK, 0.15, 0.6)
        glyph(ax, (13.9, 4.9 - 1.7 * kind), kind, INK, 0.15, 0.6)
    text(ax, (1.2, 0.5), "a set,\nno labels", INK, 8)
    arrow(ax, (2.2, 3.2), (3.0, 3.2))
    box(ax, (4.3, 3.2), (2.4, 3.4), "network and\nattention\nover the set", BLUE)
    arrow(ax, (5.6, 3.2), (6.4, 3.2))
    rng = np.random.default_rng(3)
    for centre, color in zip(((7.4, 4.6), (9.2, 3.3), (7.5, 1.9)), CLASSES, strict=True):
        ax.add_patch(Circle(centre, 0.95, fc="none", ec=color, lw=1.3))
        dots(ax, [tuple(p) for p in rng.normal(centre, 0.35, (6, 2))], color, size=12)
        dots(ax, [centre], color, "X", 60)
    text(ax, (8.3, 0.5), "draws z, and the mixture\nthat EM fits to them", INK, 8)
    arrow(ax, (10.3, 3.2), (11.0, 3.2))
    box(ax, (11.9, 3.2), (1.7, 1.6), "decoder", ORANGE)
    arrow(ax, (12.8, 3.2), (13.3, 3.2))
    text(ax, (13.9, 0.5), "the set again", INK, 8)


def tanp(ax: Axes) -> None:
    kinds = [(1.2, 4.6), (3.6, 5.0), (4.9, 3.6), (1.6, 2.4)]
    task = (3.4, 3.5)
    for kind in kinds:
        nearness = 1 / (1 + np.hypot(kind[0] - task[0], kind[1] - task[1]) ** 2)
        line(ax, [task, kind], PURPLE, lw=1 + 8 * nearness, alpha=0.6)
    dots(ax, kinds, PURPLE, "D", 45)
    dots(ax, [task], BLUE, "X", 110)
    text(ax, (3.0, 1.4), "✕ this task\n◆ learned kinds of task", INK, 8)
    arrow(ax, (5.5, 3.8), (7.0, 4.6), PURPLE)
    text(ax, (9.2, 5.3), r"scale $\gamma$, shift $\beta$ of each layer", PURPLE)
    text(ax, (7.0, 2.2), "query, r", ORANGE)
    arrow(ax, (7.9, 2.2), (8.6, 2.2))
    for left in (9.4, 11.8):
        box(ax, (left, 2.2), (1.5, 1.2), "layer")
        arrow(ax, (left, 4.8), (left, 2.9), PURPLE)
        arrow(ax, (left + 0.8, 2.2), (left + 1.6, 2.2))
    text(ax, (14.4, 2.2), "prediction")


def snail(ax: Axes) -> None:
    n, left, step = 6, 1.4, 1.9
    xs = [left + step * i for i in range(n)]
    heights = (1.3, 2.5, 3.7)
    for level, (low, high) in enumerate(itertools.pairwise(heights)):
        for i in range(n):
            for j in (i, i - 2**level):
                if j >= 0:
                    strong = i == n - 1 or (level == 0 and i in (n - 1, n - 3))
                    line(
                        ax,
                        [(xs[j], low), (xs[i], high)],
                        BLUE,
                        lw=1.4,
                        alpha=0.9 if strong else 0.25,
                    )
    for height in heights:
        dots(ax, [(x, height) for x in xs], BLUE if height > 2 else INK, size=34)
    for i in range(n - 1):
        arrow(ax, (xs[i], 3.9), (xs[-1], 3.9), PURPLE, connectionstyle="arc3,rad=-0.22", lw=0.9)
    for i, x in enumerate(xs[:-1]):
        text(ax, (x, 0.6), f"x{'₁₂₃₄₅'[i]}, y{'₁₂₃₄₅'[i]}", size=8)
    text(ax, (xs[-1], 0.6), "query, ?", ORANGE, 8)
    text(ax, (14.2, 4.8), "attention", PURPLE)
    text(ax, (14.2, 2.6), "dilated causal\nconvolutions", BLUE)


def in_context_transformer(ax: Axes) -> None:
    n, m = 5, 3
    mask = np.zeros((n + m, n + m))
    mask[:, :n] = 0.6
    mask[np.arange(n, n + m), np.arange(n, n + m)] = 0.6
    side = 0.58
    cells(ax, (5.6, 0.7 + m * side), mask[:n], BLUE, side)
    cells(ax, (5.6, 0.7), mask[n:], ORANGE, side)
    text(ax, (4.6, 0.7 + side * (m + n / 2)), "support", BLUE)
    text(ax, (4.6, 0.7 + side * m / 2), "queries", ORANGE)
    text(ax, (5.6 + side * n / 2, 5.65), "support", INK, 8)
    text(ax, (5.6 + side * (n + m / 2), 5.65), "queries", INK, 8)
    text(ax, (13.2, 4.2), "support attends\nto the support", BLUE)
    text(ax, (13.2, 1.7), "a query attends to the\nsupport and to itself", ORANGE)
    text(ax, (2.0, 3.0), "who attends\nto whom")


def causal_transformer(ax: Axes) -> None:
    examples, top, low = 4, 4.3, 1.7
    for i in range(examples):
        x = 1.6 + 3.2 * i
        for j in range(i):
            arrow(
                ax,
                (3.2 + 3.2 * j, low + 0.35),
                (x, top - 0.35),
                PURPLE,
                connectionstyle="arc3,rad=0.12",
                lw=0.9,
            )
        box(ax, (x, top), (1.3, 0.7), f"$x_{i + 1}$", ORANGE)
        arrow(ax, (x, top + 0.4), (x, 5.2), ORANGE)
        text(ax, (x, 5.5), rf"$\hat y_{i + 1}$", ORANGE, 10)
        if i < examples - 1:
            box(ax, (x + 1.6, low), (1.7, 0.7), f"$x_{i + 1}, y_{i + 1}$", BLUE)
    text(ax, (5.0, 0.6), "examples, each after those before it", BLUE, 8)
    text(ax, (14.2, 3.0), "attention\nto what came\nbefore", PURPLE)
    text(ax, (14.2, 5.4), "every prefix\nis a support set", ORANGE, 8)


def tabular_transformer(ax: Axes) -> None:
    table = np.random.default_rng(3).uniform(0.05, 0.6, (6, 4))
    cells(ax, (0.8, 1.3), table, BLUE, 0.65)
    for i, color in enumerate((ORANGE, GREEN, ORANGE, GREEN)):
        dots(ax, [(3.9, 1.3 + 0.65 * (5.5 - i))], color, "s", 40)
    for i in (4, 5):
        text(ax, (3.9, 1.3 + 0.65 * (5.5 - i)), "?", INK, 10)
    text(ax, (2.3, 0.6), "a table, some rows labelled", size=8)
    arrow(ax, (4.5, 4.2), (5.5, 4.6))
    arrow(ax, (4.5, 2.4), (5.5, 1.9))
    box(ax, (7.4, 4.7), (3.6, 1.4), "12 closed forms:\nridge, nearest, …", GREEN)
    box(ax, (7.4, 1.8), (3.6, 1.4), "transformer\nover the rows", PURPLE)
    arrow(ax, (7.4, 4.0), (7.4, 2.5), GREEN)
    arrow(ax, (9.2, 4.7), (10.9, 3.7), GREEN)
    arrow(ax, (9.2, 1.8), (10.9, 2.7), PURPLE)
    box(ax, (12.4, 3.2), (2.8, 1.5), "weighted,\ncorrected")
    arrow(ax, (13.8, 3.2), (14.5, 3.2))
    text(ax, (15.1, 3.2), "p(y)", INK, 11)


# Optimization-based


def lstm_meta_learner(ax: Axes) -> None:
    text(ax, (1.4, 4.2), r"$\theta_{t-1}$", BLUE, 12)
    arrow(ax, (2.4, 4.2), (4.3, 4.2), BLUE)
    box(ax, (5.0, 4.2), (1.2, 1.0), r"$\times\,f$")
    arrow(ax, (5.6, 4.2), (8.4, 4.2), BLUE)
    box(ax, (9.0, 4.2), (1.0, 1.0), "+")
    arrow(ax, (9.5, 4.2), (11.6, 4.2), BLUE)
    text(ax, (12.5, 4.2), r"$\theta_t$", BLUE, 12)
    text(ax, (1.6, 1.6), "gradient, loss", ORANGE)
    arrow(ax, (3.1, 1.6), (4.1, 1.6), ORANGE)
    box(ax, (5.6, 1.6), (2.8, 1.3), "LSTM\nof the gates", PURPLE)
    arrow(ax, (5.0, 2.3), (5.0, 3.7), PURPLE)
    text(ax, (4.5, 3.0), "f", PURPLE)
    arrow(ax, (7.0, 1.6), (8.2, 1.6), PURPLE)
    text(ax, (7.6, 2.0), "i", PURPLE)
    box(ax, (9.6, 1.6), (2.6, 1.1), r"$\times$ (-gradient)", ORANGE)
    arrow(ax, (9.2, 2.2), (9.0, 3.7), ORANGE)
    text(ax, (13.6, 1.8), "one LSTM,\nshared by\nall weights", PURPLE)


def draw_optima(ax: Axes, start: Point, optima: Sequence[Point]) -> None:
    """The best weights of each task, and where all of them start."""
    for i, at in enumerate(optima):
        dots(ax, [at], CLASSES[i], "*", 130)
        text(ax, (at[0] + 0.5, at[1]), f"best for task {i + 1}", CLASSES[i], ha="left")
    dots(ax, [start], INK, size=60)


def maml(ax: Axes) -> None:
    start = (7.2, 3.0)
    ax.plot(
        *zip(*[(1.0, 0.8), (2.6, 2.7), (4.8, 3.1), start], strict=True), color=INK, lw=2.2, zorder=1
    )
    arrow(ax, (6.2, 3.05), start, INK, lw=2.2, shrinkB=5)
    optima = [(11.2, 5.2), (12.4, 3.0), (10.8, 0.9)]
    draw_optima(ax, start, optima)
    for at, color in zip(optima, CLASSES, strict=True):
        way = (start[0] + 0.62 * (at[0] - start[0]), start[1] + 0.62 * (at[1] - start[1]))
        arrow(ax, start, way, color, shrinkA=5, lw=2)
        line(ax, [way, at], color, ls=":", lw=1)
    text(ax, (7.2, 4.0), "θ")
    text(ax, (3.4, 4.2), "meta-training moves\nthe initial weights θ")
    text(ax, (5.4, 1.0), "a gradient step of each task\nis part of the objective", size=8)


def reptile(ax: Axes) -> None:
    start = (4.4, 3.0)
    ends = []
    rng = np.random.default_rng(1)
    optima = [(11.2, 5.2), (10.8, 0.9)]
    draw_optima(ax, start, optima)
    for at, color in zip(optima, CLASSES, strict=False):
        path = [np.array(start)]
        for _ in range(5):
            path.append(path[-1] + 0.28 * (np.array(at) - path[-1]) + rng.normal(0, 0.12, 2))
        line(ax, [tuple(p) for p in path], color, marker=".", lw=1.4)
        ends.append(path[-1])
    middle = np.mean(ends, 0)
    to = np.array(start) + 0.4 * (middle - np.array(start))
    arrow(ax, start, tuple(to), INK, lw=3, shrinkA=5)
    text(ax, (3.6, 3.6), "θ")
    text(ax, (2.9, 1.6), "θ moves a part of the way\nto where the tasks ended")


def rl2(ax: Axes) -> None:
    """Two episodes of three steps."""
    for i in range(6):
        x = 1.5 + 2.3 * i + (0.9 if i > 2 else 0)
        box(ax, (x, 3), (1.4, 1.2), "GRU", BLUE)
        arrow(ax, (x, 1.3), (x, 2.4))
        text(ax, (x, 0.9), f"$s_{i + 1}$")
        arrow(ax, (x, 3.6), (x, 4.6))
        text(ax, (x, 5.0), f"$a_{i + 1}$", ORANGE)
        if i < 5:
            after = x + 2.3 + (0.9 if i == 2 else 0)
            arrow(ax, (x + 0.7, 3), (after - 0.7, 3), BLUE)
            arrow(ax, (x + 0.25, 4.9), (after - 0.5, 2.4), ORANGE, lw=0.8, ls="--")
    line(ax, [(8.1, 0.6), (8.1, 5.4)], INK, ls=":")
    text(ax, (4.0, 0.2), "episode 1", INK, 8)
    text(ax, (12.0, 0.2), "episode 2, the same task", INK, 8)
    text(ax, (8.1, 5.7), "memory goes on; dashed: last action and reward", INK, 8)


def rl3(ax: Axes) -> None:
    """From steps to counts, from these to values, and from them to an action."""
    for i in range(3):
        text(ax, (1.4, 4.6 - 1.2 * i), f"$s_{i + 1}, a_{i + 1}, r_{i + 1}$", INK, 9)
        arrow(ax, (2.4, 4.6 - 1.2 * i), (3.6, 3.4 + 0.2 * (1 - i)), BLUE, lw=1)
    box(ax, (4.9, 3.4), (2.3, 1.4), "model of\nthe task", BLUE)
    arrow(ax, (6.1, 3.4), (7.3, 3.4), BLUE)
    text(ax, (6.7, 3.8), "plan", BLUE, 8)
    box(ax, (8.9, 3.4), (2.9, 1.6), "values, and\nwhat is unknown", PURPLE)
    arrow(ax, (10.4, 3.4), (11.6, 3.4), PURPLE)
    box(ax, (12.7, 3.4), (2.0, 1.2), "policy", ORANGE)
    arrow(ax, (13.8, 3.4), (14.7, 3.4), ORANGE)
    text(ax, (15.2, 3.4), "$a_4$", ORANGE, 11)
    text(ax, (4.9, 2.2), "counted and planned,\nnot learned", INK, 8)
    text(ax, (12.7, 2.2), "meta-trained", INK, 8)
    arrow(ax, (8.9, 1.2), (8.9, 2.5))
    text(ax, (8.9, 0.8), "$s_4$", INK, 9)


def varibad(ax: Axes) -> None:
    """From steps to a belief, from it to predicted rewards and to an action."""
    for i, x in enumerate((1.5, 3.9)):
        box(ax, (x, 3.4), (1.5, 1.2), "GRU", BLUE)
        arrow(ax, (x, 1.9), (x, 2.8))
        text(ax, (x, 1.5), f"$s_{i + 1}, a_{i + 1}, r_{i + 1}$", INK, 8)
    arrow(ax, (2.25, 3.4), (3.15, 3.4), BLUE)
    arrow(ax, (4.65, 3.4), (5.6, 3.4), BLUE)
    box(ax, (6.6, 3.4), (1.9, 1.3), "belief\n$\\mu, \\sigma$", PURPLE)
    arrow(ax, (7.6, 3.8), (9.4, 4.8), PURPLE)
    text(ax, (8.0, 4.8), "draw $m$", PURPLE, 8)
    box(ax, (10.5, 4.9), (2.1, 1.1), "decoder")
    arrow(ax, (11.6, 4.9), (12.7, 4.9))
    text(ax, (14.3, 4.9), "rewards of all steps,\npast and to come", GREEN, 8)
    arrow(ax, (7.6, 3.0), (9.4, 1.9), INK, ls="--")
    text(ax, (7.5, 2.1), "no gradient\nback", INK, 8)
    box(ax, (10.5, 1.7), (2.1, 1.1), "policy", ORANGE)
    text(ax, (10.5, 0.3), "$s_3$", INK, 9)
    arrow(ax, (10.5, 0.55), (10.5, 1.1))
    arrow(ax, (11.6, 1.7), (12.7, 1.7))
    text(ax, (13.3, 1.7), "$a_3$", ORANGE, 11)
    text(ax, (3.3, 4.8), "recurrent encoder", BLUE, 8)


def maml_trpo(ax: Axes) -> None:
    start, tasks = (2.4, 3.0), ((8.2, 5.0), (8.6, 3.0), (8.2, 1.0))
    ax.add_patch(Circle(start, 1.5, fc="none", ec=INK, lw=1.0, ls=":"))
    text(ax, (2.4, 0.9), "trust region", INK, 8)
    for at, color in zip(tasks, CLASSES, strict=True):
        arrow(ax, start, at, color, shrinkA=6, shrinkB=8)
        dots(ax, [at], color, size=60)
        middle = ((start[0] + at[0]) / 2 + 0.4, (start[1] + at[1]) / 2)
        text(ax, (middle[0], middle[1] + 0.3 + 0.1 * (at[1] - 3)), "episodes", color, 7)
        arrow(ax, (at[0] + 0.4, at[1]), (at[0] + 2.6, at[1]), color, ls="--")
        text(ax, (at[0] + 4.3, at[1]), "return after\nadapting", color, 8)
    dots(ax, [start], INK, "s", 60)
    text(ax, (1.7, 3.5), "$\\theta$", INK, 11)
    arrow(ax, start, (3.5, 3.55), PURPLE, lw=2.2, shrinkA=5)
    text(ax, (2.9, 4.9), "natural gradient,\nthrough the steps", PURPLE, 8)


def decision_pretrained_transformer(ax: Axes) -> None:
    """Three steps so far, and the best action after them."""
    for i in range(3):
        x = 1.6 + 2.5 * i
        box(ax, (x, 1.2), (2.1, 1.3), f"$s_{i + 1}, a_{i + 1}, r_{i + 1}$", BLUE)
        arrow(ax, (x, 1.85), (x, 2.7))
    box(ax, (9.1, 1.2), (1.6, 1.3), "$s_4$", BLUE)
    arrow(ax, (9.1, 1.85), (9.1, 2.7))
    text(ax, (4.1, 0.2), "steps of a policy that knows nothing", INK, 8)
    box(ax, (5.2, 3.3), (9.6, 1.2), "causal transformer")
    arrow(ax, (9.1, 3.9), (9.1, 4.6))
    text(ax, (9.1, 5.1), "$p(a)$", ORANGE, 11)
    arrow(ax, (9.8, 5.1), (12.0, 5.1), ORANGE, style="<|-|>", ls="--")
    text(ax, (10.9, 5.6), "cross-entropy", ORANGE, 8)
    text(ax, (14.1, 5.1), "oracle's action $a^*$", GREEN)
    text(ax, (13.2, 2.4), "to act: draw\nfrom $p(a)$", ORANGE, 8)


def r2d2(ax: Axes) -> None:
    box(ax, (2.2, 4.2), (3.0, 1.4), "backbone", BLUE)
    arrow(ax, (3.7, 4.2), (5.0, 4.2))
    text(ax, (4.35, 4.65), "X", INK)
    box(ax, (6.6, 4.2), (3.2, 1.4), "ridge regression\nin closed form", PURPLE)
    arrow(ax, (8.2, 4.2), (9.5, 4.2))
    text(ax, (8.85, 4.65), "W", INK)
    box(ax, (10.9, 4.2), (2.8, 1.4), "scores of the\nqueries  Q W")
    arrow(ax, (12.3, 4.2), (13.6, 4.2))
    text(ax, (14.4, 4.2), "loss", ORANGE, 11)
    line(ax, [(14.4, 3.7), (14.4, 1.8), (2.2, 1.8)], ORANGE, ls="--")
    arrow(ax, (2.2, 1.8), (2.2, 3.4), ORANGE)
    text(ax, (8.2, 1.2), "the gradient passes through the solution", ORANGE)


# Transfer


def fine_tuning(ax: Axes) -> None:
    text(ax, (2.3, 5.4), "1. pretraining", INK, 10)
    box(ax, (2.3, 3.6), (2.6, 1.5), "backbone", BLUE)
    arrow(ax, (3.6, 3.6), (4.5, 3.6))
    cells(ax, (4.7, 1.5), np.full((9, 1), 0.5), INK, 0.45)
    text(ax, (5.0, 0.8), "all training classes", size=8)
    arrow(ax, (6.0, 3.6), (7.6, 3.6), lw=2.2)
    text(ax, (9.5, 5.4), "2. a new task", INK, 10)
    box(ax, (9.5, 3.6), (2.6, 1.5), "backbone", BLUE)
    arrow(ax, (10.8, 3.6), (11.7, 3.6))
    cells(ax, (11.9, 2.4), np.full((5, 1), 0.8), ORANGE, 0.45)
    text(ax, (12.2, 1.7), "new layer", ORANGE, 8)
    text(ax, (14.4, 3.6), "trained on\nthe support set", ORANGE, 8)
    text(ax, (9.5, 2.3), "kept, or trained along", BLUE, 8)


def auto_adapt(ax: Axes) -> None:
    text(ax, (1.8, 4.4), "task: ways, shots,\nseparation, distance,\nleft-out accuracies", BLUE, 8)
    arrow(ax, (3.7, 4.4), (4.6, 4.4))
    box(ax, (5.5, 4.4), (1.7, 1.2), "gate", PURPLE)
    arrow(ax, (6.4, 4.4), (7.4, 4.4), PURPLE)
    shares = (0.5, 0.1, 0.28, 0.12)
    names = ("nearest mean", "nearest neighbour", "ridge", "linear probe")
    for i, (share, name) in enumerate(zip(shares, names, strict=True)):
        y = 4.9 - 1.1 * i
        ax.add_patch(Rectangle((7.7, y - 0.3), 4 * share, 0.6, fc=PURPLE, alpha=0.6, lw=0))
        text(ax, (7.8 + 4 * share, y), f" {name}", INK, 8, ha="left")
    arrow(ax, (12.3, 3.2), (13.2, 3.2))
    text(ax, (14.4, 3.2), "mixture of\ntheir answers", ORANGE)
    text(ax, (2.6, 1.8), "the gate is learned\nover many tasks", PURPLE, 8)


def learned_blend(ax: Axes) -> None:
    for i, view in enumerate(("raw numbers", "embedding")):
        box(ax, (1.9, 4.7 - 1.7 * i), (2.8, 1.1), view, BLUE)
    for start in (4.7, 3.0):
        arrow(ax, (3.3, start), (4.5, 3.85))
    heads = ("ridge", "neighbours", "trees")
    shares = (0.3, 0.15, 0.55)
    for i, (head, share) in enumerate(zip(heads, shares, strict=True)):
        y = 5.0 - 1.15 * i
        box(ax, (6.0, y), (2.6, 0.9), head, ORANGE)
        arrow(ax, (7.3, y), (8.3, y))
        ax.add_patch(Rectangle((8.5, y - 0.3), 4 * share, 0.6, fc=PURPLE, alpha=0.6, lw=0))
    box(ax, (6.0, 1.2), (2.6, 1.0), "gate", PURPLE)
    line(ax, [(6.0, 2.2), (6.0, 1.7)], PURPLE, ls=":")
    text(ax, (2.4, 1.2), "meta-trained\nover many domains", PURPLE, 8)
    line(ax, [(7.3, 1.2), (9.2, 1.2), (9.2, 2.2)], PURPLE)
    arrow(ax, (11.2, 3.85), (12.4, 3.85))
    text(ax, (14.2, 3.85), "pool of their\nlog-probabilities", GREEN)


# The architecture


def way_of_a_task(ax: Axes) -> None:
    steps = (
        (1.8, "recipe\n(recipes)"),
        (5.6, "build\n(experiments)"),
        (14.2, "report\n(experiments)"),
    )
    for x, words in steps:
        box(ax, (x, 4.9), (2.9, 1.4), words, BLUE)
    box(ax, (9.9, 4.9), (3.2, 1.4), "meta-train, -test\n(engine)", BLUE)
    for start, end in ((3.3, 4.1), (7.1, 8.2), (11.6, 12.7)):
        arrow(ax, (start, 4.9), (end, 4.9))
    line(ax, [(9.9, 4.1), (9.9, 3.4)], ls=":")
    text(ax, (10.1, 3.75), "for each task", INK, 8, ha="left")
    box(ax, (1.9, 1.7), (3.2, 1.4), "episode\n(tasks)", ORANGE)
    box(ax, (6.3, 1.7), (3.2, 1.4), "learner.adapt\n(learners, nn)", ORANGE)
    box(ax, (10.3, 1.7), (2.6, 1.4), "predictor", ORANGE)
    arrow(ax, (3.6, 1.7), (4.6, 1.7))
    text(ax, (4.1, 2.3), "support", ORANGE, 7)
    arrow(ax, (8.0, 1.7), (8.9, 1.7))
    arrow(ax, (11.7, 1.7), (12.9, 1.7))
    text(ax, (14.4, 1.7), "scores, loss,\nmeta-gradient", GREEN)
    line(ax, [(1.9, 0.9), (1.9, 0.4), (10.3, 0.4)], ORANGE)
    arrow(ax, (10.3, 0.4), (10.3, 0.95), ORANGE)
    text(ax, (6.3, 0.65), "query", ORANGE, 7)


DRAWN: dict[str, Callable[[Axes], None]] = {
    draw.__name__: draw
    for draw in (
        siamese_networks,
        matching_networks,
        prototypical_networks,
        bayesian_prototypes,
        relation_networks,
        local_matching,
        umtra,
        protoclr,
        psco,
        cactus,
        mann,
        meta_networks,
        neural_processes,
        meta_gmvae,
        tanp,
        snail,
        in_context_transformer,
        causal_transformer,
        tabular_transformer,
        lstm_meta_learner,
        maml,
        reptile,
        rl2,
        rl3,
        varibad,
        maml_trpo,
        decision_pretrained_transformer,
        r2d2,
        fine_tuning,
        auto_adapt,
        learned_blend,
        way_of_a_task,
    )
}


def main(names: Sequence[str]) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "quickstudy"  # the same bytes each time
    PICTURES.mkdir(exist_ok=True)
    for name in names or DRAWN:
        figure, ax = plt.subplots(figsize=(6.4, 2.4))
        figure.subplots_adjust(0, 0, 1, 1)
        ax.set(xlim=(0, 16), ylim=(0, 6))
        ax.axis("off")
        DRAWN[name](ax)
        figure.savefig(PICTURES / f"{name}.svg", transparent=True, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
