"""Prototypical networks: a class is the mean of its embedded examples.

Snell, Swersky & Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017,
arXiv:1703.05175. n is the number of support examples, m of queries, d the size of an
embedding.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_means,
    feature_size,
    query_loss,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import cosine_similarity, full_precision, squared_euclidean, widen
from quickstudy.tasks import Support

__all__ = ["PrototypicalNetworks", "check_attributes"]


class PrototypicalNetworks(EmbeddingLearner):
    """Classify a query by its distance to the prototype of each class (equations 1 and 2).

    A prototype is the mean of the embedded examples of a class. Logits are minus the squared
    Euclidean distances, or the cosines, times `scale`.

    In the zero-shot form (section 2.7), a class is known by a vector v of attributes alone, and its
    prototype is a linear embedding of v, scaled to length one. `BayesianPrototypes` takes both
    examples and descriptions.

    With `tune_steps`, a task begins with the linear layer that scores as the prototypes c_k do,
    W_k = 2 c_k and b_k = -||c_k||^2, and trains it on the support set by Adam: ProtoTune (Medina et
    al. 2020, arXiv:2006.11325, section 2.2). The backbone stays as it is, and meta-training is
    without it.

    Args:
        backbone: Maps inputs (n, ...) to embeddings (n, d).
        distance: "euclidean" (squared, as in the paper) or "cosine".
        scale: Factor on the logits; 1 for distances as in the paper, and 10 for cosines, which
            alone cannot make a confident softmax.
        n_attributes: Length of the attribute vectors, for the zero-shot form.
        tune_steps: Steps of Adam on the support set, which is one batch, in evaluation.
        tune_lr: Their learning rate.

    Raises:
        UsageError: If `n_attributes` is given and the backbone has no `out_features`, `scale` or
            `tune_lr` is not positive, or tuning goes with cosines or attributes.

    Example:
        >>> import torch
        >>> learner = PrototypicalNetworks(nn.Flatten())
        >>> support = Support(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), n_way=2)
        >>> learner.adapt(support)(torch.tensor([[0.9]])).argmax(1)
        tensor([1])
    """

    def __init__(
        self,
        backbone: nn.Module,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        n_attributes: int | None = None,
        tune_steps: int = 0,
        tune_lr: float = 1e-3,
    ) -> None:
        super().__init__(backbone)
        check_option("distance", distance, ("euclidean", "cosine"))
        if scale is not None and scale <= 0:
            raise UsageError(f"expected a scale above 0, got {scale}")
        if tune_steps < 0 or tune_lr <= 0:
            raise UsageError(
                f"expected tune_steps >= 0 and a tune_lr above 0, got {tune_steps} and {tune_lr}"
            )
        if tune_steps and (distance != "euclidean" or n_attributes is not None):
            raise UsageError(
                "expected no tune_steps with cosines or attributes, which have no head"
            )
        self.distance, self.tune_steps, self.tune_lr = distance, tune_steps, tune_lr
        self.scale = scale if scale is not None else 1.0 if distance == "euclidean" else 10.0
        self.attributes = None
        if n_attributes is not None:
            self.descriptions = "attributes"
            self.attributes = nn.Linear(n_attributes, feature_size(backbone), bias=False)

    def check(self, support: Support) -> None:
        if self.attributes is None:
            check_every_class(support)
            return
        if support.attributes is None or bool(support.attributes.isnan().any()):
            raise DataError("expected an attribute vector of each class, got none of some")
        if len(support.x):
            raise DataError(
                f"expected attributes alone, got {len(support.x)} examples too: BayesianPrototypes "
                "takes both"
            )
        check_attributes(support.attributes, self.attributes.in_features)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        if self.attributes is None or support.attributes is None:
            prototypes = class_means(embedded, support)  # (n_way, d)
        else:
            prototypes = F.normalize(self.attributes(support.attributes), dim=1)  # (n_way, d)
        if self.tune_steps and not self.training:
            return self._tune(prototypes, widen(embedded), support)
        if self.distance == "cosine":
            return lambda x: self.scale * cosine_similarity(x, prototypes)  # (m, n_way)
        return lambda x: -self.scale * squared_euclidean(x, prototypes)  # (m, n_way)

    def _tune(self, prototypes: Tensor, embedded: Tensor, support: Support) -> Predictor:
        """Train the linear layer that scores as the prototypes do."""
        weight = (2 * self.scale * prototypes).detach().requires_grad_()  # (n_way, d)
        bias = (-self.scale * prototypes.square().sum(1)).detach().requires_grad_()  # (n_way,)
        embedded = embedded.detach()
        optimizer = torch.optim.Adam([weight, bias], lr=self.tune_lr)
        with torch.enable_grad(), full_precision(embedded):
            for _ in range(self.tune_steps):
                optimizer.zero_grad()
                query_loss(F.linear(embedded, weight, bias), support.y).backward()
                optimizer.step()
        tuned = weight.detach(), bias.detach()

        def predict(x: Tensor) -> Tensor:
            with full_precision(x):
                return F.linear(widen(x), *tuned)  # (m, n_way)

        return predict


def check_attributes(attributes: Tensor, n_attributes: int) -> None:
    """Refuse attribute vectors of another length than the learner's.

    Raises:
        DataError: If their length differs.
    """
    if attributes.shape[1:] != (n_attributes,):
        raise DataError(
            f"expected descriptions of shape ({n_attributes},), as the learner has n_attributes, "
            f"got {tuple(attributes.shape[1:])}"
        )
