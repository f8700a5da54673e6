"""R2-D2: a head of ridge regression, solved in closed form, on meta-learned features.

Bertinetto, Henriques, Torr & Vedaldi, "Meta-learning with differentiable closed-form solvers",
ICLR 2019, arXiv:1805.08136.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import Predictor, check_every_class, encode_targets, fit_ridge
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Support

__all__ = ["R2D2"]


class R2D2(EmbeddingLearner):
    """Fit a ridge regression to the support's features, and differentiate through its solution.

    With features X (n, d) of the support and targets Y, one-hot for classes, the weights are
    W = (X'X + ridge I)^-1 X'Y, which by the Woodbury identity is W = X'(XX' + ridge I)^-1 Y; the
    smaller system of the two is solved. With features Q of the queries, logits are
    scale * QW + bias (section 3.1); predictions of regression are QW itself. `ridge`, `scale`
    and `bias` are meta-learned. A feature that is always one gives W an intercept.

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

    def __init__(self, backbone: nn.Module, ridge: float = 1.0, scale: float = 10.0) -> None:
        super().__init__(backbone)
        if min(ridge, scale) <= 0:
            raise UsageError(f"expected a positive ridge and scale, got {ridge} and {scale}")
        self.log_ridge = nn.Parameter(torch.tensor(math.log(ridge)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def check(self, support: Support) -> None:
        if support.n_way is not None:
            check_every_class(support)
        if not len(support):
            raise DataError("expected examples to fit a ridge regression to, got none")

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        weights = self._solve(embedded, support)
        return lambda x: self._scores(x, weights, support)

    def _solve(self, features: Tensor, support: Support) -> Tensor:
        """The weights W, of shape (d + 1, n_way), or (d + 1, size of a target)."""
        x = _with_intercept(features)
        y = encode_targets(support.y, support.n_way or support.y.shape[-1], like=x)
        return fit_ridge(x, y, self.log_ridge.exp())

    def _scores(self, features: Tensor, weights: Tensor, support: Support) -> Tensor:
        with full_precision(features):
            fitted = _with_intercept(features) @ weights
        return fitted if support.n_way is None else self.log_scale.exp() * fitted + self.bias


def _with_intercept(features: Tensor) -> Tensor:
    features = widen(features)
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
