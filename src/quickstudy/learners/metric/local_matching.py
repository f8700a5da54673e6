"""Local matching: a query is like an example whose parts are near where the query has them.

Li, Wang, Xu, Huo, Gao & Luo, "Revisiting Local Descriptor based Image-to-Class Measure for
Few-shot Learning" (DN4), CVPR 2019, arXiv:1903.12290; the window is that of the image distortion
model of Keysers, Deselaers, Gollan & Ney, "Deformation Models for Image Recognition", IEEE TPAMI
2007.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    class_maxima,
    class_means,
    feature_size,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Support

__all__ = ["LocalMatching"]


class LocalMatching(EmbeddingLearner):
    """Compare maps of features cell by cell, each with its best match within a window.

    With unit features a_p of the query and b_p of an example at the cells p of their maps,

        s(a, b) = sum over p of w_p max over p' within `radius` cells of p of <a_p, b_p'>

    where the weights w_p, which sum to 1, say how much each cell counts: a softplus of a learned
    linear function of its features. A class is scored by the best match among all of its examples,
    cell by cell, as in DN4. If `symmetric`, the score is the mean of this and of how well each
    example of the class is found in the query. Scores are times a learned factor, and the loss is
    cross-entropy.

    Differs from DN4: the match is looked for near the same place, as characters and objects in the
    middle of a picture have their parts in about the same places, and is the best one instead of
    the best three; cells have weights, where DN4 adds them up. Of a backbone that makes no map
    (`out_shape`), it is the cosine of embeddings.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d), a flattened map of shape `out_shape`
            where it says so; `Conv4(in_shape, pools=2)` keeps a quarter of the side.
        radius: How far a part may have moved, in cells; 0 compares equal places alone, and a
            radius of the map's side looks everywhere, as DN4 does.
        symmetric: Whether examples are also looked for in the query.
        weighted: Whether cells have weights; without, all count alike.
        scale: Factor on the scores to begin with.

    Raises:
        UsageError: If `radius` is negative, `scale` is not positive, or the backbone says neither
            `out_shape` nor `out_features`.

    Example:
        >>> from quickstudy.nn import Conv4
        >>> learner = LocalMatching(Conv4((1, 28, 28), width=8, pools=2)).eval()
        >>> support = Support(torch.rand(5, 1, 28, 28), torch.arange(5), n_way=5)
        >>> learner.adapt(support)(support.x).argmax(1)
        tensor([0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        backbone: nn.Module,
        radius: int = 1,
        symmetric: bool = True,
        weighted: bool = True,
        scale: float = 20.0,
    ) -> None:
        super().__init__(backbone)
        if radius < 0:
            raise UsageError(f"expected a radius of 0 cells or more, got {radius}")
        if scale <= 0:
            raise UsageError(f"expected a scale above 0, got {scale}")
        shape: Any = getattr(backbone, "out_shape", ())
        if len(shape) != 3:
            shape = (feature_size(backbone), 1, 1)
        self.shape: tuple[int, int, int] = shape
        self.radius, self.symmetric = radius, symmetric
        self.weigh = nn.Linear(self.shape[0], 1) if weighted else None
        if self.weigh:  # all alike at first
            nn.init.zeros_(self.weigh.weight)
            nn.init.ones_(self.weigh.bias)
        # As a logarithm, so that learning cannot turn its sign.
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def check(self, support: Support) -> None:
        check_every_class(support)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        support_cells, support_weights = self._cells(embedded)

        def predict(embedded: Tensor) -> Tensor:
            query_cells, query_weights = self._cells(embedded)
            with full_precision(query_cells):
                cosines = self._best_matches(query_cells, support_cells)  # (cells, n, n_support)
                best = class_maxima(cosines.flatten(0, 1), support).unflatten(0, cosines.shape[:2])
                scores = (query_weights * best).sum(0)  # (n, n_way)
                if self.symmetric:
                    back = (support_weights * self._best_matches(support_cells, query_cells)).sum(
                        0
                    )  # (n_support, n)
                    scores = (scores + class_means(back, support).T) / 2
                return scores * self.log_scale.exp()

        return predict

    def _cells(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features by cell, (n, channels * height * width) -> (cells, n, channels), and the
        weights of the cells, (cells, n, 1)."""
        cells = widen(embedded).unflatten(1, self.shape).flatten(2).permute(2, 0, 1).contiguous()
        weights = torch.ones_like(cells[..., :1])
        if self.weigh:
            with full_precision(cells):
                weights = F.softplus(self.weigh(cells))
        return F.normalize(cells, dim=2), weights / weights.sum(0)

    def _best_matches(self, a: Tensor, b: Tensor) -> Tensor:
        """Greatest cosine of each cell of each of `a` (cells, n, channels) to a cell near it of
        each of `b` (cells, m, channels): (cells, n, m)."""
        return self._cosines(a, b).amax(2)

    def _cosines(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosines of each cell to all those near it: (cells, n, places of the window, m)."""
        _, height, width = self.shape
        near = neighbours(height, width, self.radius, a.device)
        (cells, n, channels), m, places = a.shape, b.shape[1], near.shape[1]
        windows = b.index_select(0, near.flatten()).view(cells, places * m, channels)
        return torch.bmm(a, windows.mT).view(cells, n, places, m)


def neighbours(height: int, width: int, radius: int, device: torch.device | None = None) -> Tensor:
    """Numbers of the cells within `radius` rows and columns of each cell of a map, row by row.

    At the border, what would lie outside is the nearest cell inside, which is near as well.

    Returns:
        Shape (height * width, places of the window).

    Example:
        >>> neighbours(1, 3, 1).tolist()
        [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """

    def along(side: int) -> Tensor:  # (side, places)
        reach = min(radius, side - 1)
        steps = torch.arange(-reach, reach + 1, device=device)
        return (torch.arange(side, device=device)[:, None] + steps).clamp(0, side - 1)

    rows, columns = along(height), along(width)
    near = rows[:, None, :, None] * width + columns[None, :, None, :]
    return near.flatten(2).flatten(0, 1)
