"""Prototypical networks: a class is the mean of its embedded examples, or what is said of it.

Snell, Swersky & Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017,
arXiv:1703.05175.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_means,
    encode_targets,
    feature_size,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import cosine_similarity, full_precision, squared_euclidean, widen
from quickstudy.tasks import Support

__all__ = ["PrototypicalNetworks"]

WORTH_RATE = 10.0
"""The logarithm of a description's worth is this times its parameter, as the rates that suit
weights would take thousands of steps to change it."""


class PrototypicalNetworks(EmbeddingLearner):
    """Classify a query by its distance to the mean embedding of each class (equations 1 and 2).

    Logits are minus the squared Euclidean distances, or the cosines, times `scale`.

    In the zero-shot form (section 2.7), a class is known by a vector of attributes alone, and its
    prototype is a linear embedding g of that vector v, scaled to length one.

    From zero to few shots, the description is a prior: the examples of a class are spread about a
    mean with variance 1, and the mean about g(v) with variance 1 / worth. After n examples the
    mean is expected at (worth g(v) + their sum) / (worth + n), with variance 1 / (worth + n), and
    squared distances from it count in units of the variance of a new example, 1 + 1 / (worth + n),
    in proportion to that without any example. Else classes with examples, which lie closer to all
    queries, would win over those only described (Chao et al. 2016, "An empirical study and
    analysis of generalized zero-shot learning for object recognition in the wild",
    arXiv:1605.04253). A class may have examples, a description, or both.

    Args:
        backbone: Maps inputs (n, ...) to embeddings (n, d).
        distance: "euclidean" (squared, as in the paper) or "cosine", whose distance is 1 less it.
        scale: Factor on the logits; 1 for distances as in the paper, and 10 for cosines, which
            alone cannot make a confident softmax.
        n_attributes: Length of the attribute vectors, if these describe classes.
        described: Whether classes are described by inputs like the examples, such as their
            embedded names, which the backbone embeds as well.
        worth: As how many examples a description counts, before meta-training learns it.

    Raises:
        UsageError: If `n_attributes` is given and the backbone has no `out_features`, or
            `described` too; or if `scale` or `worth` is not positive.

    Example:
        >>> import torch
        >>> learner = PrototypicalNetworks(nn.Flatten())
        >>> support = Support(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), n_way=2)
        >>> learner.adapt(support)(torch.tensor([[0.9]])).argmax(1)
        tensor([1])

        A third class, known by a description alone:

        >>> told = torch.tensor([[torch.nan], [torch.nan], [3.0]])
        >>> support = Support(support.x, support.y, n_way=3, attributes=told)
        >>> learner = PrototypicalNetworks(nn.Flatten(), described=True)
        >>> learner.adapt(support)(torch.tensor([[0.9], [2.5]])).argmax(1)
        tensor([1, 2])
    """

    def __init__(
        self,
        backbone: nn.Module,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        n_attributes: int | None = None,
        described: bool = False,
        worth: float = 1.0,
    ) -> None:
        super().__init__(backbone)
        self.attributes = None
        if n_attributes is not None:
            self.attributes = nn.Linear(n_attributes, feature_size(backbone), bias=False)
        if n_attributes is not None and described:
            raise UsageError("expected n_attributes or described, got both: leave one out")
        if not 0 < worth < math.inf:
            raise UsageError(f"expected a positive worth of a description, got {worth}")
        if n_attributes is not None or described:
            self.descriptions = "inputs" if described else "attributes"
            self.log_worth = nn.Parameter(torch.tensor(math.log(worth) / WORTH_RATE))
        check_option("distance", distance, ("euclidean", "cosine"))
        self.distance = distance
        if scale is not None and scale <= 0:
            raise UsageError(f"expected a scale above 0, got {scale}")
        self.scale = scale if scale is not None else 1.0 if distance == "euclidean" else 10.0

    @property
    def worth(self) -> Tensor:
        """As how many examples a description counts, if the learner takes any; a scalar."""
        return (WORTH_RATE * self.log_worth).exp()

    def check(self, support: Support) -> None:
        told = support.attributes
        if self.descriptions is None or support.n_way is None or told is None:
            check_every_class(support)
            return
        if self.attributes is not None and told.shape[1:] != (self.attributes.in_features,):
            raise DataError(
                f"expected descriptions of shape ({self.attributes.in_features},), as the learner "
                f"has n_attributes, got {tuple(told.shape[1:])}"
            )
        bare = ~_is_told(told)
        bare[support.y] = False
        if bool(bare.any()):
            raise DataError(
                f"expected an example or a description of each of {support.n_way} classes, got "
                f"neither of class {int(bare.nonzero()[0])}"
            )

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        if self.descriptions is None:
            prototypes, precision, greatest = class_means(embedded, support), 1.0, 0.0
        else:
            prototypes, precision = self._posterior(embedded, support)
            greatest = 1.0  # precision divides a distance: 1 less the cosine
        if self.distance == "cosine":
            return lambda x: self.scale * precision * (cosine_similarity(x, prototypes) - greatest)
        return lambda x: -self.scale * precision * squared_euclidean(x, prototypes)

    def _posterior(self, embedded: Tensor, support: Support) -> tuple[Tensor, Tensor]:
        """Expected means of the classes, (n_way, d), and how precisely each foretells an example,
        in proportion to a description alone, (n_way,)."""
        embedded = widen(embedded)
        onehot = encode_targets(support.y, support.n_way or 0, embedded)
        n, worth = onehot.sum(0), self.worth
        told, total = embedded.new_zeros(len(n), embedded.shape[1]), n
        if support.attributes is not None:
            is_told = _is_told(support.attributes)
            told = self._embed_descriptions(support.attributes.nan_to_num())
            told, total = widen(told) * is_told[:, None], n + worth * is_told
        with full_precision(embedded):
            means = told + (onehot.T @ embedded - n[:, None] * told) / total[:, None]
        return means, (1 + 1 / worth) / (1 + 1 / total)

    def _embed_descriptions(self, told: Tensor) -> Tensor:
        if self.attributes is None:
            return self.backbone(told)
        return F.normalize(self.attributes(told), dim=1)


def _is_told(descriptions: Tensor) -> Tensor:
    """Which classes have a description, (n_way,)."""
    return ~descriptions.flatten(1).isnan().any(1)
