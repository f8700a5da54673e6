"""Meta-train the gate of the default few-shot learner, and judge it on domains held out whole.

python benchmarks/learned_choice/domains.py make BANK
python benchmarks/learned_choice/choice.py tasks BANK TASKS [--part 1/2]
python benchmarks/learned_choice/choice.py cells BANK CELLS [--part 1/2]
python benchmarks/learned_choice/choice.py train TASKS CELLS
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from baselines import five_line_models, regressions
from quickstudy.engine.calibration import expected_calibration_error
from quickstudy.experiments.provenance import provenance
from quickstudy.learners.transfer.blend.accuracy import AccuracyModel
from quickstudy.learners.transfer.blend.storage import SHIPPED_FOLDER, shipped_gate, write_gate
from quickstudy.progress import track
from tasks import (
    EMBEDDINGS,
    Domain,
    draw_tasks,
    kind_and_group,
    read_domains,
    read_tasks,
    write_tasks,
)
from training import (
    Outcome,
    Task,
    folds_of_groups,
    outcome,
    prepare,
    train_accuracy,
    train_gate,
)

RESULTS = Path(__file__).parents[1] / "results" / "learned_choice.json"

N_TASKS = {"text": 36, "image": 48, "numbers": 12, "series": 24}
"""Drawn of a domain to train on."""

N_OF_VARIANT = 6
"""Drawn of a variant of generated numbers, or of embeddings taken for numbers."""

N_WITHOUT_RELATION = 2
"""Drawn of each domain with labels that say nothing, so that the gate knows what chance looks
like."""

N_FOLDS = 3

CELLS = ((5, 1), (5, 2), (5, 5), (5, 10), (5, 20))
"""Ways and shots that are judged; with fewer classes, all of them."""

N_OF_CELL = 100

JUDGED = (
    "caltech_small",
    "chatterbot_turkish",
    "generated_network_regions_2",
    "generated_subspaces_1",
    "printed_characters",
    "r_tissue_gene_expression",
    "sentiment_nytEditorial",
    "series_osu_leaf",
    "series_weather",
    "sklearn_digits",
)
"""Domains that are judged, drawn from groups that differ before any was looked at."""

OF_ALL_CLASSES = " of all classes"

MANY_WAYS, MANY_SHOTS, N_OF_MANY = 30, (1, 2, 5, 10), 12
"""Domains of so many classes also have tasks of all their classes at once, and embeddings have
regressions beside them; ones of 100 classes or more have twice as many tasks."""


def make_tasks(bank: Path, folder: Path, part: str) -> None:
    """Draw the tasks to train on, a file a domain."""
    for domain in _domains(bank, part):
        of_variant = domain.name.startswith("generated_") or domain.name.endswith("as numbers")
        _write(folder, domain, N_OF_VARIANT if of_variant else N_TASKS[domain.kind])
        _write(folder, _without_relation(domain), N_WITHOUT_RELATION)
        _make_many_ways(folder, domain)


def _make_many_ways(folder: Path, domain: Domain) -> None:
    """Draw tasks of all classes of a domain, if these are many."""
    n_way = len(np.unique(domain.y))
    if n_way < MANY_WAYS:
        return
    n = N_OF_MANY * (2 if n_way >= 100 else 1)
    cells = [(n_way, shots) for shots in MANY_SHOTS]
    named = replace(domain, name=f"{domain.name}{OF_ALL_CLASSES}")
    beside = regressions() if domain.kind in EMBEDDINGS else {}
    _write(folder, named, n, cells=cells, baselines=beside, joined=True)


def _without_relation(domain: Domain) -> Domain:
    """A domain whose labels are permuted, so that nothing can be learned from it."""
    y = np.random.default_rng(len(domain.y)).permutation(domain.y)
    return replace(domain, name=f"{domain.name} without relation", y=y)


def make_cells(bank: Path, folder: Path, part: str) -> None:
    """Draw the tasks to judge on, with baselines."""
    for name in JUDGED[_part(part)]:
        domain = read_domains(bank / f"{name}.npz")[0]
        n_tasks = len(CELLS) * N_OF_CELL
        models = five_line_models(is_embedding=domain.kind in EMBEDDINGS)
        _write(folder, domain, n_tasks, cells=CELLS, baselines=models, seed=1)


def _domains(bank: Path, part: str) -> Iterator[Domain]:
    """The domains of one of several parts of the bank."""
    for path in _paths(bank)[_part(part)]:
        yield from read_domains(path)


def _paths(bank: Path) -> list[Path]:
    """The files of the bank that have classes, in a shuffled order."""
    paths = sorted(p for p in bank.glob("*.npz") if kind_and_group(p)[0] in N_TASKS)
    return [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]


def _part(part: str) -> slice:
    """Every n-th item, for part i of n, such as "1/2"."""
    index, n = map(int, part.split("/"))
    return slice(index - 1, None, n)


def _write(folder: Path, domain: Domain, n_tasks: int, **options: Any) -> None:
    """Draw tasks, with the options of `draw_tasks`, unless there is a file of them."""
    path = folder / f"{domain.name}.pt"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    tasks = draw_tasks(domain, n_tasks, **options)
    if tasks:
        write_tasks(path, tasks)
    print(domain.name, domain.kind, len(tasks), flush=True)


def train(tasks: Path, cells: Path) -> None:
    """Train gates without each fold's groups, and judge them on its cells; then train on all tasks
    the gate that comes with quickstudy."""
    training, test = read_tasks(tasks), read_tasks(cells)
    folds = folds_of_groups([*training, *test], N_FOLDS)
    of_training, of_test = folds[: len(training)], folds[len(training) :]
    outcomes: list[Outcome | None] = [None] * len(training)
    judged: list[Outcome | None] = [None] * len(test)
    for fold in track(range(N_FOLDS), "gates without a fold"):
        gate = train_gate([t for t, f in zip(training, of_training, strict=True) if f != fold])
        for into, some, of in ((outcomes, training, of_training), (judged, test, of_test)):
            for i, (task, f) in enumerate(zip(some, of, strict=True)):
                if f == fold:
                    into[i] = outcome(gate, prepare(task, gate))
    results, of_many = [], []
    for fold in range(N_FOLDS):
        accuracy = _accuracy_model(_of(outcomes, of_training, lambda f, fold=fold: f != fold))
        of_fold = lambda f, fold=fold: f == fold  # noqa: E731
        for into, some, made, of in (
            (results, test, judged, of_test),
            (of_many, training, outcomes, of_training),
        ):
            pairs = zip(_of(some, of, of_fold), _of(made, of, of_fold), strict=True)
            into += [_result(task, one, accuracy) for task, one in pairs if task.baselines]
    report = _report(results) | {"all classes at once": _report(of_many)}
    groups = {task.group for task in training}
    about = f"meta-trained on {len(training)} tasks of {len(groups)} groups of domains"
    report |= {"trained on": about, **provenance(0)}
    RESULTS.write_text(json.dumps(report, indent=1, default=float) + "\n")
    for part in (report, report["all classes at once"]):
        print(json.dumps(part["summary"], indent=1), flush=True)
    write_gate(
        SHIPPED_FOLDER / "blend",
        train_gate(training),
        _accuracy_model(_of(outcomes, of_training)),
        shipped_gate()[2],  # see pools.py
        about,
    )


def _of(
    items: Sequence[Any], folds: Sequence[int], chosen: Callable[[int], bool] = lambda _: True
) -> list[Any]:
    """The items of some folds."""
    return [item for item, fold in zip(items, folds, strict=True) if chosen(fold)]


def _accuracy_model(outcomes: Sequence[Outcome]) -> AccuracyModel:
    return train_accuracy(
        torch.stack([one.accuracy_inputs for one in outcomes]),
        torch.tensor([float(one.n_right) for one in outcomes]),
        torch.tensor([float(one.n_queries) for one in outcomes]),
    )


def _result(task: Task, one: Outcome, accuracy: AccuracyModel) -> dict[str, Any]:
    """What is counted of a task."""
    probabilities = one.log_probabilities.exp()
    alpha, beta = (float(p) for p in accuracy(one.accuracy_inputs))
    share = one.n_right / one.n_queries
    return {
        "cell": (task.kind, task.domain, task.shots),
        "accuracy": share,
        "baselines": task.baselines,
        "probabilities": probabilities,
        "y": task.query_y,
        "within": _within(alpha, beta, one.n_right, one.n_queries),
        "expected": alpha / (alpha + beta),
    }


def _within(alpha: float, beta: float, n_right: int, n: int) -> bool:
    """Whether the accuracy on n queries lies in its 90 % interval, which is wider than that of the
    accuracy on all by the chance of which queries are drawn."""
    low, high = stats.betabinom.ppf([0.05, 0.95], n, alpha, beta)
    return bool(low <= n_right <= high)


def _report(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each cell, and the summary over cells."""
    by_cell: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        by_cell[result["cell"]].append(result)
    cells = []
    for (kind, domain, shots), of_cell in sorted(by_cell.items()):
        accuracy = np.array([r["accuracy"] for r in of_cell])
        names = [n for n in of_cell[0]["baselines"] if all(n in r["baselines"] for r in of_cell)]
        others = {n: np.array([r["baselines"][n] for r in of_cell]) for n in names}
        best = max(others, key=lambda name: others[name].mean())
        difference = accuracy - others[best]
        n_way = max(r["probabilities"].shape[1] for r in of_cell)
        calibration = expected_calibration_error(
            torch.cat([_padded(r["probabilities"], n_way) for r in of_cell]),
            torch.cat([r["y"] for r in of_cell]),
        )
        cells.append(
            {
                "kind": kind,
                "domain": domain,
                "shots": shots,
                "tasks": len(of_cell),
                "accuracy": accuracy.mean(),
                "best baseline": best,
                "difference": difference.mean(),
                "interval": 1.96 * difference.std(ddof=1) / len(of_cell) ** 0.5,
                "baselines": {name: values.mean() for name, values in others.items()},
                "calibration error": calibration,
                "within the interval": float(np.mean([r["within"] for r in of_cell])),
            }
        )
    return {"summary": _summary(cells), "cells": cells}


