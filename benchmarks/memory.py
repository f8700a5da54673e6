"""What keeping freed memory brings to a step of training, and that it does not grow.

    python benchmarks/memory.py

The demo's step in float32, each in a process of its own, in turns: with malloc as it is, as
`meta_train` sets it, and with glibc's settings given by hand in the environment. Then a small
network for 10,000 steps. Writes benchmarks/results/memory.json and the table in
docs/research/performance.md.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from quickstudy.engine import Callback, meta_train
from quickstudy.experiments.build import make_learner, tasks_of_training
from quickstudy.experiments.provenance import provenance
from quickstudy.learners import PrototypicalNetworks
from quickstudy.nn import Conv4
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks import ClassData, EpisodeSampler
from results import write_between_marks

ROOT = Path(__file__).parent.parent
ROUNDS, STEPS, MAX_STEPS = 3, 30, 10_000
SIZE = 2**32
BY_HAND = "glibc.malloc." + ":glibc.malloc.".join(
    (f"mmap_threshold={SIZE}", f"trim_threshold={SIZE}", f"top_pad={2**28}", "hugetlb=1")
)
SETTINGS: dict[str, tuple[str, dict[str, str]]] = {
    "malloc as it is": ("", {}),
    "as `meta_train` sets it": ("tuned", {}),
    "set by hand (`GLIBC_TUNABLES`), huge pages too": ("", {"GLIBC_TUNABLES": BY_HAND}),
}


class Watch(Callback):
    """Seconds of each step, and the memory after some."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.resident: dict[int, int] = {}

    def on_start(self, step: int, steps: int) -> None:
        self._last = time.perf_counter()

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
        if step in (MAX_STEPS // 10, MAX_STEPS):
            self.resident[step] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def demo_step(malloc: str) -> dict[str, Any]:
    """Median seconds of a step of the demo, and what it asked of the kernel."""
    recipe = load_recipe("prototypical_glyphs", ["train.precision=float32"])
    learner, watch = make_learner(recipe), Watch()
    options = {"steps": STEPS, "precision": "float32", "tune_malloc": malloc == "tuned"}
    before = resource.getrusage(resource.RUSAGE_SELF)
    meta_train(learner, tasks_of_training(recipe), callbacks=[watch], **options)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": statistics.median(watch.seconds[3:]),
        "page_faults": (after.ru_minflt - before.ru_minflt) / STEPS,
        "peak": after.ru_maxrss * 1024,
        "weights": sum(float(p.detach().double().sum()) for p in learner.parameters()),
    }


def many_steps(malloc: str) -> dict[str, Any]:
    """Memory after a tenth of many steps, and after all."""
    torch.manual_seed(0)
    y = torch.arange(20).repeat_interleave(10)
    data = ClassData.from_arrays(torch.rand(len(y), 1, 28, 28), y)
    tasks, watch = EpisodeSampler(data, n_way=5, n_shot=1, n_query=5), Watch()
    learner = PrototypicalNetworks(Conv4((1, 28, 28), width=16))
    tuned = malloc == "tuned"
    meta_train(learner, tasks, steps=MAX_STEPS, callbacks=[watch], tune_malloc=tuned)
    return {"resident": watch.resident}


def in_process(job: str, malloc: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run a job in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, job, malloc],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(result.stdout)


def main() -> None:
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for _ in range(ROUNDS):
        for name, (malloc, environment) in SETTINGS.items():
            rounds[name].append(in_process("demo_step", malloc, environment))
    first = next(iter(rounds.values()))
    rows = {
        name: {
            "seconds": statistics.median(r["seconds"] for r in each),
            "times_as_fast": statistics.median(
                f["seconds"] / r["seconds"] for f, r in zip(first, each, strict=True)
            ),
            "page_faults": statistics.median(r["page_faults"] for r in each),
            "peak": max(r["peak"] for r in each),
            "same_weights": all(
                r["weights"] == f["weights"] for f, r in zip(first, each, strict=True)
            ),
        }
        for name, each in rounds.items()
    }
    growth = in_process("many_steps", "tuned", {})
    found = {**provenance(0), "threads": torch.get_num_threads(), "step": rows, "growth": growth}
    kept = ROOT / "benchmarks" / "results" / "memory.json"
    kept.write_text(json.dumps(found, indent=1) + "\n")
    written = table(found)
    write_between_marks(ROOT / "docs" / "research" / "performance.md", "memory", written)
    print(written)


def table(found: dict[str, Any]) -> str:
    lines = [
        "| the demo's step, float32 | ms | times as fast | page faults a step | peak MB |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["step"].items():
        lines.append(
            f"| {name} | {1000 * row['seconds']:.0f} | {row['times_as_fast']:.2f} | "
            f"{row['page_faults']:.0f} | {row['peak'] / 1e6:.0f} |"
        )
    early, late = found["growth"]["resident"].values()
    lines += [
        "",
        f"A small network held {early / 1e6:.1f} MB after {MAX_STEPS // 10:,} steps and "
        f"{late / 1e6:.1f} MB after {MAX_STEPS:,}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(
            json.dumps({"demo_step": demo_step, "many_steps": many_steps}[sys.argv[1]](sys.argv[2]))
        )
    else:
        main()
