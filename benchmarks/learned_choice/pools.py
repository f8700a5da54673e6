"""Meta-train the gate that says how far a pool of unlabelled examples is to be trusted.

    python benchmarks/learned_choice/pools.py draw BANK FOLDER [--tasks N]
    python benchmarks/learned_choice/pools.py train FOLDER

"draw" makes tasks with pools from the bank of `domains.py`. "train" judges gates on groups of
domains that they were not trained on, writes benchmarks/results/pool_gate.json, and trains the
gate that comes with quickstudy. The groups of `HELD_OUT`, on which `benchmarks/unlabelled.py`
judges, are in no training.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.experiments.provenance import provenance
from quickstudy.learners.transfer.blend import LearnedBlend, PoolGate
from quickstudy.learners.transfer.blend.refinement import (
    MAX_SHIFT,
    USES,
    average,
    fit_pool,
    view_shares,
)
from quickstudy.learners.transfer.blend.storage import SHIPPED_FOLDER, shipped_gate, write_gate
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks import Support
from tasks import Domain, kind_and_group, read_domains
from training import deviations, folds_of_groups

RESULTS = Path(__file__).parents[1] / "results" / "pool_gate.json"

HELD_OUT = ("omniglot", "caltech101_84", "clinc150")

WAYS, SHOTS, SIZES = (2, 3, 5, 5, 8, 10), (1, 1, 1, 2, 3, 5, 10), (2, 5, 10, 20, 40)
"""Those drawn: classes, examples of each, and unlabelled ones of each."""

POOLS = ("classes", "classes", "both", "both", "others")
"""Of a pool: the classes of the task, these and as many others, or others alone."""

UNEVEN_SHARE = 0.3
"""How often classes have unequal shares of the pool, some none."""

N_QUERIES, N_FOLDS = 60, 5

STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1500, 64, 3e-3, 1e-2

LEAST_LOG_PROBABILITY = -50.0
"""Of a class that a task does not have."""

HARM_WEIGHT = 2.0
"""Of a task whose loss the pool raises, beside one whose loss it lowers."""

ERROR_WEIGHT = 0.5
"""Of the expected error rate beside the cross-entropy."""


@dataclass
class PoolTask:
    """A task with a pool, whose uses have been fitted.

    Args:
        features: Of the uses, for the gate, shape (k - 1, N).
        by_use: Log-probabilities on the queries, shape (k, m, c).
        query_y: Their labels (m,).
        kind, group, domain, shots, pool: What it was drawn from, and how.
    """

    features: Tensor
    by_use: Tensor
    query_y: Tensor
    kind: str
    group: str
    domain: str
    shots: int
    pool: str


def draw(bank: Path, folder: Path, n_tasks: int) -> None:
    """Draw tasks, a file a domain that the folder does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in track(sorted(bank.glob("*.npz")), "domains"):
        if kind_and_group(path)[0] == "regression_numbers":
            continue
        for domain in read_domains(path):
            target = folder / f"{domain.name}.pt"
            if not target.exists():
                rng = np.random.default_rng(zlib.crc32(domain.name.encode()))
                tasks = [one for _ in range(n_tasks) if (one := _draw(domain, rng))]
                torch.save([vars(task) for task in tasks], target)


