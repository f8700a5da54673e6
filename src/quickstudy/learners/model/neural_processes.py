"""Neural processes: encode the support set example by example, and aggregate it for a decoder.

Garnelo et al., "Conditional Neural Processes", ICML 2018, arXiv:1807.01613; Kim et al.,
"Attentive Neural Processes", ICLR 2019, arXiv:1901.05761.

Shapes: n context examples (the support set), m targets (the queries), d features of the backbone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Predictor,
    check_every_class,
    encode_targets,
    feature_size,
)
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import MultiHeadAttention, full_precision, widen
from quickstudy.tasks import Episode, Support

__all__ = ["NeuralProcess"]


class NeuralProcess(EmbeddingLearner):
    """Decode a query's input together with a representation of the support set.

    Each example is encoded, r_i = h(x_i, y_i). The support is represented by the mean of the r_i
    (CNP, equations 2 to 4), or by multi-head attention to them from the query's input to
    theirs (ANP, figure 2, the deterministic path). For regression the decoder gives a
    normal distribution, with standard deviation 0.1 + 0.9 softplus(.), and the loss is its
    negative log-likelihood. For labels, each class is represented by itself (CNP, section 4.3),
    r_i = h(x_i), and the decoder gives its logit; tasks may have any number of ways.

    Differs from the papers: there is no latent variable, h has no self-attention, and x stands
    for the backbone's features. The loss is that of the queries alone, not of the support too.
    The CNP's decoder sees all classes side by side, in an order it has to learn to disregard;
    here it sees h(x) of the query with one class at a time, at first their difference.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Size of a regression target; not used for labels.
        likelihood: "categorical" for labels, "gaussian" for regression targets.
        attention: Attend to the support (ANP), or take its mean (CNP).
        width: Units of every hidden layer, and length of r; a multiple of `heads`.
        heads: Attention heads; not used without attention.

    Raises:
        UsageError: If an option cannot be used.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = NeuralProcess(MLP((1,)), n_outputs=1, likelihood="gaussian")
        >>> predict = learner.predict_distribution(Support(torch.rand(10, 1), torch.rand(10, 1)))
        >>> predict(torch.rand(3, 1)).stddev.shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int = 1,
        *,
        likelihood: Literal["categorical", "gaussian"] = "categorical",
        attention: bool = True,
        width: int = 128,
        heads: int = 8,
    ) -> None:
        super().__init__(backbone)
        check_option("likelihood", likelihood, ("categorical", "gaussian"))
        if width < 1:
            raise UsageError(f"expected a width of 1 or more, got {width}")
        gaussian = likelihood == "gaussian"
        self.n_outputs, self.gaussian = n_outputs, gaussian
        d = feature_size(backbone)
        self.encoder = _mlp(d + n_outputs if gaussian else d, *[width] * 4)
        self.attention_layer = self.attention = None
        if attention:
            self.attention_layer = _mlp(d, width, width)
            self.attention = MultiHeadAttention(width, width, width, width, heads)
        x_size, outputs = (d, 2 * n_outputs) if gaussian else (width, 1)
        self.decoder = _mlp(x_size + width, width, width, outputs)
        if not gaussian:
            with torch.no_grad():  # at first a function of h(x) - r, as similarity is hard to learn
                weight = next(self.decoder.parameters())
                weight[:, width:] = -weight[:, :width]

    def check(self, support: Support) -> None:
        if not self.gaussian:
            check_every_class(support)
        elif support.n_way is not None:
            raise DataError('expected a regression task, or likelihood="categorical"')

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        if self.gaussian:
            return lambda x: self._normal(embedded, x, support).mean
        return lambda x: self._logits(embedded, x, support)

    def predict_distribution(self, support: Support) -> Callable[[Tensor], Normal]:
        """Adapt, and predict a normal distribution over the regression target of each query.

        Raises:
            UsageError: With the categorical likelihood.
        """
        if not self.gaussian:
            raise UsageError('expected likelihood="gaussian", which alone gives a distribution')
        self.check(support)
        context = self.backbone(support.x)  # (n, d)
        return lambda x: self._normal(context, self.backbone(x), support)

    def loss(self, episode: Episode) -> Tensor:
        if not self.gaussian:
            return super().loss(episode)
        predicted = self._normal(*self.embed(episode), episode.support)
        return -predicted.log_prob(episode.query.y).sum(1).mean()

    def _logits(self, context: Tensor, target: Tensor, support: Support) -> Tensor:
        """The logit of each class for each target, (m, n_way), from features (n, d) and (m, d)."""
        labels = torch.arange(support.n_way or 0, device=support.y.device)
        members = support.y == labels[:, None]  # (n_way, n)
        encoded, x = self.encoder(context), self.encoder(target)  # (n, width), (m, width)
        return self._decode(context, target, encoded, x, members)[..., 0].T

    def _normal(self, context: Tensor, target: Tensor, support: Support) -> Normal:
        """The distribution of each target's value, (m, n_outputs), from features as `_logits`."""
        y = encode_targets(support.y, self.n_outputs, like=widen(context))  # (n, n_outputs)
        encoded = self.encoder(torch.cat([context, y], dim=1))  # (n, width)
        members = torch.ones(1, len(y), dtype=torch.bool, device=y.device)
        decoded = self._decode(context, target, encoded, target, members)[0]  # (m, 2 n_outputs)
        mean, spread = decoded.chunk(2, dim=1)
        return Normal(mean, 0.1 + 0.9 * F.softplus(spread), validate_args=False)

    def _decode(
        self, context: Tensor, target: Tensor, encoded: Tensor, x: Tensor, members: Tensor
    ) -> Tensor:
        """The decoder's outputs for each target from each group of context examples.

        Args:
            context: Features of the context, shape (n, d).
            target: Features of the targets, shape (m, d).
            encoded: The encoded context r_i, shape (n, width).
            x: What the decoder takes of a target, shape (m, ...).
            members: Which example is of which group, bool of shape (n_groups, n).

        Returns:
            Shape (n_groups, m, outputs).
        """
        if self.attention is not None and self.attention_layer is not None:
            query, key = self.attention_layer(target), self.attention_layer(context)
            r = self.attention(query, key, encoded, members[:, None])  # (n_groups, m, width)
        else:
            weight = members / members.sum(1, keepdim=True).clamp_min(1)  # (n_groups, n)
            with full_precision(encoded):
                r = (weight.to(widen(encoded).dtype) @ widen(encoded))[:, None]
        n_groups, n_targets = len(members), len(target)
        x, r = x.expand(n_groups, -1, -1), r.expand(-1, n_targets, -1)
        return widen(self.decoder(torch.cat([x, r], dim=2)))


def _mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size, following in itertools.pairwise(sizes):
        layer = nn.Linear(size, following)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
