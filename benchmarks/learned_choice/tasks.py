"""Few-shot tasks of a bank of domains, and how every candidate does on each."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines import accuracies
from quickstudy.encoders.series import rocket
from quickstudy.learners.transfer.blend.candidates import (
    PIXELS,
    RAW,
    Candidates,
    Kind,
    View,
    fit_candidates,
)
from quickstudy.tasks import Support
from training import Task

WAYS, SHOTS = (2, 3, 5, 5, 5, 8, 10, 15, 20), (1, 1, 2, 3, 5, 5, 10, 20)
"""Those drawn, as often as they stand here."""

IMBALANCED_SHARE, IMBALANCE = 0.25, 0.8
"""How often classes differ in shots, and the deviation of their logarithm."""

EMBEDDINGS: dict[str, tuple[str, ...]] = {
    "text": ("minilm", "use_multilingual"),
    "image": ("efficientnet_lite0", "handwriting"),
}
"""The views of kinds that are embedded; baselines see the first."""

LEAST_SCORE = -3e4
"""Scores are kept in 16 bits, less the greatest of their example."""


@dataclass
class Domain:
    """Labelled examples, as the views' vectors side by side.

    Args:
        name, kind, group: Of the domain.
        views: The parts of `x`.
        x: Vectors (N, d).
        y: Labels (N,).
    """

    name: str
    kind: Kind
    group: str
    views: list[View]
    x: Tensor
    y: np.ndarray

    def baseline_inputs(self, *, joined: bool) -> np.ndarray:
        """What baselines see: the numbers, or the first embedding or all of them."""
        embeddings = [v.size for v in self.views if v.heads == "embedding"]
        size = sum(embeddings) if joined and self.kind in EMBEDDINGS else self.views[0].size
        return self.x[:, :size].numpy()


def kind_and_group(path: Path) -> tuple[str, str]:
    """The kind and the group of a file of the bank."""
    with np.load(path) as file:
        return str(file["kind"]), str(file["group"])


def read_domains(path: Path) -> list[Domain]:
    """The domains in a file of the bank: with embeddings, also one of these taken for numbers."""
    with np.load(path) as file:
        fields = {name: file[name] for name in file.files}
    kind, group, y = str(fields["kind"]), str(fields["group"]), fields["y"]
    arrays = {n[5:]: torch.tensor(a).float() for n, a in fields.items() if n.startswith("view_")}
    if kind in EMBEDDINGS:
        parts = {name: arrays[name] for name in EMBEDDINGS[kind]}
        if kind == "image":
            pixels = np.stack([fields["mid_grey"], fields["coloured"]], 1)
            parts[PIXELS] = torch.tensor(pixels).float()
        first = {RAW: arrays[EMBEDDINGS[kind][0]]}
        return [
            _domain(path.stem, kind, group, parts, y),
            _domain(f"{path.stem} as numbers", "numbers", group, first, y),
        ]
    raw = arrays[RAW]
    parts = {RAW: raw.flatten(1)}
    if kind == "series":
        parts["rocket"] = rocket(raw if raw.ndim == 3 else raw[:, None])
    return [_domain(path.stem, kind, group, parts, y)]


def _domain(name: str, kind: str, group: str, parts: dict[str, Tensor], y: np.ndarray) -> Domain:
    views = [View.of(view, x.shape[1]) for view, x in parts.items()]
    return Domain(name, kind, group, views, torch.cat(list(parts.values()), 1), y)  # pyright: ignore[reportArgumentType]


def draw_tasks(
    domain: Domain,
    n_tasks: int,
    *,
    baselines: Mapping[str, Any] = {},
    joined: bool = False,
    cells: Sequence[tuple[int, int]] = (),
    seed: int = 0,
) -> list[Task]:
    """Tasks of a domain, with the scores of all candidates.

    Args:
        baselines: Classifiers of scikit-learn that are run too, by name.
        joined: Whether these see all embeddings, side by side.
        cells: Ways and shots, in turn; by default they are drawn.
    """
    rng = np.random.default_rng([zlib.crc32(domain.name.encode()), seed])
    tasks = []
    for i in range(n_tasks):
        if cells:
            (ways, shots), spread = cells[i % len(cells)], 0.0
        else:
            ways, shots = int(rng.choice(WAYS)), int(rng.choice(SHOTS))
            spread = IMBALANCE if rng.random() < IMBALANCED_SHARE else 0.0
        task = _draw(domain, ways, shots, spread, rng, baselines, joined)
        if task is not None:
            tasks.append(task)
    return tasks


def _draw(
    domain: Domain,
    ways: int,
    shots: int,
    spread: float,
    rng: np.random.Generator,
    baselines: Mapping[str, Any],
    joined: bool,
) -> Task | None:
    classes, counts = np.unique(domain.y, return_counts=True)
    classes = rng.permutation(classes[counts >= shots + 2])[:ways]
    if len(classes) < 2:
        return None
    n_queries = max(3, min(25, 60 // len(classes)))
    support, query, y, query_y = [], [], [], []
    for label, of_class in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(domain.y == of_class))
        n = round(shots * np.exp(spread * rng.normal()))
        n = min(max(1, n), len(rows) - 2)
        support.append(rows[:n])
        query.append(rows[n : n + n_queries])
        y.append(np.full(n, label))
        query_y.append(np.full(len(query[-1]), label))
    s, q = np.concatenate(support), np.concatenate(query)
    labels, query_labels = (torch.from_numpy(np.concatenate(one)) for one in (y, query_y))
    fitted = fit_candidates(domain.views, Support(domain.x[s], labels, len(classes)))
    scores = {}
    if baselines:
        x = domain.baseline_inputs(joined=joined)
        scores = accuracies(baselines, x[s], labels.numpy(), x[q], query_labels.numpy())
    kept = Candidates(
        fitted.names,
        _halved(fitted.left_out),
        fitted.labels,
        fitted.view_features,
        fitted.pixels,
        _forgotten,
    )
    return Task(
        kept,
        labels,
        len(classes),
        _halved(fitted.predict(domain.x[q])),
        query_labels,
        domain.kind,
        domain.group,
        domain.name,
        shots,
        scores,
    )


def _forgotten(x: Tensor) -> Tensor:
    raise NotImplementedError("a task that is kept has the scores on its queries alone")


def _halved(scores: Tensor) -> Tensor:
    return (scores - scores.amax(-1, keepdim=True)).clamp_min(LEAST_SCORE).half()


def write_tasks(path: Path, tasks: Sequence[Task]) -> None:
    """Keep tasks: all but how their candidates predict."""
    rows = []
    for task in tasks:
        row = {**vars(task), "candidates": {**vars(task.candidates), "predict": None}}
        rows.append(row)
    torch.save(rows, path)


def read_tasks(folder: Path) -> list[Task]:
    """The tasks in a folder of files of `write_tasks`."""
    tasks = []
    for path in sorted(folder.glob("*.pt")):
        for row in torch.load(path, weights_only=True):
            candidates = Candidates(**{**row["candidates"], "predict": _forgotten})
            tasks.append(Task(**{**row, "candidates": candidates}))
    return tasks


warnings.filterwarnings("ignore", module="sklearn")
