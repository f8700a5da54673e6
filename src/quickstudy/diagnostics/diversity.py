"""How many different tasks a family of tasks has: Task2Vec's diversity coefficient, Vendi score."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import spatial
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from quickstudy.diagnostics.features import backbone_of, check_one_shape, probe_hash
from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.learners.base import encode_targets, fit_ridge
from quickstudy.nn import MLP, batch_norms
from quickstudy.tasks import Episode, Tasks

__all__ = ["Probe", "diversity_coefficient", "probe_of", "task_vectors", "vendi_score"]

Array = NDArray[np.floating]

MAX_EXAMPLES = 60
"""Of a task, that its Fisher information is estimated from."""

RIDGE = 0.1
FEW_TASKS = 2.0
"""Effectively different tasks from which on training is varied enough to learn from."""


class Probe:
    """A network by whose sensitivities tasks are compared, named by the hash of its weights.

    Args:
        network: Maps examples (n, ...) to features (n, d).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).cpu().float().eval()
        self.name = probe_hash(self.network)


def probe_of(learner: Learner | None, task: Episode) -> Probe:
    """The learner's backbone, or if it has none with weights that takes single examples, a fixed
    random network for examples of that shape."""
    backbone = None if learner is None else backbone_of(learner)
    has_weights = backbone is not None and any(True for _ in backbone.parameters())
    if (
        backbone is not None
        and has_weights
        and all(norm.running_mean is not None for norm in batch_norms(backbone).values())
    ):
        return Probe(backbone)
    shape = tuple(task.support.x.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Probe(nn.Sequential(nn.Flatten(), MLP((math.prod(shape),))))


def task_vectors(probe: Probe, tasks: Tasks, n_tasks: int = 50) -> Array:
    """The Task2Vec vector of each task, shape (n_tasks, p), one number a parameter tensor's row.

    The diagonal of the Fisher information of the probe's weights for a head fitted to the task,
    averaged over each filter (Achille et al., "Task2Vec", ICCV 2019).

    Differs from the paper: the head is ridge regression in closed form, whose scores are the
    logits; a label is drawn from its prediction for each example, as a random sign for each target
    of a regression is, whose squared error has that information.

    Args:
        probe: See `probe_of`.
        tasks: Of any kind.
        n_tasks: How many of the first.

    Raises:
        DataError: If their examples are of several shapes.
    """
    drawn = [tasks[i] for i in range(n_tasks)]
    check_one_shape(drawn)
    return np.stack([_vector(probe, task) for task in drawn])


def diversity_coefficient(vectors: Array, probe: str = "", *, seed: int = 0) -> Finding:
    """The mean cosine distance between the vectors of two tasks, 0 for one task again and again.

    Miranda et al., "The Curse of Low Task Diversity", 2022, arXiv:2208.01545. Its interval is that
    of the bootstrap over tasks.

    Args:
        vectors: Of two tasks or more, (n_tasks, p).
        probe: Its name; values under another probe are not comparable.
        seed: Of the bootstrap.
    """
    distances = spatial.distance.squareform(spatial.distance.pdist(_checked(vectors), "cosine"))
    n = len(vectors)
    value = float(distances.sum() / (n * (n - 1)))
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(200):
        rows = rng.integers(n, size=n)
        part = distances[np.ix_(rows, rows)]
        apart = rows[:, None] != rows[None]  # a task drawn twice is no pair
        drawn.append(part[apart].mean() if apart.any() else 0.0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Finding(
        "task diversity coefficient",
        "information",
        value,
        f"0 would be one task again and again. Under probe {probe or 'of your own'}: comparable "
        "with values under the same probe alone.",
        interval=(float(low), float(high)),
        details={"probe": probe, "n_tasks": n},
    )


def vendi_score(vectors: Array, probe: str = "") -> Finding:
    """The effective number of different tasks: 1 if all are alike, n_tasks if none is.

    The exponential of the entropy of the eigenvalues of the similarities' matrix, divided by the
    number of tasks (Friedman & Dieng, "The Vendi Score", TMLR 2023, definition 3.1). Similarities
    are the cosines of the vectors.

    Args:
        vectors: Of two tasks or more, (n_tasks, p).
        probe: Its name.

    Example:
        >>> round(vendi_score(np.ones((5, 3))).value, 6), round(vendi_score(np.eye(5)).value, 6)
        (1.0, 5.0)
    """
    x = _checked(vectors)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-12]
    value = float(np.exp(-(values * np.log(values)).sum()))
    few = _distinct(x) < FEW_TASKS
    return Finding(
        "Vendi score of tasks",
        "warning" if few else "information",
        value,
        f"{_distinct(x)} of {len(x)} tasks differ at all; they count as {value:.2g} that have "
        "nothing in common.",
        "Train on more classes or other tasks, and draw small groups of classes as often as large "
        "ones (tasks.balance_groups): one task again and again teaches that task alone."
        if few
        else "",
        threshold=Threshold(FEW_TASKS, f"counted in tasks that differ at all, here {_distinct(x)}"),
        details={"probe": probe, "n_tasks": len(x), "distinct": _distinct(x)},
    )


def _distinct(unit: Array) -> int:
    """How many of unit vectors (n, p) differ by more than rounding."""
    left, found = list(unit), 0
    while left:
        first = left.pop()
        found += 1
        left = [v for v in left if np.linalg.norm(v - first) > 1e-4]
    return found


def _checked(vectors: Array) -> Array:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise DataError(f"expected vectors of two tasks or more, got shape {vectors.shape}")
    return vectors


def _vector(probe: Probe, task: Episode) -> Array:
    x = torch.cat([task.support.x, task.query.x]).float().cpu()
    y = torch.cat([task.support.y, task.query.y]).cpu()
    if len(x) > MAX_EXAMPLES:
        rows = torch.linspace(0, len(x) - 1, MAX_EXAMPLES).long()
        x, y = x[rows], y[rows]
    network = probe.network
    with torch.no_grad():
        features = network(x).flatten(1)
        n_outputs = task.n_way if task.n_way is not None else y.shape[1]
        head = fit_ridge(features, encode_targets(y, n_outputs, features), RIDGE * len(features))
    weights = {name: p.detach() for name, p in network.named_parameters()}
    fisher = _fisher(network, weights, head, x, classes=task.n_way is not None)
    return np.concatenate([_by_row(fisher[name]) for name in weights])


def _fisher(
    network: nn.Module, weights: dict[str, Tensor], head: Tensor, x: Tensor, *, classes: bool
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of the weights, the mean over examples."""
    buffers = dict(network.named_buffers())

    def score(w: dict[str, Tensor], one: Tensor, direction: Tensor) -> Tensor:
        out = functional_call(network, {**w, **buffers}, (one[None],)).flatten(1) @ head
        out = out.log_softmax(1) if classes else out
        return (out * direction).sum()

    generator = torch.Generator().manual_seed(0)  # the same draws for every task
    with torch.no_grad():
        out = network(x).flatten(1) @ head
    if classes:
        drawn = torch.multinomial(out.softmax(1), 1, generator=generator)[:, 0]
        directions = F.one_hot(drawn, head.shape[1]).to(x)
    else:
        directions = torch.randint(0, 2, out.shape, generator=generator).to(x) * 2 - 1
    gradients = vmap(grad(score), in_dims=(None, 0, 0))(weights, x, directions)
    return {name: g.square().mean(0) for name, g in gradients.items()}


def _by_row(values: Tensor) -> Array:
    """One number a filter, or for a vector of weights each as it is."""
    return values.flatten(1).mean(1).numpy() if values.ndim > 1 else values.numpy()
