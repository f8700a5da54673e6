"""Learn what accuracy to expect of a run on a new task, and judge it on data sets left out.

    python benchmarks/expectation_model.py

Reads what `expectation.py` measured, and writes what `quickstudy.diagnostics.expected_accuracy`
ships with, src/quickstudy/shipped/expectation.json; how good it is, to
benchmarks/results/expectation.json; and docs/expectation.png.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import optimize, stats

from expectation import RUNS, run_of
from quickstudy.diagnostics.expectation import (
    SENSITIVITIES,
    Evidence,
    TransferModel,
    accuracies,
    log_likelihood,
    sensitivity,
)
from quickstudy.diagnostics.training_statistics import TrainingStatistics
from quickstudy.experiments.provenance import provenance
from quickstudy.files import write_atomically

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "expectation.json"
SHIPPED_MODEL = ROOT / "src" / "quickstudy" / "shipped" / "expectation.json"
NINE_IN_TEN = 0.9
TEMPER = 0.25
"""What share of a query each one counts as in the fit: all are of one support set."""

Array = NDArray[Any]


@dataclass
class Records:
    """What was measured, n tasks on a grid of g sensitivities.

    Args:
        evidence: Of each.
        source, target, pair: Run, data set, and run with data set and version, (n,).
        right, queries: Counts, (n,).
    """

    evidence: list[Evidence]
    source: Array
    target: Array
    pair: Array
    right: Array
    queries: Array

    @classmethod
    def of(cls, records: list[dict[str, Any]]) -> Records:
        found = []
        for r in records:
            left_out = tuple(r["left_out"]) if r["left_out"] else None
            known = r["n_way"], r["n_shot"], r["novelty"], reference(r["source"])
            found.append(Evidence(*known, left_out))
        pairs = [f"{r['source']} on {r['target']} {r['version']}" for r in records]
        keys = ("source", "target", "right", "queries")
        source, target, *counts = (np.array([r[key] for r in records]) for key in keys)
        return cls(found, source, target, np.array(pairs), *counts)

    def __len__(self) -> int:
        return len(self.evidence)

    @property
    def share(self) -> Array:
        return self.right / self.queries

    @property
    def weight(self) -> Array:
        """Such that all targets count alike, (n,)."""
        _, group, counts = np.unique(self.target, return_inverse=True, return_counts=True)
        return 1 / counts[group] / len(counts)

    def part(self, rows: Array) -> Records:
        kept = np.flatnonzero(rows)
        columns = (self.source, self.target, self.pair, self.right, self.queries)
        return Records([self.evidence[i] for i in kept], *(c[kept] for c in columns))

    def without_folds(self) -> Records:
        return replace(self, evidence=[replace(e, left_out=None) for e in self.evidence])


@cache
def reference(source: str) -> float:
    statistics = TrainingStatistics.read(run_of(source))
    assert statistics is not None
    return sensitivity(*statistics.scored.double().numpy().T)


def fit(records: Records) -> TransferModel:
    """The most likely weights and deviation, by the queries of all tasks, and any level."""
    inputs = torch.tensor([TransferModel.inputs(e) for e in records.evidence]).double()
    known = torch.tensor(np.array([log_likelihood(e) for e in records.evidence]))  # (n, g)
    shapes = [accuracies(e.n_way, e.n_shot) for e in records.evidence]
    p, right, wrong = (
        np.clip(shapes, 1e-6, 1 - 1e-6),
        records.right,
        records.queries - records.right,
    )
    counts = torch.tensor(right[:, None] * np.log(p) + wrong[:, None] * np.log1p(-p))  # (n, g)
    grid, weight = torch.tensor(SENSITIVITIES), torch.tensor(records.weight)

    def loss(flat: Array) -> tuple[float, Array]:
        theta = torch.tensor(flat, requires_grad=True)
        mean, deviation = inputs @ theta[:-1], theta[-1].exp()
        log = -(((grid - mean[:, None]) / deviation) ** 2) / 2 + known
        likelihood = (log.log_softmax(1) + TEMPER * counts).logsumexp(1)
        value = -(weight * likelihood).sum()
        value.backward()
        assert theta.grad is not None
        return value.item(), theta.grad.numpy()

    found = optimize.minimize(loss, [1.0, 0.5, -0.5, 0.0], jac=True, method="L-BFGS-B").x
    weights = (float(found[0]), float(found[1]), float(found[2]))
    return TransferModel(weights, float(np.exp(found[3])), level=0.05)


def tails(model: TransferModel, records: Records) -> Array:
    """The least level of the tails at which a task's interval leaves its accuracy out, (n,)."""
    found = []
    for e, right, queries in zip(records.evidence, records.right, records.queries, strict=True):
        at_most = np.append(0.0, model.counts(e, int(queries)))
        found.append(min(at_most[right + 1], 1 - at_most[right]))
    return np.array(found)


