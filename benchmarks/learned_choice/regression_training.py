"""Meta-train the gate of `RegressionBlend` on the tasks of many domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import Tensor, nn

from quickstudy.learners.transfer.regression.candidates import HEAD_NAMES
from quickstudy.learners.transfer.regression.features import describe_regression
from quickstudy.learners.transfer.regression.gate import Prediction, RegressionGate
from regression_tasks import RegressionTask
from training import deviations

STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1200, 48, 3e-3, 1e-2

ERROR_WEIGHT = 1.0
"""Of the squared error, relative to that of predicting the mean, beside the likelihood."""

CANDIDATE_DROPOUT = 0.1
"""How often a candidate is missing from a task of training."""

MAX_LOSS, MAX_RATIO = 8.0, 4.0

COVERAGE = 0.9


@dataclass
class Prepared:
    """A task as the gate takes it."""

    task: RegressionTask
    values: Tensor
    heads: Tensor


@dataclass
class Outcome:
    """What a gate made of a task that it was not trained on.

    Args:
        squared_error: The mean over queries.
        covered: The share of queries whose targets lie in their 90 % intervals.
        weights: Of the candidates, shape (k,).
    """

    squared_error: float
    covered: float
    weights: Tensor


def prepare(task: RegressionTask, gate: RegressionGate) -> Prepared:
    """The meta-features of a task."""
    candidates = task.candidates
    return Prepared(task, describe_regression(candidates, task.n), gate.ids(candidates.names))


def train_regression_gate(tasks: Sequence[RegressionTask], *, seed: int = 0) -> RegressionGate:
    """A gate that maximises the likelihood of queries, and minimises their squared error relative
    to that of predicting the mean."""
    torch.manual_seed(seed)
    gate = RegressionGate(HEAD_NAMES)
    items = [prepare(task, gate) for task in tasks]
    values = torch.cat([item.values for item in items])
    gate.mean.copy_(values.mean(0))
    gate.deviation.copy_(deviations(values))
    n_of_group = Counter(task.group for task in tasks)
    shares = np.array([1 / n_of_group[task.group] for task in tasks])
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(gate.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS + 1, pct_start=0.1
    )
    for _ in range(STEPS):
        chosen = rng.choice(len(items), BATCH, p=shares / shares.sum())
        batch = _padded([items[i] for i in chosen])
        dropped = torch.rand(batch.there.shape) < CANDIDATE_DROPOUT
        dropped[:, 0] = False  # the mean is always there
        batch.there &= ~dropped
        optimizer.zero_grad()
        _loss(_predict(gate, batch), batch).backward()
        nn.utils.clip_grad_norm_(gate.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return gate.eval().requires_grad_(False)


@torch.no_grad()
def outcome(gate: RegressionGate, item: Prepared) -> Outcome:
    """What a gate makes of a task."""
    batch = _padded([item])
    one = _predict(gate, batch)
    errors = (one.mean - batch.y)[0]
    reach = special.stdtrit(float(one.freedom), (1 + COVERAGE) / 2) * one.scale[0]
    covered = float((errors.abs() <= reach).double().mean())
    return Outcome(float(errors.square().mean()), covered, one.weights[0])


@dataclass
class _Batch:
    values: Tensor
    heads: Tensor
    there: Tensor
    left_out: Tensor
    targets: Tensor
    is_left_out: Tensor
    predictions: Tensor
    y: Tensor
    is_query: Tensor


def _padded(items: Sequence[Prepared]) -> _Batch:
    """Tasks as one batch; candidates, examples and queries that others have are not there."""
    pad = nn.utils.rnn.pad_sequence
    k = max(len(item.heads) for item in items)
    n = max(len(item.task.candidates.targets) for item in items)
    m = max(len(item.task.query_y) for item in items)

    def padded(matrix: Tensor, columns: int) -> Tensor:
        rows = k - len(matrix)
        return F.pad(matrix.float(), (0, columns - matrix.shape[1], 0, rows))

    def there(sizes: Sequence[Tensor]) -> Tensor:
        ones = [torch.ones(len(one), dtype=torch.bool) for one in sizes]
        return pad(ones, batch_first=True)

    targets = [item.task.candidates.targets.float() for item in items]
    queries = [item.task.query_y for item in items]
    return _Batch(
        pad([item.values for item in items], batch_first=True),
        pad([item.heads for item in items], batch_first=True),
        there([item.heads for item in items]),
        torch.stack([padded(item.task.candidates.left_out, n) for item in items]),
        pad(targets, batch_first=True),
        there(targets),
        torch.stack([padded(item.task.predictions, m) for item in items]),
        pad(queries, batch_first=True),
        there(queries),
    )


def _predict(gate: RegressionGate, batch: _Batch) -> Prediction:
    return gate(
        batch.values,
        batch.heads,
        batch.there,
        batch.left_out,
        batch.targets,
        batch.is_left_out,
        batch.predictions,
    )


def _loss(one: Prediction, batch: _Batch) -> Tensor:
    """The mean loss of tasks."""
    known = batch.is_query.float()
    m = known.sum(1)
    freedom = one.freedom[:, None]
    z = (batch.y - one.mean) / one.scale
    log_likelihood = (
        torch.lgamma((freedom + 1) / 2)
        - torch.lgamma(freedom / 2)
        - 0.5 * (freedom * torch.pi).log()
        - one.scale.log()
        - (freedom + 1) / 2 * (z.square() / freedom).log1p()
    )
    likelihood = (-log_likelihood.clamp_min(-MAX_LOSS) * known).sum(1) / m
    squares = ((batch.y - one.mean).square() * known).sum(1)
    ratio = squares / (batch.y.square() * known).sum(1).clamp_min(1e-9)
    return (likelihood + ERROR_WEIGHT * ratio.clamp_max(MAX_RATIO)).mean()
