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

__all__ = ["ExtraTrees"]

N_TREES, N_TREES_OF_FOLD = 100, 16

MAX_DEPTH = 24

SMOOTHING = 0.02
"""Weight of equal shares beside the trees' votes, which would else be certain."""


@dataclass(frozen=True)
class _Level:
    """The nodes of one depth, of all trees.

    Args:
        shares: Of each class in a node, shape (nodes, c).
        feature, threshold: What a node splits by, shape (nodes,).
        child: The first of its two children in the next level, or -1 for a leaf.
    """

    shares: Tensor
    feature: Tensor
    threshold: Tensor
    child: Tensor


class ExtraTrees(Head):
    """The logarithm of the mean of the trees' class shares.

    Each node draws max(sqrt(d), 3) features and a threshold for each, uniform over the node's
    range, and splits by the one of the least Gini impurity, until its examples are of one class.
    Without bootstrap, as in the paper.

    Args:
        seed: Of the features and thresholds drawn.
    """

    names = ("extra trees",)

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, view: FoldedView) -> FittedHead:
        folds, x = view.folds, view.prepared("raw")[0]
        n_trees = [N_TREES_OF_FOLD] * (len(folds) - 1) + [N_TREES]
        fold_of_tree = torch.arange(len(folds)).repeat_interleave(torch.tensor(n_trees))
        levels = _grow(x, folds.y, folds.n_way, folds.trains[fold_of_tree], self.seed)
        n_of_folds = len(fold_of_tree) - N_TREES  # the last trees are of the whole support set

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared("raw")[0]
            if not other.is_support:
                trees = torch.arange(n_of_folds, len(fold_of_tree))
                tree, row = trees.repeat_interleave(len(q)), torch.arange(len(q)).repeat(N_TREES)
                return _vote(levels, q, tree, row, row, len(q), N_TREES)[None, None]
            # Each fold's trees vote on the examples that it leaves out.
            tree, row = (~folds.trains[fold_of_tree[:n_of_folds]]).nonzero(as_tuple=True)
            cell = fold_of_tree[tree] * len(q) + row
            votes = _vote(levels, q, tree, row, cell, len(folds) * len(q), N_TREES_OF_FOLD)
            return votes.view(1, len(folds), len(q), -1)

        return scores


def _grow(x: Tensor, y: Tensor, n_way: int, trains: Tensor, seed: int) -> list[_Level]:
    """Grow trees, level by level.

    Args:
        x: Examples (n, d).
        y: Their labels (n,).
        trains: Which examples each tree learns from, shape (trees, n).
    """
    d = x.shape[1]
    n_tries = min(d, max(3, round(d**0.5)))
    generator = torch.Generator().manual_seed(seed)
    node, row = trains.nonzero(as_tuple=True)  # the node that each pair of tree and example is in
    n_nodes = len(trains)
    levels: list[_Level] = []
    while True:
        one_hot = node * n_way + y[row]
        counts = x.new_zeros(n_nodes * n_way).index_add_(0, one_hot, x.new_ones(len(row)))
        counts = counts.view(n_nodes, n_way)
        impure = counts.amax(1) < counts.sum(1)
        feature = torch.randint(d, (n_nodes, n_tries), generator=generator)
        value = x[row[:, None], feature[node]]  # (pairs, tries)
        index = node[:, None].expand_as(value)
        low = x.new_full((n_nodes, n_tries), math.inf).scatter_reduce(0, index, value, "amin")
        high = x.new_full((n_nodes, n_tries), -math.inf).scatter_reduce(0, index, value, "amax")
        threshold = low + (high - low) * torch.rand(n_nodes, n_tries, generator=generator)
        threshold = torch.where(threshold < high, threshold, low)  # rounding may reach high
        is_left = value <= threshold[node]
        left = x.new_zeros(n_nodes * n_way, n_tries).index_add_(0, one_hot, is_left.to(x))
        left = left.view(n_nodes, n_way, n_tries)
        purity = _purity(left) + _purity(counts[..., None] - left)
        purity = torch.where(low < high, purity, -1.0)
        best = purity.argmax(1, keepdim=True)
        splits = impure & (purity.gather(1, best)[:, 0] > 0)
        if len(levels) == MAX_DEPTH:
            splits = torch.zeros_like(splits)
        child = torch.full((n_nodes,), -1)
        child[splits] = 2 * torch.arange(int(splits.sum()))
        shares = counts / counts.sum(1, keepdim=True)
        levels.append(
            _Level(shares, feature.gather(1, best)[:, 0], threshold.gather(1, best)[:, 0], child)
        )
        if not bool(splits.any()):
            return levels
        goes_on = splits[node]
        goes_right = ~is_left.gather(1, best[node])[:, 0]
        node, row = (child[node] + goes_right)[goes_on], row[goes_on]
        n_nodes = 2 * int(splits.sum())


def _purity(counts: Tensor) -> Tensor:
    """Examples in a node less their Gini impurity: (nodes, c, tries) -> (nodes, tries)."""
    return counts.square().sum(1) / counts.sum(1).clamp_min(1)


def _vote(
    levels: list[_Level],
    x: Tensor,
    tree: Tensor,
    row: Tensor,
    cell: Tensor,
    n_cells: int,
    n_trees: int,
) -> Tensor:
    """The logarithm of the mean of trees' class shares, shape (n_cells, c).

    Args:
        x: Examples (m, d).
        tree, row, cell: Which tree votes on which example, and where its vote counts; each of the
            same length.
        n_trees: How many trees vote on an example.
    """
    n_way = levels[0].shares.shape[1]
    total = x.new_zeros(n_cells, n_way)
    node = tree
    for level in levels:
        child = level.child[node]
        leaf = child < 0
        total.index_add_(0, cell[leaf], level.shares[node[leaf]])
        inner = ~leaf
        node, row, cell, child = node[inner], row[inner], cell[inner], child[inner]
        goes_right = x[row, level.feature[node]] > level.threshold[node]
        node = child + goes_right
    return ((total / n_trees + SMOOTHING / n_way) / (1 + SMOOTHING)).log()