def _draw(domain: Domain, rng: np.random.Generator) -> PoolTask | None:
    ways, shots, size = (int(rng.choice(choice)) for choice in (WAYS, SHOTS, SIZES))
    pool, uneven = str(rng.choice(POOLS)), rng.random() < UNEVEN_SHARE
    classes, counts = np.unique(domain.y, return_counts=True)
    classes = rng.permutation(classes[counts >= shots + 3])
    if pool != "classes" and len(classes) < 4:
        pool = "classes"
    ways = min(ways, len(classes) if pool == "classes" else len(classes) // 2)
    if ways < 2:
        return None
    support, query, unlabelled = [], [], []
    for i, label in enumerate(classes[: ways if pool == "classes" else 2 * ways]):
        rows = rng.permutation(np.flatnonzero(domain.y == label))
        own, n_query = i < ways, max(2, min(N_QUERIES // ways, (len(rows) - shots) // 2))
        if own:
            support.append(rows[:shots])
            query.append(rows[shots : shots + n_query])
            rows = rows[shots + n_query :]
        if own and pool == "others":
            continue
        n = round(size * rng.exponential()) if uneven else size
        unlabelled.append(rows[:n])
    chosen = np.concatenate(unlabelled)
    if not len(chosen):
        return None
    return _fit(domain, support, query, rng.permutation(chosen), shots, pool)


def _fit(
    domain: Domain,
    support: Sequence[np.ndarray],
    query: Sequence[np.ndarray],
    pool: np.ndarray,
    shots: int,
    name: str,
) -> PoolTask | None:
    gate, accuracy, _ = shipped_gate()
    size = domain.x.shape[1]
    blend = LearnedBlend(
        Flatten((size,)), domain.views, domain.kind, gate=gate, accuracy=accuracy
    ).eval()
    x = domain.x[np.concatenate(support)]
    y = torch.arange(len(support)).repeat_interleave(torch.tensor([len(s) for s in support]))
    query_y = torch.arange(len(query)).repeat_interleave(torch.tensor([len(q) for q in query]))
    with torch.no_grad():
        task = blend.adapt(Support(x, y, len(support)))
        left_out = task.left_out()[0].log_softmax(1)
        shares = view_shares(domain.views, task.weights)
        with_pool = Support(x, y, len(support), unlabelled=domain.x[pool])
        fitted = fit_pool(domain.views, shares, with_pool, left_out, task.own_scores)
        if fitted.evidence.shift > MAX_SHIFT:
            return None
        queries = domain.x[np.concatenate(query)]
        by_use = fitted.by_use(task.own_scores(queries), queries)
    features = fitted.evidence.features()
    about = (domain.kind, domain.group, domain.name, shots, name)
    return PoolTask(features, by_use.float(), query_y, *about)


def read(folder: Path) -> list[PoolTask]:
    """The tasks in a folder of files of "draw"."""
    paths = sorted(folder.glob("*.pt"))
    return [PoolTask(**row) for path in paths for row in torch.load(path, weights_only=True)]


def stacked(tasks: Sequence[PoolTask]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (t, k - 1, N), log-probabilities (t, k, m, c) and labels (t, m) of tasks padded to
    the most queries and classes, and the share of each query in its task's mean (t, m)."""
    m, c = (max(task.by_use.shape[axis] for task in tasks) for axis in (1, 2))
    by_use = torch.full((len(tasks), len(USES), m, c), LEAST_LOG_PROBABILITY)
    query_y, shares = torch.zeros(len(tasks), m, dtype=torch.long), torch.zeros(len(tasks), m)
    for i, task in enumerate(tasks):
        _, rows, classes = task.by_use.shape
        by_use[i, :, :rows, :classes] = task.by_use
        query_y[i, :rows] = task.query_y
        shares[i, :rows] = 1 / rows
    return torch.stack([task.features for task in tasks]), by_use, query_y, shares


def train_gate(tasks: Sequence[PoolTask], seed: int = 0) -> PoolGate:
    """A gate that minimises the cross-entropy and the expected error on queries; groups count by
    the root of their number of tasks."""
    torch.manual_seed(seed)
    gate = PoolGate(len(USES))
    features, by_use, query_y, of_task = stacked(tasks)
    gate.mean.copy_(features.flatten(0, 1).mean(0))
    gate.deviation.copy_(deviations(features.flatten(0, 1)))
    n_of_group = Counter(task.group for task in tasks)
    shares = np.array([n_of_group[task.group] ** -0.5 for task in tasks])
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(gate.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS + 1)
    for _ in track(range(STEPS), "steps of the gate"):
        rows = rng.choice(len(tasks), BATCH, p=shares / shares.sum())
        weights = gate(features[rows]).exp()  # (t, k)
        mixed = torch.einsum("tk,tkmc->tmc", weights, by_use[rows]).log_softmax(2)
        chosen = mixed.gather(2, query_y[rows][..., None])[..., 0]  # (t, m)
        own = by_use[rows, 0].gather(2, query_y[rows][..., None])[..., 0]
        losses = [
            (of_task[rows] * (ERROR_WEIGHT * (1 - one.exp()) - one)).sum(1) for one in (chosen, own)
        ]
        harm = losses[0] - losses[1]
        loss = torch.where(harm > 0, HARM_WEIGHT * harm, harm).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return gate.eval().requires_grad_(False)


def judge(tasks: Sequence[PoolTask]) -> list[dict[str, Any]]:
    """The gain in accuracy on each task, by a gate that has seen no task of its group."""
    folds, results = folds_of_groups(tasks, N_FOLDS), []
    for fold in range(N_FOLDS):
        gate = train_gate([t for t, f in zip(tasks, folds, strict=True) if f != fold])
        for task, own in zip(tasks, folds, strict=True):
            if own != fold:
                continue
            log_weights = gate(task.features)
            right = [
                float((scores.argmax(1) == task.query_y).float().mean())
                for scores in (task.by_use[0], average(log_weights.exp(), task.by_use))
            ]
            about = {k: getattr(task, k) for k in ("kind", "group", "domain", "shots", "pool")}
            results.append(about | {"without": right[0], "gain": right[1] - right[0]})
    return results


def report(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean gains of each kind, pool and number of shots; intervals are over groups."""
    cells = defaultdict(lambda: defaultdict(list))
    for one in results:
        shots = "1 shot" if one["shots"] == 1 else "several"
        for kind in (one["kind"], "all"):
            cells[kind, one["pool"], shots][one["group"]].append((one["without"], one["gain"]))
    rows = []
    for (kind, pool, shots), groups in sorted(cells.items()):
        means = np.array([np.mean(of_group, 0) for of_group in groups.values()])
        deviation = means[:, 1].std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.nan
        rows.append(
            {
                "kind": kind,
                "pool": pool,
                "shots": shots,
                "groups": len(means),
                "tasks": sum(map(len, groups.values())),
                "without": means[:, 0].mean(),
                "gain": means[:, 1].mean(),
                "interval": 1.96 * deviation,
                "groups_2_points_worse": float((means[:, 1] < -0.02).mean()),
            }
        )
    return rows


def train(folder: Path) -> None:
    """Judge gates on groups held out, and write the gate of all."""
    tasks = [task for task in read(folder) if task.group not in HELD_OUT]
    rows = report(judge(tasks))
    for row in rows:
        print(
            f"{row['kind']:8} {row['pool']:8} {row['shots']:8} {row['groups']:4} groups "
            f"{100 * row['without']:5.1f} {100 * row['gain']:+5.1f} ± {100 * row['interval']:.1f}"
            f" worse {row['groups_2_points_worse']:.0%}"
        )
    groups = len({task.group for task in tasks})
    about = {"tasks": len(tasks), "groups": groups, "gains": rows, **provenance(0)}
    RESULTS.write_text(json.dumps(about, indent=1, default=float) + "\n")
    gate, accuracy, _ = shipped_gate()
    names = json.loads((SHIPPED_FOLDER / "blend" / "gate.json").read_text())["about"]
    write_gate(SHIPPED_FOLDER / "blend", gate, accuracy, train_gate(tasks), names)


def main() -> None:
    parser = argparse.ArgumentParser(description="The gate of unlabelled pools.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("bank", type=Path)
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--tasks", type=int, default=30)
    commands.add_parser("train").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "draw":
        draw(options.bank, options.folder, options.tasks)
    else:
        train(options.folder)


if __name__ == "__main__":
    main()
