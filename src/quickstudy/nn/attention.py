"""Attention over the examples of one task, of basic operations that `torch.func` can batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.nn.precision import full_precision, widen

__all__ = ["MultiHeadAttention", "RMSNorm", "attention", "visible"]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention: softmax(query key^T / sqrt(d)) value, in float32 at least.

    Args:
        query: Shape (..., n, d).
        key: Shape (..., m, d).
        value: Shape (..., m, e).
        mask: Which keys a query may attend to, bool of shape (..., n, m), one or more each.

    Returns:
        Shape (..., n, e).

    Example:
        >>> attention(torch.zeros(1, 2), torch.eye(2), torch.tensor([[1.0], [3.0]]))
        tensor([[2.]])
    """
    with full_precision(query):
        query, key, value = widen(query), widen(key), widen(value)
        scores = query @ key.mT / math.sqrt(query.shape[-1])  # (..., n, m)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ value


def visible(n_support: int, n_query: int, *, causal: bool = False) -> Tensor:
    """Who may attend to whom when support and queries are rows of one sequence, bool (n, n).

    Every row sees the support, and a query itself, but never another query.

    Args:
        causal: Whether a support row sees only those up to itself.

    Example:
        >>> visible(2, 2, causal=True).int()
        tensor([[1, 0, 0, 0],
                [1, 1, 0, 0],
                [1, 1, 1, 0],
                [1, 1, 0, 1]], dtype=torch.int32)
    """
    row = torch.arange(n_support + n_query)
    seen = (row < n_support).expand(len(row), -1)
    if causal:
        seen = seen & (row <= row[:, None])
    return seen | torch.eye(len(row), dtype=torch.bool)


class MultiHeadAttention(nn.Module):
    """Attention in several learned projections at once (Vaswani et al. 2017, section 3.2.2).

    It starts as a kernel smoother, where the sizes allow it: the projections of queries and keys
    are equal, so that a row attends to rows like itself, and `out` undoes `value`, so that it reads
    their mean.

    Args:
        query_size: Length of the query vectors.
        key_size: Length of the key vectors.
        value_size: Length of the value vectors.
        width: Length of the result, a multiple of `heads`.
        heads: Number of projections.
    """

    def __init__(
        self, query_size: int, key_size: int, value_size: int, width: int, heads: int
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise UsageError(f"expected a width that heads divide, got {width} and {heads} heads")
        self.heads = heads
        self.query = nn.Linear(query_size, width, bias=False)
        self.key = nn.Linear(key_size, width, bias=False)
        self.value = nn.Linear(value_size, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        if query_size == key_size:
            nn.init.orthogonal_(self.query.weight, gain=2.0)
            self.key.load_state_dict(self.query.state_dict())
        if value_size == width:
            nn.init.orthogonal_(self.value.weight)
            with torch.no_grad():
                self.out.weight.copy_(self.value.weight.T)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from `query` (n, d) to `key` (m, d) and read `value` (m, e): (..., n, width).

        Args:
            mask: As for `attention`, shape (n, m), or (..., n, m) to attend in several ways.
        """
        if mask is not None:
            mask = mask[..., None, :, :]  # the same for every head
        heads = (self._split(self.query(query)), self._split(self.key(key)))
        read = attention(*heads, self._split(self.value(value)), mask)  # (..., heads, n, size)
        return self.out(read.transpose(-3, -2).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        size = x.shape[1] // self.heads
        return x.unflatten(1, (self.heads, size)).transpose(0, 1)  # (n, width) -> (heads, n, size)


class RMSNorm(nn.Module):
    """Scale each vector to a root mean square of one (Zhang & Sennrich 2019, equation 4).

    Args:
        size: Length of the vectors.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        x = widen(x)
        return self.scale * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