def level(left_out: Array, weight: Array) -> float:
    """Of the tails, such that nine tasks in ten are within the interval."""
    order = left_out.argsort()
    return float(left_out[order][np.searchsorted(weight[order].cumsum(), 1 - NINE_IN_TEN)])


def judge(records: Records, groups: Array) -> tuple[Array, Array]:
    """Expectation with interval, (n, 3), and `tails`, (n,), of each task with its group left out:
    the model is fitted to the others, and the level of the tails is that of the others, each left
    out as well."""
    names = np.unique(groups)
    models = {name: fit(records.part(groups != name)) for name in names}
    left_out, predicted = np.zeros(len(records)), np.zeros((len(records), 3))
    for name in names:
        rows = groups == name
        left_out[rows] = tails(models[name], records.part(rows))
    for name in names:
        rows = groups == name
        others = level(left_out[~rows], records.part(~rows).weight)
        model, part = replace(models[name], level=others), records.part(rows)
        predicted[rows] = [
            model.predict(e, int(q)) for e, q in zip(part.evidence, part.queries, strict=True)
        ]
    return predicted, left_out


def _spearman(one: Array, other: Array) -> float:
    found: Any = stats.spearmanr(one, other)
    return float(found.statistic)


def report(records: Records, predicted: Array) -> dict[str, Any]:
    """How near predictions come, over pairs and over tasks."""
    mean, low, high = predicted.T
    real = records.share
    covered = (low - 1e-9 <= real) & (real <= high + 1e-9)
    means = np.array([[v[records.pair == p].mean() for v in (mean, real)] for p in pairs(records)])
    by_target = {n: float(covered[records.target == n].mean()) for n in np.unique(records.target)}
    alone = np.array([e.left_out is None for e in records.evidence])
    return {
        "tasks": len(records),
        "pairs": len(means),
        "spearman_of_pairs": _spearman(*means.T),
        "spearman_of_tasks": _spearman(mean, real),
        "mean_error_of_pairs": float(np.abs(means[:, 0] - means[:, 1]).mean()),
        "mean_error_of_tasks": float(np.abs(mean - real).mean()),
        "covered": float(records.weight @ covered),
        "covered_by_target": by_target,
        "covered_of_one_example": float(covered[alone].mean()) if alone.any() else None,
        "median_width": float(np.median(high - low)),
    }


def pairs(records: Records) -> list[str]:
    return np.unique(records.pair).tolist()


def draw(records: Records, predicted: Array, path: Path) -> None:
    """Predicted against real accuracy, a dot a pair, with the mean interval."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for name in np.unique(records.target):
        own = [p for p in pairs(records) if p.partition(" on ")[2].split()[0] == name]
        rows = [records.pair == p for p in own]
        mean, low, high = (np.array([v[r].mean() for r in rows]) for v in predicted.T)
        real = np.array([records.share[r].mean() for r in rows])
        bars = np.stack([mean - low, high - mean]).clip(0)
        axis.errorbar(real, mean, bars, fmt="o", markersize=4, linewidth=0.4, label=name)
    axis.set_xlabel("accuracy on the queries, mean of a source-target pair")
    axis.set_ylabel("expected, data set left out")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    found = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json"))]
    records = Records.of([r for each in found for r in each])
    predicted, left_out = judge(records, records.target)
    of_new_runs, _ = judge(records, records.source)
    without_folds, _ = judge(records.without_folds(), records.target)
    model = replace(fit(records), level=level(left_out, records.weight))
    made_by = provenance(0)
    shipping = {"model": asdict(model), "made_by": made_by}
    write_atomically(SHIPPED_MODEL, f"{json.dumps(shipping, indent=1)}\n".encode())
    result = {
        "data sets left out": report(records, predicted),
        "runs left out": report(records, of_new_runs),
        "data sets left out, without examples left out": report(records, without_folds),
        "made_by": made_by,
    }
    write_atomically(RESULTS, f"{json.dumps(result, indent=1)}\n".encode())
    draw(records, predicted, ROOT / "docs" / "expectation.png")
    print(json.dumps({**asdict(model), **result}, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
