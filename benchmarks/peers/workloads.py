"""What is measured: the workloads, and the weights and tasks that every peer starts from.

NumPy alone, since it is imported in every peer's environment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = ["INNER_LR_ADAM", "OUTER_LR", "WORKLOADS", "Arrays", "Workload", "shapes", "write_arrays"]

Kind = Literal["maml", "anil", "reptile", "protonet", "meta_test", "latency"]
Arrays = dict[str, np.ndarray]

OUTER_LR = 1e-3
INNER_LR_ADAM = 1e-3


@dataclass(frozen=True)
class Workload:
    """One piece of work.

    Args:
        n_way: Classes a task; 0 for regression.
        tasks: Tasks in one timed step.
        n_running: Whether batch norm has running statistics, for work in evaluation mode.
    """

    title: str
    kind: Kind
    network: Literal["conv4", "mlp"]
    n_way: int
    n_shot: int
    n_query: int
    tasks: int
    inner_steps: int = 0
    inner_lr: float = 0.0

    @property
    def n_outputs(self) -> int:
        """Size of the head; 0 without one."""
        return 0 if self.kind in ("protonet", "meta_test", "latency") else self.n_way or 1

    @property
    def evaluates(self) -> bool:
        return self.kind in ("meta_test", "latency")


WORKLOADS: dict[str, Workload] = {
    "w1a": Workload("MAML, Conv4, 1 step", "maml", "conv4", 5, 1, 15, 16, 1, 0.1),
    "w1b": Workload("MAML, Conv4, 5 steps", "maml", "conv4", 5, 1, 15, 16, 5, 0.1),
    "w2a": Workload("MAML, sinusoids, 1 step", "maml", "mlp", 0, 10, 10, 25, 1, 0.01),
    "w2b": Workload("MAML, sinusoids, 5 steps", "maml", "mlp", 0, 10, 10, 25, 5, 0.01),
    "w3": Workload("ProtoNet, 60-way step", "protonet", "conv4", 60, 5, 5, 1),
    "w4": Workload("ANIL, Conv4, 5 steps", "anil", "conv4", 5, 5, 15, 16, 5, 0.1),
    "w5b": Workload("Reptile, Conv4, 5 Adam steps", "reptile", "conv4", 5, 2, 1, 5, 5),
    "w6": Workload("ProtoNet, meta-testing", "meta_test", "conv4", 5, 1, 15, 1000),
    "w7": Workload("ProtoNet, one new task", "latency", "conv4", 5, 5, 1, 1),
}

WIDTH = 64
POOL_CLASSES, POOL_EACH = 100, 20  # the images that meta-testing draws its tasks from


def shapes(workload: Workload) -> list[tuple[int, ...]]:
    """Shapes of the weights, in the order of the layers, as PyTorch has them."""
    found: list[tuple[int, ...]] = []
    if workload.network == "mlp":
        for size_in, size_out in ((1, 40), (40, 40)):
            found += [(size_out, size_in), (size_out,)]
    else:
        for block in range(4):
            found += [(WIDTH, WIDTH if block else 1, 3, 3), (WIDTH,), (WIDTH,)]
    if workload.n_outputs:
        found += [(workload.n_outputs, 40 if workload.network == "mlp" else WIDTH)]
        found += [(workload.n_outputs,)]
    return found


def write_arrays(workload: Workload, path: Path, seed: int = 0) -> None:
    """Write initial weights and tasks, of float32 and int64, to an .npz file."""
    random = np.random.default_rng(seed)
    arrays = _weights(workload, random)
    if workload.kind == "meta_test":
        arrays |= _pool(workload, random)
    else:
        make = _images if workload.n_way else _sinusoid
        tasks = [make(workload, random) for _ in range(workload.tasks)]
        arrays |= {name: np.stack([task[name] for task in tasks]) for name in tasks[0]}
    kept: dict[str, Any] = {n: a if a.dtype == int else a.astype("f4") for n, a in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, **kept)


def _weights(workload: Workload, random: np.random.Generator) -> Arrays:
    """Weights as PyTorch's layers start; batch norm as after some training."""
    weights: list[np.ndarray] = []
    for shape in shapes(workload):
        norm = len(shape) == 1 and shape[0] == WIDTH
        if norm:
            previous_is_kernel = weights[-1].ndim == 4
            weights.append(np.ones(shape) if previous_is_kernel else np.zeros(shape))
        else:
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else weights[-1].shape[1]
            weights.append(random.uniform(-1, 1, shape) / math.sqrt(fan_in))
    arrays = {f"weight_{i:02}": w for i, w in enumerate(weights)}
    if workload.evaluates:
        for block in range(4):
            arrays[f"mean_{block}"] = random.normal(0, 0.1, WIDTH)
            arrays[f"var_{block}"] = random.uniform(0.05, 0.2, WIDTH)
    return arrays


def _images(workload: Workload, random: np.random.Generator) -> Arrays:
    """A task of classes that are blotches, 7x7 pixels enlarged, with noise on each example."""
    n_way, n_shot = workload.n_way, workload.n_shot
    x = _examples(n_way, n_shot + workload.n_query, random)
    y = np.broadcast_to(np.arange(n_way)[:, None], x.shape[:2])
    order = [random.permutation(n_way * n) for n in (n_shot, workload.n_query)]

    def part(columns: slice, order: np.ndarray, name: str) -> Arrays:
        shown, labels = x[:, columns].reshape(-1, 1, 28, 28), y[:, columns].reshape(-1)
        return {f"{name}_x": shown[order], f"{name}_y": labels[order]}

    support = part(slice(n_shot), order[0], "support")
    return support | part(slice(n_shot, None), order[1], "query")


def _examples(n_classes: int, n_each: int, random: np.random.Generator) -> np.ndarray:
    kinds = random.uniform(0, 1, (n_classes, 1, 1, 7, 7)).repeat(4, axis=3).repeat(4, axis=4)
    return kinds + random.normal(0, 0.3, (n_classes, n_each, 1, 28, 28))


def _sinusoid(workload: Workload, random: np.random.Generator) -> Arrays:
    amplitude, phase = random.uniform(0.1, 5), random.uniform(0, math.pi)
    x = random.uniform(-5, 5, (workload.n_shot + workload.n_query, 1))
    y, k = amplitude * np.sin(x - phase), workload.n_shot
    return {"support_x": x[:k], "support_y": y[:k], "query_x": x[k:], "query_y": y[k:]}


def _pool(workload: Workload, random: np.random.Generator) -> Arrays:
    """A pool of images, and the rows of it that each task has: (tasks, n)."""
    n_way, n_shot, n_query = workload.n_way, workload.n_shot, workload.n_query
    support, query = [], []
    for _ in range(workload.tasks):
        classes = random.permutation(POOL_CLASSES)[:n_way, None] * POOL_EACH
        each = np.stack([random.permutation(POOL_EACH)[: n_shot + n_query] for _ in range(n_way)])
        support.append((classes + each[:, :n_shot]).reshape(-1))
        query.append((classes + each[:, n_shot:]).reshape(-1))
    return {
        "pool_x": _examples(POOL_CLASSES, POOL_EACH, random).reshape(-1, 1, 28, 28),
        "support_rows": np.stack(support),
        "query_rows": np.stack(query),
        "support_y": np.arange(n_way).repeat(n_shot),
        "query_y": np.arange(n_way).repeat(n_query),
    }
