"""Meta networks: another network writes fast weights, from the gradients of the support set.

Munkhdalai & Yu, "Meta Networks", ICML 2017, arXiv:1703.00837.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import UsageError
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    query_loss,
    with_head,
)
from quickstudy.nn import batch_statistics, cosine_similarity, widen
from quickstudy.tasks import Episode, Support

__all__ = ["MetaNetworks"]

Weights = dict[str, Tensor]
"""A weight per layer: (*shape) for all examples alike, or (n, *shape) with one for each."""


class MetaNetworks(Learner):
    """Augment slow weights, the same for all tasks, by fast weights made from gradients.

    Two networks of one architecture, the base b with slow weights W and the representation u
    with slow weights Q, have fast weights beside them in every layer (algorithm 1):

    - Q*, one set a task, from the gradients of u's loss: an LSTM reads, coordinate by coordinate,
      the gradients of `n_chunks` parts of the support set.
    - W*_i, one set an example, from the gradient of b's loss on support example i, by an MLP.
      They are the values of a memory whose keys are u(x_i; Q, Q*), the features before u's head.

    A query reads its own W* from the memory, the mean of the W*_i weighted by the softmax of the
    cosines of its key with theirs. A layer adds up what its slow and its fast weights make:
    ReLU(W h) + ReLU(W* h), and W h + W* h at the output. Gradients are data: there is no
    derivative through them.

    u's head is used in u's loss alone, whose gradients are data, so it keeps its initial weights.

    Differs from the paper: u's loss is the cross-entropy for any number of shots, where the paper
    takes a contrastive one for more than one shot. The LSTM reads the mean gradient of each part of
    the support set; the paper's reads those of single examples. The query loss is a mean, not a
    sum. The meta-learners' last layers start small, so that training starts near the slow weights
    alone. Keys pass the ReLU that a backbone may end with, which the authors' code leaves out.

    All convolution and linear layers of the backbone are augmented, in their weight but not in
    their bias. Batch norm, which the paper's network does not have, comes after the rectified sum.
    Its running averages come from the augmented network, so the gradients of the slow network use
    the statistics of the support set instead.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`. It becomes
            the base; the representation is a copy with weights of its own.
        n_outputs: Classes; adapting needs the same.
        n_chunks: Parts of the support set that the LSTM sees one after the other.
        hidden_size: Units of the LSTM and of the MLP's two hidden layers.
        strength: Factor on the cosines that the memory is read by. The paper has none, which is 1:
            then the nearest of five examples weighs at most 0.65, and seldom more than 0.3. Above
            1 it is the initial value of a learned factor.

    Raises:
        UsageError: If a size is not positive, or the strength less than 1.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = MetaNetworks(MLP((4,), (16,)), n_outputs=3).eval()
        >>> support = Support(torch.rand(3, 4), torch.arange(3), n_way=3)
        >>> learner.adapt(support)(torch.rand(6, 4)).shape
        torch.Size([6, 3])
    """

    ways = "same"

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        n_chunks: int = 5,
        hidden_size: int = 20,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        if min(n_outputs, n_chunks, hidden_size) < 1:
            raise UsageError(
                f"expected positive sizes, got n_outputs={n_outputs}, n_chunks={n_chunks}, "
                f"hidden_size={hidden_size}"
            )
        if strength < 1:
            raise UsageError(f"expected a strength of 1 or more, got {strength}")
        self.n_outputs, self.n_chunks = n_outputs, n_chunks
        # Learned on a scale of logarithms.
        self.strength = nn.Parameter(torch.tensor(math.log(strength))) if strength > 1 else None
        self.base = with_head(backbone, n_outputs, bias=False)
        self.representation = with_head(_with_new_weights(backbone), n_outputs, bias=False)
        self.representation.head.requires_grad_(False)
        kinds = {_kind(layer) for _, layer in _layers(self.base)}
        self.example_level = nn.ModuleDict({k: _ExampleLevel(hidden_size) for k in sorted(kinds)})
        kinds = {_kind(layer) for name, layer in _layers(self.base) if name != "head"}
        self.task_level = nn.ModuleDict({k: _TaskLevel(hidden_size) for k in sorted(kinds)})

    def check(self, support: Support) -> None:
        check_every_class(support)
        super().check(support)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        task_fast, values = self._make_fast_weights(support)
        keys = self._keys(support.x, task_fast)

        def predict(x: Tensor) -> Tensor:
            return self._scores(x, self._keys(x, task_fast), keys, values)

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """The predictor's query loss; the keys of support and query are computed as one batch."""
        support, query = episode.support, episode.query
        task_fast, values = self._make_fast_weights(support)
        both = self._keys(torch.cat([support.x, query.x]), task_fast)
        keys, query_keys = both.split([len(support), len(query)])
        return query_loss(self._scores(query.x, query_keys, keys, values), query.y)

    def _make_fast_weights(self, support: Support) -> tuple[Weights, Weights]:
        """Fast weights Q* of the task, and W*_i of each of its examples i."""
        task_fast = self._write(self.task_level, self._chunk_gradients(support))
        example_gradients = _example_gradients(self.base, support)
        return task_fast, self._write(self.example_level, example_gradients)

    def _keys(self, x: Tensor, task_fast: Weights) -> Tensor:
        """Features by the representation with the fast weights of the task: (n, ...) -> (n, d)."""
        with _fast_weights(self.representation, task_fast, rectify=True):
            return widen(self.representation[0](x))

    def _scores(self, x: Tensor, query_keys: Tensor, keys: Tensor, values: Weights) -> Tensor:
        """Scores of queries x by the fast weights that their keys read from the memory."""
        cosines = cosine_similarity(query_keys, keys)  # (n_query, n_support)
        if self.strength is not None:
            cosines = cosines * self.strength.exp()
        attention = cosines.softmax(dim=1)
        fast = {
            name: (attention.to(value.dtype) @ value.flatten(1)).view(-1, *value.shape[1:])
            for name, value in values.items()
        }
        with _fast_weights(self.base, fast, rectify=True):
            return widen(self.base(x))

    def _chunk_gradients(self, support: Support) -> Weights:
        """Mean gradients of u's loss on parts of the support set: (n_chunks, *shape) for each layer
        before the head.
        """
        parts = min(self.n_chunks, len(support))
        return {
            name: torch.stack([part.mean(0) for part in gradients.tensor_split(parts)])
            for name, gradients in _example_gradients(self.representation, support).items()
            if name != "head"
        }

    def _write(self, writers: nn.ModuleDict, gradients: Weights) -> Weights:
        """Fast weights of all layers; one call of a writer makes those of one kind of layer."""
        fast: Weights = {}
        for kind, writer in writers.items():
            names = [
                n for n, layer in _layers(self.base) if n in gradients and _kind(layer) == kind
            ]
            flat = torch.cat([gradients[name].flatten(1) for name in names], dim=1)
            written = writer(_preprocess(flat))  # (n, n_coordinates), or without n
            sizes = [gradients[name][0].numel() for name in names]
            for name, part in zip(names, written.split(sizes, dim=-1), strict=True):
                fast[name] = part.view(*part.shape[:-1], *gradients[name].shape[1:])
        return fast


class _TaskLevel(nn.Module):
    """An LSTM along the chunks, applied to each coordinate: (n_chunks, 2, m) -> (m,).

    Coordinates come last in memory, which makes it twice as fast.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.input_layer = nn.Linear(2, 4 * hidden_size)
        self.recurrent_layer = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.output = _start_near_zero(nn.Linear(hidden_size, 1))

    def forward(self, gradients: Tensor) -> Tensor:
        n = self.hidden_size
        hidden = cell = gradients.new_zeros(n, gradients.shape[-1])
        for inputs in gradients:
            gates = torch.addmm(
                _apply_to_columns(self.input_layer, inputs), self.recurrent_layer.weight, hidden
            )
            forget_gate, input_gate, output_gate = gates[: 3 * n].sigmoid().chunk(3)
            cell = forget_gate * cell + input_gate * gates[3 * n :].tanh()
            hidden = output_gate * cell.tanh()
        return _apply_to_columns(self.output, hidden)[0]


class _ExampleLevel(nn.Module):
    """An MLP applied to each coordinate of each example: (n, 2, m) -> (n, m)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.Linear(2, hidden_size)
        self.second = nn.Linear(hidden_size, hidden_size)
        self.output = _start_near_zero(nn.Linear(hidden_size, 1))

    def forward(self, gradients: Tensor) -> Tensor:
        flat = gradients.transpose(0, 1).flatten(1)  # (n, 2, m) -> (2, n * m)
        hidden = _apply_to_columns(self.second, _apply_to_columns(self.first, flat).relu()).relu()
        return _apply_to_columns(self.output, hidden).view(len(gradients), -1)


def _apply_to_columns(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer to columns: (in_features, m) -> (out_features, m)."""
    return torch.addmm(layer.bias[:, None], layer.weight, x)


def _start_near_zero(layer: nn.Linear) -> nn.Linear:
    nn.init.normal_(layer.weight, std=1e-2)
    nn.init.zeros_(layer.bias)
    return layer


def _preprocess(gradients: Tensor, p: float = 7.0) -> Tensor:
    """The two inputs that stand for a gradient, its log size and its sign: (n, m) -> (n, 2, m).

    As in Andrychowicz et al. 2016, appendix A.
    """
    size = (gradients.abs().log() / p).clamp_min(-1)
    return torch.stack([size, (gradients * math.exp(p)).clamp(-1, 1)], dim=1)


def _with_new_weights(backbone: nn.Module) -> nn.Module:
    """A copy of a network with newly drawn initial weights."""
    other = copy.deepcopy(backbone)
    for module in other.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return other


def _layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return ((n, m) for n, m in network.named_modules() if isinstance(m, kinds))


def _kind(layer: nn.Module) -> str:
    return "linear" if isinstance(layer, nn.Linear) else "conv"


def _example_gradients(network: nn.Module, support: Support) -> Weights:
    """The gradients of algorithm 1: of the loss L_i on each support example i, by the slow weights
    W of each layer, (n, *shape).

    One pass computes those of all examples. Each layer adds W*_i h to its W h, where the fast
    weights W*_i of example i are zero: they change no output, and the gradient of the sum of all
    L_i by W*_i is that by W as example i alone uses it.
    """
    n = len(support)
    fast = {
        name: torch.zeros(n, *w.shape, dtype=w.dtype, device=w.device, requires_grad=True)
        for name, w in ((name, layer.weight) for name, layer in _layers(network))
    }
    slow = {name: p.detach() for name, p in network.named_parameters()}
    buffers = {name: b.clone() for name, b in network.named_buffers()}  # stay as they are
    with (
        torch.enable_grad(),
        batch_statistics(network),
        _fast_weights(network, fast, rectify=False),
    ):
        scores = functional_call(network, {**slow, **buffers}, (support.x,))  # (n, n_way)
        loss = F.cross_entropy(widen(scores), support.y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(fast.values()))
    return dict(zip(fast, gradients, strict=True))


@contextlib.contextmanager
def _fast_weights(network: nn.Module, fast: Weights, *, rectify: bool) -> Iterator[None]:
    """Let every layer add the output of its fast weights; with `rectify`, ReLU comes before the
    sum, except in the head."""

    def augment(name: str, layer: nn.Module, inputs: tuple[Tensor], slow: Tensor) -> Tensor:
        # Inside vmap, autocast does not choose the type.
        extra = _apply(layer, inputs[0].to(slow.dtype), fast[name].to(slow.dtype))
        return slow.relu() + extra.relu() if rectify and name != "head" else slow + extra

    hooks = [
        layer.register_forward_hook(partial(augment, name)) for name, layer in _layers(network)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _apply(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    """The output of a layer with another weight, or one weight per example, and without bias."""

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight)
        return layer._conv_forward(x, weight, None)

    return apply(x, weight) if weight.ndim == layer.weight.ndim else torch.vmap(apply)(x, weight)
