"""Convolutional Siamese networks: learn whether two examples are of one class.

Koch, Zemel & Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition", ICML Deep
Learning Workshop 2015.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy import special
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_maxima,
    device_of,
    feature_size,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import widen
from quickstudy.tasks import Episode, Support, Tasks

__all__ = ["SiameseNetworks", "verification_accuracy"]


class SiameseNetworks(EmbeddingLearner):
    """Embed two examples by one network, and judge from their distance whether they are the same.

    The probability of that is `p = sigmoid(sum_j alpha_j |h1_j - h2_j| + bias)`, with learned
    weights alpha (section 3.1). The loss is binary cross-entropy over all pairs of a query and a
    support example. A query's score for a class is the greatest log-probability of being the
    same as one of its examples, which for one shot is the paper's rule (section 4.3).

    Differs from the paper: pairs come from episodes, not at random from the whole training set,
    and same and different pairs count equally in the loss, where the paper draws as many of
    each. There is a bias, without which two equal images would be as likely the same as not. Of
    several shots the paper says nothing. The L2 penalty is the optimiser's weight decay, one for
    all layers; `KochConv` is the paper's network, with its initial weights, and the linear layers
    start as PyTorch's do.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        embedding: Units of the fully connected sigmoid layer that is compared, 4096 in the paper;
            0 to compare the features of the backbone itself.

    Raises:
        UsageError: If `embedding` is negative, or the backbone has no `out_features`.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = SiameseNetworks(MLP((8,)), embedding=16).eval()
        >>> support = Support(torch.rand(5, 8), torch.arange(5), n_way=5)
        >>> learner.adapt(support)(torch.rand(3, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(self, backbone: nn.Module, embedding: int = 4096) -> None:
        if embedding < 0:
            raise UsageError(f"expected an embedding of 0 or more units, got {embedding}")
        size = feature_size(backbone)
        if embedding:
            backbone = nn.Sequential(backbone, nn.Linear(size, embedding), nn.Sigmoid())
        super().__init__(backbone)
        self.same = nn.Linear(embedding or size, 1)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        return lambda x: class_maxima(F.logsigmoid(self._compare(x, embedded)), support)

    def loss(self, episode: Episode) -> Tensor:
        """Binary cross-entropy over the pairs of a query and a support example."""
        support, query = self.embed(episode)
        logits = self._compare(query, support)
        same = (episode.query.y[:, None] == episode.support.y).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, same, reduction="none")
        return (_mean(losses, same) + _mean(losses, 1 - same)) / 2

    def compare(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Log-odds that each of `x1` (n, ...) is of the class of each of `x2` (m, ...): (n, m)."""
        return self._compare(self.backbone(x1), self.backbone(x2))

    def _compare(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = widen(a), widen(b)
        # A weighted L1 distance is an L1 distance of weighted vectors, for weights of one sign;
        # so no (n, m, d) tensor is needed.
        alpha = self.same.weight
        near, far = (
            torch.cdist(a * weight, b * weight, p=1.0) for weight in (alpha.relu(), (-alpha).relu())
        )
        return near - far + self.same.bias


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


def verification_accuracy(
    learner: SiameseNetworks, tasks: Tasks, n_tasks: int = 600
) -> tuple[float, float]:
    """How often the learner is right about whether two images show the same character.

    For each of the first `n_tasks` tasks, over all pairs of a query and a support example, with
    the threshold at probability 1/2: the mean of the accuracy on same and on different pairs,
    which is that on a balanced set of pairs as in section 4.2. The learner is in evaluation mode
    meanwhile, and tasks are moved to its device.

    Returns:
        Mean accuracy, and half-width of its 95 % t-interval over tasks.

    Raises:
        UsageError: With fewer than two tasks, which give no interval.
        DataError: If a task has no pair of one kind.

    Example:
        >>> from quickstudy.nn import MLP
        >>> from quickstudy.testing import blob_classes
        >>> from quickstudy.tasks import EpisodeSampler
        >>> tasks = EpisodeSampler(blob_classes(), n_way=5, n_shot=1, n_query=1)
        >>> mean, half = verification_accuracy(SiameseNetworks(MLP((8,)), 16), tasks, 10)
        >>> 0 <= mean <= 1
        True
    """
    if n_tasks < 2:
        raise UsageError(f"expected at least 2 tasks for an interval, got {n_tasks}")
    was_training = learner.training
    learner.eval()
    scores: list[Tensor] = []
    try:
        with torch.no_grad():
            for i in range(n_tasks):
                episode = tasks[i].to(device_of(learner))
                support, query = episode.support, episode.query
                same = query.y[:, None] == support.y
                if bool(same.all()) or not bool(same.any()):
                    raise DataError(f"expected same and different pairs in task {i}")
                right = ((learner.compare(query.x, support.x) > 0) == same).double()
                scores.append((right[same].mean() + right[~same].mean()) / 2)
    finally:
        learner.train(was_training)
    sample = torch.stack(scores)
    half = float(special.stdtrit(n_tasks - 1, 0.975)) * float(sample.std()) / math.sqrt(n_tasks)
    return float(sample.mean()), half
