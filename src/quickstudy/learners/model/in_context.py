"""What learners in context share: the support and the queries are one sequence for a network."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_ways,
    encode_targets,
    feature_size,
    query_loss,
)
from quickstudy.nn import widen
from quickstudy.tasks import Episode, Support

__all__ = ["InContextLearner"]


class InContextLearner(Learner):
    """A learner without an inner loop: one network reads the support, and answers the queries.

    A row of the sequence is the features of an example beside its target, which for a query is
    unknown. Rows are in the order support, queries; each query is answered as if it were the only
    one. In meta-training the backbone sees both as one batch.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Most classes a task may have, or size of a regression target.
    """

    batchable = True
    any_ways = False

    def __init__(self, backbone: nn.Module, n_outputs: int) -> None:
        super().__init__()
        feature_size(backbone)
        self.backbone, self.n_outputs = backbone, n_outputs

    @abstractmethod
    def read(self, features: Tensor, targets: Tensor) -> Tensor:
        """Read a sequence and answer its queries.

        Args:
            features: Of support and queries, shape (n_support + n_query, d).
            targets: Of the support, as vectors, shape (n_support, n_outputs).

        Returns:
            Shape (n_query, n_outputs).
        """

    def adapt(self, support: Support) -> Predictor:
        check_ways(support, self.n_outputs, fewer=True)
        shown = self.backbone(support.x)
        return lambda x: self._scores(torch.cat([shown, self.backbone(x)]), support)

    def loss(self, episode: Episode) -> Tensor:
        support, query = episode.support, episode.query
        check_ways(support, self.n_outputs, fewer=True)
        features = self.backbone(torch.cat([support.x, query.x]))
        return query_loss(self._scores(features, support), query.y)

    def _scores(self, features: Tensor, support: Support) -> Tensor:
        targets = encode_targets(support.y, self.n_outputs, like=widen(features))
        return widen(self.read(features, targets))[:, : support.n_way]
