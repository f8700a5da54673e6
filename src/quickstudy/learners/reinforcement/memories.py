"""What a policy remembers of a trial: recurrent units, or attention to all that came before.

A memory maps a sequence at once, for training, and step by step, for acting, to the same.
Shapes: t steps, n environments, d numbers of an input, h of an output.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError

__all__ = ["AttentiveMemory", "RecurrentMemory"]


class RecurrentMemory(nn.Module):
    """A gated recurrent unit, whose state is normalised before it is read.

    Args:
        size: d.
        hidden: h.

    Example:
        >>> memory = RecurrentMemory(4, 8)
        >>> memory(torch.zeros(10, 3, 4)).shape
        torch.Size([10, 3, 8])
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.unit = nn.GRU(size, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """(t, n, d) to (t, n, h)."""
        return self.norm(self.unit(inputs)[0])

    def start(self, n: int) -> Tensor:
        """The state of n empty memories."""
        return self.norm.weight.new_zeros(1, n, self.hidden)

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (n, d) to outputs (n, h), and the next state."""
        out, state = self.unit(inputs[None], state)
        return self.norm(out[0]), state


class AttentiveMemory(nn.Module):
    """Layers of attention to all steps so far, without positions: the order of steps counts only by
    which of them came before which.

    Args:
        size: d.
        hidden: h, a multiple of `heads`.
        layers: Of attention and a perceptron of four times the width.
        heads: Of each layer.

    Example:
        >>> memory = AttentiveMemory(4, 8, layers=2, heads=2)
        >>> memory(torch.zeros(10, 3, 4)).shape
        torch.Size([10, 3, 8])
    """

    def __init__(self, size: int, hidden: int, *, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        if layers < 1 or heads < 1 or hidden % heads:
            raise UsageError(
                f"expected one layer or more and a width that heads divide, got {layers} layers, "
                f"{hidden} and {heads} heads"
            )
        self.hidden = hidden
        self.embed = nn.Linear(size, hidden)
        self.layers = nn.ModuleList(_CausalLayer(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """(t, n, d) to (t, n, h)."""
        tokens = self.embed(inputs).transpose(0, 1)  # (n, t, h)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens).transpose(0, 1)

    def start(self, n: int) -> list[_Seen]:
        """The state of n empty memories."""
        del n
        return [_Seen() for _ in self.layers]

    def step(self, inputs: Tensor, state: list[_Seen]) -> tuple[Tensor, list[_Seen]]:
        """Inputs (n, d) to outputs (n, h), and the next state."""
        tokens = self.embed(inputs)[:, None]  # (n, 1, h)
        for layer, seen in zip(self.layers, state, strict=True):
            tokens = layer(tokens, seen)
        return self.norm(tokens[:, 0]), state


class _Seen:
    """Keys and values of the steps so far, (n, heads, t, h / heads) each."""

    def __init__(self) -> None:
        self._room: Tensor | None = None
        self._n_steps = 0

    def add(self, new: Tensor) -> Tensor:
        """Keep those of another step, (2, n, heads, 1, h / heads); returns all so far."""
        if self._room is None or self._n_steps == self._room.shape[3]:
            longer = new.expand(-1, -1, -1, max(16, self._n_steps), -1)
            self._room = (
                longer.clone() if self._room is None else torch.cat([self._room, longer], 3)
            )
        self._room[:, :, :, self._n_steps] = new[:, :, :, 0]
        self._n_steps += 1
        return self._room[:, :, :, : self._n_steps]


class _CausalLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, seen: _Seen | None = None) -> Tensor:
        """Tokens (n, t, h) of a whole sequence, or of one step after those seen."""
        projected: Any = self.project(self.before_attention(tokens))
        split = projected.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, rest = split[0], split[1:]  # (n, heads, t, h / heads), (2, ...)
        if seen is not None:
            rest = seen.add(rest)
        read = F.scaled_dot_product_attention(query, rest[0], rest[1], is_causal=seen is None)
        tokens = tokens + self.out(read.transpose(1, 2).flatten(2))
        return tokens + self.perceptron(self.before_perceptron(tokens))
