"""Attention over the examples of one task, of basic operations that `torch.func` can batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.nn.precision import full_precision, widen

__all__ = ["LinearAttention", "MultiHeadAttention", "RMSNorm", "attention", "visible"]


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
        read = self.attend(*heads, self._split(self.value(value)), mask)  # (..., heads, n, size)
        return self.out(read.transpose(-3, -2).flatten(-2))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """What the queries of each head read, as `attention`."""
        return attention(query, key, value, mask)

    def _split(self, x: Tensor) -> Tensor:
        size = x.shape[1] // self.heads
        return x.unflatten(1, (self.heads, size)).transpose(0, 1)  # (n, width) -> (heads, n, size)


class LinearAttention(MultiHeadAttention):
    """Attention without a softmax: a row reads sum_j (query key_j) value_j / (c + n), where n is
    the number of rows that it sees.

    With one head it starts as a step of gradient descent on the least-squares loss of the rows that
    are seen (von Oswald et al., "Transformers Learn In-Context by Gradient Descent", ICML 2023,
    proposition 1): keys are rows as they are, and what is read is subtracted. The learned c keeps
    the step stable when n is small.

    Args:
        width: Length of the rows, a multiple of `heads`.
        heads: Number of projections.
        pseudocount: c at the start, such as the number of features of a row.
        step: Size of the step that it starts as.

    Example:
        >>> layer = LinearAttention(2, heads=1, pseudocount=1.0, step=1.0)
        >>> read = layer(torch.eye(2), torch.eye(2), torch.eye(2)).abs() * 3
        >>> torch.allclose(read, torch.eye(2), atol=1e-5)
        True
    """

    def __init__(self, width: int, heads: int, *, pseudocount: float, step: float = 0.4) -> None:
        super().__init__(width, width, width, width, heads)
        nn.init.orthogonal_(self.query.weight)
        self.key.load_state_dict(self.query.state_dict())
        with torch.no_grad():
            self.out.weight.copy_(-step * self.value.weight.T)
        self.log_pseudocount = nn.Parameter(torch.tensor(math.log(pseudocount)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        with full_precision(query):
            query, key, value = widen(query), widen(key), widen(value)
            scores = query @ key.mT  # (..., n, m)
            if mask is None:
                return scores @ value / (self.log_pseudocount.exp() + key.shape[-2])
            seen = mask.to(scores.dtype)
            n_seen = seen.sum(-1, keepdim=True)
            return scores * seen @ value / (self.log_pseudocount.exp() + n_seen)


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
