"""Meta-testing: how well a learner does on tasks it has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.learners import Learner
from quickstudy.tasks import Tasks

__all__ = ["TestReport", "clustered_interval", "meta_test"]


@dataclass(frozen=True)
class TestReport:
    """The result of meta-testing.

    Args:
        metric: "accuracy" (0 to 1) or "mse".
        mean: Mean score over tasks.
        interval: Half-width of the 95 % t-interval over tasks, as papers publish it.
        clustered_interval: Half-width of the 95 % interval when classes, not tasks, are the
            independent unit; None for regression. Tasks share classes, so this is the honest one.
        scores: One score per task.
    """

    __test__ = False  # for pytest: not a test class

    metric: str
    mean: float
    interval: float
    clustered_interval: float | None
    scores: list[float]

    def as_dict(self) -> dict[str, Any]:
        return {"n_tasks": len(self.scores), **vars(self)}


def meta_test(
    learner: Learner,
    tasks: Tasks,
    n_tasks: int = 600,
    *,
    on_task: Callable[[int], None] | None = None,
) -> TestReport:
    """Adapt to the first `n_tasks` tasks, and score the predictors on their queries.

    The learner is in evaluation mode meanwhile, and unchanged afterwards.

    Args:
        on_task: Called with the number of tasks done, for a progress bar.

    Raises:
        UsageError: With fewer than two tasks, which give no interval.
        DataError: If a score is not finite.
    """
    if n_tasks < 2:
        raise UsageError(f"expected at least 2 test tasks for an interval, got {n_tasks}")
    was_training = learner.training
    learner.eval()
    scores: list[float] = []
    per_class: list[Tensor] = []
    clusters: list[Tensor] = []
    metric = "accuracy"
    try:
        with torch.no_grad():
            for i in range(n_tasks):
                episode = tasks[i]
                output = learner.adapt(episode.support)(episode.query.x)
                if not bool(torch.isfinite(output).all()):
                    raise DataError(f"task {i} got predictions that are not finite")
                y = episode.query.y
                if episode.n_way is None:
                    metric = "mse"
                    scores.append(float((output - y).square().mean()))
                else:
                    right = (output.argmax(1) == y).double()
                    scores.append(float(right.mean()))
                    if episode.clusters is not None:
                        counts = torch.bincount(y, minlength=episode.n_way)
                        per_class.append(
                            torch.bincount(y, weights=right, minlength=episode.n_way) / counts
                        )
                        clusters.append(episode.clusters)
                if on_task:
                    on_task(i + 1)
    finally:
        learner.train(was_training)
    sample = torch.tensor(scores, dtype=torch.float64)
    half = float(stats.t.ppf(0.975, n_tasks - 1)) * float(sample.std()) / math.sqrt(n_tasks)
    clustered = clustered_interval(torch.cat(per_class), torch.cat(clusters)) if per_class else None
    return TestReport(metric, float(sample.mean()), half, clustered, scores)


def clustered_interval(scores: Tensor, clusters: Tensor) -> float:
    """Half-width of the 95 % interval of a mean whose terms are alike within clusters.

    The cluster-robust variance of a mean with the usual small-sample factor:
    g / (g - 1) * sum over clusters of (sum of residuals)^2 / n^2, and a t-quantile with g - 1
    degrees of freedom, for g clusters.

    Args:
        scores: Shape (n,).
        clusters: Cluster id of each score, shape (n,).

    Returns:
        The half-width; infinity if all scores share one cluster.
    """
    _, index = clusters.unique(return_inverse=True)
    g = int(index.max()) + 1
    if g < 2:
        return math.inf
    sums = torch.zeros(g, dtype=torch.float64).index_add_(0, index, scores - scores.mean())
    variance = g / (g - 1) * float(sums.square().sum()) / len(scores) ** 2
    return float(stats.t.ppf(0.975, g - 1)) * math.sqrt(variance)
