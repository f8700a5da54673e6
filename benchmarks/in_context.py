"""Error of learners in context against the number of examples, beside classical estimators.

    python benchmarks/in_context.py RUN [RUN ...]
    python benchmarks/in_context.py --draw

RUNs are run folders whose tasks are functions of one class, such as those of in_context_linear,
maml_linear and neural_process_linear. All learners and estimators see the same tasks, in the
distribution of training and out of it. An error is the mean squared error of targets of variance 1,
the paper's normalised error. Rewrites the entry of benchmarks/results/in_context.json that is named
after the data of the runs, and draws docs/in_context.png, which is all that --draw does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import Lasso
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor
from torch.func import vmap

from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.learners import Learner
from quickstudy.recipes.schema import Data
from quickstudy.tasks import Support
from quickstudy.tasks.functions import FunctionTasks

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "in_context.json"
N_TASKS, N_QUERY, N_SLOW = 256, 10, 64
"""Tasks, queries of each, and tasks of the estimators that are fitted one task at a time."""

Estimate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From examples x (n, t, d) and y (n, t), and queries x (n, m, d), to predictions (n, m)."""

SHIFTS: dict[str, dict[str, Any]] = {
    "noise": {"noise": 1.0},
    "orthants": {"inputs": "orthant"},
    "skewed covariance": {"inputs": "skewed"},
    "half the dimensions": {"inputs": "subspace"},
    "inputs halved": {"input_scale": 0.5},
    "inputs doubled": {"input_scale": 2.0},
    "targets doubled": {"target_scale": 2.0},
}


