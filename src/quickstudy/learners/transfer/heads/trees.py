"""Extremely randomised trees, all trees of all folds grown at once.

Geurts, Ernst & Wehenkel, "Extremely randomized trees", Machine Learning 2006.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView
from quickstudy.learners.transfer.heads.head import FittedHead, Head

__all__ = ["ExtraTrees", "RegressionTrees"]

N_TREES, N_TREES_OF_FOLD = 100, 16

MAX_DEPTH = 24

N_REGRESSION_TREES, N_REGRESSION_TREES_OF_FOLD = 64, 8

MAX_TRIES = 16
"""Features that a node of a tree of regression draws, which are all where there are fewer."""

SMOOTHING = 0.02
"""Weight of equal shares beside the trees' votes, which would else be certain."""


@dataclass(frozen=True)
class _Level:
    """The nodes of one depth, of all trees.

    Args:
        values: A node's prediction: the shares of classes (nodes, c), or a mean (nodes, 1).
        feature, threshold: What a node splits by, shape (nodes,).
        child: The first of its two children in the next level, or -1 for a leaf.
    """

    values: Tensor
    feature: Tensor
    threshold: Tensor
    child: Tensor


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
        targets, counts = _Labels(view.folds.y, n_way), (N_TREES, N_TREES_OF_FOLD)
        average = _fit_forest(view, targets, n_tries, counts, self.seed)
        return lambda other: ((average(other) + SMOOTHING / n_way) / (1 + SMOOTHING)).log()


class RegressionTrees(_Forest):
    """The mean of trees that split by the variance of their targets.

    Each node draws min(d, 16) features and a threshold for each, and splits by the one after which
    the targets' squared deviations from the means of the two children are least, until all its
    targets are equal.
    """

    def fit(self, view: FoldedView) -> FittedHead:
        targets = _Values(view.targets[:, 0])
        counts = N_REGRESSION_TREES, N_REGRESSION_TREES_OF_FOLD
        return _fit_forest(view, targets, MAX_TRIES, counts, self.seed)


@dataclass(frozen=True)
class _Labels:
    """Labels (n,), whose sums in a node are the counts of its classes."""

    y: Tensor
    n_way: int

    def sums(self, node: Tensor, row: Tensor, weights: Tensor, n_nodes: int) -> Tensor:
        """Sums over the examples in each node, (nodes, c, ...), of pairs of node and example.

        Args:
            node, row: Of each pair.
            weights: Shape (pairs, ...).
        """
        cell = node * self.n_way + self.y[row]
        total = weights.new_zeros(n_nodes * self.n_way, *weights.shape[1:])
        return total.index_add_(0, cell, weights).view(n_nodes, self.n_way, *weights.shape[1:])

    def is_impure(self, node: Tensor, row: Tensor, sums: Tensor) -> Tensor:
        """Whether targets in a node differ, shape (nodes,)."""
        del node, row
        return sums.amax(1) < sums.sum(1)

    @staticmethod
    def values(sums: Tensor) -> Tensor:
        """What nodes predict, (nodes, c)."""
        return sums / sums.sum(1, keepdim=True)

    @staticmethod
    def purity(sums: Tensor) -> Tensor:
        """Examples in a node less their Gini impurity: (nodes, c, tries) -> (nodes, tries)."""
        return sums.square().sum(1) / sums.sum(1).clamp_min(1)


@dataclass(frozen=True)
class _Values:
    """Targets (n,) of regression, whose sums are that of the targets and the count."""

    y: Tensor

    def sums(self, node: Tensor, row: Tensor, weights: Tensor, n_nodes: int) -> Tensor:
        total = weights.new_zeros(2, n_nodes, *weights.shape[1:])
        y = self.y[row].view(-1, *[1] * (weights.ndim - 1))
        total[0].index_add_(0, node, weights * y)
        total[1].index_add_(0, node, weights)
        return total.transpose(0, 1)  # (nodes, 2, ...)

    def is_impure(self, node: Tensor, row: Tensor, sums: Tensor) -> Tensor:
        y, ends = self.y[row], self.y.new_full((2, len(sums)), torch.inf)
        low = ends[0].scatter_reduce(0, node, y, "amin")
        return low < (-ends[1]).scatter_reduce(0, node, y, "amax")

    @staticmethod
    def values(sums: Tensor) -> Tensor:
        return sums[:, :1] / sums[:, 1:]

    @staticmethod
    def purity(sums: Tensor) -> Tensor:
        """What the mean explains of the sum of squares."""
        return sums[:, 0].square() / sums[:, 1].clamp_min(1)


