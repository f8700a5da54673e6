"""SNAIL: temporal convolutions gather experience, and causal attention picks from it.

Mishra, Rohaninejad, Chen & Abbeel, "A Simple Neural Attentive Meta-Learner", ICLR 2018,
arXiv:1707.03141.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import feature_size
from quickstudy.learners.model.in_context import InContextLearner
from quickstudy.nn import attention, visible, widen

__all__ = ["SNAIL"]


class SNAIL(InContextLearner):
    """Read the support as a sequence whose last element, a query, has no label (section 3).

    The network of the paper for few-shot classification (section 5.1, figure 2): attention blocks
    around blocks of dilated causal convolutions; each appends what it finds to its input. What the
    support's rows become depends on no query, so they are computed once for all queries.

    Differs from the paper: dilations are 1, 2, 4 and so on, so that a block looks back on every
    element; the paper's listing begins at 2. Features are those of the backbone, scaled to length
    one as labels are, without a linear layer after it. Projections of queries and keys start equal,
    so at first an element attends to those of similar features, without which few-shot images are
    hard to begin with. Regression, with squared error, is not in the paper's experiments.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Most classes a task may have, or size of a regression target.
        length: Elements the temporal convolutions look over, the query included: n_way n_shot + 1
            in the paper. The attention looks over all.
        filters: Channels that each temporal convolution appends.
        sizes: Lengths (key, value) of each attention block; between two stand convolutions.

    Raises:
        UsageError: If a size cannot be used.

    Example:
        >>> from quickstudy.nn import MLP
        >>> from quickstudy.tasks import Support
        >>> learner = SNAIL(MLP((8,)), n_outputs=5, length=6)
        >>> support = Support(torch.rand(5, 8), torch.arange(5), n_way=5)
        >>> learner.adapt(support)(torch.rand(3, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        length: int = 32,
        filters: int = 128,
        sizes: tuple[tuple[int, int], ...] = ((64, 32), (256, 128), (512, 256)),
    ) -> None:
        super().__init__(backbone, n_outputs)
        if length < 2 or filters < 1 or not sizes or min(map(min, sizes)) < 1:
            raise UsageError(
                "expected a length of 2 or more, and one attention block or more, of positive "
                f"sizes, got length {length}, filters {filters}, sizes {sizes}"
            )
        channels = feature_size(backbone) + n_outputs
        blocks: list[nn.Module] = []
        for i, (key_size, value_size) in enumerate(sizes):
            for level in range(math.ceil(math.log2(length)) if i else 0):
                blocks.append(_Dense(channels, filters, 2**level))
                channels += filters
            blocks.append(_Attention(channels, key_size, value_size))
            channels += value_size
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels, n_outputs)

    def read(self, features: Tensor, targets: Tensor) -> Tensor:
        n_support, n_query = len(targets), len(features) - len(targets)
        unknown = targets.new_zeros(n_query, self.n_outputs)
        features = F.normalize(widen(features), dim=1)  # as long as a label is
        rows = torch.cat([features, torch.cat([targets, unknown])], dim=1)
        for block in self.blocks:
            rows = torch.cat([rows, block(rows, n_support)], dim=1)
        return self.head(rows[n_support:])


class _Dense(nn.Module):
    """A gated causal convolution of two taps (DenseBlock): tanh(f * x) sigmoid(g * x)."""

    def __init__(self, channels: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.now = nn.Linear(channels, 2 * filters)
        self.past = nn.Linear(channels, 2 * filters, bias=False)

    def forward(self, rows: Tensor, n_support: int) -> Tensor:
        # Every query comes right after the support, so all see one and the same past element.
        time = torch.arange(len(rows), device=rows.device).clamp_max(n_support)
        before = self.past(rows[:n_support])
        before = torch.cat([before.new_zeros(self.dilation, before.shape[1]), before])
        tap, gate = (self.now(rows) + before[time]).chunk(2, dim=1)
        return tap.tanh() * gate.sigmoid()


class _Attention(nn.Module):
    """Soft attention over the past and the element itself (AttentionBlock)."""

    def __init__(self, channels: int, key_size: int, value_size: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(channels, key_size), nn.Linear(channels, key_size)
        self.value = nn.Linear(channels, value_size)
        # At first an element attends to those like it, with scores of up to 16.
        nn.init.orthogonal_(self.query.weight, gain=4 * key_size**0.25)
        self.key.load_state_dict(self.query.state_dict())
        nn.init.orthogonal_(self.value.weight)

    def forward(self, rows: Tensor, n_support: int) -> Tensor:
        mask = visible(n_support, len(rows) - n_support, causal=True).to(rows.device)
        return attention(self.query(rows), self.key(rows), self.value(rows), mask)
