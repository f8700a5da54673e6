"""Write a new learner in thirty lines, and hold it beside a known one.

    python examples/new_learner.py

The learner: classes are Gaussians in the space of embeddings, whose variance along each dimension
is learned from the support set of the task at hand, and leans on one that all tasks share.
"""

import torch
from torch import Tensor, nn

from quickstudy import (
    EmbeddingLearner,
    EpisodeSampler,
    PrototypicalNetworks,
    Support,
    meta_test,
    meta_train,
)
from quickstudy.learners.base import Predictor, check_every_class, class_means
from quickstudy.nn import MLP
from quickstudy.testing import blob_classes


class DiagonalGaussians(EmbeddingLearner):
    """log p(class | x) is minus half the squared distance, each dimension in its own deviation."""

    def __init__(self, backbone: nn.Module, size: int) -> None:
        super().__init__(backbone)
        self.log_variance = nn.Parameter(torch.zeros(size))  # meta-learned: shared by all tasks
        self.log_trust = nn.Parameter(torch.zeros(()))  # how many examples that counts for

    def check(self, support: Support) -> None:
        check_every_class(support)  # refuses regression, and classes without an example

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        means = class_means(embedded, support)
        spread = (embedded - means[support.y]).square().sum(0)
        trust, free = self.log_trust.exp(), len(embedded) - len(means)
        variance = (trust * self.log_variance.exp() + spread) / (trust + free)
        return lambda asked: -((asked[:, None] - means).square() / (2 * variance)).sum(2)


train = EpisodeSampler(blob_classes(200), n_way=5, n_shot=3, n_query=5)
unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=5, n_shot=3, n_query=15, seed=1)
for name, learner in {
    "prototypes": PrototypicalNetworks(MLP((8,), (32, 32))),
    "diagonal Gaussians": DiagonalGaussians(MLP((8,), (32, 32)), 32),
}.items():
    meta_train(learner, train, steps=200, meta_batch_size=4)
    found = meta_test(learner, unseen, 300)
    print(f"{name:20} {100 * found.mean:.1f} ± {100 * found.interval:.1f} %")
