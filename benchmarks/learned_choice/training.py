"""Meta-train the gate of `LearnedBlend` on the tasks of many domains, and judge it on others.

Domains of one source are one group, and a group is held out whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.learners.transfer.blend.accuracy import AccuracyModel
from quickstudy.learners.transfer.blend.candidates import Candidates, Kind
from quickstudy.learners.transfer.blend.features import describe, temper
from quickstudy.learners.transfer.blend.gate import Gate, GateDecision, pool

SCALES = torch.linspace(-6, 6, 49)
"""Log-scales among which the usual one of a candidate is found."""

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 8, 48, 3e-3, 1e-2
ERROR_WEIGHT = 0.5
"""Of the expected error rate beside the cross-entropy."""

CANDIDATE_DROPOUT, VIEW_DROPOUT = 0.1, 0.2
"""How often a candidate is missing from a task of training, and how often its views are taken for
unknown ones."""

MAX_LOSS = 6.0

MIN_DEVIATION, NO_DEVIATION = 1e-3, 1e9
"""A feature that varies less than the first over all tasks counts as if it varied by the second, so
that it is zero for the gate wherever else it may differ: its weights were never trained. Such is a
kind of data that no task has."""


@dataclass
class Task:
    """A few-shot task whose candidates have been fitted.

    Args:
        candidates: Names, scores of examples left out, features of views.
        y: Labels of the support set.
        n_way: Number of classes.
        scores: Of the candidates on the queries, shape (k, m, c).
        query_y: Labels of the queries.
        kind, group, domain, shots: What it was drawn from, and how.
        baselines: Accuracies of others on the queries, by name.
    """

    candidates: Candidates
    y: Tensor
    n_way: int
    scores: Tensor
    query_y: Tensor
    kind: Kind
    group: str
    domain: str
    shots: int
    baselines: dict[str, float] = field(default_factory=dict)


@dataclass
class Prepared:
    """A task as the gate takes it."""

    task: Task
    values: Tensor
    views: Tensor
    heads: Tensor
    left_out: Tensor
    log_probabilities: Tensor


@dataclass
class Outcome:
    """What a gate made of a task that it was not trained on."""

    log_probabilities: Tensor
    accuracy_inputs: Tensor
    n_right: int
    n_queries: int
    weights: Tensor


def new_gate(tasks: Sequence[Task]) -> Gate:
    """A gate that knows the names in these tasks, and the usual scales of their candidates."""
    names = {name for task in tasks for name in task.candidates.names}
    gate = Gate(sorted({view for view, _ in names}), sorted({head for _, head in names}))
    losses: dict[tuple[int, int], list[Tensor]] = {}
    for task in tasks:
        views, heads = gate.ids(task.candidates.names)
        each = torch.stack([_losses(task, float(scale)) for scale in SCALES], 1)  # (k, scales)
        for view, head, loss in zip(views.tolist(), heads.tolist(), each, strict=True):
            losses.setdefault((view, head), []).append(loss)
            losses.setdefault((0, head), []).append(loss)
    for (view, head), each in losses.items():
        gate.log_scales[view, head] = SCALES[int(torch.stack(each).mean(0).argmin())]
    return gate


def deviations(values: Tensor) -> Tensor:
    """Standard deviations (d,) of features (n, d), for the gate to divide by."""
    deviation = values.std(0)
    return torch.where(deviation > MIN_DEVIATION, deviation, NO_DEVIATION)


def _losses(task: Task, scale: float) -> Tensor:
    log_probabilities = (task.scores.float() * np.exp(scale)).log_softmax(2)
    rows = torch.arange(len(task.query_y))
    return -log_probabilities[:, rows, task.query_y].mean(1).clamp_max(MAX_LOSS)


def prepare(task: Task, gate: Gate) -> Prepared:
    """The meta-features of a task and its candidates' log-probabilities."""
    candidates = task.candidates
    usual = gate.usual_scales(candidates.names)
    features = describe(candidates, task.y, task.n_way, task.kind, usual)
    views, heads = gate.ids(candidates.names)
    log_probabilities = temper(task.scores, features.log_scales)
    return Prepared(task, features.values, views, heads, features.left_out, log_probabilities)


