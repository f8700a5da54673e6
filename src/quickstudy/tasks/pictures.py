"""How a notebook shows an episode: a row of images a class, or points in a plane.

Shapes: n examples, c channels, d features.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from quickstudy.html import html_table

if TYPE_CHECKING:
    from quickstudy.tasks.episode import Batch, Episode

__all__ = ["episode_html", "points_svg"]

MAX_CLASSES, MAX_SUPPORT, MAX_QUERIES = 20, 5, 8
"""What a picture of images shows at most: classes, and images of each."""

SIDE = 40
"""Of an image as shown, in pixels."""

MAX_POINTS = 400
"""Of support or queries, in a picture of points."""

WIDTH, HEIGHT, MARGIN = 360, 220, 12

COLOURS = (
    *("#3b82f6", "#e07b00", "#16a34a", "#dc2626", "#9333ea"),
    *("#0891b2", "#be185d", "#a16207", "#65a30d", "#6b7280"),
)
"""Of classes, in turn; readable on white and on black."""


def episode_html(episode: Episode) -> str:
    """A small picture of an episode, and its sizes in words."""
    support, query = episode.support.x, episode.query.x
    title = f"<p><b>{_title(episode)}</b></p>"
    if support.ndim == query.ndim == 4 and support.shape[1] in (1, 3) and episode.n_way:
        return title + _image_rows(episode, episode.n_way)
    if support.ndim == query.ndim == 2 and episode.n_way and len(support) + len(query) > 1:
        plane = _principal_plane(torch.cat([support, query]).detach().cpu().double())
        caption = "Filled: support. Hollow: queries. Axes: the two principal components."
        points = plane[: len(support)], plane[len(support) :]
        labels = episode.support.y.tolist(), episode.query.y.tolist()
        return f"{title}{points_svg(*points, *labels)}{caption}"
    if support.ndim == query.ndim == 2 and support.shape[1] == episode.support.y.shape[-1] == 1:
        caption = "Filled: support. Hollow: queries. Across: input. Up: target."
        return f"{title}{points_svg(_curve(episode.support), _curve(episode.query))}{caption}"
    rows = [
        [name, len(part), _shape(part.x), _shape(part.y)]
        for name, part in (("support", episode.support), ("query", episode.query))
    ]
    return title + html_table(["", "examples", "input", "target"], rows)


def _title(episode: Episode) -> str:
    kind = "regression" if episode.n_way is None else f"{episode.n_way}-way classification"
    return f"Episode: {kind}, {len(episode.support)} support examples, {len(episode.query)} queries"


def _shape(values: Tensor) -> str:
    return " x ".join(map(str, values.shape[1:])) or "label"


def _curve(part: Batch) -> Tensor:
    """Inputs and targets of one value each as points, (n, 2)."""
    return torch.cat([part.x, part.y], dim=1).detach().cpu().double()


def _image_rows(episode: Episode, n_way: int) -> str:
    """A table with a row of images for each class."""
    both = torch.cat([episode.support.x.flatten(), episode.query.x.flatten()])
    both = both[both.isfinite()]
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    rows = []
    for label in range(min(n_way, MAX_CLASSES)):
        cells = [
            _strip(part.x[part.y == label][:most], low, high)
            for part, most in ((episode.support, MAX_SUPPORT), (episode.query, MAX_QUERIES))
        ]
        rows.append(f"<tr><td>{label}</td><td>{cells[0]}</td><td>{cells[1]}</td></tr>")
    more = "" if n_way <= MAX_CLASSES else f"<p>and {n_way - MAX_CLASSES} more classes</p>"
    head = "<tr><th>class</th><th>support</th><th>queries</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>{more}"


def _strip(images: Tensor, low: float, high: float) -> str:
    """Images beside each other as one picture.

    Args:
        images: Shape (n, c, height, width), with c 1 or 3.
        low, high: The values that are black and white.
    """
    if not len(images):
        return "none"
    scaled = (images.detach().cpu().double() - low) / max(high - low, 1e-12)
    spaced = torch.nn.functional.pad(scaled.nan_to_num(0.5), (0, 1), value=0.5)
    row = torch.cat([*spaced], dim=-1)[..., :-1]  # (n, c, h, w) -> (c, h, n * (w + 1) - 1)
    pixels = (255 * row.clamp(0, 1)).round().byte().permute(1, 2, 0).squeeze(-1)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    code = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img alt="{len(images)} images" style="height: {SIDE}px; image-rendering: pixelated; '
        f'max-width: none" src="data:image/png;base64,{code}">'
    )


def _principal_plane(x: Tensor) -> Tensor:
    """Coordinates along the two directions of most variance, (n, d) -> (n, 2)."""
    centred = x.nan_to_num(0.0, 0.0, 0.0) - x.nan_to_num(0.0, 0.0, 0.0).mean(0)
    _, _, directions = torch.linalg.svd(centred[: 2 * MAX_POINTS], full_matrices=False)
    plane = centred @ directions[:2].T
    return torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))


def points_svg(
    support: Tensor,
    query: Tensor,
    support_labels: Sequence[int] = (),
    query_labels: Sequence[int] = (),
) -> str:
    """Points in a plane: filled for the support, hollow for queries, a colour a class.

    Args:
        support, query: Coordinates, (n, 2).
        support_labels, query_labels: The class of each; none if there are no classes.
    """
    both = torch.cat([support, query])
    finite = both[both.isfinite().all(1)]
    low = finite.amin(0) if len(finite) else both.new_zeros(2)
    span = (finite.amax(0) - low).clamp_min(1e-12) if len(finite) else both.new_ones(2)
    size = both.new_tensor([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])

    def circles(points: Tensor, labels: Sequence[int], style: str) -> list[str]:
        placed = (points - low) / span * size + MARGIN
        pairs = zip(placed[:MAX_POINTS].tolist(), labels or [0] * len(points), strict=False)
        return [
            f'<circle cx="{x:.1f}" cy="{HEIGHT - y:.1f}" '
            + style.format(colour=COLOURS[label % len(COLOURS)])
            for (x, y), label in pairs
            if x == x and y == y
        ]

    hollow = 'r="3" fill="none" stroke="{colour}"/>'
    filled = 'r="5" fill="{colour}" stroke="white"/>'
    shapes = [*circles(query, query_labels, hollow), *circles(support, support_labels, filled)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'style="display: block; max-width: {WIDTH}px">{"".join(shapes)}</svg>'
    )