_Targets = _Labels | _Values


def _fit_forest(
    view: FoldedView, targets: _Targets, n_tries: int, counts: tuple[int, int], seed: int
) -> FittedHead:
    """Grow the trees of every fold; what comes back averages their values.

    Args:
        counts: How many trees the whole support set has, and each fold.
    """
    folds, x = view.folds, view.prepared("raw")[0]
    n_whole, n_of_fold = counts
    n_trees = [n_of_fold] * (len(folds) - 1) + [n_whole]
    fold_of_tree = torch.arange(len(folds)).repeat_interleave(torch.tensor(n_trees))
    levels = _grow(x, targets, folds.trains[fold_of_tree], n_tries, seed)
    n_of_folds = len(fold_of_tree) - n_whole  # the last trees are of the whole support set

    def average(other: FoldedView) -> Tensor:
        q = other.prepared("raw")[0]
        if not other.is_support:
            trees = torch.arange(n_of_folds, len(fold_of_tree))
            tree, row = trees.repeat_interleave(len(q)), torch.arange(len(q)).repeat(n_whole)
            return _average(levels, q, tree, row, row, len(q), n_whole)[None, None]
        # Each fold's trees predict the examples that it leaves out.
        tree, row = (~folds.trains[fold_of_tree[:n_of_folds]]).nonzero(as_tuple=True)
        cell = fold_of_tree[tree] * len(q) + row
        values = _average(levels, q, tree, row, cell, len(folds) * len(q), n_of_fold)
        return values.view(1, len(folds), len(q), -1)

    return average


def _grow(x: Tensor, targets: _Targets, trains: Tensor, n_tries: int, seed: int) -> list[_Level]:
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
    node, row = trains.nonzero(as_tuple=True)  # the node that each pair of tree and example is in
    n_nodes = len(trains)
    levels: list[_Level] = []
    while True:
        sums = targets.sums(node, row, x.new_ones(len(row)), n_nodes)  # (nodes, c)
        impure = targets.is_impure(node, row, sums)
        feature = torch.randint(d, (n_nodes, n_tries), generator=generator)
        value = x[row[:, None], feature[node]]  # (pairs, tries)
        index = node[:, None].expand_as(value)
        low = x.new_full((n_nodes, n_tries), math.inf).scatter_reduce(0, index, value, "amin")
        high = x.new_full((n_nodes, n_tries), -math.inf).scatter_reduce(0, index, value, "amax")
        threshold = low + (high - low) * torch.rand(n_nodes, n_tries, generator=generator)
        threshold = torch.where(threshold < high, threshold, low)  # rounding may reach high
        is_left = value <= threshold[node]
        left = targets.sums(node, row, is_left.to(x), n_nodes)  # (nodes, c, tries)
        purity = targets.purity(left) + targets.purity(sums[..., None] - left)
        purity = torch.where(low < high, purity, -1.0)
        best = purity.argmax(1, keepdim=True)
        splits = impure & (purity.gather(1, best)[:, 0] >= 0)
        if len(levels) == MAX_DEPTH:
            splits = torch.zeros_like(splits)
        child = torch.full((n_nodes,), -1)
        child[splits] = 2 * torch.arange(int(splits.sum()))
        best_feature, best_threshold = feature.gather(1, best)[:, 0], threshold.gather(1, best)
        levels.append(_Level(targets.values(sums), best_feature, best_threshold[:, 0], child))
        if not bool(splits.any()):
            return levels
        goes_on = splits[node]
        goes_right = ~is_left.gather(1, best[node])[:, 0]
        node, row = (child[node] + goes_right)[goes_on], row[goes_on]
        n_nodes = 2 * int(splits.sum())


def _average(
    levels: list[_Level],
    x: Tensor,
    tree: Tensor,
    row: Tensor,
    cell: Tensor,
    n_cells: int,
    n_trees: int,
) -> Tensor:
    """The mean of trees' values, shape (n_cells, c).

    Args:
        x: Examples (m, d).
        tree, row, cell: Which tree predicts which example, and where that counts; each of the same
            length.
        n_trees: How many trees predict an example.
    """
    total = x.new_zeros(n_cells, levels[0].values.shape[1])
    node = tree
    for level in levels:
        child = level.child[node]
        leaf = child < 0
        total.index_add_(0, cell[leaf], level.values[node[leaf]])
        inner = ~leaf
        node, row, cell, child = node[inner], row[inner], cell[inner], child[inner]
        goes_right = x[row, level.feature[node]] > level.threshold[node]
        node = child + goes_right
    return total / n_trees
