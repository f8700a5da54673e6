"""What learners in context share: the support and the queries are one sequence for a network."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from quickstudy.learners.base import Predictor, encode_targets, feature_size
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import widen
from quickstudy.tasks import Support

__all__ = ["InContextLearner"]


class InContextLearner(EmbeddingLearner):
    """One network reads the support, and answers the queries.

    A row of the sequence is the features of an example beside its target, which for a query is
    unknown. Rows are in the order support, queries; each query is answered as if it were the only
    one.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Most classes a task may have, or size of a regression target.
    """

    ways = "fewer"

    def __init__(self, backbone: nn.Module, n_outputs: int) -> None:
        super().__init__(backbone)
        feature_size(backbone)
        self.n_outputs = n_outputs

    @abstractmethod
    def read(self, features: Tensor, targets: Tensor) -> Tensor:
        """Read a sequence and answer its queries.

        Args:
            features: Of support and queries, shape (n_support + n_query, d).
            targets: Of the support, as vectors, shape (n_support, n_outputs).

        Returns:
            Shape (n_query, n_outputs).
        """

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        targets = encode_targets(support.y, self.n_outputs, like=widen(embedded))

        def predict(query: Tensor) -> Tensor:
            scores = self.read(torch.cat([embedded, query]), targets)
            return widen(scores)[:, : support.n_way]

        return predict
