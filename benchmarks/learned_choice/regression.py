"""Meta-train the gate of the default few-shot regressor, and judge it on domains held out whole.

python benchmarks/learned_choice/domains.py make BANK --only functions tables
python benchmarks/learned_choice/regression.py tasks BANK TASKS --rounds 3
python benchmarks/learned_choice/regression.py tasks BANK TASKS --rounds 50 --groups 24
python benchmarks/learned_choice/regression.py judge TASKS --least-tasks 50
python benchmarks/learned_choice/regression.py ship TASKS

Here three rounds have tasks of all groups, to train on, and 47 more of 24 groups drawn at random,
to judge by cells of 50 tasks.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.experiments.provenance import provenance
from quickstudy.learners.transfer.blend.storage import SHIPPED_FOLDER
from quickstudy.learners.transfer.regression.storage import write_regression_gate
from quickstudy.progress import track
from regression_tasks import (
    SIZES,
    RegressionTask,
    draw_round,
    read_domain,
    read_tasks,
    write_tasks,
)
from regression_training import Outcome, outcome, prepare, train_regression_gate
from training import folds_of_groups

RESULTS = Path(__file__).parents[1] / "results" / "learned_regression.json"

N_FOLDS = 4

TOLERANCE = 1.02
"""Of an error, relative to that of predicting the mean."""


def make_tasks(
    bank: Path, folder: Path, rounds: int, forest_every: int, n_groups: int | None
) -> None:
    """Draw the rounds of tasks that the folder does not have: in each, every group has tasks of one
    of its domains.

    Args:
        forest_every: Of how many rounds one has a random forest as a baseline; 0 for none.
        n_groups: How many groups, drawn at random, have tasks; by default all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_group: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(bank.glob("*.npz")):
        if (domain := read_domain(path)) is not None:
            by_group[domain.group].append(path)
    groups = np.random.default_rng(0).permutation(sorted(by_group))[:n_groups].tolist()
    for number in range(rounds):
        path = folder / f"round_{number:04}.pt"
        if path.exists():
            continue
        tasks: list[RegressionTask] = []
        with_forest = forest_every > 0 and (number + 1) % forest_every == 0
        for group in track(groups, f"round {number}"):
            paths = by_group[group]
            domain = read_domain(paths[number % len(paths)])
            if domain is not None:
                tasks += draw_round(domain, number, with_forest=with_forest)
        write_tasks(path, tasks)
        print(path.name, len(tasks), flush=True)


def judge(folder: Path, least_tasks: int) -> None:
    """Judge gates on the tasks of groups that they were not trained on.

    Args:
        least_tasks: Of a cell, a group and a number of examples, that is reported.
    """
    tasks = read_tasks(folder)
    folds = folds_of_groups(tasks, N_FOLDS)
    results = []
    for fold in track(range(N_FOLDS), "gates"):
        gate = train_regression_gate([t for t, f in zip(tasks, folds, strict=True) if f != fold])
        held_out = [t for t, f in zip(tasks, folds, strict=True) if f == fold and t.is_judged]
        results += [_result(task, outcome(gate, prepare(task, gate))) for task in held_out]
    report = _report(results, least_tasks)
    report["provenance"] = provenance(0)
    RESULTS.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print(json.dumps(report["summary"], indent=1))


def ship(folder: Path) -> None:
    """Train on all tasks, and write what comes with quickstudy."""
    tasks = read_tasks(folder)
    groups = {task.group for task in tasks}
    about = f"meta-trained on {len(tasks)} tasks of {len(groups)} groups of domains"
    write_regression_gate(SHIPPED_FOLDER / "blend_regression", train_regression_gate(tasks), about)


def _result(task: RegressionTask, one: Outcome) -> dict[str, Any]:
    """What is counted of a task: root mean squared errors, in deviations of the domain's targets,
    and how many targets lie in their 90 % intervals."""
    squares = {
        "blend": one.squared_error,
        "mean": float(task.query_y.square().mean()),
        "Bayesian ridge": float((task.predictions[1] - task.query_y).square().mean()),
        **task.baselines,
    }
    return {
        "cell": (task.group, task.n),
        "errors": {name: task.unit * square**0.5 for name, square in squares.items()},
        "covered": one.covered,
    }


