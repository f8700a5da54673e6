"""Meta-testing: how well a learner does on tasks it has never seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.html import html_table
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of, query_loss
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.progress import track
from quickstudy.tasks import Tasks
from quickstudy.tasks.environments import Trials

__all__ = ["ClassScores", "TestReport", "clustered_error", "clustered_interval", "meta_test"]


class ClassScores(NamedTuple):
    """Accuracy by task and class: an entry for each queried class of a task, shape (n,)."""

    scores: Tensor
    weights: Tensor  # the class's share of the task's queries
    clusters: Tensor  # the class, or what it is a version of
    tasks: Tensor


@dataclass(frozen=True, repr=False)
class TestReport:
    """The result of meta-testing. A notebook shows it as a table with a histogram of the scores.

    Args:
        metric: "accuracy" (0 to 1), "mse", or "return", that of an environment's query episodes.
        mean: Mean score over tasks.
        interval: Half-width of the 95 % t-interval over tasks, as papers publish it: how far the
            mean over other tasks of the same classes may lie.
        clustered_interval: Half-width of the 95 % interval that allows for tasks sharing classes
            as well as for queries sharing a task: how far the mean over other classes may lie, so
            the one to print. None where classes are not known, as in regression.
        scores: One score per task.
        by_class: The same by task and class; None where classes are not known.
    """

    __test__ = False  # for pytest: not a test class

    metric: str
    mean: float
    interval: float
    clustered_interval: float | None
    scores: list[float]
    by_class: ClassScores | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        half = self.interval if self.clustered_interval is None else self.clustered_interval
        score = f"{self.mean:.4g} ± {half:.2g}"
        return f"TestReport({self.metric} {score}, {len(self.scores)} tasks)"

    def _repr_html_(self) -> str:
        scale, unit = (100, " %") if self.metric == "accuracy" else (1, "")
        rows = [["mean", f"{scale * self.mean:.4g}{unit}"]]
        if self.clustered_interval is not None:
            half = f"± {scale * self.clustered_interval:.2g}{unit}"
            rows.append(["95 % interval, clustered by class", half])
        rows.append(["95 % interval over tasks", f"± {scale * self.interval:.2g}{unit}"])
        rows.append(["tasks", str(len(self.scores))])
        return html_table([self.metric, ""], rows) + _histogram(self.scores)

    def as_dict(self) -> dict[str, Any]:
        """What goes into reports: all but the scores by class."""
        plain = {name: value for name, value in vars(self).items() if name != "by_class"}
        return {"n_tasks": len(self.scores), **plain}


def _histogram(scores: list[float], n_bins: int = 20) -> str:
    """How the scores of the tasks spread, as SVG."""
    finite = [score for score in scores if math.isfinite(score)]
    if len(finite) < 2:
        return ""
    counts, edges = np.histogram(finite, bins=n_bins)
    bars = "".join(
        f'<rect x="{15 * i}" y="{60 - 56 * n / counts.max():.1f}" width="14" '
        f'height="{56 * n / counts.max():.1f}" fill="#3b82f6"/>'
        for i, n in enumerate(counts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {15 * n_bins} 62" '
        f'style="display: block; max-width: {15 * n_bins}px">{bars}</svg>'
        f"scores of the tasks, from {edges[0]:.3g} to {edges[-1]:.3g}"
    )


def meta_test(learner: Learner, tasks: Tasks, n_tasks: int = 600) -> TestReport:
    """Adapt to the first `n_tasks` tasks, and score the predictors on their queries, or the
    policies by their return.

    The learner is in evaluation mode meanwhile, and unchanged afterwards. Tasks are moved to the
    learner's device.

    Raises:
        UsageError: With fewer than two tasks, which give no interval; or with tasks of examples
            for a learner that acts, or the other way round.
        DataError: If a prediction is not finite, or a task has no query.
    """
    if n_tasks < 2:
        raise UsageError(f"expected at least 2 test tasks for an interval, got {n_tasks}")
    check_kind(learner, in_environments=isinstance(tasks, Trials))
    was_training = learner.training
    learner.eval()
    if isinstance(tasks, Trials):
        try:
            scores = _returns(learner, tasks, n_tasks)
        finally:
            learner.train(was_training)
        return _report("return", scores, None)
    scores: list[float] = []
    classes: list[ClassScores] = []
    metric, device = "accuracy", device_of(learner)
    try:
        with torch.no_grad():
            adapt, tasks = learner.on(tasks)
            for i in track(range(n_tasks), "meta-testing"):
                episode = tasks[i]
                there = episode.to(device)
                if not len(episode.query):
                    raise DataError(f"expected a query to score in task {i}, got none")
                output = adapt(there.support)(there.query.x).cpu()
                if not bool(torch.isfinite(output).all()):
                    raise DataError(f"task {i} got predictions that are not finite")
                y = episode.query.y.cpu()
                if episode.n_way is None:
                    metric = "mse"
                    scores.append(float(query_loss(output, y)))
                else:
                    right = (output.argmax(1) == y).double()
                    scores.append(float(right.mean()))
                    if episode.clusters is not None:
                        clusters = episode.clusters.cpu()
                        classes.append(_by_class(right, y, clusters, i))
    finally:
        learner.train(was_training)
    by_class = None
    if classes:
        by_class = ClassScores(*(torch.cat(column) for column in zip(*classes, strict=True)))
    return _report(metric, scores, by_class)


def check_kind(learner: Learner, *, in_environments: bool) -> None:
    """Refuse environments for a learner of examples, and examples for one that acts.

    Raises:
        UsageError: If learner and tasks do not fit.
    """
    if learner.acts == in_environments:
        return
    name = type(learner).__name__
    if learner.acts:
        raise UsageError(
            f"{name} learns to act: expected Trials of an environment family, got tasks of examples"
        )
    raise UsageError(
        f"{name} learns from examples: expected tasks of examples, got trials in environments, "
        "which RL2 and MAMLTRPO learn to act in"
    )


def _report(metric: str, scores: list[float], by_class: ClassScores | None) -> TestReport:
    sample = torch.tensor(scores, dtype=torch.float64)
    n = len(scores)
    half = float(special.stdtrit(n - 1, 0.975)) * float(sample.std()) / math.sqrt(n)
    clustered = clustered_interval(*by_class) if by_class else None
    return TestReport(metric, float(sample.mean()), half, clustered, scores, by_class)


@torch.no_grad()
def _returns(learner: Learner, trials: Trials, n_tasks: int) -> list[float]:
    """The returns of the first trials."""
    assert isinstance(learner, ReinforcementLearner)
    learner.check_family(trials.family)
    device, seed = device_of(learner), trials.family.seed + trials.first
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(seed)
        returns = learner.returns(trials, trials.indices(n_tasks), seed=seed)
    if not bool(returns.isfinite().all()):
        raise DataError("expected finite returns, got some that are not")
    return returns.double().tolist()


def _by_class(right: Tensor, y: Tensor, clusters: Tensor, task: int) -> ClassScores:
    """For each queried class: accuracy, share of the task's queries, cluster and task."""
    n_way = len(clusters)
    counts = torch.bincount(y, minlength=n_way).double()
    queried = counts > 0
    accuracy = torch.bincount(y, right, minlength=n_way)[queried] / counts[queried]
    clusters = clusters[queried]
    weights = counts[queried] / counts.sum()
    return ClassScores(accuracy, weights, clusters, torch.full_like(clusters, task))