def train_gate(tasks: Sequence[Task], *, epochs: float = EPOCHS, seed: int = 0) -> Gate:
    """A gate that minimises the cross-entropy and the expected error of the blend on queries."""
    torch.manual_seed(seed)
    gate = new_gate(tasks[:: max(1, len(tasks) // 1500)])
    if missing := {n for t in tasks for n in t.candidates.names} - {
        (view, head) for view in gate.views for head in gate.heads
    }:
        raise ValueError(f"no task of {missing} among those that scales are taken from")
    items = [prepare(task, gate) for task in tasks]
    values = torch.cat([item.values for item in items])
    gate.mean.copy_(values.mean(0))
    gate.deviation.copy_(deviations(values))
    n_of_group = Counter(task.group for task in tasks)
    shares = np.array([n_of_group[task.group] ** -0.5 for task in tasks])
    rng = np.random.default_rng(seed)
    steps = int(epochs * len(items)) // BATCH
    optimizer = torch.optim.AdamW(gate.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1
    )
    for _ in range(steps):
        chosen = rng.choice(len(items), BATCH, p=shares / shares.sum())
        chosen = sorted(chosen, key=lambda i: items[i].task.n_way)
        optimizer.zero_grad()
        for part in np.array_split(chosen, 4):
            (_loss(gate, [items[i] for i in part], rng) / BATCH).backward()
        nn.utils.clip_grad_norm_(gate.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return gate.eval().requires_grad_(False)


def _loss(gate: Gate, items: Sequence[Prepared], rng: np.random.Generator) -> Tensor:
    """The summed loss of tasks."""
    batch = _padded(items)
    dropped = torch.rand(batch.there.shape) < CANDIDATE_DROPOUT
    there = batch.there & ~dropped
    there = torch.where(there.any(1, keepdim=True), there, batch.there)
    unknown = torch.from_numpy(rng.random(len(items)) < VIEW_DROPOUT)[:, None]
    views = torch.where(unknown & (batch.views != gate.views.index("raw")), 0, batch.views)
    decision = gate(batch.values, views, batch.heads, there)
    pooled = pool(batch.log_probabilities, decision)  # (t, m, c)
    known = batch.y >= 0
    right = pooled.gather(2, batch.y.clamp_min(0)[..., None])[..., 0]
    n = known.sum(1)
    cross_entropy = -(right * known).sum(1) / n
    error = ((1 - right.exp()) * known).sum(1) / n
    return (cross_entropy.clamp_max(MAX_LOSS) + ERROR_WEIGHT * error).sum()


@dataclass
class _Batch:
    values: Tensor
    views: Tensor
    heads: Tensor
    there: Tensor
    log_probabilities: Tensor
    y: Tensor


def _padded(items: Sequence[Prepared]) -> _Batch:
    """Tasks as one batch: missing candidates are not there, missing queries have label -1."""
    pad = nn.utils.rnn.pad_sequence
    k, m, c = (max(item.log_probabilities.shape[i] for item in items) for i in range(3))
    padded = [
        F.pad(
            item.log_probabilities,
            (0, c - item.task.n_way, 0, m - len(item.task.query_y), 0, k - len(item.heads)),
            value=-60.0,
        )
        for item in items
    ]
    return _Batch(
        pad([item.values for item in items], batch_first=True),
        pad([item.views for item in items], batch_first=True),
        pad([item.heads for item in items], batch_first=True),
        pad([torch.ones_like(item.heads, dtype=torch.bool) for item in items], batch_first=True),
        torch.stack(padded),
        pad([item.task.query_y for item in items], batch_first=True, padding_value=-1),
    )


@torch.no_grad()
def outcome(gate: Gate, item: Prepared) -> Outcome:
    """What a gate makes of a task."""
    there = torch.ones(1, len(item.heads), dtype=torch.bool)
    decision: GateDecision = gate(item.values[None], item.views[None], item.heads[None], there)
    pooled = pool(item.log_probabilities[None], decision)[0]
    left_out = pool(item.left_out[None], decision)[0]
    inputs = AccuracyModel.inputs(
        item.values, decision.weights[0], left_out, item.task.candidates.labels
    )
    n_right = int((pooled.argmax(1) == item.task.query_y).sum())
    return Outcome(pooled, inputs, n_right, len(pooled), decision.weights[0])


def train_accuracy(
    inputs: Tensor, n_right: Tensor, n_queries: Tensor, *, steps: int = 1500, seed: int = 0
) -> AccuracyModel:
    """A model of the accuracy, by the likelihood of the right answers (beta-binomial)."""
    torch.manual_seed(seed)
    model = AccuracyModel()
    model.mean.copy_(inputs.mean(0))
    model.deviation.copy_(deviations(inputs))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1)

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    for _ in range(steps):
        i = torch.randint(len(inputs), (256,))
        alpha, beta = model(inputs[i])
        right, n = n_right[i], n_queries[i]
        loss = -(log_beta(alpha + right, beta + n - right) - log_beta(alpha, beta)) / n.sqrt()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def folds_of_groups(tasks: Sequence[Any], n_folds: int, seed: int = 1) -> list[int]:
    """The fold that each task, which has a `group`, is held out in, with its whole group."""
    groups = sorted({task.group for task in tasks})
    np.random.default_rng(seed).shuffle(groups)
    fold_of = {group: i % n_folds for i, group in enumerate(groups)}
    return [fold_of[task.group] for task in tasks]
