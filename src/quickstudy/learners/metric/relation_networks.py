"""Relation networks: the comparison of a query with a class is itself learned.

Sung, Yang, Zhang, Xiang, Torr & Hospedales, "Learning to Compare: Relation Network for Few-Shot
Learning", CVPR 2018, arXiv:1711.06025.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_means,
    encode_targets,
    feature_size,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import BatchNorm2d, widen
from quickstudy.tasks import Support

__all__ = ["RelationNetworks"]


class RelationNetworks(EmbeddingLearner):
    """Score each pair of a class and a query by a network (equations 1 and 2).

    A class is the mean of its embedded examples. The comparator sees class and query one behind
    the other, along the channels, and gives a relation score between 0 and 1; the loss is the
    squared error to 1 for the query's class and to 0 for the others. The predictor's scores are
    the relation scores before the sigmoid.

    If the backbone makes maps (`out_shape`) with sides of 4 or more, the comparator is the
    paper's: two blocks of convolution 3x3, batch norm, ReLU and pooling, and two linear layers.
    Else it is a network of linear layers.

    Differs from the paper: classes are means instead of sums, so that the number of shots may
    change between training and testing. The squared error is averaged over the pairs, as in the
    paper's code; equation 2 sums. The convolutions pad everywhere and have no bias.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d), a flattened map of shape `out_shape`
            where it says so; `Conv4(in_shape, pools=2)` is the paper's.
        width: Channels of the comparator's blocks, or units of its first layers.
        hidden: Units of its last hidden layer.

    Raises:
        UsageError: If a size is not positive, or the backbone says neither `out_shape` nor
            `out_features`.

    Example:
        >>> from quickstudy.nn import Conv4
        >>> learner = RelationNetworks(Conv4((1, 28, 28), width=8, pools=2), width=8)
        >>> support = Support(torch.rand(5, 1, 28, 28), torch.arange(5), n_way=5)
        >>> learner.eval().adapt(support)(torch.rand(3, 1, 28, 28)).shape
        torch.Size([3, 5])
    """

    def __init__(self, backbone: nn.Module, width: int = 64, hidden: int = 8) -> None:
        super().__init__(backbone)
        if min(width, hidden) < 1:
            raise UsageError(f"expected width and hidden of 1 or more, got {width} and {hidden}")
        shape: Any = getattr(backbone, "out_shape", ())
        if len(shape) == 3 and min(shape[1:]) >= 4:
            self.comparator = _compare_maps(shape, width, hidden)
        else:
            self.comparator = _compare_vectors(feature_size(backbone), width, hidden)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        classes = class_means(embedded, support)
        return lambda x: self.comparator(classes, x)

    def objective(self, scores: Tensor, y: Tensor) -> Tensor:
        relations = scores.sigmoid()
        return F.mse_loss(relations, encode_targets(y, relations.shape[1], relations))


class _Comparator(nn.Module):
    """A network over every pair of a class (m, d) and a query (n, d): (n, m).

    The first layer is linear, so its value for a pair is the sum of its value for the class and
    its value for the query; each is computed once instead of once a pair.

    Args:
        first: A convolution without bias or linear layer, over class and query one behind the
            other.
        rest: Maps what `first` makes of a pair to one number.
        shape: Shape of the features.
    """

    def __init__(self, first: nn.Conv2d | nn.Linear, rest: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.first, self.rest, self.shape = first, rest, shape

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        of_class, of_query = self.first.weight.chunk(2, dim=1)
        classes, queries = (
            self._apply_half(x.unflatten(1, self.shape), weight)
            for x, weight in ((classes, of_class), (queries, of_query))
        )
        pairs = (queries[:, None] + classes).flatten(0, 1)  # (n, 1, ...) + (m, ...) -> (n * m, ...)
        return widen(self.rest(pairs)).unflatten(0, (len(queries), len(classes))).squeeze(2)

    def _apply_half(self, x: Tensor, weight: Tensor) -> Tensor:
        if isinstance(self.first, nn.Conv2d):
            x = x.contiguous(memory_format=torch.channels_last)  # pooling is faster so
            return F.conv2d(x, weight, padding=1)
        return F.linear(x, weight)


def _compare_maps(shape: tuple[int, int, int], width: int, hidden: int) -> _Comparator:
    channels, height, side = shape
    rest = nn.Sequential(
        BatchNorm2d(width),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        BatchNorm2d(width),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * (height // 4) * (side // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
    )
    first = nn.Conv2d(2 * channels, width, 3, padding=1, bias=False)
    return _Comparator(first, rest, shape)


def _compare_vectors(size: int, width: int, hidden: int) -> _Comparator:
    rest = nn.Sequential(
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
    )
    return _Comparator(nn.Linear(2 * size, width, bias=False), rest, (size,))
