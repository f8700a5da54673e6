"""What unlabelled examples add to one labelled example of each class, and which to label next.

    python benchmarks/unlabelled.py [omniglot] [caltech101_84] [clinc150]

Needs the data sets and the extras "text" and "images". The default learner sees one view: the run
"handwriting" of Omniglot, EfficientNet-Lite0 of Caltech 101, MiniLM of CLINC150. Of each test split
some classes are drawn, and 31 examples of each (of Omniglot all 20); none of the sets was looked at
when the method was chosen, which was on scikit-learn's digits and on photographs of hands.

"semi_supervised": 5 classes, one labelled example of each, 5 or 20 unlabelled ones of each (of
Omniglot 5 or 14) and as many of each of 0 or 5 other classes, the distractors; 10 queries of each
class (of Omniglot 5). "others alone" is a pool of the distractors alone. Gains are in accuracy over
the same learner without the pool.

"labels": 10 classes in a pool of 20 examples of each (of Omniglot 15), of which 5 are labelled at a
time, from none to 50: at random, or as `FewShotClassifier.suggest_labels` chooses for the nearest
centroid. What counts is the mean accuracy on other examples after 5, 10, ... 50 labels; a class
without a label counts as wrong.

Intervals are of 95 %, over tasks, of the paired differences. Writes
benchmarks/results/unlabelled.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    IMAGE_ENCODER,
    TEXT_ENCODER,
    images_of,
    make_method,
    named_encoder,
)
from quickstudy.apps.fewshot.unlabelled import choose_to_label
from quickstudy.encoders import ENCODERS, module_encoder
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.learners.transfer.blend import Kind, LearnedBlend, View, shipped_gate
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks import Support
from quickstudy.tasks.datasets import clinc150 as clinc150_data
from quickstudy.tasks.datasets import load_dataset

RESULTS = Path(__file__).parent / "results" / "unlabelled.json"
N_TASKS, N_WAY, PER_CLASS = 100, 5, 31
ROUNDS, N_ASKED = 10, 5


@dataclass(frozen=True)
class World:
    """What tasks are drawn from.

    Args:
        kind, view: Of the examples.
        x: Vectors (n, d).
        rows: Of each class.
        n_query, n_unlabelled: Of a class.
    """

    kind: Kind
    view: str
    x: Tensor
    rows: list[Tensor]
    n_query: int = 10
    n_unlabelled: tuple[int, int] = (5, 20)

    def learner(self) -> LearnedBlend:
        gate, accuracy, pool_gate = shipped_gate()
        size = self.x.shape[1]
        views = [View.of(self.view, size)]
        blend = LearnedBlend(
            Flatten((size,)), views, self.kind, gate=gate, accuracy=accuracy, pool_gate=pool_gate
        )
        return blend.double().eval()


def some_rows(y: Tensor, n_classes: int, generator: torch.Generator) -> list[Tensor]:
    """Rows of `PER_CLASS` examples, or all, of each of some classes."""
    rows = []
    for label in torch.randperm(int(y.max()) + 1, generator=generator)[:n_classes].tolist():
        own = (y == label).nonzero()[:, 0]
        rows.append(own[torch.randperm(len(own), generator=generator)[:PER_CLASS]])
    return rows


def embedded(rows: list[Tensor], embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Vectors of the rows of all classes, and where those of each class are."""
    return embed(torch.cat(rows)), list(torch.arange(sum(map(len, rows))).split([*map(len, rows)]))


def omniglot() -> World:
    data = load_dataset("omniglot", "test", image_size=28)
    recipe, learner = load_run(DRAWINGS_RUN)
    encoder = module_encoder(learner.backbone, DRAWINGS_RUN)  # pyright: ignore[reportArgumentType]
    size = images_of(recipe).size

    def embed(rows: Tensor) -> Tensor:
        pixels = data.x[rows].float() / 255
        return encoder(F.interpolate(pixels, size=size, mode="bilinear", antialias=True))

    rows = some_rows(data.y, 50, torch.Generator().manual_seed(0))
    return World("image", DRAWINGS_RUN, *embedded(rows, embed), n_query=5, n_unlabelled=(5, 14))


def caltech101_84() -> World:
    data = load_dataset("caltech101_84", "test", image_size=84)
    encoder: Any = named_encoder(IMAGE_ENCODER)

    def embed(rows: Tensor) -> Tensor:
        pixels, size = data.x[rows].float() / 255, encoder.images.size
        return encoder.encoder(F.interpolate(pixels, size=size, mode="bilinear", antialias=True))

    rows = some_rows(data.y, 16, torch.Generator().manual_seed(0))
    return World("image", IMAGE_ENCODER, *embedded(rows, embed))


def clinc150() -> World:
    data = clinc150_data.load("test")
    encoder = ENCODERS.find(TEXT_ENCODER).load()
    rows = some_rows(data.y, 20, torch.Generator().manual_seed(0))
    x, rows = embedded(rows, lambda rows: encoder([data.texts[row] for row in rows.tolist()]))
    return World("text", TEXT_ENCODER, x, rows)


