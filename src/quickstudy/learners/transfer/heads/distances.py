"""Heads that compare distances: to the mean of each class, and to its nearest examples."""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.learners.transfer.heads.folds import FoldedView, Preparation
from quickstudy.learners.transfer.heads.head import FittedHead, Head

__all__ = ["NearestCentroid", "NearestNeighbours"]

SHARPNESS = 2.0
"""Of the kernel of nearest neighbours, in units of their typical squared distance."""


class NearestCentroid(Head):
    """Minus the squared distance to each class's mean.

    Args:
        preparation: Of the vectors; with "direction", this compares cosines.
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation: Preparation = preparation
        self.names = (f"nearest centroid, {preparation}",)

    def fit(self, view: FoldedView) -> FittedHead:
        members = view.weights[..., None] * view.targets  # (f, n, c)
        sums = members.mT @ view.prepared(self.preparation)
        centroids = sums / members.sum(1)[..., None].clamp_min(1)  # (f, c, d)

        def scores(other: FoldedView) -> Tensor:
            x = other.prepared(self.preparation)
            return -torch.cdist(x, centroids[-len(x) :]).square()[None]

        return scores


class NearestNeighbours(Head):
    """The logarithm of each class's kernel density: near examples alone count.

    The kernel is exp(-2 d^2 / s) at distance d, where s is the mean squared distance from an
    example to its nearest neighbour.

    Args:
        preparation: Of the vectors.
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation: Preparation = preparation
        self.names = (f"nearest neighbours, {preparation}",)

    def fit(self, view: FoldedView) -> FittedHead:
        x = view.prepared(self.preparation)
        weights = view.weights
        distance = view.distances(self.preparation).square()  # (f, n, n)
        excluded = (weights == 0)[:, None] | torch.eye(x.shape[1], dtype=torch.bool)
        nearest = distance.masked_fill(excluded, torch.inf).amin(2)
        scale = ((nearest * weights).sum(1) / view.count[:, 0]).clamp_min(1e-12)  # (f,)

        def scores(other: FoldedView) -> Tensor:
            q = other.prepared(self.preparation)
            near = view.distances(self.preparation) if other.is_support else torch.cdist(q, x[-1:])
            between = near.square()
            f = len(q)
            log_kernel = -SHARPNESS * between / scale[-f:, None, None]
            log_kernel = log_kernel + weights[-f:, None].log()
            greatest = log_kernel.amax(2, keepdim=True)
            density = (log_kernel - greatest).exp() @ view.targets
            return (density.clamp_min(1e-30).log() + greatest)[None]

        return scores
