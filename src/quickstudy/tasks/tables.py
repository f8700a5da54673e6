"""Synthetic tables of classes, drawn from a prior over how tables come about."""

from __future__ import annotations

import math

import numpy as np
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.episode import Batch, Episode, Support
from quickstudy.tasks.sampler import Range, as_range

__all__ = ["TableTasks"]

Rng = np.random.Generator


class TableTasks:
    """Classification of the rows of small tables, each from a random mechanism.

    A prior over tables, as prior-fitted networks need one (Hollmann, Müller, Eggensperger & Hutter,
    "TabPFN", ICLR 2023, arXiv:2207.01848, section 4). A table is a random causal network, whose
    neurons are its columns and its target; a random function of correlated columns: a network,
    trees, a smooth, an additive or a linear one, of which many columns may be irrelevant; or
    clusters. Columns may then be skewed, rounded, counts, or codes or indicators of categories;
    values may be missing (NaN). Classes may be rare, and labels wrong.

    Sizes are drawn for every table: rows evenly on a logarithmic scale, columns and classes with
    more of the small ones. Every class has an example in the support.

    Args:
        n_way: Classes, from 2, or a range (fewest, most).
        n_shot: Support rows, or a range; a table has at most a class for each two of them.
        n_query: Query rows.
        n_columns: Columns, or a range.
        seed: Decides every table.

    Raises:
        UsageError: If a size cannot be had.

    Example:
        >>> episode = TableTasks(n_way=(2, 5), n_shot=40, n_query=10, n_columns=(1, 6))[0]
        >>> episode.support.x.shape[0], episode.query.x.shape[0], episode.n_way <= 5
        (40, 10, True)
    """

    MAX_COLUMNS = 20

    def __init__(
        self,
        *,
        n_way: Range = (2, 10),
        n_shot: Range = (20, 400),
        n_query: int = 60,
        n_columns: Range = (1, MAX_COLUMNS),
        seed: int = 0,
    ) -> None:
        self.n_way = as_range("n_way", n_way, 2)
        self.n_shot = as_range("n_shot", n_shot, 2 * self.n_way[0])
        self.n_columns = as_range("n_columns", n_columns, 1)
        if n_query < 1:
            raise UsageError(f"expected n_query of 1 or more, got {n_query}")
        self.n_query, self.seed = n_query, seed

    def __getitem__(self, index: int) -> Episode:
        rng = np.random.default_rng((self.seed, index))
        n_shot = round(_log_uniform(rng, *self.n_shot))
        fewest, most = self.n_columns
        n_columns = fewest + round((most - fewest) * rng.uniform() ** 1.5)
        low, high = self.n_way[0], min(self.n_way[1], n_shot // 2)
        n_way = low if rng.uniform() < 0.4 else low + int((high - low + 0.999) * rng.uniform() ** 2)
        x, y = _table(rng, n_shot + self.n_query, n_columns, n_way)
        names, y = np.unique(y, return_inverse=True)
        order = _a_row_of_each_first(y)
        order[:n_shot] = rng.permutation(order[:n_shot])
        x = torch.from_numpy(x[order].astype(np.float32))
        labels = torch.from_numpy(rng.permutation(len(names))[y[order]])
        return Episode(
            Support(x[:n_shot], labels[:n_shot], len(names)), Batch(x[n_shot:], labels[n_shot:])
        )


def _table(rng: Rng, n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns (n, d), and labels (n,) of two or more of k classes."""
    make = rng.choice(np.array([_causal_network, _function, _clusters]), p=[0.4, 0.42, 0.18])
    while True:
        x, y = make(rng, n, d, k)
        if rng.uniform() < 0.15:
            wrong = rng.uniform(size=n) < rng.uniform(0, 0.2)
            y = np.where(wrong, rng.permutation(y), y)
        if (y != y[0]).any():
            return _as_measured(rng, x), y


def _a_row_of_each_first(y: np.ndarray) -> np.ndarray:
    """The order of rows that begins with the first of each class."""
    first = np.unique(y, return_index=True)[1]
    return np.concatenate([first, np.setdiff1d(np.arange(len(y)), first)])


# Mechanisms: each gives columns (n, d) and labels (n,).


def _causal_network(rng: Rng, n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and target are neurons of one random network, each with noise of its own."""
    depth = int(rng.integers(1, 5))
    width = int(rng.integers(max(4, d // depth + 1), d // depth + 16))
    h = _inputs(rng, n, int(rng.integers(1, 2 + min(d, 10))))
    noise = _log_uniform(rng, 0.01, 0.7)
    same = rng.uniform() < 0.5
    bend = _bend(rng)
    layers = [h]
    for _ in range(depth):
        w = rng.normal(size=(h.shape[1], width)) * (rng.uniform(size=(h.shape[1], width)) < 0.6)
        h = _standard(
            (bend if same else _bend(rng))(h @ w / math.sqrt(h.shape[1]) + rng.normal(size=width))
        )
        h = h + noise * rng.normal(size=h.shape) * rng.uniform(size=width)
        layers.append(h)
    neurons = np.concatenate(layers, axis=1)
    n_goals = 1 if rng.uniform() < 0.6 else k
    where = rng.permutation(neurons.shape[1])
    if rng.uniform() < 0.5:  # the target is an effect
        goals = neurons.shape[1] - 1 - np.arange(n_goals) % width
    else:
        goals = where[np.arange(n_goals) % len(where)]
    rest = where[~np.isin(where, goals)]
    x = neurons[:, rest[:d]]
    if x.shape[1] < d:
        x = np.concatenate([x, rng.normal(size=(n, d - x.shape[1]))], axis=1)
    return x, _labels(rng, neurons[:, goals], k)


def _function(rng: Rng, n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The target is a random function of some of the columns."""
    x = _inputs(rng, n, d)
    n_relevant = d if rng.uniform() < 0.3 else int(rng.integers(1, d + 1))
    relevant = x[:, rng.permutation(d)[:n_relevant]]
    n_goals = 1 if rng.uniform() < 0.6 else k
    kind = rng.choice(5, p=[0.2, 0.3, 0.2, 0.15, 0.15])
    if kind == 0:
        f = _network(rng, relevant, n_goals)
    elif kind == 1:
        f = _trees(rng, relevant, n_goals)
    elif kind == 2:
        f = _smooth(rng, relevant, n_goals)
    elif kind == 3:
        f = np.zeros((n, n_goals))
        for j in range(n_relevant):
            f = f + _smooth(rng, relevant[:, [j]], n_goals) * rng.exponential()
    else:
        f = _standard(relevant) @ (
            rng.normal(size=(n_relevant, n_goals)) * rng.exponential(size=(n_relevant, 1))
        )
    return x, _labels(rng, f, k)


def _clusters(rng: Rng, n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Each class is a few clusters, in some of the columns."""
    n_clusters = k * int(rng.integers(1, 4))
    share = rng.dirichlet(np.full(n_clusters, _log_uniform(rng, 0.7, 20)))
    c = rng.choice(n_clusters, size=n, p=share)
    y = np.arange(n_clusters) % k
    is_informative = rng.uniform(size=d) < rng.uniform(0.2, 1.2)
    centre = rng.normal(size=(n_clusters, d)) * is_informative * _log_uniform(rng, 0.4, 4)
    x = centre[c]
    noise = rng.normal(size=(n, d))
    if rng.uniform() < 0.5:
        mix = rng.normal(size=(n_clusters if rng.uniform() < 0.5 else 1, d, d)) / math.sqrt(d)
        mix = mix + np.eye(d) * rng.uniform(0, 1)
        noise = (
            np.einsum("ni,nij->nj", noise, mix[c % len(mix)]) if len(mix) > 1 else noise @ mix[0]
        )
    spread = np.exp(0.5 * rng.normal(size=(n_clusters, d)) * (rng.uniform() < 0.6))
    return x + noise * spread[c], y[c]


# Columns.


def _inputs(rng: Rng, n: int, d: int) -> np.ndarray:
    """Columns that depend on each other more or less."""
    kind = rng.uniform()
    if kind < 0.15:
        x = rng.uniform(-1.7, 1.7, size=(n, d))
    elif kind < 0.25:
        x = rng.standard_t(3, size=(n, d))
    else:
        x = rng.normal(size=(n, d))
    if d > 1 and rng.uniform() < 0.6:  # a few common causes
        causes = rng.normal(size=(n, int(rng.integers(1, d + 1))))
        if rng.uniform() < 0.3:
            causes = _bend(rng)(causes)
        loads = rng.normal(size=(causes.shape[1], d)) / math.sqrt(causes.shape[1])
        own = rng.uniform(size=d) * rng.uniform()
        x = (1 - own) * (causes @ loads) + own * x
    if rng.uniform() < 0.2:  # groups of rows
        centre = 2 * rng.normal(size=(int(rng.integers(2, 6)), d))
        x = x + centre[rng.integers(len(centre), size=n)]
    return _standard(x)


def _as_measured(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Columns as they are in real tables, of which each has its own habits."""
    x, (n, d) = _standard(x), x.shape
    habits = rng.dirichlet([3.0, 0.4, 0.4, 0.4, 0.5, 0.3, 0.2])
    kinds = rng.choice(len(habits), size=d, p=habits)
    out = np.empty_like(x)
    j = 0
    for column, kind in zip(x.T, kinds, strict=True):
        if j == d:
            break
        if kind == 1:  # skewed
            column = np.exp(rng.uniform(0.3, 1.5) * column)
        elif kind == 2:  # a count, or rounded
            step = _log_uniform(rng, 0.05, 1.0)
            column = np.round(column / step)
        elif kind == 3:  # few levels in order
            column = _levels(rng, column, int(rng.integers(2, 8)))
        elif kind == 4:  # yes or no
            column = (column > np.quantile(column, rng.uniform(0.05, 0.95))).astype(float)
        elif kind == 5:  # codes of categories, or an indicator of each
            codes = _levels(rng, column, int(rng.integers(3, 9)))
            codes = rng.permutation(9)[codes.astype(int)].astype(float)
            if rng.uniform() < 0.5:
                for level in np.unique(codes)[: d - j]:
                    out[:, j] = codes == level
                    j += 1
                continue
            column = codes
        elif kind == 6:  # often nothing
            column = np.maximum(column - np.quantile(column, rng.uniform(0.1, 0.8)), 0)
        out[:, j] = column
        j += 1
    if rng.uniform() < 0.3:  # columns that tell nothing
        for j in np.flatnonzero(rng.uniform(size=d) < rng.uniform(0, 0.6)):
            out[:, j] = rng.permutation(out[:, j])
    if rng.uniform() < 0.1:
        gone = rng.uniform(size=d) * (rng.uniform(size=d) < 0.5) * rng.uniform()
        out[rng.uniform(size=(n, d)) < gone] = np.nan
    return out[:, rng.permutation(d)]


def _levels(rng: Rng, column: np.ndarray, n_levels: int) -> np.ndarray:
    """Numbers of the intervals that a column's values lie in."""
    return np.searchsorted(np.sort(rng.choice(column, size=n_levels - 1)), column).astype(float)


def _labels(rng: Rng, f: np.ndarray, k: int) -> np.ndarray:
    """Labels of k classes, of one value for each row, in intervals, or of k, by the greatest."""
    f = _standard(f)
    noise = _log_uniform(rng, 0.01, 0.7) if rng.uniform() < 0.6 else 0.0
    share = rng.dirichlet(np.full(k, _log_uniform(rng, 0.8, 20)))
    if f.shape[1] > 1:
        return (f + noise * rng.gumbel(size=f.shape) + 0.5 * np.log(share + 1e-3)).argmax(1)
    f = f[:, 0] + noise * rng.normal(size=len(f))
    return rng.permutation(k)[np.searchsorted(np.quantile(f, share.cumsum()[:-1]), f)]


# Functions (n, d) -> (n, m).


def _network(rng: Rng, x: np.ndarray, m: int) -> np.ndarray:
    x = _standard(x)
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.integers(4, 33))
        w = rng.normal(size=(x.shape[1], width)) * _log_uniform(rng, 0.5, 3) / math.sqrt(x.shape[1])
        x = _standard(_bend(rng)(x @ w + rng.normal(size=width)))
    return x @ rng.normal(size=(x.shape[1], m))


def _trees(rng: Rng, x: np.ndarray, m: int) -> np.ndarray:
    """The sum of trees that ask the same of all nodes of a level."""
    n, d = x.shape
    f = np.zeros((n, m))
    for _ in range(int(_log_uniform(rng, 1, 16))):
        depth = int(rng.integers(1, 6))
        features = rng.integers(d, size=depth)
        at = x[rng.integers(n, size=depth), features]
        leaf = (x[:, features] > at) @ (1 << np.arange(depth))
        f += rng.normal(size=(1 << depth, m))[leaf]
    return f


def _smooth(rng: Rng, x: np.ndarray, m: int) -> np.ndarray:
    """A draw of a Gaussian process, by 64 random waves, a length scale for each column."""
    x = _standard(x)
    d = x.shape[1]
    scale = _log_uniform(rng, 0.3, 3) / math.sqrt(d) * np.exp(0.7 * rng.normal(size=(d, 1)))
    waves = rng.normal(size=(d, 64)) if rng.uniform() < 0.6 else rng.standard_t(2, size=(d, 64))
    return np.cos(x @ (scale * waves) + rng.uniform(0, 2 * math.pi, 64)) @ rng.normal(size=(64, m))


ACTIVATIONS = (
    np.tanh,
    lambda a: np.maximum(a, 0),
    lambda a: a,
    np.abs,
    np.sin,
    lambda a: np.exp(-a * a),
    np.sign,
    lambda a: np.sin(2.5 * a),
    lambda a: np.minimum(a * a, 9),
    lambda a: np.where(a > 0, a, 0.1 * a),
)


def _bend(rng: Rng):
    return ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]


def _standard(x: np.ndarray) -> np.ndarray:
    """Columns of zero mean and unit variance."""
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