def _padded(probabilities: torch.Tensor, n_way: int) -> torch.Tensor:
    return torch.nn.functional.pad(probabilities, (0, n_way - probabilities.shape[1]))


def _summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    differences = np.array([cell["difference"] for cell in cells])
    worse = [c for c in cells if c["difference"] + c["interval"] < -0.02]
    fixed: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        for name, value in cell["baselines"].items():
            fixed[name].append(cell["accuracy"] - value)
    everywhere = {n: float(np.mean(v)) for n, v in fixed.items() if len(v) >= 0.9 * len(cells)}
    hardest = sorted(cells, key=lambda cell: cell["accuracy"])[:10]
    by_kind = {
        kind: float(np.mean([c["difference"] for c in cells if c["kind"] == kind]))
        for kind in sorted({c["kind"] for c in cells})
    }
    return {
        "cells": len(cells),
        "against the best baseline of each cell": float(differences.mean()),
        "against it, by kind": by_kind,
        "cells surely more than 2 points below": [
            f"{c['domain']}, {c['shots']} shots: {c['difference']:.3f}" for c in worse
        ],
        "cells more than 2 points below": int((differences < -0.02).sum()),
        "against the best baseline fixed for all": min(everywhere.values()),
        "that is": min(everywhere, key=lambda name: everywhere[name]),
        "calibration error": float(np.mean([c["calibration error"] for c in cells])),
        "calibration error of the ten hardest": float(
            np.mean([c["calibration error"] for c in hardest])
        ),
        "within the 90 % interval": float(np.mean([c["within the interval"] for c in cells])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("tasks", "cells", "train"))
    parser.add_argument("source", type=Path, help="the bank, or the tasks")
    parser.add_argument("folder", type=Path, help="of tasks or cells")
    parser.add_argument("--part", default="1/1", help="of several processes, such as 1/2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "tasks":
        make_tasks(options.source, options.folder, options.part)
    elif options.command == "cells":
        make_cells(options.source, options.folder, options.part)
    else:
        train(options.source, options.folder)


if __name__ == "__main__":
    main()
