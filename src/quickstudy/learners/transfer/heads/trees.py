"""Extremely randomised trees, all trees of all folds grown at once.

Geurts, Ernst & Wehenkel, "Extremely randomized trees", Machine Learning 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView
from quickstudy.learners.transfer.heads.head import FittedHead, Head

__all__ = ["ExtraTrees", "RegressionTrees"]

Array = NDArray[Any]

N_TREES, N_TREES_OF_FOLD = 100, 16

MAX_DEPTH = 24

N_REGRESSION_TREES, N_REGRESSION_TREES_OF_FOLD = 64, 8

MAX_TRIES = 16
"""Features that a node of a tree of regression draws, which are all where there are fewer."""

SMOOTHING = 0.02
"""Weight of equal shares beside the trees' votes, which would else be certain."""


@dataclass(frozen=True)
class _Trees:
    """The nodes of all trees, their roots first.

    Args:
        values: A node's prediction: the shares of classes (nodes, c), or a mean (nodes, 1).
        feature, threshold: What a node splits by, shape (nodes,).
        child: The first of its two children, or -1 for a leaf.
    """

    values: Array
    feature: Array
    threshold: Array
    child: Array

    def predict(self, x: Array, tree: Array, row: Array) -> Array:
        """The values (pairs, c) by pairs of a tree and a row of examples x (m, d)."""
        node = tree.copy()
        inner = np.arange(len(node))  # pairs that have not reached a leaf
        while len(inner := inner[self.child[node[inner]] >= 0]):
            at = node[inner]
            goes_right = x[row[inner], self.feature[at]] > self.threshold[at]
            node[inner] = self.child[at] + goes_right
        return self.values[node]


class _Forest(Head):
    """Trees of random thresholds.

    Args:
        seed: Of the features and thresholds drawn.
    """

    names = ("extra trees",)

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed


class ExtraTrees(_Forest):
    """The logarithm of the mean of the trees' class shares.

    Each node draws max(sqrt(d), 3) features and a threshold for each, uniform over the node's
    range, and splits by the one of the least Gini impurity, until its examples are of one class.
    Without bootstrap, as in the paper.
    """

    def fit(self, view: FoldedView) -> FittedHead:
        n_way = view.folds.n_way
        n_tries = max(3, round(view.x.shape[1] ** 0.5))
        targets, counts = _Labels(view.folds.y.numpy(), n_way), (N_TREES, N_TREES_OF_FOLD)
        average = _fit_forest(view, targets, n_tries, counts, self.seed)
        return lambda other: ((average(other) + SMOOTHING / n_way) / (1 + SMOOTHING)).log()


class RegressionTrees(_Forest):
    """The mean of trees that split by the variance of their targets.

    Each node draws min(d, 16) features and a threshold for each, and splits by the one after which
    the targets' squared deviations from the means of the two children are least, until all its
    targets are equal.
    """

    def fit(self, view: FoldedView) -> FittedHead:
        targets = _Values(view.targets[:, 0].numpy())
        counts = N_REGRESSION_TREES, N_REGRESSION_TREES_OF_FOLD
        return _fit_forest(view, targets, MAX_TRIES, counts, self.seed)


@dataclass(frozen=True)
class _Labels:
    """Labels (n,), whose sums in a node are the counts of its classes."""

    y: Array
    n_way: int

    def sums(self, node: Array, row: Array, n_nodes: int, weights: Array | None = None) -> Array:
        """Sums over the examples in each node, (c, nodes).

        Args:
            node, row: Pairs of a node and an example in it; shapes broadcast.
            n_nodes: Number of nodes.
            weights: Of the pairs, by default 1.
        """
        cell = (self.y[row] * n_nodes + node).ravel()
        weights = None if weights is None else weights.ravel()
        counts = np.bincount(cell, weights, minlength=self.n_way * n_nodes)
        return counts.astype(np.float32).reshape(self.n_way, n_nodes)

    def is_impure(self, first: Array, row: Array, sums: Array) -> Array:
        """Whether targets in a node differ, shape (nodes,).

        Args:
            first: The first pair of each node.
            row: Of each pair.
            sums: Of each node.
        """
        del first, row
        return sums.max(0) < sums.sum(0)

    @staticmethod
    def values(sums: Array) -> Array:
        """What nodes predict, (nodes, c)."""
        return (sums / sums.sum(0)).T

    @staticmethod
    def purity(sums: Array) -> Array:
        """Examples in a node less their Gini impurity, shape (nodes,)."""
        return np.square(sums).sum(0) / np.maximum(sums.sum(0), 1)