def _report(results: Sequence[dict[str, Any]], least_tasks: int) -> dict[str, Any]:
    """Each cell, and the summary over cells."""
    by_cell: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        by_cell[result["cell"]].append(result)
    cells = []
    for (group, n), of_cell in sorted(by_cell.items()):
        if len(of_cell) < least_tasks:
            continue
        errors = {
            name: np.array([r["errors"].get(name, np.nan) for r in of_cell])
            for name in ("blend", "mean", "Bayesian ridge", "ridge", "random forest")
        }
        means = errors["mean"].mean()
        # Half of the interval of the ratio of two means, by the delta method.
        residuals = errors["blend"] - errors["blend"].mean() / means * errors["mean"]
        half = 1.96 * residuals.std(ddof=1) / len(of_cell) ** 0.5 / means
        cells.append(
            {
                "group": group,
                "examples": n,
                "tasks": len(of_cell),
                "relative to the mean": errors["blend"].mean() / means,
                "interval": half,
                "others relative to the mean": {
                    name: _ratio(errors[name], errors["mean"])
                    for name in ("Bayesian ridge", "ridge", "random forest")
                },
                "blend where there is a forest": _ratio(
                    np.where(np.isnan(errors["random forest"]), np.nan, errors["blend"]),
                    errors["mean"],
                ),
                "tasks with a forest": int((~np.isnan(errors["random forest"])).sum()),
                "covered by the 90 % interval": float(np.mean([r["covered"] for r in of_cell])),
            }
        )
    by_size = {str(n): _summary([c for c in cells if c["examples"] == n]) for n in SIZES}
    return {"summary": {**_summary(cells), "by examples": by_size}, "cells": cells}


def _ratio(errors: np.ndarray, means: np.ndarray) -> float | None:
    there = ~np.isnan(errors)
    return float(errors[there].mean() / means[there].mean()) if there.any() else None


def _summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ratios = np.array([cell["relative to the mean"] for cell in cells])
    halves = np.array([cell["interval"] for cell in cells])
    coverage = np.array([cell["covered by the 90 % interval"] for cell in cells])
    others = {
        name: _mean_of([cell["others relative to the mean"][name] for cell in cells])
        for name in ("Bayesian ridge", "ridge", "random forest")
    }
    return {
        "cells": len(cells),
        "groups": len({cell["group"] for cell in cells}),
        "tasks": sum(cell["tasks"] for cell in cells),
        "error relative to the mean": float(ratios.mean()),
        "others": others,
        "where there is a forest": _mean_of([c["blend where there is a forest"] for c in cells]),
        "greatest": float(ratios.max()),
        f"cells above {TOLERANCE}": int((ratios > TOLERANCE).sum()),
        f"cells surely above {TOLERANCE}": [
            f"{c['group']}, {c['examples']} examples: {c['relative to the mean']:.3f}"
            for c, half in zip(cells, halves, strict=True)
            if c["relative to the mean"] - half > TOLERANCE
        ],
        "covered by the 90 % interval": float(coverage.mean()),
        "cells that cover 86 to 94 %": float(((coverage >= 0.86) & (coverage <= 0.94)).mean()),
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean over cells that have a value."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("tasks", "judge", "ship"))
    parser.add_argument("source", type=Path, help="the bank, or the tasks")
    parser.add_argument("folder", type=Path, nargs="?", help="of the tasks that are drawn")
    parser.add_argument("--rounds", type=int, default=50, help="tasks of a cell")
    parser.add_argument("--forest-every", type=int, default=5, help="rounds")
    parser.add_argument("--groups", type=int, help="that have tasks; by default all")
    parser.add_argument("--least-tasks", type=int, default=2, help="of a cell that is reported")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "tasks":
        make_tasks(
            options.source, options.folder, options.rounds, options.forest_every, options.groups
        )
    elif options.command == "judge":
        judge(options.source, max(2, options.least_tasks))
    else:
        ship(options.source)


if __name__ == "__main__":
    main()