def draw(world: World, n_classes: int, n: int, seed: int) -> Tensor:
    """Rows of n examples of each of some classes, shape (n_classes, n)."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randperm(len(world.rows), generator=generator)[:n_classes].tolist()
    rows = [world.rows[label] for label in classes]
    return torch.stack([r[torch.randperm(len(r), generator=generator)[:n]] for r in rows])


def semi_supervised(world: World) -> list[dict[str, Any]]:
    learner, (few, many) = world.learner(), world.n_unlabelled
    x, y = world.x.double(), torch.arange(N_WAY)
    query_y = y.repeat_interleave(world.n_query)
    before: list[float] = []
    after: dict[tuple[int, str], list[float]] = {}
    used: dict[tuple[int, str], list[bool]] = {}
    for i in track(range(N_TASKS), "tasks"):
        rows = draw(world, 2 * N_WAY, 1 + world.n_query + many, i)
        own, others = rows[:N_WAY], rows[N_WAY:]
        support, query = x[own[:, 0]], x[own[:, 1 : 1 + world.n_query].flatten()]

        def accuracy(pool: Tensor | None, support=support, query=query) -> tuple[float, bool]:
            task = learner.adapt(Support(support, y, N_WAY, unlabelled=pool))
            is_used = task.refinement is not None and task.refinement.n_used > 0
            return float((task(query).argmax(1) == query_y).double().mean()), is_used

        before.append(accuracy(None)[0])
        for n in (few, many):
            some = slice(1 + world.n_query, 1 + world.n_query + n)
            pools = {
                "none": own[:, some],
                "5 classes": rows[:, some],
                "others alone": others[:, some],
            }
            for name, pool in pools.items():
                result, is_used = accuracy(x[pool.flatten()])
                after.setdefault((n, name), []).append(result)
                used.setdefault((n, name), []).append(is_used)
    return [
        {
            "unlabelled_a_class": n,
            "distractors": name,
            "without": float(np.mean(before)),
            "gain": paired(np.array(each) - before),
            "pool_used": float(np.mean(used[n, name])),
        }
        for (n, name), each in after.items()
    ]


def labels(world: World) -> dict[str, Any]:
    """Mean accuracies after each round, and the gain in their mean."""
    curves: dict[str, list[list[float]]] = {"random": [], "suggested": []}
    n_pool = min(20, len(world.rows[0]) - 5)
    for i in track(range(N_TASKS), "pools"):
        rows = draw(world, 10, n_pool + 5, i)
        y = torch.arange(10)[:, None].expand_as(rows)
        pool, pool_y = rows[:, :n_pool].flatten(), y[:, :n_pool].flatten()
        query, query_y = rows[:, n_pool:].flatten(), y[:, n_pool:].flatten()
        x = world.x.double()
        for how, curve in curves.items():
            curve.append(one_curve(how, x[pool], pool_y, x[query], query_y, i))
    gain = np.array(curves["suggested"]).mean(1) - np.array(curves["random"]).mean(1)
    means = {how: np.mean(curve, 0).round(4).tolist() for how, curve in curves.items()}
    return {"labels": [N_ASKED * (r + 1) for r in range(ROUNDS)], **means, "gain": paired(gain)}


def one_curve(
    how: str, x: Tensor, y: Tensor, query: Tensor, query_y: Tensor, seed: int
) -> list[float]:
    """Accuracy after each round of labels."""
    learner, shuffled = make_method("nearest_centroid"), torch.Generator().manual_seed(seed)
    rest, known, accuracies = torch.randperm(len(x), generator=shuffled), torch.tensor([]), []
    support = predict = None
    known = rest[:0]
    for _ in range(ROUNDS):
        if how == "random":
            chosen = torch.arange(N_ASKED)
        elif support is None or predict is None:
            chosen = choose_to_label(x[rest], N_ASKED, learner, support)
        else:
            probabilities = predict(x[rest]).softmax(1)
            chosen = choose_to_label(
                x[rest], N_ASKED, learner, support, probabilities=probabilities
            )
        known = torch.cat([known, rest[chosen]])
        rest = rest[~torch.isin(rest, known)]
        classes, labels = y[known].unique(return_inverse=True)
        if len(classes) < 2:
            accuracies.append(float((query_y == classes[0]).double().mean()))
            continue
        support = Support(x[known], labels, len(classes))
        predict = learner.adapt(support)
        accuracies.append(float((classes[predict(query).argmax(1)] == query_y).double().mean()))
    return accuracies


def paired(differences: np.ndarray) -> dict[str, float]:
    """The mean of differences, and half the length of its interval."""
    half = 1.96 * differences.std(ddof=1) / len(differences) ** 0.5
    return {"mean": float(differences.mean()), "interval": float(half)}


WORLDS = {make.__name__: make for make in (omniglot, caltech101_84, clinc150)}


if __name__ == "__main__":
    for name in sys.argv[1:] or WORLDS:
        began, world = time.process_time(), WORLDS[name]()
        measured = {
            "classes": len(world.rows),
            "tasks": N_TASKS,
            "semi_supervised": semi_supervised(world),
            "labels": labels(world),
            "cpu_seconds": time.process_time() - began,
            "provenance": provenance(0),
        }
        report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        report[name] = measured
        print(name, json.dumps(measured, indent=1), flush=True)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