@dataclass(frozen=True)
class _Values:
    """Targets (n,) of regression, whose sums are that of the targets and the count."""

    y: Array

    def sums(self, node: Array, row: Array, n_nodes: int, weights: Array | None = None) -> Array:
        weights = np.ones(node.shape) if weights is None else weights
        each = (weights * self.y[row], weights)
        return np.stack([np.bincount(node.ravel(), one.ravel(), n_nodes) for one in each])

    def is_impure(self, first: Array, row: Array, sums: Array) -> Array:
        del sums
        y = self.y[row]
        return np.minimum.reduceat(y, first) < np.maximum.reduceat(y, first)

    @staticmethod
    def values(sums: Array) -> Array:
        return (sums[:1] / sums[1:]).T.astype(np.float32)

    @staticmethod
    def purity(sums: Array) -> Array:
        """What the mean explains of the sum of squares."""
        return np.square(sums[0]) / np.maximum(sums[1], 1)


_Targets = _Labels | _Values


def _fit_forest(
    view: FoldedView, targets: _Targets, n_tries: int, counts: tuple[int, int], seed: int
) -> FittedHead:
    """Grow the trees of every fold; what comes back averages their values.

    Args:
        counts: How many trees the whole support set has, and each fold.
    """
    folds = view.folds
    n_whole, n_of_fold = counts
    fold_of_tree = np.arange(len(folds)).repeat([n_of_fold] * (len(folds) - 1) + [n_whole])
    trains = folds.trains.numpy()[fold_of_tree]  # (trees, n)
    trees = _grow(view.prepared("raw")[0].numpy(), targets, trains, n_tries, seed)
    of_folds, of_whole = np.split(np.arange(len(trains)), [len(trains) - n_whole])

    def average(other: FoldedView) -> Tensor:
        q = other.prepared("raw")[0].numpy()
        if not other.is_support:
            row = np.tile(np.arange(len(q)), n_whole)
            values = trees.predict(q, of_whole.repeat(len(q)), row)
            return torch.from_numpy(values.reshape(1, 1, n_whole, len(q), values.shape[1]).mean(2))
        # Each fold's trees predict the examples that it leaves out.
        tree, row = (~trains[of_folds]).nonzero()
        values = torch.from_numpy(trees.predict(q, tree, row))
        cell = torch.from_numpy(fold_of_tree[tree] * len(q) + row)
        total = values.new_zeros(len(folds) * len(q), values.shape[1])
        total.index_add_(0, cell, values)
        return total.view(1, len(folds), len(q), -1) / n_of_fold

    return average


