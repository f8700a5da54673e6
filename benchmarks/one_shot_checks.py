"""How far Lake's one-shot runs stand for Omniglot at large, by learners that are trained already.

    python benchmarks/one_shot_checks.py [RUNS]

Needs, in the folder RUNS (by default `runs`), what `quickstudy reproduce NAME --seeds 5` makes for
the recipes omniglot_challenge_30, omniglot_challenge_small1 and omniglot_challenge_small2. Nothing
is chosen by these figures. Tasks are one-shot, of 20 characters of an alphabet, drawn by one drawer
and asked by another. Writes benchmarks/results/one_shot_checks.json, and the table into
docs/research/one_shot_challenge.md.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from quickstudy import ClassData, Learner
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.files import write_atomically
from quickstudy.progress import track
from quickstudy.tasks import Support
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.datasets.omniglot_runs import OneShotRuns
from results import write_between_marks

ROOT = Path(__file__).parent.parent
RECIPES = ("omniglot_challenge_30", "omniglot_challenge_small1", "omniglot_challenge_small2")
HEADS = ("30 alphabets", "first five", "second five")
WAYS = 20

Task = tuple[Tensor, int, int]
"""Characters, as numbers of classes; the drawer that is shown, and the one that is asked."""


def tasks_of(data: ClassData, runs: OneShotRuns) -> dict[str, list[Task]]:
    """Lake's runs, and others that have less and less in common with them."""
    place = {image.numpy().tobytes(): i for i, image in enumerate(data.x)}
    alphabet = [name.split("/")[0] for name in data.names]
    of = {a: torch.tensor([i for i, b in enumerate(alphabet) if a == b]) for a in set(alphabet)}
    generator = torch.Generator().manual_seed(3)

    def find(images: Tensor) -> tuple[Tensor, int]:
        """Classes of drawings, and their drawer."""
        rows = [place[x.numpy().tobytes()] for x in (255 * images).round().to(torch.uint8)]
        drawers = {int((data.index[data.y[r]] == r).nonzero()) for r in rows}
        (drawer,) = drawers
        return data.y[rows], drawer

    def some(characters: Tensor) -> Tensor:
        return characters[torch.randperm(len(characters), generator=generator)[:WAYS]]

    def two() -> tuple[int, int]:
        shown, asked = torch.randperm(20, generator=generator)[:2].tolist()
        return shown, asked

    own: list[Task] = []
    for i in range(len(runs)):
        classes, shown = find(runs[i].support.x)
        _, asked = find(runs[i].query.x)
        own.append((classes, shown, asked))
    theirs = [of[alphabet[int(classes[0])]] for classes, _, _ in own]
    every = [c for _, c in sorted(of.items()) if len(c) >= WAYS]
    return {
        "runs 1 to 10": own,
        "the same, query and example swapped": [(c, asked, shown) for c, shown, asked in own],
        "the runs' characters, any two drawers": [(c, *two()) for c, _, _ in own for _ in range(8)],
        "the runs' drawers, any characters of the alphabet": [
            (some(all_), shown, asked)
            for (_, shown, asked), all_ in zip(own, theirs, strict=True)
            for _ in range(8)
        ],
        "any characters and drawers of the runs' alphabets": [
            (some(all_), *two()) for all_ in theirs for _ in range(20)
        ],
        "any of all evaluation alphabets of 20 characters or more": [
            (some(all_), *two()) for all_ in every for _ in range(10)
        ],
    }


def scored(learners: list[Learner], data: ClassData, task: Task) -> Iterator[Tensor]:
    """Scores by each learner, a row a query, whose label is the number of the row."""
    characters, shown, asked = task
    x, queries = (data.rows(data.index[characters, drawer]) for drawer in (shown, asked))
    n = len(x)
    order = torch.arange(n).flip(0)  # labels do not come in the order of the queries
    for learner in learners:
        yield learner.adapt(Support(x[order], order, n_way=n))(queries)


def each(scores: Tensor) -> float:
    return 100 * float((scores.argmax(1) != torch.arange(len(scores))).double().mean())


def together(scores: Tensor) -> float:
    """Each class given to one query: the queries of a run know of each other."""
    _, columns = linear_sum_assignment(scores.log_softmax(1), maximize=True)
    return 100 * float((torch.as_tensor(columns) != torch.arange(len(scores))).double().mean())


@torch.no_grad()
def errors(
    learners: list[Learner],
    data: ClassData,
    tasks: list[Task],
    wrong: Callable[[Tensor], float] = each,
    ensemble: bool = False,
) -> list[float]:
    """Error in per cent of each learner, or of the mean of their log-probabilities."""
    found: list[list[float]] = []
    for task in tasks:
        scores = list(scored(learners, data, task))
        if ensemble:
            scores = [torch.stack([s.log_softmax(1) for s in scores]).mean(0)]
        found.append([wrong(s) for s in scores])
    return [statistics.fmean(column) for column in zip(*found, strict=True)]


def measure(folder: Path) -> dict[str, Any]:
    made = [load_run(seed) for seed in sorted(folder.glob("seed-*"))]
    size = made[0][0].data.image_size
    learners = [learner for _, learner in made]
    data = load_dataset("omniglot", "evaluation", image_size=size)
    tasks = tasks_of(data, OneShotRuns(image_size=size))
    own = tasks["runs 1 to 10"]
    found = {
        name: errors(learners, data, some) for name, some in track(list(tasks.items()), folder.name)
    }
    found["runs 1 to 10, the seeds' mean probability"] = errors(learners, data, own, ensemble=True)
    found["runs 1 to 10, one query to each class (transductive)"] = errors(
        learners, data, own, together
    )
    counts = {name: len(some) for name, some in tasks.items()}
    return {"errors": found, "tasks": counts}


def table(found: dict[str, Any]) -> str:
    first = found[RECIPES[0]]
    lines = [f"| tasks of 20 characters | tasks | {' | '.join(HEADS)} |", "|---|---|---|---|---|"]
    for name in first["errors"]:
        cells = []
        for recipe in RECIPES:
            errors = found[recipe]["errors"][name]
            spread = f" ({min(errors):.1f} to {max(errors):.1f})" if len(errors) > 1 else ""
            cells.append(f"{statistics.fmean(errors):.1f}{spread}")
        lines.append(f"| {name} | {first['tasks'].get(name, 10)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    runs = Path(sys.argv[1] if sys.argv[1:] else "runs")
    found = {**provenance(0), **{name: measure(runs / name) for name in RECIPES}}
    kept = ROOT / "benchmarks" / "results" / "one_shot_checks.json"
    write_atomically(kept, (json.dumps(found, indent=1) + "\n").encode())
    written = table(found)
    write_between_marks(ROOT / "docs" / "research" / "one_shot_challenge.md", "checks", written)
    print(written)