def clustered_interval(scores: Tensor, weights: Tensor, *clusterings: Tensor) -> float:
    """Half-width of the 95 % interval of a weighted mean whose terms are alike within clusters.

    Args:
        scores, weights, clusterings: As of `clustered_error`.

    Returns:
        The half-width; infinity if all scores share one cluster.

    Example:
        >>> scores = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
        >>> clustered_interval(scores, torch.ones(4), torch.tensor([0, 0, 1, 1]))
        0.0
    """
    error, freedom = clustered_error(scores, weights, *clusterings)
    return error if error == math.inf else float(special.stdtrit(freedom, 0.975)) * error


def clustered_error(scores: Tensor, weights: Tensor, *clusterings: Tensor) -> tuple[float, int]:
    """Standard error of a weighted mean whose terms are alike within clusters.

    With one clustering, the cluster-robust variance with the usual small-sample factor
    g / (g - 1) for g clusters. With two, such as classes and tasks, the two-way variance of
    Cameron, Gelbach & Miller (2011): the sum of both, less that of their intersections; at least
    the larger of both.

    Args:
        scores: Shape (n,).
        weights: Relative weight of each score, shape (n,).
        clusterings: One or two cluster ids of each score, each of shape (n,).

    Returns:
        The standard error, infinity if all scores share one cluster; and its degrees of freedom,
        g - 1 of the clustering with fewer clusters.
    """
    weights = weights / weights.sum()
    pull = weights * (scores - (weights * scores).sum())

    def variance(clusters: Tensor) -> tuple[float, int]:
        _, index = clusters.unique(dim=0, return_inverse=True)
        g = int(index.max()) + 1
        sums = torch.zeros(g, dtype=pull.dtype).index_add_(0, index, pull)
        return (g / (g - 1) * float(sums.square().sum()) if g > 1 else math.inf), g

    variances, counts = zip(*map(variance, clusterings), strict=True)
    total = max(variances)
    if len(clusterings) == 2 and total < math.inf:
        both, _ = variance(torch.stack(clusterings, dim=1))
        total = max(total, sum(variances) - both)
    return math.sqrt(total), min(counts) - 1