def _grow(x: Array, targets: _Targets, trains: Array, n_tries: int, seed: int) -> _Trees:
    """Grow trees, level by level.

    Args:
        x: Examples (n, d).
        targets: Of the examples.
        trains: Which examples each tree learns from, shape (trees, n).
        n_tries: Features that each node draws.
    """
    d = x.shape[1]
    n_tries = min(d, n_tries)
    generator = torch.Generator().manual_seed(seed)
    levels: list[_Trees] = []
    n_nodes, n_above = len(trains), 0
    node, row = trains.nonzero()  # pairs of a node and an example in it, in the order of nodes
    while n_nodes:
        sums = targets.sums(node, row, n_nodes)
        feature = torch.randint(d, (n_nodes, n_tries), generator=generator).numpy()
        share = torch.rand(n_nodes, n_tries, generator=generator).numpy()
        splits = targets.is_impure(_first_of_each(node, n_nodes), row, sums)
        splits &= len(levels) < MAX_DEPTH
        inside = splits[node]
        node, row = _renumbered(node, splits)[inside], row[inside]
        best = _best_splits(x, targets, node, row, feature[splits], share[splits])
        inside = best.is_possible[node]
        node = 2 * _renumbered(node, best.is_possible)[inside] + best.goes_right[inside]
        splits[splits] = best.is_possible  # of a node of equal examples, nothing is
        n_above += n_nodes
        levels.append(_level(targets.values(sums), splits, best, n_above))
        n_nodes = 2 * int(splits.sum())
        order = node.astype(np.min_scalar_type(n_nodes)).argsort(kind="stable")
        node, row = node[order], row[inside][order]
    parts = zip(*(vars(level).values() for level in levels), strict=True)
    return _Trees(*map(np.concatenate, parts))


@dataclass(frozen=True)
class _Splits:
    """How nodes split.

    Args:
        feature, threshold: Shape (nodes,).
        is_possible: Whether any try tells the examples of a node apart, shape (nodes,).
        goes_right: Of each pair of a node and an example, shape (pairs,).
    """

    feature: Array
    threshold: Array
    is_possible: Array
    goes_right: Array


def _best_splits(
    x: Array, targets: _Targets, node: Array, row: Array, feature: Array, share: Array
) -> _Splits:
    """The purest of the random splits of nodes.

    Args:
        x: Examples (n, d).
        targets: Of the examples.
        node, row: Pairs of a node and an example in it, in the order of nodes.
        feature: Which each try takes, shape (nodes, tries).
        share: Where its threshold lies in the node's range, 0 to 1, shape (nodes, tries).
    """
    n_nodes, n_tries = feature.shape
    tries = np.arange(n_tries)[:, None]
    first = _first_of_each(node, n_nodes)
    value = x.take(row * x.shape[1] + feature.T.take(node, axis=1))  # (tries, pairs)
    low, high = (of.reduceat(value, first, axis=1) for of in (np.minimum, np.maximum))
    threshold = low + (high - low) * share.T  # (tries, nodes)
    threshold = np.where(threshold < high, threshold, low)  # rounding may reach high
    is_left = value <= threshold.take(node, axis=1)
    sums = targets.sums(node, row, n_nodes)[:, None]  # (c, 1, nodes)
    left = targets.sums(tries * n_nodes + node, row, n_tries * n_nodes, is_left)
    left = left.reshape(len(sums), n_tries, n_nodes)
    purity = targets.purity(left) + targets.purity(sums - left)  # (tries, nodes)
    purity = np.where(low < high, purity, -1.0)
    best = purity.argmax(0)
    at = best, np.arange(n_nodes)
    goes_right = ~is_left[best.take(node), np.arange(len(node))]
    return _Splits(feature.T[at], threshold[at], purity[at] >= 0, goes_right)


def _level(values: Array, splits: Array, best: _Splits, n_above: int) -> _Trees:
    """The nodes of a level.

    Args:
        values: What they predict, (nodes, c).
        splits: Whether they split, (nodes,).
        best: How those split that may.
        n_above: How many nodes this level and those before have.
    """
    n_split = int(splits.sum())
    feature, threshold = np.zeros(len(splits), np.int64), np.zeros(len(splits), np.float32)
    child = np.full(len(splits), -1)
    feature[splits] = best.feature[best.is_possible]
    threshold[splits] = best.threshold[best.is_possible]
    child[splits] = n_above + 2 * np.arange(n_split)
    return _Trees(values, feature, threshold, child)


def _first_of_each(node: Array, n_nodes: int) -> Array:
    """The first pair of each node."""
    counts = np.bincount(node, minlength=n_nodes)
    return counts.cumsum() - counts


def _renumbered(node: Array, kept: Array) -> Array:
    """Numbers of nodes (pairs,) among those that are kept (nodes,)."""
    return (kept.cumsum() - 1)[node]
