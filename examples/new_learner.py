"""
Write a learner of your own
===========================

A new learner takes thirty lines, and is compared with a known one in ten more::

    pip install 'quickstudy[demo]'
    python examples/new_learner.py
"""

# %%
# A task
# ------
# Tasks come from a task family. These have five classes, three examples of each in the support set
# and five in the query set.

import matplotlib.pyplot as plt
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

train = EpisodeSampler(blob_classes(200), n_way=5, n_shot=3, n_query=5)
unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=5, n_shot=3, n_query=15, seed=1)
train[0]

# %%
# The learner
# -----------
# Prototypical networks measure the distance to a class mean alike in all dimensions of the
# embedding. This learner takes each class as a Gaussian, whose variance along each dimension is
# learned from the support set of the task at hand, together with a prior that all tasks share.


class DiagonalGaussians(EmbeddingLearner):
    """The score of a class is minus half the squared distance, in units of each deviation."""

    def __init__(self, backbone: nn.Module, size: int) -> None:
        super().__init__(backbone)
        self.log_variance = nn.Parameter(torch.zeros(size))  # the prior, which is meta-learned
        self.log_strength = nn.Parameter(torch.zeros(()))  # how many examples it counts for

    def check(self, support: Support) -> None:
        check_every_class(support)  # refuses regression, and classes without an example

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        means = class_means(embedded, support)  # (n_way, size)
        residual = (embedded - means[support.y]).square().sum(0)  # (size,)
        strength, free = self.log_strength.exp(), len(embedded) - len(means)
        variance = (strength * self.log_variance.exp() + residual) / (strength + free)
        return lambda query: -((query[:, None] - means).square() / (2 * variance)).sum(2)


# %%
# Compare
# -------
# Both train on the same tasks, and are tested on the same 300 tasks of classes never seen.

torch.manual_seed(0)
learners = {
    "prototypical networks": PrototypicalNetworks(MLP((8,), (32, 32))),
    "diagonal Gaussians": DiagonalGaussians(MLP((8,), (32, 32)), 32),
}
reports = {}
for name, learner in learners.items():
    meta_train(learner, train, steps=200, meta_batch_size=4)
    reports[name] = meta_test(learner, unseen, 300)
    print(f"{name:22} {100 * reports[name].mean:.1f} ± {100 * reports[name].interval:.1f} %")

figure, axis = plt.subplots(figsize=(6.4, 1.8))
for row, report in enumerate(reports.values()):
    axis.errorbar(100 * report.mean, row, xerr=100 * report.interval, fmt="o", capsize=4)
axis.set_yticks(range(len(reports)), reports)
axis.set(xlabel="accuracy in per cent, with its 95 % interval", ylim=(-0.5, len(reports) - 0.5))
figure.tight_layout()
plt.show()

# %%
# On these tasks the simpler learner is the better one, so measure an idea before you keep it. A
# report shows itself in a notebook.

reports["diagonal Gaussians"]
