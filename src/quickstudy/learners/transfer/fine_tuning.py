"""Fine-tuning: learn all training classes at once, then train on what a new task shows.

- Fine-tuning and nearest neighbours of the pretrained features: the baselines of Ravi &
  Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017, section 5.1.
- Baseline++: Chen, Liu, Kira, Wang & Huang, "A Closer Look at Few-shot Classification", ICLR 2019,
  arXiv:1904.04232.
- SimpleShot: Wang, Chao, Weinberger & van der Maaten, "SimpleShot: Revisiting Nearest-Neighbor
  Classification for Few-Shot Learning", 2019, arXiv:1911.04623.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Literal, get_args

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
    class_means,
    encode_targets,
    feature_size,
    fit_ridge,
    query_loss,
)
from quickstudy.nn import cosine_similarity, full_precision, squared_euclidean, widen
from quickstudy.tasks import Episode, Support

__all__ = ["FineTuning"]


Method = Literal["fine_tune", "linear_probe", "nearest_neighbour", "nearest_centroid", "ridge"]

COSINE_SCALE = 10.0
"""Factor on cosines, which alone cannot make a confident softmax."""

MOMENTUM = 0.05
"""Share of a batch in the moving average of the features."""


class FineTuning(Learner):
    """Pretrain a backbone as a classifier of all training classes, then adapt it to a task.

    Meta-training ignores that examples come as tasks: the loss is the cross-entropy of each
    example's class in the data set, over support and query alike. Give episodes no shots and one
    or two queries of many or all classes. To adapt, a new layer is trained on the support set by
    Adam, together with the backbone or alone; batch norm keeps the statistics of pretraining. A
    linear layer starts at zero, one of cosines at the class means.

    Relatives: `classifier="cosine"` with `method="linear_probe"` is Baseline++, and
    `method="nearest_centroid"` is SimpleShot's CL2N.

    Differs from the papers: Baseline++ draws the new layer's first weights at random and trains it
    by SGD on batches of 4; here the batch is the support set. SimpleShot centres by the mean
    feature of all training examples; here it is a moving average over pretraining's batches.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_classes: Classes in the training data, or more.
        method: "fine_tune", "linear_probe" to train the new layer alone, or without training:
            "nearest_neighbour", the class of the example of greatest cosine similarity;
            "nearest_centroid", of the nearest mean of centred features of length one; "ridge",
            the closed form of a ridge regression to one-hot labels, on such features.
        classifier: Layer of pretraining and of a new task: "linear", or "cosine", ten times the
            cosine with a weight vector per class.
        tuned: Patterns of the names of the backbone's parameters that "fine_tune" changes.
        adapt_steps: Steps of Adam on the support set, which is one batch.
        adapt_lr: Their learning rate.
        ridge: Strength of the regularisation of "ridge".

    Raises:
        UsageError: If an option is out of range, or `tuned` matches no parameter.

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
        check_option("method", method, get_args(Method))
        check_option("classifier", classifier, ("linear", "cosine"))
        if min(n_classes, adapt_steps + 1) < 1 or min(adapt_lr, ridge) <= 0:
            raise UsageError(
                "expected n_classes >= 1, adapt_steps >= 0 and a positive adapt_lr and ridge, got "
                f"{n_classes}, {adapt_steps}, {adapt_lr} and {ridge}"
            )
        self.backbone, self.method, self.cosine = backbone, method, classifier == "cosine"
        self.adapt_steps, self.adapt_lr, self.ridge = adapt_steps, adapt_lr, ridge
        names = [name for name, _ in backbone.named_parameters()]
        self.tuned = [n for n in names if any(fnmatch(n, pattern) for pattern in tuned)]
        if names and not self.tuned:
            raise UsageError(f"expected `tuned` to match a parameter, got {list(tuned)}")
        size = feature_size(backbone)
        self.classifier = nn.Linear(size, n_classes, bias=not self.cosine)
        self.register_buffer("centre", torch.zeros(size))

    def check(self, support: Support) -> None:
        if not self.training:  # pretraining takes examples, however they come
            check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        check_every_class(support)
        if self.method in ("fine_tune", "linear_probe"):
            return self._train(support)
        if self.method == "nearest_neighbour":
            shown = F.normalize(self._features(support.x), dim=1)
            return lambda x: class_maxima(cosine_similarity(self._features(x), shown), support)
        shown = self._directions(support.x)
        if self.method == "nearest_centroid":
            centroids = class_means(shown, support)
            return lambda x: -squared_euclidean(self._directions(x), centroids)
        targets = encode_targets(support.y, support.n_way or 0, like=shown)
        weights = fit_ridge(shown, targets, self.ridge)
        return lambda x: self._directions(x) @ weights

    def _train(self, support: Support) -> Predictor:
        """Fine-tune, or train the new layer alone."""
        weights = {name: p.detach() for name, p in self.backbone.named_parameters()}
        n_way = support.n_way or 0
        tuned: dict[str, Tensor] = {}
        if self.cosine:
            with torch.no_grad():
                tuned["weight"] = class_means(
                    F.normalize(self._features(support.x), dim=1), support
                )
        else:
            tuned["weight"] = self.classifier.weight.new_zeros(n_way, self.classifier.in_features)
            tuned["bias"] = self.classifier.weight.new_zeros(n_way)
        if self.method == "fine_tune":
            tuned |= {f"backbone.{name}": weights[name].clone() for name in self.tuned}
        for value in tuned.values():
            value.requires_grad_()

        def scores(x: Tensor) -> Tensor:
            own = {n: tuned.get(f"backbone.{n}", w) for n, w in weights.items()}
            buffers = {n: b.clone() for n, b in self.backbone.named_buffers()}
            features = widen(functional_call(self.backbone, {**own, **buffers}, (x,)))
            return self._classify(features, tuned["weight"], tuned.get("bias"))

        optimizer = torch.optim.Adam(tuned.values(), lr=self.adapt_lr)
        with torch.enable_grad():
            for _ in range(self.adapt_steps):
                optimizer.zero_grad()
                query_loss(scores(support.x), support.y).backward()
                optimizer.step()
        for value in tuned.values():
            value.requires_grad_(False)
        return scores

    def _classify(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.cosine:
            return COSINE_SCALE * cosine_similarity(features, weight)
        return F.linear(features, weight, bias)

    def _features(self, x: Tensor) -> Tensor:
        return widen(self.backbone(x))

    def _directions(self, x: Tensor) -> Tensor:
        return F.normalize(self._features(x) - self.centre, dim=1)

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
        features = self._features(x)
        if self.training:
            with torch.no_grad():
                self.centre.lerp_(features.mean(0), MOMENTUM)
        with full_precision(x):
            scores = self._classify(features, self.classifier.weight, self.classifier.bias)
            return F.cross_entropy(scores, classes)
