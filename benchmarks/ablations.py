"""What each change for speed brings, one after the other.

    python benchmarks/ablations.py

Variants of one computation take turns for some rounds; the figure is the median of the rounds.
Leave the machine alone meanwhile. Writes benchmarks/results/ablations.json, and the table into
docs/research/performance.md.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy import MAML, ClassData, EpisodeSampler, Learner, PrototypicalNetworks, SinusoidTasks
from quickstudy.engine import EXECUTORS, meta_test
from quickstudy.experiments.provenance import provenance
from quickstudy.nn import MLP, Conv4
from quickstudy.progress import track
from quickstudy.tasks import Episode, Tasks
from results import write_between_marks

ROOT = Path(__file__).parent.parent
ROUNDS = 5


def textbook(width: int = 64, pool_first: bool = False, bias: bool = True) -> nn.Sequential:
    """Conv4 as papers draw it: convolution with bias, batch norm, ReLU, max-pooling."""
    layers: list[nn.Module] = []
    for block in range(4):
        after = [nn.ReLU(), nn.MaxPool2d(2)]
        layers += [
            nn.Conv2d(width if block else 1, width, 3, padding=1, bias=bias),
            nn.BatchNorm2d(width),
            *(reversed(after) if pool_first else after),
        ]
    network = nn.Sequential(*layers, nn.Flatten())
    network.out_features = width  # pyright: ignore[reportArgumentType]
    return network


def images() -> ClassData:
    y = torch.arange(400).repeat_interleave(20)
    x = torch.rand(len(y), 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return ClassData(x, y, [str(c) for c in range(400)])


def gradient_of(learner: Learner, episodes: list[Episode], executor: str) -> Callable[[], object]:
    run = EXECUTORS[executor]()
    learner.train()
    return lambda: run(learner, episodes)


def maml_on_images() -> dict[str, Callable[[], object]]:
    tasks = EpisodeSampler(images(), n_way=5, n_shot=1, n_query=15)
    episodes = [tasks[i] for i in range(8)]
    backbones = {
        "plain loop over tasks, network as papers draw it": textbook(),
        "+ pooling before ReLU": textbook(pool_first=True),
        "+ no bias before batch norm": textbook(pool_first=True, bias=False),
        "+ channels last": Conv4((1, 28, 28)),
    }
    jobs = {n: gradient_of(MAML(b, 5), episodes, "serial") for n, b in backbones.items()}
    jobs["+ tasks spread over cores (what `auto` takes)"] = gradient_of(
        MAML(Conv4((1, 28, 28)), 5), episodes, "threads"
    )
    jobs['+ bfloat16 (`precision = "bfloat16"`)'] = in_bfloat16(
        gradient_of(MAML(Conv4((1, 28, 28)), 5), episodes, "threads")
    )
    return jobs


def in_bfloat16(job: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            job()

    return run


def maml_on_sinusoids() -> dict[str, Callable[[], object]]:
    tasks = SinusoidTasks(n_shot=10, n_query=10)
    episodes = [tasks[i] for i in range(25)]
    names = {
        "serial": "plain loop over tasks",
        "threads": "tasks spread over cores",
        "vmap": "tasks in one batched call",
        "compiled": "+ compiled (what `auto` takes)",
    }
    jobs = {
        name: gradient_of(MAML(MLP((1,)), 1, inner_lr=0.01), episodes, executor)
        for executor, name in names.items()
    }
    mixed = [SinusoidTasks(n_shot=2 * (i % 5 + 1), n_query=10)[i] for i in range(25)]
    jobs["the same of five different shots, in five batches"] = gradient_of(
        MAML(MLP((1,)), 1, inner_lr=0.01), mixed, "compiled"
    )
    return {**jobs, "drawing the tasks, for comparison": lambda: [tasks[i] for i in range(25)]}


class _Plain:
    """Tasks of which meta-testing knows no more than `tasks[i]`."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def __getitem__(self, index: int) -> Episode:
        return self._tasks[index]


def meta_testing(n_way: int, n_shot: int) -> Callable[[], dict[str, Callable[[], object]]]:
    def jobs() -> dict[str, Callable[[], object]]:
        learner = PrototypicalNetworks(Conv4((1, 28, 28)))
        tasks = EpisodeSampler(images(), n_way=n_way, n_shot=n_shot, n_query=15)
        return {
            "each example embedded in each task": lambda: meta_test(learner, _Plain(tasks), 100),
            "each example embedded once": lambda: meta_test(learner, tasks, 100),
        }

    return jobs


SETS: dict[str, Callable[[], dict[str, Callable[[], object]]]] = {
    "MAML, second order, Conv4-64, 5-way 1-shot, 15 queries, 8 tasks, 1 step": maml_on_images,
    "MAML, second order, sinusoids, two layers of 40, 25 tasks, 1 step": maml_on_sinusoids,
    "meta-testing a prototypical network on 100 tasks, 5-way 1-shot": meta_testing(5, 1),
    "meta-testing a prototypical network on 100 tasks, 20-way 5-shot": meta_testing(20, 5),
}


def measure() -> dict[str, Any]:
    found = {}
    for title, make in SETS.items():
        jobs = make()
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for job in jobs.values():
            job()  # to warm up, and to compile
        for _ in track(range(ROUNDS), title[:40]):
            for name, job in jobs.items():
                repeats, began = 0, time.perf_counter()
                while (spent := time.perf_counter() - began) < 0.5:
                    job()
                    repeats += 1
                seconds[name].append(spent / repeats)
        found[title] = {name: statistics.median(s) for name, s in seconds.items()}
    return found


def table(found: dict[str, Any]) -> str:
    lines = []
    for title, rows in found["sets"].items():
        first = next(iter(rows.values()))
        lines += [f"| {title} | ms | times the first |", "|---|---|---|"]
        lines += [f"| {n} | {1000 * s:.3g} | {first / s:.2f} |" for n, s in rows.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    found = {**provenance(0), "threads": torch.get_num_threads(), "sets": measure()}
    kept = ROOT / "benchmarks" / "results" / "ablations.json"
    kept.write_text(json.dumps(found, indent=1) + "\n")
    written = table(found)
    write_between_marks(ROOT / "docs" / "research" / "performance.md", "ablations", written)
    print(written)
