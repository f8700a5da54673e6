"""Bayesian prototypes: from zero to few shots, a description of a class is the prior of its mean.

Our own extension of prototypical networks (Snell, Swersky & Zemel, NeurIPS 2017, arXiv:1703.05175):
without any example it is their zero-shot form. n is the number of support examples, m of queries,
d the size of an embedding.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import Predictor, check_every_class, encode_targets, feature_size
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.learners.metric.prototypical_networks import check_attributes
from quickstudy.nn import cosine_similarity, full_precision, squared_euclidean, widen
from quickstudy.tasks import Support

__all__ = ["BayesianPrototypes"]

STRENGTH_RATE = 10.0
"""The logarithm of the prior strength is this times its parameter, as the learning rates that suit
weights would take thousands of steps to change it."""


class BayesianPrototypes(EmbeddingLearner):
    """Classify a query by its distance to the posterior mean of each class.

    The examples of class k are spread about a mean with variance 1, and the mean about the embedded
    description g(v_k) with variance 1 / strength. After n_k examples the posterior mean is
    (strength g(v_k) + their sum) / (strength + n_k), with variance 1 / (strength + n_k). Squared
    distances from it are divided by the variance of a new example, 1 + 1 / (strength + n_k),
    relative to its value without any example. Otherwise classes with examples, which lie closer to
    all queries, would win over those only described (Chao et al. 2016, "An empirical study and
    analysis of generalized zero-shot learning for object recognition in the wild",
    arXiv:1605.04253).

    A class may have examples, a description, or both.

    Args:
        backbone: Maps inputs (n, ...) to embeddings (n, d).
        n_attributes: Length of the vectors v that describe classes; g is linear, and g(v) is scaled
            to length one. None if descriptions are inputs like the examples, such as the embedded
            names of classes; then g is the backbone.
        distance: "euclidean" (squared) or "cosine", whose distance is 1 less the cosine.
        scale: Factor on the logits; by default 1 for distances and 10 for cosines.
        prior_strength: How many examples a description counts as, before meta-training learns it.

    Raises:
        UsageError: If `n_attributes` is given and the backbone has no `out_features`, or `scale` or
            `prior_strength` is not positive.

    Example:
        Two classes have an example, the third a description alone.

        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
        >>> descriptions = torch.tensor([[torch.nan], [torch.nan], [3.0]])
        >>> learner = BayesianPrototypes(nn.Flatten())
        >>> predictor = learner.adapt(Support(x, y, n_way=3, attributes=descriptions))
        >>> predictor(torch.tensor([[0.9], [2.5]])).argmax(1)
        tensor([1, 2])
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_attributes: int | None = None,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        prior_strength: float = 1.0,
    ) -> None:
        super().__init__(backbone)
        check_option("distance", distance, ("euclidean", "cosine"))
        if scale is not None and scale <= 0:
            raise UsageError(f"expected a scale above 0, got {scale}")
        if not 0 < prior_strength < math.inf:
            raise UsageError(f"expected a positive prior_strength, got {prior_strength}")
        self.distance = distance
        self.scale = scale if scale is not None else 1.0 if distance == "euclidean" else 10.0
        self.descriptions = "inputs" if n_attributes is None else "attributes"
        self.attributes = None
        if n_attributes is not None:
            self.attributes = nn.Linear(n_attributes, feature_size(backbone), bias=False)
        self.log_strength = nn.Parameter(torch.tensor(math.log(prior_strength) / STRENGTH_RATE))

    @property
    def prior_strength(self) -> Tensor:
        """How many examples a description counts as; a scalar."""
        return (STRENGTH_RATE * self.log_strength).exp()

    def check(self, support: Support) -> None:
        if support.n_way is None or support.attributes is None:
            check_every_class(support)
            return
        if self.attributes is not None:
            check_attributes(support.attributes, self.attributes.in_features)
        is_bare = ~_is_described(support.attributes)  # (n_way,)
        is_bare[support.y] = False
        if bool(is_bare.any()):
            raise DataError(
                f"expected an example or a description of each of {support.n_way} classes, got "
                f"neither of class {int(is_bare.nonzero()[0])}"
            )

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        means, precision = self._posterior(embedded, support)  # (n_way, d), (n_way,)
        if self.distance == "cosine":
            return lambda x: self.scale * precision * (cosine_similarity(x, means) - 1)
        return lambda x: -self.scale * precision * squared_euclidean(x, means)  # (m, n_way)

    def _posterior(self, embedded: Tensor, support: Support) -> tuple[Tensor, Tensor]:
        """The posterior means of the classes, (n_way, d), and the precision of a new example of
        each, relative to that under the prior alone, (n_way,)."""
        embedded = widen(embedded)  # (n, d)
        onehot = encode_targets(support.y, support.n_way or 0, embedded)  # (n, n_way)
        n_shot, strength = onehot.sum(0), self.prior_strength  # (n_way,), ()
        prior_means, total = embedded.new_zeros(len(n_shot), embedded.shape[1]), n_shot
        if support.attributes is not None:
            is_described = _is_described(support.attributes)  # (n_way,)
            described = widen(self._embed_descriptions(support.attributes.nan_to_num()))
            prior_means = described * is_described[:, None]  # (n_way, d)
            total = n_shot + strength * is_described  # (n_way,)
        with full_precision(embedded):
            deviations = onehot.T @ embedded - n_shot[:, None] * prior_means  # (n_way, d)
            means = prior_means + deviations / total[:, None]
        return means, (1 + 1 / strength) / (1 + 1 / total)

    def _embed_descriptions(self, descriptions: Tensor) -> Tensor:
        """g(v): (n_way, d)."""
        if self.attributes is None:
            return self.backbone(descriptions)
        return F.normalize(self.attributes(descriptions), dim=1)


def _is_described(descriptions: Tensor) -> Tensor:
    """Which classes have a description, (n_way,)."""
    return ~descriptions.flatten(1).isnan().any(1)
