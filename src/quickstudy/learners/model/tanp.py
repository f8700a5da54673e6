"""TaNP: a neural process whose decoder is modulated by what kind of task this is.

Lin et al., "Task-adaptive Neural Process for User Cold-Start Recommendation", WWW 2021,
arXiv:2103.06137.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import Predictor, encode_targets, feature_size
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Support

__all__ = ["TaNP"]


class TaNP(EmbeddingLearner):
    """Decode a query together with the support's representation, by a decoder that the task scales
    and shifts.

    The support is represented by the mean r of encodings h(x_i, y_i), and the task by the mean t of
    others. t is compared with `n_kinds` learned kinds of task, a_j, by a Student-t kernel,
    `c_j = (1 + |t - a_j|²)^-1 / sum`, and becomes o = t + sum_j c_j a_j. Each hidden layer of the
    decoder is modulated by o (Gating-FiLM): its output is scaled by 1 + gamma and shifted by beta,
    each of which a gate mixes from two.

    Differs from the paper: r is not a sample of a latent variable, so there is no divergence in the
    loss; kinds of task are learned from the loss of the queries alone, without a clustering loss
    over the tasks of a batch; an empty support has r = t = 0. x stands for the backbone's features.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Classes, or size of a regression target; adapting needs the same.
        width: Units of every hidden layer, and length of r and t.
        n_layers: Hidden layers of the decoder.
        n_kinds: Kinds of task.

    Raises:
        UsageError: If a size is not positive.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = TaNP(MLP((1,)), n_outputs=1)
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    ways = "same"

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        width: int = 64,
        n_layers: int = 2,
        n_kinds: int = 10,
    ) -> None:
        super().__init__(backbone)
        if min(width, n_layers, n_kinds) < 1:
            raise UsageError(
                f"expected a width, n_layers and n_kinds of 1 or more, got {width}, {n_layers} and "
                f"{n_kinds}"
            )
        self.n_outputs = n_outputs
        d = feature_size(backbone)
        self.encoder, self.identity = (_encoder(d + n_outputs, width) for _ in range(2))
        self.kinds = nn.Parameter(torch.randn(n_kinds, width))
        sizes = [d + width, *[width] * n_layers]
        self.layers = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.modulations = nn.ModuleList(nn.Linear(width, 5 * width) for _ in self.layers)
        self.out = nn.Linear(width, n_outputs)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        y = encode_targets(support.y, self.n_outputs, like=widen(embedded))
        pairs = torch.cat([embedded, y], dim=1)
        r, task = _mean(self.encoder(pairs)), self._kind(_mean(self.identity(pairs)))
        changes = [modulation(task) for modulation in self.modulations]

        def predict(query: Tensor) -> Tensor:
            x = torch.cat([query, r.expand(len(query), -1)], dim=1)
            for layer, change in zip(self.layers, changes, strict=True):
                x = F.relu(_modulate(layer(x), change))
            return widen(self.out(x))

        return predict

    def _kind(self, task: Tensor) -> Tensor:
        """The task and the kinds it is like."""
        nearness = 1 / (1 + (task - self.kinds).square().sum(1))
        return task + (nearness / nearness.sum()) @ self.kinds


def _modulate(x: Tensor, change: Tensor) -> Tensor:
    """Scale and shift by parts of a vector of five times the width of x."""
    *parts, logit = change.chunk(5)
    scale, other_scale, shift, other_shift = (torch.tanh(part) for part in parts)
    gate = torch.sigmoid(logit)
    gamma = gate * scale + (1 - gate) * other_scale
    beta = gate * shift + (1 - gate) * other_shift
    return (1 + gamma) * x + beta


def _mean(encoded: Tensor) -> Tensor:
    """Of all examples, (n, width) -> (width,); 0 of none."""
    with full_precision(encoded):
        return widen(encoded).sum(0) / max(len(encoded), 1)


def _encoder(n_inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
    )
