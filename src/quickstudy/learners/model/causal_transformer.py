"""A decoder-only transformer reads a task as one sequence, and predicts each example from those
before it.

Garg, Tsipras, Liang & Valiant, "What Can Transformers Learn In-Context? A Case Study of Simple
Function Classes", NeurIPS 2022, arXiv:2208.01066; von Oswald et al., "Transformers Learn In-Context
by Gradient Descent", ICML 2023, arXiv:2212.07677.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError, check_option
from quickstudy.learners.base import encode_targets, feature_size
from quickstudy.learners.model.in_context import InContextLearner
from quickstudy.nn import LinearAttention, MultiHeadAttention, RMSNorm, widen
from quickstudy.tasks import Episode

__all__ = ["CausalTransformer"]


class CausalTransformer(InContextLearner):
    """Read the sequence x_1, y_1, x_2, y_2, ... and predict each y_i when x_i has been read.

    The support is the sequence, and each query comes right after it, as if it were the only one. In
    training, the loss is the mean over queries and support examples, each predicted from those
    before it: over all prefixes (Garg et al., equation 2), which one pass gives, as the attention
    is causal.

    Differs from Garg et al.: the token of y_i holds x_i as well, so that no layer is spent on
    joining the two, and only such tokens are attended to, beside a learned token that starts the
    sequence. There are no positions: the order counts only by which examples came before which.
    Layers normalise their input by its root mean square. Features and targets start in directions
    of their own, which values pass as they are, and from which the head reads. With
    `attention = "linear"` there is no softmax and no norm before the attention; with one head and
    no perceptron the learner then starts as gradient descent on the least-squares loss of the
    examples so far, `layers` steps of it, which also improves the inputs as it goes (von Oswald et
    al., GD++).

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Most classes a task may have, or size of a regression target.
        width: Length of a token, a multiple of `heads`. With less than d + n_outputs, features and
            targets share directions.
        layers: Number of layers.
        heads: Attention heads of each layer.
        attention: Softmax as in the paper, or linear.
        hidden: Units of the perceptron of each layer; 0 for layers of attention alone.

    Raises:
        UsageError: If the sizes do not fit.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> from quickstudy.tasks import Support
        >>> learner = CausalTransformer(Flatten((5,)), n_outputs=1, width=32)
        >>> learner.adapt(Support(torch.rand(10, 5), torch.rand(10, 1)))(torch.rand(3, 5)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        width: int = 64,
        layers: int = 4,
        heads: int = 1,
        attention: Literal["softmax", "linear"] = "softmax",
        hidden: int = 256,
    ) -> None:
        super().__init__(backbone, n_outputs)
        check_option("attention", attention, ("softmax", "linear"))
        d, linear = feature_size(backbone), attention == "linear"
        if min(width, layers) < 1 or hidden < 0:
            raise UsageError(
                f"expected width >= 1, layers >= 1 and hidden >= 0, got {width}, {layers} and "
                f"{hidden}"
            )
        self.from_features = nn.Linear(d, width, bias=False)
        self.from_target = nn.Linear(n_outputs, width, bias=False)
        self.start = nn.Parameter(torch.zeros(width) if linear else torch.randn(width))
        self.layers = nn.ModuleList(_Layer(width, heads, hidden, linear, d) for _ in range(layers))
        self.norm = nn.Identity() if linear else RMSNorm(width)
        self.head = nn.Linear(width, n_outputs, bias=False)
        directions = nn.init.orthogonal_(torch.empty(width, max(width, d + n_outputs)))
        with torch.no_grad():
            self.from_features.weight.copy_(directions[:, :d])
            self.from_target.weight.copy_(directions[:, d : d + n_outputs])
            # Linear layers subtract what they read, so that a target becomes its residual.
            self.head.weight.copy_(self.from_target.weight.T * (-1 if linear else 1))

    def read(self, features: Tensor, targets: Tensor) -> Tensor:
        n_support, n_query = len(targets), len(features) - len(targets)
        n_before = torch.full((n_query,), n_support, device=features.device)
        return self._read(features[:n_support], targets, features[n_support:], n_before)

    def loss(self, episode: Episode) -> Tensor:
        support, query = self.embed(episode)
        targets = encode_targets(episode.support.y, self.n_outputs, like=widen(support))
        n_before = torch.arange(len(support) + len(query), device=query.device)
        n_before = n_before.clamp_max(len(support))  # each query follows the whole support
        scores = self._read(support, targets, torch.cat([support, query]), n_before)
        y = torch.cat([episode.support.y, episode.query.y])
        return self.objective(widen(scores)[:, : episode.n_way], y)

    def _read(self, support: Tensor, targets: Tensor, query: Tensor, n_before: Tensor) -> Tensor:
        """Answers (m, n_outputs) to the features of m inputs.

        Args:
            support: Features of the examples, shape (n, d).
            targets: Of the examples, as vectors, shape (n, n_outputs).
            query: Features of the inputs, shape (m, d).
            n_before: How many examples come before each of the inputs, shape (m,).
        """
        n = len(support)
        examples = self.from_features(support) + self.from_target(targets)
        tokens = torch.cat([self.start[None], examples, self.from_features(query)])
        position = torch.arange(n + 1, device=tokens.device)
        last_seen = torch.cat([position, n_before])  # of the start and the examples, (n + 1 + m,)
        mask = position <= last_seen[:, None]  # (n + 1 + m, n + 1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return self.head(self.norm(tokens[n + 1 :]))


class _Layer(nn.Module):
    """Attention to the first tokens of a sequence, as many as the mask has columns."""

    def __init__(self, width: int, heads: int, hidden: int, linear: bool, d: int) -> None:
        super().__init__()
        self.attention_norm = nn.Identity() if linear else RMSNorm(width)
        self.attention = (
            LinearAttention(width, heads, pseudocount=d)
            if linear
            else MultiHeadAttention(width, width, width, width, heads)
        )
        self.perceptron = None
        if hidden:
            self.perceptron = nn.Sequential(
                RMSNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
            )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.attention_norm(tokens)
        seen = x[: mask.shape[1]]
        tokens = tokens + self.attention(x, seen, seen, mask)
        return tokens if self.perceptron is None else tokens + self.perceptron(tokens)
