"""How accurate runs are on tasks of other domains than their own, and what tells so beforehand.

    python benchmarks/expectation.py [SOURCE ...]

Trains the brief runs of `BRIEF` into runs/expectation where they are not yet, adapts them and the
run "glyphs" to tasks of every target, and writes what was known of each support set and the
accuracy on its queries to runs/expectation/SOURCE.json. `expectation_model.py` learns from these.
Needs the data sets omniglot, sign_digits and caltech101_84.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy import ClassData, EpisodeSampler, Tasks
from quickstudy.diagnostics.expectation import right_of_left_out
from quickstudy.diagnostics.training_statistics import TrainingStatistics
from quickstudy.experiments.run import SHIPPED, find_run, load_run, train_run
from quickstudy.files import write_atomically
from quickstudy.learners import Learner
from quickstudy.recipes.loading import load_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Batch
from quickstudy.tasks.augment import elastic
from quickstudy.tasks.datasets import load_dataset

RUNS = Path("runs/expectation")
STEPS = ["train.steps=120", "train.validate_every=120"]
SMALL = [*STEPS, "data.rotations=false", "tasks.n_way=20", "validation.n_way=5"]

BRIEF: dict[str, tuple[str, list[str]]] = {
    "omniglot": ("prototypical_omniglot", SMALL),
    "omniglot matching": ("matching_omniglot", SMALL),
    "caltech": ("prototypical_caltech", [*STEPS, "data.image_size=28"]),
    "glyphs MAML": (
        "maml_omniglot",
        [*STEPS, "data.name='glyphs'", "data.rotations=false", "train.meta_batch_size=8"],
    ),
}
"""Recipes and changes of the runs that are trained for this, each in a minute or so."""

SOURCES = ("glyphs", *BRIEF)
IMAGES = ("glyphs", "omniglot", "digits", "sign_digits", "caltech101_84")
MAX_CLASSES, MAX_EXAMPLES = 20, 25
"""Of a target, and of a class of it."""

CELLS = ((5, 1), (10, 1), (3, 1), (5, 2), (8, 2), (2, 3), (5, 3), (5, 5), (10, 5), (3, 8), (8, 10))
"""Ways and shots."""

PER_CELL, N_QUERY = 2, 15

Version = Callable[[Tensor, torch.Generator], Tensor]


def as_is(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def distorted(x: Tensor, generator: torch.Generator) -> Tensor:
    return elastic(x, generator, bend=0.1, degrees=40.0, share=1.0)


def downsampled(x: Tensor, generator: torch.Generator) -> Tensor:
    """To a third of the side, and back."""
    side = x.shape[-1]
    small = F.interpolate(x, size=side // 3, mode="area")
    return F.interpolate(small, size=side, mode="bilinear")


def inverted(x: Tensor, generator: torch.Generator) -> Tensor:
    return 1 - x


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.4 * torch.randn(x.shape, generator=generator)


def recoloured(x: Tensor, generator: torch.Generator) -> Tensor:
    """Another tint for each image; of grey ones another brightness and contrast."""
    channels = x.shape[1]
    tint = 0.3 + 0.7 * torch.rand(len(x), channels, 1, 1, generator=generator)
    return x * tint if channels == 3 else 0.4 + 0.5 * x * tint


VERSIONS: tuple[Version, ...] = (as_is, distorted, downsampled, inverted, noisy, recoloured)


def run_of(source: str) -> Path:
    """The folder of a run, trained where it is not there."""
    if source in SHIPPED:
        return find_run(source)
    folder = RUNS / source.replace(" ", "_")
    recipe, changes = BRIEF[source]
    if not (folder / "report.json").exists():
        quick = ["validation.n_tasks=40", "train.executor='serial'"]
        train_run(load_recipe(recipe, [*quick, *changes]), folder)
    return folder


def targets(recipe: Recipe) -> Iterator[tuple[str, str, ClassData]]:
    """Data set, version and classes that the source was not trained on, as it takes them."""
    channels, side, _ = recipe.data.shape
    for name in IMAGES:
        data = load_dataset(name, "test", image_size=side)
        data = smaller(data)
        x = data.x.float() / 255
        x = x.mean(1, keepdim=True) if channels < x.shape[1] else x.expand(-1, channels, -1, -1)
        for version in VERSIONS:
            yield name, version.__name__, changed(ClassData(x, data.y, data.names), version)


def smaller(data: ClassData) -> ClassData:
    """As many classes and examples of each as are needed."""
    data = data.select(range(0, data.n_classes, max(1, data.n_classes // MAX_CLASSES)))
    rows = data.index[:, :MAX_EXAMPLES]
    rows = rows[rows >= 0]
    return ClassData(data.x[rows], data.y[rows], data.names)


def changed(data: ClassData, version: Version) -> ClassData:
    x = version(data.x.float(), torch.Generator().manual_seed(0))
    return ClassData(x.contiguous(), data.y, data.names)


def measure(source: str) -> list[dict[str, Any]]:
    """A record for each task of each target."""
    folder = run_of(source)
    recipe, learner = load_run(folder)
    statistics = TrainingStatistics.read(folder)
    assert statistics is not None
    records = []
    for name, version, data in targets(recipe):
        about = {"source": source, "target": name, "version": version}
        began = time.process_time()
        with torch.no_grad():
            found = list(of_target(learner, statistics, data, f"{name} {version}"))
        records += [{**about, **each} for each in found]
        print(source, name, version, f"{time.process_time() - began:.0f} s", flush=True)
    return records


def of_target(
    learner: Learner, statistics: TrainingStatistics, data: ClassData, name: str
) -> Iterator[dict[str, Any]]:
    """What is known of the support sets of tasks, and the accuracy on their queries."""
    rows = ClassData(torch.arange(len(data.y)).float()[:, None], data.y, data.names)
    distances = statistics.distances_of(learner, Batch(data.x, data.y)).numpy()
    for n_way, n_shot in CELLS:
        n_query = min(N_QUERY, int(data.counts.min()) - n_shot)
        if n_query < 5 or (learner.ways != "any" and n_way != 5):
            continue
        shape: dict[str, Any] = {"n_way": n_way, "n_shot": n_shot, "n_query": n_query}
        seed = zlib.crc32(f"{name} {n_way} {n_shot}".encode())
        adapt, tasks = learner.on(EpisodeSampler(data, **shape, seed=seed))
        drawn: Tasks = EpisodeSampler(rows, **shape, seed=seed)
        usual = float(np.median(statistics.reference_distances(n_way, n_shot)))
        for i in range(PER_CELL):
            task = tasks[i]
            left_out = None if n_shot == 1 else right_of_left_out(adapt, task.support)
            right = (adapt(task.support)(task.query.x).argmax(1) == task.query.y).sum()
            at = drawn[i].support.x[:, 0].long().numpy()
            novelty = float(distances[at].mean()) / usual
            counts = {"right": int(right), "queries": len(task.query.y), "left_out": left_out}
            yield {**shape, "novelty": novelty, **counts}


def main(names: list[str]) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    for source in names or SOURCES:
        path = RUNS / f"{source.replace(' ', '_')}.json"
        if not path.exists():
            write_atomically(path, json.dumps(measure(source)).encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
