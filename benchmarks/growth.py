"""How the cost of a task grows with its shape, and of a meta-step with tasks, cores and processes.

    python benchmarks/growth.py

Conv4-64 on 28x28; 5-way 1-shot, 15 queries a class, one inner step, where nothing else is said.
Operations and activations are those of the meta-gradient of one task. Peak memory is that of a
process of its own which takes one meta-step, Python and PyTorch included. Tasks a second are the
median of interleaved rounds of a process with so many threads, or of `torchrun` with so many
processes of one thread. Writes benchmarks/results/growth.json and docs/growth.png.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from quickstudy import MAML, ClassData, EpisodeSampler, PrototypicalNetworks, meta_train
from quickstudy.engine.callbacks import Callback
from quickstudy.engine.cost import peak_memory, training_cost
from quickstudy.engine.distributed import ranks
from quickstudy.engine.executors import Threads
from quickstudy.experiments.provenance import provenance
from quickstudy.nn import Conv4
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
SHAPES = {
    "inner steps": [{"steps": n} for n in (1, 2, 3, 4, 6, 8)],
    "ways": [{"n_way": n} for n in (2, 5, 10, 20)],
    "shots": [{"n_shot": n} for n in (1, 2, 5, 10)],
}
TASKS = (1, 2, 4, 8, 16, 32)
ROUNDS, META_STEPS, BATCH = 3, 3, 8


def learner_and_tasks(
    kind: str = "maml", steps: int = 1, n_way: int = 5, n_shot: int = 1
) -> tuple[MAML | PrototypicalNetworks, EpisodeSampler]:
    torch.manual_seed(0)
    backbone = Conv4((1, 28, 28))
    learner = (
        MAML(backbone, n_way, inner_steps=steps)
        if kind == "maml"
        else PrototypicalNetworks(backbone)
    )
    y = torch.arange(20).repeat_interleave(30)
    data = ClassData(torch.rand(len(y), 1, 28, 28), y, [str(c) for c in range(20)])
    return learner, EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=15)


def peak(n_tasks: int) -> int:
    """Peak memory of a meta-step, in bytes."""
    learner, tasks = learner_and_tasks()
    meta_train(learner, tasks, steps=1, meta_batch_size=n_tasks)
    return peak_memory() or 0


class Clock(Callback):
    """Seconds of each meta-step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_start(self, step: int, steps: int) -> None:
        self._before = time.perf_counter()

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._before)
        self._before = now


def speed(threads: int) -> float:
    """Tasks a second of this process, or of all that `torchrun` started."""
    torch.set_num_threads(1)
    learner, tasks = learner_and_tasks()
    clock = Clock()
    meta_train(
        learner,
        tasks,
        steps=1 + META_STEPS,
        meta_batch_size=BATCH,
        executor=Threads(threads),
        callbacks=[clock],
    )
    return BATCH / statistics.median(clock.seconds[1:]) if clock.seconds else 0.0


def all_reduce_seconds() -> float:
    """Median seconds to add up one flat meta-gradient over the processes."""
    learner, _ = learner_and_tasks()
    flat = torch.cat([p.detach().flatten() for p in learner.parameters()])
    spent = []
    for _ in range(50):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(flat)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def of_a_process(*arguments: str, processes: int = 0) -> float:
    """What this file prints, in a process of its own or in several under `torchrun`."""
    command = [sys.executable, __file__, *arguments]
    if processes:
        run = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", str(processes)]
        command = [*run, *command[1:]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure() -> dict[str, Any]:
    found: dict[str, Any] = {**provenance(0), "shapes": {}}
    for what, shapes in SHAPES.items():
        rows = found["shapes"][what] = []
        for shape in track(shapes, what):
            for kind in ("maml", "prototypical") if what != "inner steps" else ("maml",):
                learner, tasks = learner_and_tasks(kind, **shape)
                cost = training_cost(learner, tasks[0])
                rows.append(
                    {
                        "learner": kind,
                        "n": next(iter(shape.values())),
                        "flops": cost.flops,
                        "activation_bytes": cost.activation_bytes,
                    }
                )
    found["peak_bytes"] = {n: of_a_process("peak", str(n)) for n in track(TASKS, "tasks")}
    rates: dict[str, list[float]] = {
        "1 core": [],
        "2 cores": [],
        "1 process": [],
        "2 processes": [],
    }
    for _ in track(range(ROUNDS), "cores and processes"):
        for n in (1, 2):
            rates[f"{n} core{'s' * (n > 1)}"].append(of_a_process("speed", str(n)))
            name = f"{n} process{'es' * (n > 1)}"
            rates[name].append(of_a_process("speed", "1", processes=n))
    found["tasks_per_second"] = {name: statistics.median(r) for name, r in rates.items()}
    found["all_reduce_seconds"] = of_a_process("all_reduce", processes=2)
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    labels = {"maml": "MAML", "prototypical": "prototypical network"}
    for axis, (what, rows) in zip(axes.flat, found["shapes"].items(), strict=False):
        for kind in dict.fromkeys(row["learner"] for row in rows):
            own = [row for row in rows if row["learner"] == kind]
            n = [row["n"] for row in own]
            axis.plot(n, [r["activation_bytes"] / 1e6 for r in own], "o-", label=labels[kind])
            colour = axis.lines[-1].get_color()
            axis.plot(n, [r["flops"] / 1e8 for r in own], "s--", color=colour, alpha=0.5)
        axis.set(xlabel=what, title=f"a task, by its {what}")
    axes[0, 0].set_ylabel("—  activations, MB\n- -  operations, 0.1 GFLOP")
    axes[0, 1].legend(frameon=False)
    memory, cores, processes = axes[1]
    tasks = [int(n) for n in found["peak_bytes"]]
    memory.plot(tasks, [b / 1e6 for b in found["peak_bytes"].values()], "o-")
    memory.set(xlabel="tasks in a meta-step", ylabel="peak memory, MB", title="MAML, by its tasks")
    rates = found["tasks_per_second"]
    for axis, names in ((cores, list(rates)[:2]), (processes, list(rates)[2:])):
        bars = axis.bar(names, [rates[name] for name in names], width=0.5)
        axis.bar_label(bars, fmt="%.1f")
        axis.set(ylabel="MAML, tasks a second", title=f"by {names[1].split()[1]}")
    for axis in axes.flat:
        axis.set_ylim(0, 1.15 * max(axis.dataLim.y1, 1e-9))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["peak"]:
        print(peak(int(arguments[1])))
    elif arguments[:1] in (["speed"], ["all_reduce"]):
        with ranks() as team:
            result = speed(int(arguments[1])) if arguments[1:] else all_reduce_seconds()
            if team.first:
                print(result)
    elif not arguments:
        found = measure()
        kept = ROOT / "benchmarks" / "results" / "growth.json"
        kept.write_text(json.dumps(found, indent=1) + "\n")
        draw(json.loads(kept.read_text()), ROOT / "docs" / "growth.png")
        print(json.dumps(found, indent=1))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
