"""How often the interval of "so many examples (or classes) for a target" holds the truth.

    python benchmarks/learning_curves.py

Accuracies are measured at a few small sizes, and a power law is fitted to them. Targets are the
accuracies at 1.4, 2, 2.8 and 4 times the largest of these sizes, by many tasks. The truth is where
the curve of many tasks, made monotone and interpolated over the logarithm of the size, reaches the
target.

Curves in shots are of nearest centroids and of one nearest neighbour, of characters embedded by the
run "glyphs", of digits as they are, and of requests embedded by MiniLM. Curves in training classes
are of prototypical networks trained on so many of the characters, and tested on others.
`SHAPE_ERROR` of `quickstudy.diagnostics.scarcity` was chosen on digits and characters in shots; the
other curves judge it. Writes benchmarks/results/learning_curves.json. Needs the data sets omniglot
and clinc150, and the extra "text".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.isotonic import isotonic_regression

from quickstudy import EpisodeSampler, PrototypicalNetworks, meta_train
from quickstudy.diagnostics.features import embed
from quickstudy.diagnostics.memorisation import task_scores
from quickstudy.diagnostics.scarcity import fit_power_law
from quickstudy.encoders import minilm
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.files import write_atomically
from quickstudy.nn import MLP
from quickstudy.tasks import ClassData
from quickstudy.tasks.datasets import load_dataset

RESULTS = Path(__file__).parent / "results" / "learning_curves.json"
N_TASKS, N_TRUE, TOGETHER = (50, 300), 900, 50
"""Of each size: to measure it, few or many; for the truth; and at once."""

REACH = (1.4, 2.0, 2.8, 4.0)
REPEATS = 3

Array = NDArray[Any]
Score = Callable[[float, int, int], Array]
"""Of (size, tasks, seed): the accuracies of so many tasks."""


def nearest_centroid(support: Array, query: Array) -> Array:
    """Accuracies (t,) of tasks of examples (t, n_way, n_shot, d) and (t, n_way, n_query, d)."""
    return _accuracy(_squared(query, support.mean(2))[..., None])


def nearest_neighbour(support: Array, query: Array) -> Array:
    t, n_way, n_shot, d = support.shape
    far = _squared(query, support.reshape(t, n_way * n_shot, d))
    return _accuracy(far.reshape(*far.shape[:3], n_way, n_shot))


def _squared(query: Array, points: Array) -> Array:
    """Distances, less the squares of the queries, (t, n_way, n_query, p)."""
    return (points**2).sum(-1)[:, None, None] - 2 * np.einsum("twqd,tpd->twqp", query, points)


def _accuracy(far: Array) -> Array:
    """Of distances (t, n_way, n_query, n_way, per class)."""
    named = far.min(-1).argmin(-1)  # (t, n_way, n_query)
    return (named == np.arange(far.shape[1])[:, None]).mean((1, 2))


def in_shots(data: ClassData, method: Callable[..., Array], n_way: int) -> Score:
    """Of tasks with five queries a class."""
    x, index, counts = data.x.numpy(), data.index.numpy(), data.counts.numpy()

    padding = np.where(np.arange(index.shape[1]) < counts[:, None], 0.0, 2.0)

    def scores(size: float, n: int, seed: int) -> Array:
        rng, made = np.random.default_rng([seed, int(size)]), []
        for _ in range(n // TOGETHER):
            classes = rng.random((TOGETHER, len(counts))).argsort(1)[:, :n_way]
            order = (rng.random((*classes.shape, index.shape[1])) + padding[classes]).argsort(2)
            rows = np.take_along_axis(index[classes], order[..., : int(size) + 5], 2)
            task = x[rows]  # (TOGETHER, n_way, size + 5, d)
            made.append(method(task[:, :, :-5], task[:, :, -5:]))
        return np.concatenate(made)

    return scores


def in_classes(data: ClassData, new: ClassData, n_shot: int) -> Score:
    """Of prototypical networks that are trained on so many classes of `data`."""
    tests = EpisodeSampler(new, n_way=5, n_shot=n_shot, n_query=5)

    @cache
    def trained(size: int, seed: int) -> PrototypicalNetworks:
        chosen = np.random.default_rng(seed).permutation(data.n_classes)[:size].tolist()
        tasks = EpisodeSampler(
            data.select(chosen), n_way=min(10, size), n_shot=1, n_query=5, seed=seed
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            learner = PrototypicalNetworks(MLP((data.x.shape[1],), (64, 64)))
        meta_train(learner, tasks, steps=150, executor="serial", show_progress=False)
        return learner

    def scores(size: float, n: int, seed: int) -> Array:
        learners = [trained(int(size), s) for s in range(3)]
        first = 10_000 * seed
        made = [task_scores(learner, tests, n // 3, first=first) for learner in learners]
        return torch.cat(made).numpy()

    return scores


def embedded(name: str, split: str) -> ClassData:
    """Characters, embedded by the run "glyphs"."""
    _, learner = load_run("glyphs")
    data = load_dataset(name, split)
    data = data.select(range(0, data.n_classes, 4))
    features = embed(learner, data.rows(torch.arange(len(data.y))))
    assert features is not None
    return ClassData(features, data.y, data.names)


def small(name: str, split: str) -> ClassData:
    """Images of 14 pixels a side, as numbers."""
    data = load_dataset(name, split, image_size=14)
    return ClassData(data.x.float().flatten(1) / 255, data.y, data.names)


def curves() -> Iterator[tuple[str, Score, tuple[int, ...]]]:
    """Name, scores and the sizes that are measured."""
    digits = small("digits", "test")
    requests = load_dataset("clinc150", "all-test", encoder=minilm())
    characters = embedded("omniglot", "evaluation")
    kinds = {"digits": digits, "requests": requests, "characters": characters}
    for name, data in kinds.items():
        few = (1, 2, 3) if name == "characters" else (1, 2, 3, 5)
        for method in (nearest_centroid, nearest_neighbour):
            for n_way in (5, 10):
                yield f"{name}, {method.__name__}, {n_way}-way", in_shots(data, method, n_way), few
    drawn, unseen = small("omniglot", "background"), small("omniglot", "evaluation")
    for n_shot in (1, 5):
        sizes = (5, 10, 20, 40)
        yield f"training classes, {n_shot}-shot", in_classes(drawn, unseen, n_shot), sizes


def true_curve(score: Score, sizes: tuple[int, ...]) -> tuple[Array, Array]:
    """Sizes, and the mean scores of many tasks there, which never fall."""
    grid = np.unique(np.round(sizes[-1] * np.geomspace(1, 4, 9)))
    means = [score(size, N_TRUE, 1).mean() for size in grid]
    return grid, np.asarray(isotonic_regression(means))


def cases(
    score: Score, sizes: tuple[int, ...], truth_of: tuple[Array, Array], n_tasks: int
) -> Iterator[dict[str, Any]]:
    """Predictions beside the truth."""
    grid, means = truth_of
    for repeat in range(REPEATS):
        measured = [score(size, n_tasks, 100 + repeat) for size in sizes]
        errors = [float(s.std(ddof=1)) / len(s) ** 0.5 for s in measured]
        law = fit_power_law(sizes, [float(s.mean()) for s in measured], errors)
        for reach in REACH:
            target = float(np.interp(reach * sizes[-1], grid, means))
            if target <= means[0]:
                continue
            truth = float(np.exp(np.interp(target, means, np.log(grid))))
            low, high = law.size_interval(target)
            held = bool(low <= truth <= high)
            yield {"held": held, "half_width": (high - low) / 2 / truth}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    held = sum(case["held"] for case in found)
    interval = stats.binomtest(held, len(found)).proportion_ci(method="wilson")
    width = float(np.median([case["half_width"] for case in found]))
    return {
        "cases": len(found),
        "held": held / len(found),
        "interval": [float(interval.low), float(interval.high)],
        "median_half_width": width if np.isfinite(width) else None,
    }


def main() -> None:
    result: dict[str, Any] = {}
    everything = {n: (score, sizes, true_curve(score, sizes)) for n, score, sizes in curves()}
    for n_tasks in N_TASKS:
        found = {name: list(cases(*curve, n_tasks)) for name, curve in everything.items()}
        parts = {
            "shots, chosen on": ("digits", "characters"),
            "shots, judged on": ("requests",),
            "training classes, judged on": ("training",),
        }
        of_tasks = {
            title: summary([c for n, each in found.items() if n.startswith(names) for c in each])
            for title, names in parts.items()
        }
        by_curve = {name: summary(each) for name, each in found.items()}
        result[f"{n_tasks} tasks a size"] = {**of_tasks, "by curve": by_curve}
        print(n_tasks, json.dumps(of_tasks, indent=1), flush=True)
    result["made_by"] = provenance(0)
    write_atomically(RESULTS, f"{json.dumps(result, indent=1)}\n".encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
