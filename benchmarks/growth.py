"""How memory and arithmetic of second-order MAML grow with inner steps and with tasks.

    python benchmarks/growth.py

Conv4-64 on 28x28, 5-way 1-shot, 15 queries a class. Operations and activations are those of the
meta-gradient of one task; peak memory is that of a process of its own which takes one meta-step,
Python and PyTorch included. Writes benchmarks/results/growth.json and
docs/growth.png.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from quickstudy import MAML, ClassData, EpisodeSampler, meta_train
from quickstudy.apps.run import provenance
from quickstudy.engine.cost import peak_memory, training_cost
from quickstudy.nn import Conv4
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
STEPS, TASKS = (1, 2, 3, 4, 6, 8), (1, 2, 4, 8, 16, 32)


def learner_and_tasks(inner_steps: int) -> tuple[MAML, EpisodeSampler]:
    torch.manual_seed(0)
    learner = MAML(Conv4((1, 28, 28)), 5, inner_steps=inner_steps)
    data = ClassData(
        torch.rand(400, 1, 28, 28),
        torch.arange(20).repeat_interleave(20),
        [str(c) for c in range(20)],
    )
    return learner, EpisodeSampler(data, n_way=5, n_shot=1, n_query=15)


def one_meta_step(inner_steps: int, n_tasks: int) -> int:
    """Peak memory of a meta-step, in bytes; run in a process of its own."""
    learner, tasks = learner_and_tasks(inner_steps)
    meta_train(learner, tasks, steps=1, meta_batch_size=n_tasks)
    return peak_memory() or 0


def in_a_process(inner_steps: int, n_tasks: int) -> int:
    command = [sys.executable, __file__, str(inner_steps), str(n_tasks)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure() -> dict[str, Any]:
    by_steps, by_tasks = [], []
    for steps in track(STEPS, "inner steps"):
        learner, tasks = learner_and_tasks(steps)
        cost = training_cost(learner, tasks[0], 1)
        by_steps.append(
            {
                "inner_steps": steps,
                "flops": cost.flops,
                "activation_bytes": cost.activation_bytes,
                "peak_bytes": in_a_process(steps, 4),
            }
        )
    for n in track(TASKS, "tasks"):
        by_tasks.append({"tasks": n, "peak_bytes": in_a_process(1, n)})
    return {**provenance(0), "by_inner_steps": by_steps, "by_tasks": by_tasks}


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    by_steps, by_tasks = found["by_inner_steps"], found["by_tasks"]
    steps = [row["inner_steps"] for row in by_steps]
    left.plot(
        steps, [r["activation_bytes"] / 1e6 for r in by_steps], marker="o", label="activations, MB"
    )
    left.plot(
        steps, [r["flops"] / 1e8 for r in by_steps], marker="s", label="operations, 0.1 GFLOP"
    )
    left.set(xlabel="inner steps", ylabel="of one task", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(
        [r["tasks"] for r in by_tasks],
        [r["peak_bytes"] / 1e6 for r in by_tasks],
        marker="o",
    )
    right.set(
        xlabel="tasks in a meta-step", ylabel="peak memory of the process, MB", ylim=(0, None)
    )
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Second-order MAML: memory grows with inner steps, not with tasks")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(one_meta_step(*map(int, sys.argv[1:])))
    else:
        found = measure()
        (ROOT / "benchmarks" / "results" / "growth.json").write_text(
            json.dumps(found, indent=1) + "\n"
        )
        draw(found, ROOT / "docs" / "growth.png")
        for row in (*found["by_inner_steps"], *found["by_tasks"]):
            print(row)
