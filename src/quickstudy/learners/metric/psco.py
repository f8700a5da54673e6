"""PsCo: contrast with examples of a queue, which an optimal assignment takes for the same class.

Jang, Lee & Shin, "Unsupervised Meta-learning via Few-shot Pseudo-supervised Contrastive Learning",
ICLR 2023, arXiv:2303.00996. n is the number of support examples, m of queries, M of examples in
the queue, d the size of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import Predictor, check_every_class, class_means, feature_size
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import MomentumCopy, cosine_similarity, full_precision, widen
from quickstudy.tasks import Episode, Support

__all__ = ["PsCo", "sinkhorn"]


class PsCo(EmbeddingLearner):
    """Pseudo-supervised contrastive learning over momentum contrast (MoCo).

    It trains on tasks of distorted copies, as `CopyTasks` draws them. A momentum copy of backbone
    and projector embeds the support examples as keys z_s; backbone, projector and predictor embed
    the queries q_i. Keys of earlier tasks stay in a queue. The Sinkhorn algorithm assigns those of
    the queue to the keys, and the `pseudo_shots` best of each are its shots. The loss is

        L = L_con(q, shots; `temperature`) + L_con(q, z and the queue; `moco_temperature`)

    where L_con is the cross-entropy of the scores q_i . k / temperature over all k, with those that
    belong to the copy of query i as its targets. All embeddings have length one.

    A class is scored by the cosine of the query, through the predictor, to the mean of its examples
    without it, over `moco_temperature`.

    A key in the queue stands for one example, so keys of several tasks are not averaged: a
    meta-step makes one update a task, and training has one process.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d).
        hidden: Width of the hidden layer of projector and predictor.
        size: Length of their outputs, d.
        queue_size: Keys in the queue, M.
        pseudo_shots: Keys of the queue that are assigned to each example, K.
        momentum: Of the copy (see `MomentumCopy`).
        temperature: Of the loss over the assigned keys.
        moco_temperature: Of the loss over all keys, and of the scores.
        epsilon: Weight of the entropy in the assignment.
        sinkhorn_steps: Passes over rows and columns.

    Raises:
        UsageError: If a number is out of range, or the backbone has no `out_features`.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = PsCo(MLP((4,)), hidden=16, size=8, queue_size=32).eval()
        >>> support = Support(torch.eye(4), torch.arange(4), n_way=4)
        >>> learner.adapt(support)(torch.eye(4)).shape
        torch.Size([4, 4])
    """

    batchable = False  # a task leaves the queue as the next one finds it

    def __init__(
        self,
        backbone: nn.Module,
        hidden: int = 4096,
        size: int = 256,
        queue_size: int = 16384,
        pseudo_shots: int = 1,
        momentum: float = 0.99,
        temperature: float = 1.0,
        moco_temperature: float = 0.2,
        epsilon: float = 0.05,
        sinkhorn_steps: int = 3,
    ) -> None:
        super().__init__(backbone)
        if min(hidden, size, pseudo_shots, sinkhorn_steps) < 1 or queue_size < pseudo_shots:
            raise UsageError(
                "expected hidden, size, pseudo_shots and sinkhorn_steps of 1 or more, and a queue "
                f"of at least pseudo_shots, got {hidden}, {size}, {pseudo_shots}, "
                f"{sinkhorn_steps} and {queue_size}"
            )
        if min(temperature, moco_temperature, epsilon) <= 0 or not 0 <= momentum <= 1:
            raise UsageError(
                "expected temperatures and epsilon above 0, and a momentum of 0 to 1, got "
                f"{temperature}, {moco_temperature}, {epsilon} and {momentum}"
            )
        self.pseudo_shots, self.sinkhorn_steps, self.epsilon = pseudo_shots, sinkhorn_steps, epsilon
        self.temperature, self.moco_temperature = temperature, moco_temperature
        self.projector = nn.Sequential(
            *_hidden_layer(feature_size(backbone), hidden),
            nn.Linear(hidden, size, bias=False),
            nn.BatchNorm1d(size, affine=False),
        )
        self.predictor = nn.Sequential(
            *_hidden_layer(size, hidden), nn.Linear(hidden, size, bias=False)
        )
        self.momentum_encoder = MomentumCopy(self._encoder(), momentum)
        self.queue: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, size), dim=1))

    def _encoder(self) -> nn.Sequential:
        """What the momentum encoder is a copy of."""
        return nn.Sequential(self.backbone, self.projector)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        keys = F.normalize(widen(self.projector(embedded)), dim=1)
        prototypes = class_means(keys, support)  # (n_way, d)

        def predict(embedded: Tensor) -> Tensor:
            queries = self.predictor(self.projector(embedded))
            return cosine_similarity(queries, prototypes) / self.moco_temperature  # (m, n_way)

        return predict

    def updates(self, tasks: Sequence[Any]) -> Iterator[Sequence[Any]]:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and torch.distributed.get_world_size() > 1:
            raise UsageError("expected one process to train PsCo, whose queue is not shared")
        for task in tasks:
            self.check(task.support)
            self.momentum_encoder.follow(self._encoder())
            yield [task]

    def loss(self, episode: Episode) -> Tensor:
        support, query = episode.support, episode.query
        queries = self.predictor(self.projector(self.backbone(query.x)))
        with torch.no_grad():
            keys = F.normalize(widen(self.momentum_encoder(support.x)), dim=1)  # (n, d)
        same = (query.y[:, None] == support.y).to(keys.dtype)  # (m, n)
        targets = same / same.sum(1, keepdim=True)
        with full_precision(keys):
            queries = F.normalize(widen(queries), dim=1)  # (m, d)
            loss = self._pseudo_supervised(queries, keys, targets)
            loss = loss + self._momentum_contrast(queries, keys, targets)
            self.queue = torch.cat([self.queue, keys])[-len(self.queue) :]
        return loss

    def _pseudo_supervised(self, queries: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy over the keys of the queue that are assigned to one of `keys`."""
        k = self.pseudo_shots
        assigned = sinkhorn(
            keys @ self.queue.T, epsilon=self.epsilon, steps=self.sinkhorn_steps
        )  # (n, M)
        shots = self.queue[assigned.topk(k, dim=1).indices.flatten()]  # (n * K, d)
        scores = queries @ shots.T / self.temperature  # (m, n * K)
        return F.cross_entropy(scores, targets.repeat_interleave(k, dim=1) / k)

    def _momentum_contrast(self, queries: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each of a query's own keys against all of the queue."""
        own = queries @ keys.T / self.moco_temperature  # (m, n)
        others = (queries @ self.queue.T / self.moco_temperature).logsumexp(1, keepdim=True)
        return (targets * F.softplus(others - own)).sum(1).mean()


def sinkhorn(similarity: Tensor, *, epsilon: float = 0.05, steps: int = 3) -> Tensor:
    """Assign columns to rows, each row as many and each column as often as any other, so that the
    similarity is great: optimal transport with an entropy (Cuturi, "Sinkhorn Distances", NeurIPS
    2013).

    Of all A with rows that sum to 1 and columns that sum to n / M, after many steps it is the one
    of the greatest <A, similarity> + epsilon * entropy(A).

    Args:
        similarity: Shape (n, M).
        epsilon: Weight of the entropy.
        steps: Times that columns, and then rows, are scaled.

    Returns:
        A, of shape (n, M); rows sum to 1.

    Example:
        >>> sinkhorn(torch.tensor([[1.0, 0.9], [1.0, 0.0]])).argmax(1)
        tensor([1, 0])
    """
    log = similarity / epsilon
    for _ in range(steps):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def _hidden_layer(n_inputs: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(n_inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
