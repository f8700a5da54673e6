"""R2-D2: a head of ridge regression, solved in closed form, on meta-learned features.

Bertinetto, Henriques, Torr & Vedaldi, "Meta-learning with differentiable closed-form solvers",
ICLR 2019, arXiv:1805.08136.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    encode_targets,
    query_loss,
)
from quickstudy.nn import widen
from quickstudy.tasks import Episode, Support

__all__ = ["R2D2"]


class R2D2(Learner):
    """Fit a ridge regression to the support's features, and differentiate through its solution.

    With features X (n, d) of the support and targets Y, one-hot for classes, the weights are
    W = (X'X + ridge I)^-1 X'Y, which by the Woodbury identity is W = X'(XX' + ridge I)^-1 Y; the
    smaller system of the two is solved. With features Q of the queries, logits are
    scale * QW + bias (section 3.1); predictions of regression are QW itself. `ridge`, `scale`
    and `bias` are meta-learned. A feature that is always one gives W an intercept. In
    meta-training, support and query go through the backbone as one batch.

    Differs from the paper: the logarithms of `ridge` and `scale` are learned, which keeps both
    positive. With the same bias for all classes, as in the paper, softmax gives it no gradient.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d).
        ridge: Strength of the regularisation at the start.
        scale: Factor on the logits at the start; one alone cannot make a confident softmax.

    Raises:
        UsageError: If `ridge` or `scale` is not positive.

    Example:
        >>> learner = R2D2(nn.Flatten())
        >>> support = Support(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), n_way=2)
        >>> learner.adapt(support)(torch.tensor([[0.9]])).argmax(1)
        tensor([1])
    """

    batchable = True

    def __init__(self, backbone: nn.Module, ridge: float = 1.0, scale: float = 10.0) -> None:
        super().__init__()
        if min(ridge, scale) <= 0:
            raise UsageError(f"expected a positive ridge and scale, got {ridge} and {scale}")
        self.backbone = backbone
        self.log_ridge = nn.Parameter(torch.tensor(math.log(ridge)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def adapt(self, support: Support) -> Predictor:
        if support.n_way is not None:
            check_every_class(support)
        weights = self._solve(self.backbone(support.x), support)
        return lambda x: self._scores(self.backbone(x), weights, support)

    def loss(self, episode: Episode) -> Tensor:
        support, query = episode.support, episode.query
        features = self.backbone(torch.cat([support.x, query.x]))
        weights = self._solve(features[: len(support)], support)
        return query_loss(self._scores(features[len(support) :], weights, support), query.y)

    def _solve(self, features: Tensor, support: Support) -> Tensor:
        """The weights W, of shape (d + 1, n_way), or (d + 1, size of a target)."""
        if not len(support):
            raise DataError("expected examples to fit a ridge regression to, got none")
        x = _with_intercept(features)
        y = encode_targets(support.y, support.n_way or support.y.shape[-1], like=x)
        n, d = x.shape
        with torch.autocast(x.device.type, enabled=False):
            ridge = self.log_ridge.exp() * torch.eye(min(n, d), dtype=x.dtype, device=x.device)
            if n <= d:
                return x.T @ torch.linalg.solve(x @ x.T + ridge, y)
            return torch.linalg.solve(x.T @ x + ridge, x.T @ y)

    def _scores(self, features: Tensor, weights: Tensor, support: Support) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            fitted = _with_intercept(features) @ weights
        return fitted if support.n_way is None else self.log_scale.exp() * fitted + self.bias


def _with_intercept(features: Tensor) -> Tensor:
    features = widen(features)
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
