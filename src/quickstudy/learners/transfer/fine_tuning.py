"""Fine-tuning: learn all training classes at once, then train on what a new task shows.

The baselines of Ravi & Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017,
section 5.1: fine-tuning, and nearest neighbours of the pretrained features.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    class_maxima,
    feature_size,
    query_loss,
)
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Episode, Support

__all__ = ["FineTuning"]


class FineTuning(Learner):
    """Pretrain a backbone as a classifier of all training classes, then adapt it to a task.

    Meta-training ignores that examples come as tasks: the loss is the cross-entropy of each
    example's class in the data set, over support and query alike. Give episodes no shots and one
    or two queries of many or all classes. To adapt, a new linear layer that starts at zero is
    trained on the support set by Adam, together with the backbone or alone; batch norm keeps the
    statistics of pretraining.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_classes: Classes in the training data, or more.
        method: "fine_tune", "linear_probe" to train the new layer alone, or "nearest_neighbour"
            to train nothing: a query gets the class of the example of greatest cosine similarity.
        adapt_steps: Steps of Adam on the support set, which is one batch.
        adapt_lr: Their learning rate.

    Raises:
        UsageError: If an option is out of range.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = FineTuning(MLP((4,)), n_classes=10).eval()
        >>> support = Support(torch.rand(6, 4), torch.arange(6) % 3, n_way=3)
        >>> learner.adapt(support)(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        n_classes: int = 64,
        method: Literal["fine_tune", "linear_probe", "nearest_neighbour"] = "fine_tune",
        adapt_steps: int = 50,
        adapt_lr: float = 1e-3,
    ) -> None:
        super().__init__()
        check_option("method", method, ("fine_tune", "linear_probe", "nearest_neighbour"))
        if min(n_classes, adapt_steps + 1) < 1 or adapt_lr <= 0:
            raise UsageError(
                "expected n_classes >= 1, adapt_steps >= 0 and a positive adapt_lr, got "
                f"{n_classes}, {adapt_steps} and {adapt_lr}"
            )
        self.backbone, self.method = backbone, method
        self.adapt_steps, self.adapt_lr = adapt_steps, adapt_lr
        self.classifier = nn.Linear(feature_size(backbone), n_classes)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        if self.method == "nearest_neighbour":
            return self._nearest(support)
        weights = {name: p.detach() for name, p in self.backbone.named_parameters()}
        size, n_way = feature_size(self.backbone), support.n_way or 0
        head = support.x.new_zeros(n_way, size), support.x.new_zeros(n_way)
        tuned = {"weight": head[0], "bias": head[1]}
        if self.method == "fine_tune":
            tuned |= {f"backbone.{name}": w.clone() for name, w in weights.items()}
        for value in tuned.values():
            value.requires_grad_()

        def scores(x: Tensor) -> Tensor:
            own = {n: tuned.get(f"backbone.{n}", w) for n, w in weights.items()}
            buffers = {n: b.clone() for n, b in self.backbone.named_buffers()}
            features = widen(functional_call(self.backbone, {**own, **buffers}, (x,)))
            return F.linear(features, tuned["weight"], tuned["bias"])

        optimizer = torch.optim.Adam(tuned.values(), lr=self.adapt_lr)
        with torch.enable_grad():
            for _ in range(self.adapt_steps):
                optimizer.zero_grad()
                query_loss(scores(support.x), support.y).backward()
                optimizer.step()
        for value in tuned.values():
            value.requires_grad_(False)
        return scores

    def _nearest(self, support: Support) -> Predictor:
        shown = self._directions(support.x)
        return lambda x: class_maxima(self._directions(x) @ shown.T, support)

    def _directions(self, x: Tensor) -> Tensor:
        return F.normalize(widen(self.backbone(x)), dim=1)

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
        with full_precision(x):
            return F.cross_entropy(self.classifier(features), classes)
