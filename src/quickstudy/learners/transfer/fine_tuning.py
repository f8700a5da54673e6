"""Fine-tuning: pretrain on all training classes at once, then train on the support set of a task.

- Fine-tuning and nearest neighbours of the pretrained features: the baselines of Ravi &
  Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017, section 5.1.
- Baseline++: Chen, Liu, Kira, Wang & Huang, "A Closer Look at Few-shot Classification", ICLR 2019,
  arXiv:1904.04232.
- SimpleShot: Wang, Chao, Weinberger & van der Maaten, "SimpleShot: Revisiting Nearest-Neighbor
  Classification for Few-Shot Learning", 2019, arXiv:1911.04623.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    embed_once,
    feature_size,
)
from quickstudy.learners.transfer.strategies import Method, TransferStrategy, cosine_scores
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Episode, Support, Tasks

__all__ = ["FineTuning"]

MOMENTUM = 0.05
"""Weight of a new batch in the moving average of the features."""


class FineTuning(Learner):
    """Pretrain a backbone as a classifier of all training classes, then adapt it to a task.

    Meta-training ignores that examples come as tasks: the loss is the cross-entropy of each
    example's class in the data set, over support and query alike. Give episodes no shots and one
    or two queries of many or all classes. A new task is learned by a `TransferStrategy`.

    Relatives: `classifier="cosine"` with `method="linear_probe"` is Baseline++, and
    `method="nearest_centroid"` is SimpleShot's CL2N.

    Differs from the papers: Baseline++ draws the new layer's first weights at random and trains it
    by SGD on batches of 4; here the batch is the support set. SimpleShot centres by the mean
    feature of all training examples; here it is a moving average over pretraining's batches.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_classes: Classes in the training data, or more.
        method, tuned, adapt_steps, adapt_lr, ridge: As of `TransferStrategy`.
        classifier: Layer of pretraining and of a new task: "linear", or "cosine", ten times the
            cosine with a weight vector per class.

    Raises:
        UsageError: If an option is out of range, or a pattern of `tuned` matches no parameter.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = FineTuning(MLP((4,)), n_classes=10).eval()
        >>> support = Support(torch.rand(6, 4), torch.arange(6) % 3, n_way=3)
        >>> learner.adapt(support)(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """

    centre: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        n_classes: int = 64,
        method: Method = "fine_tune",
        classifier: Literal["linear", "cosine"] = "linear",
        tuned: Sequence[str] = ("*",),
        adapt_steps: int = 50,
        adapt_lr: float = 1e-3,
        ridge: float = 0.1,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise UsageError(f"expected n_classes >= 1, got {n_classes}")
        self.strategy = TransferStrategy(method, classifier, tuned, adapt_steps, adapt_lr, ridge)
        self.strategy.names(backbone)
        self.backbone, self.cosine = backbone, classifier == "cosine"
        size = feature_size(backbone)
        self.classifier = nn.Linear(size, n_classes, bias=not self.cosine)
        self.register_buffer("centre", torch.zeros(size))

    def check(self, support: Support) -> None:
        if not self.training:  # pretraining takes examples, however they come
            check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        return self.strategy.adapt(self.backbone, self.centre, support)

    def on(self, tasks: Tasks) -> tuple[Callable[[Support], Predictor], Tasks]:
        can_embed = self.strategy.keeps_backbone and not self.strategy.is_raw
        embedded = embed_once(self, self.backbone, tasks) if can_embed else None
        if embedded is None:
            return super().on(tasks)
        return lambda support: self.strategy.adapt(nn.Identity(), self.centre, support), embedded

    def loss(self, episode: Episode) -> Tensor:
        """Cross-entropy of all examples over the classes of the data set."""
        if episode.classes is None:
            raise DataError("expected a classification task whose classes have ids, got none")
        x = torch.cat([episode.support.x, episode.query.x])
        classes = episode.classes[torch.cat([episode.support.y, episode.query.y])]
        if (largest := int(classes.max())) >= self.classifier.out_features:
            raise DataError(
                f"expected class ids below n_classes = {self.classifier.out_features}, got "
                f"{largest}: set n_classes to the number of classes in the training data"
            )
        features = widen(self.backbone(x))
        if self.training:
            with torch.no_grad():
                self.centre.lerp_(features.mean(0), MOMENTUM)
        with full_precision(x):
            layer = self.classifier
            scores = cosine_scores(features, layer.weight) if self.cosine else layer(features)
            return F.cross_entropy(scores, classes)
