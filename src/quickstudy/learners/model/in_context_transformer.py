"""A transformer that learns in context: the support set is its prompt.

Müller, Hollmann, Pineda Arango, Grabocka & Hutter, "Transformers Can Do Bayesian Inference",
ICLR 2022, arXiv:2112.10510; Nguyen & Grover, "Transformer Neural Processes", ICML 2022,
arXiv:2207.04179.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import feature_size
from quickstudy.learners.model.in_context import InContextLearner
from quickstudy.nn import MultiHeadAttention, RMSNorm, visible

__all__ = ["InContextTransformer"]


class InContextTransformer(InContextLearner):
    """Attend from each query to the support set, and among the support set, in several layers.

    A token is a linear map of the features plus, for an example, one of its target, or, for a
    query, a learned vector. There are no positions, so the support is a set. Every token attends
    to the support, and a query also to itself, never to another query: the mask of prior-data
    fitted networks (Müller et al., figure 2) and of TNP-D (Nguyen & Grover, section 4.1).

    Differs from the papers: they model numbers, by a binned or Gaussian density, where this gives
    logits, or predictions with squared error. Layers normalise their input, by its root mean
    square, and not their output. It starts near to a matching network: queries and keys have equal
    projections, so that a token attends to tokens of similar features, values pass as they are,
    and the head reads the targets' own directions. From another start, few-shot images leave it
    on a plateau at chance.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Most classes a task may have, or size of a regression target.
        width: Length of a token, a multiple of `heads`.
        layers: Number of layers, of attention and a perceptron of four times the width each.
        heads: Attention heads of each layer.

    Raises:
        UsageError: If the sizes do not fit.

    Example:
        >>> from quickstudy.nn import MLP
        >>> from quickstudy.tasks import Support
        >>> learner = InContextTransformer(MLP((1,)), n_outputs=1)
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 8,
    ) -> None:
        super().__init__(backbone, n_outputs)
        if layers < 1:
            raise UsageError(f"expected one layer or more, got {layers}")
        d = feature_size(backbone)
        self.from_features = nn.Sequential(RMSNorm(d), nn.Linear(d, width))
        self.from_target = nn.Linear(n_outputs, width, bias=False)
        self.unknown = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm, self.head = RMSNorm(width), nn.Linear(width, n_outputs)
        nn.init.orthogonal_(self.from_target.weight, gain=5.0)
        with torch.no_grad():
            self.head.weight.copy_(self.from_target.weight.T / 5)

    def read(self, features: Tensor, targets: Tensor) -> Tensor:
        n_support, n_query = len(targets), len(features) - len(targets)
        known = torch.cat([self.from_target(targets), self.unknown.expand(n_query, -1)])
        tokens = self.from_features(features) + known  # (n_support + n_query, width)
        mask = visible(n_support, n_query).to(tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return self.head(self.norm(tokens[n_support:]))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.perceptron_norm = RMSNorm(width), RMSNorm(width)
        self.attention = MultiHeadAttention(width, width, width, width, heads)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.attention_norm(tokens)
        tokens = tokens + self.attention(x, x, x, mask)
        return tokens + self.perceptron(self.perceptron_norm(tokens))
