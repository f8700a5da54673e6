"""Ways to adapt a trained backbone to a new task, in closed form or by a few training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_maxima,
    class_means,
    encode_targets,
    fit_ridge,
    names_matching,
    query_loss,
)
from quickstudy.nn import cosine_similarity, full_precision, squared_euclidean, widen
from quickstudy.tasks import Support

__all__ = ["TransferStrategy", "cosine_scores"]

Method = Literal["fine_tune", "linear_probe", "nearest_neighbour", "nearest_centroid", "ridge"]

COSINE_SCALE = 10.0
"""Factor on cosines, which alone cannot make a confident softmax."""


@dataclass(frozen=True)
class TransferStrategy:
    """How a new task is learned with a backbone that was trained on others.

    A new layer is trained on the support set by Adam, together with the backbone or alone, or the
    features are compared without training. Batch norm keeps its statistics. A linear layer starts
    at zero, one of cosines at the class means.

    Args:
        method: "fine_tune", "linear_probe" to train the new layer alone, or without training:
            "nearest_neighbour", the class of the example of greatest cosine similarity;
            "nearest_centroid", of the nearest mean of centred features of length one; "ridge",
            the closed form of a ridge regression to one-hot labels, on such features.
        classifier: The new layer: "linear", or "cosine", ten times the cosine with a weight vector
            per class.
        tuned: Patterns of the names of the backbone's parameters that "fine_tune" changes.
        adapt_steps: Steps of Adam on the support set, which is one batch.
        adapt_lr: Their learning rate.
        ridge: Strength of the regularisation of "ridge".
        inputs: What a strategy that keeps the backbone compares: "features", or "raw", the
            flattened examples themselves, without anything learned from other tasks.

    Raises:
        UsageError: If an option is out of range, or "fine_tune" is given raw inputs.

    Example:
        >>> support = Support(torch.rand(6, 4), torch.arange(6) % 3, n_way=3)
        >>> predict = TransferStrategy("ridge").adapt(nn.Flatten(), torch.zeros(4), support)
        >>> predict(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """

    method: Method = "fine_tune"
    classifier: Literal["linear", "cosine"] = "linear"
    tuned: Sequence[str] = ("*",)
    adapt_steps: int = 50
    adapt_lr: float = 1e-3
    ridge: float = 0.1
    inputs: Literal["features", "raw"] = "features"

    def __post_init__(self) -> None:
        check_option("method", self.method, get_args(Method))
        check_option("classifier", self.classifier, ("linear", "cosine"))
        check_option("inputs", self.inputs, ("features", "raw"))
        if self.adapt_steps < 0 or min(self.adapt_lr, self.ridge) <= 0:
            raise UsageError(
                "expected adapt_steps >= 0 and a positive adapt_lr and ridge, got "
                f"{self.adapt_steps}, {self.adapt_lr} and {self.ridge}"
            )
        if self.inputs == "raw" and not self.keeps_backbone:
            raise UsageError('expected inputs = "features" with "fine_tune", got "raw"')

    def __str__(self) -> str:
        """The method, and the options that are not the default."""
        options = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)[1:]
            if getattr(self, f.name) != f.default
        ]
        return f"{self.method}({', '.join(options)})" if options else self.method

    @property
    def keeps_backbone(self) -> bool:
        """Whether features stay as they are, so that each example needs embedding once."""
        return self.method != "fine_tune"

    @property
    def is_closed_form(self) -> bool:
        """Whether nothing is trained, so that trying it costs next to nothing."""
        return self.method not in ("fine_tune", "linear_probe")

    @property
    def is_raw(self) -> bool:
        """Whether it does without the backbone."""
        return self.inputs == "raw"

    def adapt(self, backbone: nn.Module, centre: Tensor, support: Support) -> Predictor:
        """Learn a classification task.

        Args:
            backbone: Maps inputs (n, ...) to features (n, d); it is left as it is.
            centre: Mean of features over training, shape (d,).
            support: With an example of every class.

        Raises:
            DataError: If a class has no example.
            UsageError: If a pattern of `tuned` matches no parameter of the backbone.
        """
        check_every_class(support)
        if self.is_raw:
            backbone, centre = nn.Flatten(), support.x.flatten(1).mean(0)

        def features(x: Tensor) -> Tensor:
            return widen(backbone(x))

        def directions(x: Tensor) -> Tensor:
            return F.normalize(features(x) - centre, dim=1)

        if not self.is_closed_form:
            return self._train(backbone, features(support.x), support)
        if self.method == "nearest_neighbour":
            embedded = F.normalize(features(support.x), dim=1)
            return lambda x: class_maxima(cosine_similarity(features(x), embedded), support)
        embedded = directions(support.x)
        if self.method == "nearest_centroid":
            centroids = class_means(embedded, support)
            return lambda x: -squared_euclidean(directions(x), centroids)
        targets = encode_targets(support.y, support.n_way or 0, like=embedded)
        weights = fit_ridge(embedded, targets, self.ridge)
        return lambda x: directions(x) @ weights

    def left_out(self, centre: Tensor, support: Support) -> Tensor:
        """Leave-one-out scores of the support examples, each after adapting to the others.

        They are computed in closed form, or, with raw inputs, by adapting once for each example.

        Args:
            centre: As of `adapt`.
            support: Of features (n, d), or of inputs if `is_raw`; two examples of each class.

        Returns:
            Shape (n, n_way).

        Raises:
            DataError: If a class has fewer than two examples.
            UsageError: If the strategy trains anything.
        """
        n_way = support.n_way or 0
        if not self.is_closed_form:
            raise UsageError(f"expected a strategy in closed form, got {self}")
        counts = support.y.bincount(minlength=n_way)
        if int(counts.min()) < 2:
            raise DataError(f"expected two examples of every class, got {counts.tolist()}")
        x = widen(support.x.flatten(1))
        if self.method == "nearest_neighbour":
            similarities = cosine_similarity(x, x).fill_diagonal_(-torch.inf)
            return class_maxima(similarities, support)
        if self.is_raw:
            rows = torch.arange(len(x), device=x.device)
            others = (Support(x[rows != i], support.y[rows != i], n_way) for i in rows)
            predictors = [self.adapt(nn.Flatten(), centre, rest) for rest in others]
            return torch.cat([p(x[i : i + 1]) for i, p in enumerate(predictors)])
        x = F.normalize(x - centre, dim=1)
        targets = encode_targets(support.y, n_way, like=x)
        if self.method == "nearest_centroid":
            # Without x, the mean m of its class of n examples moves to m - (x - m) / (n - 1).
            means = class_means(x, support)
            scores = -squared_euclidean(x, means)
            return scores * (1 + targets / (counts - 1)).square()
        # Allen 1974: a fit's residual without an example is that with it over 1 - leverage.
        with full_precision(x):
            gram = x @ x.T
            penalty = self.ridge * torch.eye(len(x), dtype=x.dtype, device=x.device)
            hat = torch.linalg.solve(gram + penalty, gram)
            leverage = hat.diagonal()[:, None]
            return (hat @ targets - leverage * targets) / (1 - leverage)

    def names(self, backbone: nn.Module) -> list[str]:
        """The backbone's parameters that "fine_tune" changes.

        Raises:
            UsageError: If a pattern matches none.
        """
        names = [name for name, _ in backbone.named_parameters()]
        return names_matching(self.tuned, names, "tuned") if names else []

    def _train(self, backbone: nn.Module, embedded: Tensor, support: Support) -> Predictor:
        """Fine-tune, or train the new layer alone."""
        weights = {name: p.detach() for name, p in backbone.named_parameters()}
        embedded = embedded.detach()
        tuned: dict[str, Tensor] = {}
        if self.classifier == "cosine":
            tuned["weight"] = class_means(F.normalize(embedded, dim=1), support)
        else:
            tuned["weight"] = embedded.new_zeros(support.n_way or 0, embedded.shape[1])
            tuned["bias"] = embedded.new_zeros(support.n_way or 0)
        if not self.keeps_backbone:
            tuned |= {f"backbone.{name}": weights[name].clone() for name in self.names(backbone)}
        for value in tuned.values():
            value.requires_grad_()

        def classify(features: Tensor) -> Tensor:
            if self.classifier == "cosine":
                return cosine_scores(features, tuned["weight"])
            return F.linear(features, tuned["weight"], tuned["bias"])

        def scores(x: Tensor) -> Tensor:
            current = {n: tuned.get(f"backbone.{n}", w) for n, w in weights.items()}
            buffers = {n: b.clone() for n, b in backbone.named_buffers()}
            return classify(widen(functional_call(backbone, {**current, **buffers}, (x,))))

        optimizer = torch.optim.Adam(tuned.values(), lr=self.adapt_lr, fused=not embedded.is_meta)
        with torch.enable_grad():
            for _ in range(self.adapt_steps):
                optimizer.zero_grad()
                logits = classify(embedded) if self.keeps_backbone else scores(support.x)
                query_loss(logits, support.y).backward()
                optimizer.step()
        for value in tuned.values():
            value.requires_grad_(False)
        return scores


def cosine_scores(features: Tensor, weight: Tensor) -> Tensor:
    """Scores by a layer of cosines: (n, d), (n_way, d) -> (n, n_way)."""
    return COSINE_SCALE * cosine_similarity(features, weight)
