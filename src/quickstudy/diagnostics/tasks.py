"""Faults of the tasks themselves, found without any learner."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError
from quickstudy.tasks import Batch, Tasks

__all__ = ["label_order", "leaked_queries"]

FEW_FEATURES = 8
"""With so few numbers an example, two may be close by chance: they have to be equal."""

CLOSE = 0.02
"""Nearer than this share of the usual distance of two examples, one is a copy of the other."""


def label_order(tasks: Tasks, n_tasks: int = 200, *, level: float = 0.001) -> Finding:
    """Whether a class has the same label in all its tasks.

    If it has, a learner can memorise which class is which, and needs no support set (Yin et al.,
    "Meta-Learning without Memorization", ICLR 2020). The value is how often two tasks that share a
    class label it alike. Under shuffled labels that is 1 / ways.

    Args:
        tasks: Of classes.
        n_tasks: How many of the first are looked at.
        level: Of the one-sided binomial test.

    Raises:
        DataError: If the tasks do not say their classes, or no class comes twice.
    """
    labels: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i in range(n_tasks):
        classes = tasks[i].classes
        if classes is None:
            raise DataError("expected tasks that say their classes, got some that do not")
        for label, c in enumerate(classes.tolist()):
            if c >= 0:
                labels[c].append((label, len(classes)))
    alike, pairs, expected = 0, 0, 0.0
    for seen in labels.values():
        for (one, ways), (other, other_ways) in zip(seen[::2], seen[1::2], strict=False):
            alike += one == other
            pairs += 1
            expected += 1 / max(ways, other_ways)
    if not pairs:
        raise DataError(f"expected a class that comes in two of {n_tasks} tasks, got none")
    test = stats.binomtest(alike, pairs, min(expected / pairs, 1.0), alternative="greater")
    interval = stats.binomtest(alike, pairs).proportion_ci(method="wilson")
    fixed = test.pvalue < level
    return Finding(
        "label order",
        "warning" if fixed else "fine",
        alike / pairs,
        f"Two tasks label the same class alike {alike} times in {pairs}; by chance "
        f"{expected:.0f} times."
        + (" Labels say which class it is, so a learner can memorise them." if fixed else ""),
        "Draw the order of the labels anew for every task: tasks.permute_labels of a recipe, "
        "PermutedLabels in Python."
        if fixed
        else "",
        (float(interval.low), float(interval.high)),
        Threshold(
            float(stats.binom.isf(level, pairs, min(expected / pairs, 1.0)) + 1) / pairs,
            f"binomial test at {level:g}",
        ),
        {"p": float(test.pvalue), "pairs": pairs},
    )


def leaked_queries(tasks: Tasks, n_tasks: int = 50) -> Finding:
    """Whether queries are copies of support examples of the same task.

    The value is the share of queries that have a copy in the support set, an equal or almost equal
    example with the same label.

    Args:
        tasks: Any.
        n_tasks: How many of the first are looked at.

    Raises:
        DataError: If no task has both support examples and queries.
    """
    leaked, n, first = 0, 0, None
    for i in range(n_tasks):
        task = tasks[i]
        if not len(task.support) or not len(task.query):
            continue
        found = int(_copies(task.query, task.support).sum())
        leaked, n = leaked + found, n + len(task.query)
        first = i if found and first is None else first
    if not n:
        raise DataError("expected tasks with support examples and queries, got none")
    interval = stats.binomtest(leaked, n).proportion_ci(method="wilson")
    threshold = 0.01
    is_leak = leaked / n >= threshold
    return Finding(
        "leaked queries",
        "warning" if is_leak else "fine",
        leaked / n,
        f"{leaked} of {n} queries in {n_tasks} tasks are copies of a support example of their task"
        + (": scores are too good to be true." if is_leak else "."),
        f"Look at task {first}, and draw support and queries without replacement; remove "
        "duplicates from the data."
        if is_leak
        else "",
        (float(interval.low), float(interval.high)),
        Threshold(threshold, "a convention: one query in a hundred"),
        {"first_task": first},
    )


def _copies(query: Batch, support: Batch) -> Tensor:
    """Which queries (n,) are copies of a support example with the same target."""
    q, s = (part.x.detach().float().flatten(1).cpu() for part in (query, support))
    y = [part.y.cpu() for part in (query, support)]
    y = [part[:, None] if part.ndim == 1 else part for part in y]
    alike = (y[0][:, None] == y[1][None]).all(2)  # (n_query, n_support)
    if q.shape[1] < FEW_FEATURES:
        return ((q[:, None] == s[None]).all(2) & alike).any(1)
    distances = torch.cdist(q, s)
    usual = float(np.median(distances.numpy()))
    return ((distances <= CLOSE * usual) & alike).any(1)
