"""What learners that compare share: one backbone embeds all examples, each once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from quickstudy.learners.base import Learner, Predictor, embed_once, query_loss
from quickstudy.tasks import Episode, Support, Tasks

__all__ = ["EmbeddingLearner"]


class EmbeddingLearner(Learner):
    """A learner without an inner loop: it embeds the support, and makes a predictor from that.

    A new algorithm defines `fit`; it overrides `objective` if its loss is another function of
    scores and targets, and `check` if there are tasks it cannot do. In meta-training, support and
    query go through the backbone as one batch, so batch norm sees both; in evaluation nothing is
    learned from the queries, and in meta-testing each example is embedded once, in however many
    tasks it comes.

    Args:
        backbone: Maps inputs (n, ...) to embeddings (n, d).
    """

    batchable = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        """Make a predictor of embeddings: (n, d) -> (n, n_way), or (n, size of a target).

        Args:
            embedded: Of the support, shape (n_support, d).
            support: Its labels or targets, ways and class attributes.
        """

    def objective(self, scores: Tensor, y: Tensor) -> Tensor:
        """The loss of the predictor's scores, a scalar."""
        return query_loss(scores, y)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        predict = self.fit(self.backbone(support.x), support)
        return lambda x: predict(self.backbone(x))

    def loss(self, episode: Episode) -> Tensor:
        support, query = self.embed(episode)
        return self.objective(self.fit(support, episode.support)(query), episode.query.y)

    def embed(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Embeddings of support and query, made as one batch."""
        x = torch.cat([episode.support.x, episode.query.x])
        support, query = self.backbone(x).split([len(episode.support), len(episode.query)])
        return support, query  # (n_support, d), (n_query, d)

    def on(self, tasks: Tasks) -> tuple[Callable[[Support], Predictor], Tasks]:
        embedded = embed_once(self, self.backbone, tasks)
        if embedded is None:
            return super().on(tasks)

        def adapt(support: Support) -> Predictor:
            self.check(support)
            return self.fit(support.x, support)

        return adapt, embedded