def ridge(penalty: float) -> Estimate:
    """Ridge regression; of penalty 0, the least-squares solution of least norm."""

    def estimate(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        x, y = x.double(), y.double()[..., None]
        if penalty:
            gram = x.mT @ x + penalty * torch.eye(x.shape[2], dtype=x.dtype)
            weights = torch.linalg.solve(gram, x.mT @ y)
        else:
            weights = torch.linalg.pinv(x, rtol=1e-6) @ y
        return (query.double() @ weights)[..., 0]

    return estimate


def averaging(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """The mean of y_i x_i as weights."""
    return torch.einsum("nmd,ntd,nt->nm", query, x, y) / x.shape[1]


def nearest(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """The mean of the 3 nearest examples."""
    found = torch.cdist(query, x).topk(min(3, x.shape[1]), largest=False).indices  # (n, m, 3)
    return y[:, None].expand(-1, query.shape[1], -1).gather(2, found).mean(2)


def by_scikit_learn(make: Callable[[], Any]) -> Estimate:
    """An estimator of scikit-learn, fitted one task at a time."""

    def estimate(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        parts = zip(x.numpy(), y.numpy(), query.numpy(), strict=True)
        found = [make().fit(xs, ys).predict(asked) for xs, ys, asked in parts]
        return torch.from_numpy(np.stack(found))

    return estimate


def adapted(learner: Learner) -> Estimate:
    """A meta-trained learner, all tasks in one call."""

    def one(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        return learner.adapt(Support(x, y[:, None]))(query)[:, 0]

    return lambda x, y, query: vmap(one, chunk_size=64)(x, y, query).detach()


def estimators(data: Data, options: dict[str, Any]) -> tuple[dict[str, Estimate], set[str]]:
    """Classical estimators for a class of functions, by name, and which of them are slow."""
    fast = {"least squares": ridge(0.0), "averaging": averaging, "3 nearest": nearest}
    slow: dict[str, Estimate] = {}
    if options.get("noise"):
        fast["Bayes-optimal ridge"] = ridge(options["noise"] ** 2)
    if data.name == "sparse_linear":
        for alpha in (0.1, 0.01):
            slow[f"lasso, {alpha}"] = by_scikit_learn(lambda a=alpha: Lasso(a, fit_intercept=False))
    if data.name == "decision_tree":
        slow["greedy tree"] = by_scikit_learn(lambda: DecisionTreeRegressor(random_state=0))
        slow["boosted trees"] = by_scikit_learn(lambda: GradientBoostingRegressor(random_state=0))
    return {**fast, **slow}, set(slow)


def curves(
    data: Data, learners: dict[str, Learner], options: dict[str, Any], lengths: list[int]
) -> dict[str, Any]:
    """Errors of all at each number of examples: means with 95 % intervals over tasks."""
    assert data.family is not None
    n = max(lengths)
    tasks = data.family.make(n_shot=n, n_query=N_QUERY, seed=3, **options)
    assert isinstance(tasks, FunctionTasks)
    x, y = tasks.draw_block(0)
    x, y = x[:N_TASKS], y[:N_TASKS, :, 0]
    classical, slow = estimators(data, options)
    methods = {**{name: adapted(one) for name, one in learners.items()}, **classical}
    report: dict[str, Any] = {"examples": lengths, "errors": {}}
    for name, estimate in methods.items():
        k = N_SLOW if name in slow else N_TASKS
        errors = []
        for t in lengths:
            predicted = estimate(x[:k, :t], y[:k, :t], x[:k, n:])
            errors.append((predicted - y[:k, n:]).square().mean(1).double())
        found = torch.stack(errors)  # (lengths, k)
        half = 1.96 * found.std(1) / k**0.5
        report["errors"][name] = {
            "mean": _finite(found.mean(1)),
            "interval": _finite(half),
        }
    if noise := options.get("noise"):
        report["ratio to ridge after all examples"] = _ratios(
            report["errors"], list(learners), (noise / tasks.deviation) ** 2
        )
    return report


def _finite(values: Tensor) -> list[float | None]:
    """Rounded, with null where predictions diverged."""
    return [round(float(v), 5) if v < 1e6 else None for v in values]


def _ratios(errors: dict[str, Any], learners: list[str], noise: float) -> dict[str, Any]:
    """Errors by that of Bayes-optimal ridge, with the noise of the queries' targets and without."""
    best = errors["Bayes-optimal ridge"]["mean"][-1]
    last = {name: errors[name]["mean"][-1] for name in learners if errors[name]["mean"][-1]}
    return {
        name: {
            "with noise": round(error / best, 3),
            "without": round((error - noise) / (best - noise), 3),
        }
        for name, error in last.items()
    }


def judge(folders: list[Path]) -> dict[str, Any]:
    """The curves of runs on the functions that they were trained on, and out of distribution."""
    start, loaded = time.process_time(), {folder.name: load_run(folder) for folder in folders}
    recipe = next(iter(loaded.values()))[0]
    data, n = recipe.data, recipe.tasks.n_shot
    assert isinstance(n, int)
    if any(other.data != data for other, _ in loaded.values()):
        raise SystemExit("expected runs of the same data")
    lengths = sorted({max(1, n * i // 20) for i in (1, 2, 4, 6, 8, 10, 12, 14, 17, 20)})
    learners = {name: learner for name, (_, learner) in loaded.items()}
    shifts = {}
    if data.name == "linear":
        shifts = {"without noise": {"noise": 0.0}} if data.options.get("noise") else SHIFTS
    report = {
        shift: curves(data, learners, {**data.options, **options}, lengths)
        for shift, options in {"as in training": {}, **shifts}.items()
    }
    return {
        "runs": list(loaded),
        "tasks": N_TASKS,
        "tasks of slow estimators": N_SLOW,
        "steps": {name: other.train.steps for name, (other, _) in loaded.items()},
        "curves": report,
        "cpu seconds": round(time.process_time() - start, 1),
        "provenance": provenance(3),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """A panel for each distribution of tasks."""
    from matplotlib import pyplot as plt

    panels = [
        (name if shift == "as in training" else f"{name}: {shift}", curve)
        for name, entry in results.items()
        for shift, curve in entry["curves"].items()
    ]
    learned = {run for entry in results.values() for run in entry["runs"]}
    names = list(dict.fromkeys(method for _, curve in panels for method in curve["errors"]))
    colors = {name: plt.get_cmap("tab20")(i % 20) for i, name in enumerate(names)}
    rows = -(-len(panels) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(14, 3.2 * rows), layout="constrained")
    for ax, (title, curve) in zip(axes.flat, panels, strict=False):
        for name, found in curve["errors"].items():
            style = {"lw": 2.2} if name in learned else {"lw": 1.2, "ls": "--"}
            mean = np.array(found["mean"], dtype=float)  # null is NaN
            ax.plot(curve["examples"], mean, label=name, color=colors[name], **style)
        ax.set(title=title, ylim=(0, 1.5), xlabel="examples", ylabel="squared error")
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    handles = [plt.Line2D([], [], color=colors[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if sys.argv[1:] != ["--draw"]:
        folders = [Path(folder) for folder in sys.argv[1:]]
        data = load_run(folders[0])[0].data
        name = ", ".join([data.name, *(f"{key} {value}" for key, value in data.options.items())])
        results[name] = judge(folders)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, ROOT / "docs" / "in_context.png")


if __name__ == "__main__":
    main()
