"""Memory-augmented networks: write what is seen into a memory, and read it when it comes again.

Santoro, Bartunov, Botvinick, Wierstra & Lillicrap, "Meta-Learning with Memory-Augmented Neural
Networks", ICML 2016 (and "One-shot Learning with Memory-Augmented Neural Networks",
arXiv:1605.06065).

Shapes: n examples of a sequence; "units" is the size of the controller.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.learners.base import (
    Learner,
    Predictor,
    encode_targets,
    feature_size,
    query_loss,
)
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Episode, Support

__all__ = ["MANN"]

LETTERS = 5
"""Letters of a string label, and letters of the alphabet that they come from."""


class _State(NamedTuple):
    """What the network carries from one example to the next."""

    hidden: Tensor  # h (controller_size,)
    cell: Tensor  # c (controller_size,)
    memory: Tensor  # M (n_slots, slot_size)
    usage: Tensor  # w^u (n_slots,)
    read_weights: Tensor  # w^r (n_reads, n_slots)
    read: Tensor  # r, flattened (n_reads * slot_size,)


class MANN(Learner):
    """Classify the examples of a sequence one after the other, each given the previous label.

    The input at time t is (features of x_t, y_{t-1}). A controller makes from it, and from what
    it read last, keys k_t, which serve both to write and to read. Writing goes by least recently
    used access: to the slots last read or to those least used (equations 5 to 8). Reading is the
    mean of the slots weighted by the softmax of their cosines with the key (equations 2 to 4).
    The output is linear in (h_t, r_t). The memory is wiped for every task, so all learning within
    a task is in its state.

    Meta-training predicts at each step of one sequence, the support and then the queries. With
    `n_shot = 0` all of it is one shuffled sequence, as in the paper. A predictor answers each
    query as the next example of the support's sequence.

    Differs from the paper: it does not say how several heads share the `n_reads` least used slots;
    here head j may write to the j-th least used one, and only the very least used is wiped. Of
    slots equally unused, the first counts as less used. Keys are squashed by tanh, and the
    initial memory is 1e-6 everywhere, as in public reimplementations; the paper says neither.
    Regression is by squared error, a Gaussian of fixed variance. A backbone may come before the
    controller; its batch norm, if any, sees a whole training sequence at once.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`.
        n_outputs: Classes, or size of a regression target. Tasks of fewer ways are fine.
        controller: "lstm" or "feedforward".
        memory: Without it, what remains is the paper's baseline: an LSTM, or a
            feed-forward network that receives the previous label.
        controller_size: Units of the controller.
        memory_shape: Number of slots, and size of each.
        n_reads: Keys per step, each of which reads and writes.
        decay: Factor gamma on the usage of the step before.
        strength: Factor on the cosines that a key reads by. The paper has none, which is 1: then
            the slot that fits a key exactly weighs at most a twentieth of all 128. Above 1 it is
            the initial value of a learned factor, one per head and step as the key strength of
            neural Turing machines (Graves et al. 2014, equation 5).
        labels: "one-hot", or "strings" of five letters of five, as the paper has for many
            classes: label 0..3124 has five base-5 digits, fed as five one-hot vectors and
            predicted by five softmaxes. Tasks have such labels with `n_labels = 3125`.

    Raises:
        UsageError: If `n_outputs` is not 3125 with string labels, or a size or factor is out of
            range.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> learner = MANN(Flatten((4,)), n_outputs=3).eval()
        >>> support = Support(torch.rand(2, 4), torch.tensor([0, 2]), n_way=3)
        >>> learner.adapt(support)(torch.rand(6, 4)).shape
        torch.Size([6, 3])
    """

    batchable = True
    ways = "fewer"

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        controller: Literal["lstm", "feedforward"] = "lstm",
        memory: bool = True,
        controller_size: int = 200,
        memory_shape: tuple[int, int] = (128, 40),
        n_reads: int = 4,
        decay: float = 0.99,
        strength: float = 1.0,
        labels: Literal["one-hot", "strings"] = "one-hot",
    ) -> None:
        super().__init__()
        check_option("controller", controller, ("lstm", "feedforward"))
        check_option("labels", labels, ("one-hot", "strings"))
        n_slots, slot_size = memory_shape
        if min(n_outputs, controller_size, slot_size, n_reads) < 1 or n_slots < n_reads:
            raise UsageError(
                "expected positive sizes and at least n_reads slots, got "
                f"n_outputs={n_outputs}, controller_size={controller_size}, "
                f"memory_shape={tuple(memory_shape)}, n_reads={n_reads}"
            )
        if not 0 <= decay <= 1 or strength < 1:
            raise UsageError(
                f"expected a decay in 0..1 and a strength of 1 or more, got {decay} and {strength}"
            )
        if labels == "strings" and n_outputs != LETTERS**LETTERS:
            raise UsageError(
                f"expected {LETTERS**LETTERS} outputs with string labels, got {n_outputs}: "
                f"draw tasks with n_labels = {LETTERS**LETTERS}"
            )
        self.backbone, self.n_outputs, self.decay = backbone, n_outputs, decay
        self.strings, self.is_lstm, self.has_memory = (
            labels == "strings",
            controller == "lstm",
            memory,
        )
        self.controller_size, self.n_reads = controller_size, n_reads
        self.n_slots, self.slot_size = n_slots, slot_size
        label_size = LETTERS**2 if self.strings else n_outputs
        read_size = n_reads * slot_size if memory else 0
        past_size = read_size + (controller_size if self.is_lstm else 0)
        gates = 4 * controller_size if self.is_lstm else controller_size
        self.input_layer = nn.Linear(feature_size(backbone) + label_size, gates)
        self.recurrent_layer = nn.Linear(past_size, gates, bias=False) if past_size else None
        self.interface = nn.Linear(controller_size, n_reads * (slot_size + 1)) if memory else None
        self.strength = nn.Linear(controller_size, n_reads) if memory and strength > 1 else None
        if self.strength is not None:
            nn.init.constant_(self.strength.bias, math.log(math.expm1(strength)))
        self.head = nn.Linear(controller_size + read_size, label_size)

    def check(self, support: Support) -> None:
        super().check(support)
        if self.strings and support.n_way is None:
            raise DataError("expected a classification task, as labels are strings")

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        null = self.head.weight.new_zeros(1, self.head.out_features)
        labels = torch.cat([null, self._encode(support.y)])  # (n_support + 1, label size)
        state = self._initial_state()
        if len(support):
            state, _ = self._run(self._preactivations(support.x, labels[:-1]), state)

        def predict(x: Tensor) -> Tensor:
            inputs = self._preactivations(x, labels[-1:].expand(len(x), -1))  # (n_query, gates)
            with full_precision(inputs):
                step = torch.vmap(lambda one: self._output_features(self._step(one, state)))
                return self._scores(self.head(step(inputs)), support.n_way)

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """Mean loss over all steps of the sequence of support and queries."""
        x = torch.cat([episode.support.x, episode.query.x])
        y = torch.cat([episode.support.y, episode.query.y])
        previous = F.pad(self._encode(y)[:-1], (0, 0, 1, 0))  # y_{t-1}, and y_0 is null
        _, features = self._run(self._preactivations(x, previous), self._initial_state())
        with full_precision(x):
            outputs = self.head(features)  # (n, label size)
            if self.strings:  # that of the joint distribution, letter by letter
                return LETTERS * F.cross_entropy(outputs.view(-1, LETTERS), _letters(y).flatten())
            return query_loss(self._scores(outputs, episode.n_way), y)

    def _encode(self, y: Tensor) -> Tensor:
        if not self.strings:
            return encode_targets(y, self.n_outputs, self.head.weight)
        return encode_targets(_letters(y).flatten(), LETTERS, self.head.weight).view(-1, LETTERS**2)

    def _preactivations(self, x: Tensor, previous_labels: Tensor) -> Tensor:
        """The input's share of the controller's preactivations at all steps, (n, gates)."""
        features = widen(self.backbone(x))  # (n, d)
        with full_precision(x):
            return self.input_layer(torch.cat([features, previous_labels], dim=1))

    def _initial_state(self) -> _State:
        zeros = self.head.weight.new_zeros
        hidden = zeros(self.controller_size)
        memory = zeros(self.n_slots, self.slot_size) + 1e-6
        read_weights = zeros(self.n_reads, self.n_slots)
        read = zeros(self.n_reads * self.slot_size)
        return _State(hidden, hidden, memory, zeros(self.n_slots), read_weights, read)

    def _run(self, inputs: Tensor, state: _State) -> tuple[_State, Tensor]:
        """Go through a sequence; returns the last state, and the output features of each step."""
        features = []
        with full_precision(inputs):  # 8 bits cannot hold the state
            for preactivation in inputs.unbind():
                state = self._step(preactivation, state)
                features.append(self._output_features(state))
        return state, torch.stack(features)

    def _output_features(self, state: _State) -> Tensor:
        """What the output is linear in: (h_t, r_t)."""
        return torch.cat([state.hidden, state.read]) if self.has_memory else state.hidden

    def _step(self, preactivation: Tensor, state: _State) -> _State:
        """One step of the controller, and of its memory if it has one."""
        if self.recurrent_layer is not None:
            past = self._output_features(state) if self.is_lstm else state.read
            preactivation = preactivation + self.recurrent_layer(past)
        cell = state.cell
        if self.is_lstm:
            n = self.controller_size
            gates = preactivation[: 3 * n].sigmoid().view(3, n)
            forget_gate, input_gate, output_gate = gates.unbind()  # (units,) each
            cell = forget_gate * cell + input_gate * preactivation[3 * n :].tanh()
            hidden = output_gate * cell.tanh()
        else:
            hidden = preactivation.tanh()
        state = state._replace(hidden=hidden, cell=cell)
        return self._access(state) if self.has_memory else state

    def _access(self, state: _State) -> _State:
        """Least recently used access: write, then read with the same keys."""
        assert self.interface is not None
        interface = self.interface(state.hidden)
        keys = interface[self.n_reads :].view(self.n_reads, self.slot_size).tanh()
        gate = interface[: self.n_reads, None].sigmoid()  # (n_reads, 1)
        # A mask by rank, through which no gradient passes.
        order = state.usage.detach().argsort(stable=True)
        slots = torch.arange(self.n_slots, device=order.device)
        least_used = (order[: self.n_reads, None] == slots).to(keys.dtype)  # (n_reads, n_slots)
        write_weights = gate * state.read_weights + (1 - gate) * least_used
        wiped = state.memory * (1 - least_used[0])[:, None]  # (n_slots, slot_size)
        memory = torch.addmm(wiped, write_weights.T, keys)
        # Divide the products by the norms, not the memory, which is by far the largest tensor.
        norms = torch.linalg.vector_norm(memory, dim=1).clamp_min(1e-12)
        cosines = F.normalize(keys, dim=1) @ memory.T / norms  # (n_reads, n_slots)
        if self.strength is not None:
            cosines = cosines * F.softplus(self.strength(state.hidden))[:, None]
        read_weights = cosines.softmax(dim=1)  # (n_reads, n_slots)
        usage = self.decay * state.usage + (read_weights + write_weights).sum(0)
        return _State(
            state.hidden, state.cell, memory, usage, read_weights, (read_weights @ memory).flatten()
        )

    def _scores(self, outputs: Tensor, n_way: int | None) -> Tensor:
        """Logits of the task's labels; those of a string are the log-probability of its letters."""
        if self.strings:
            log_p = outputs.view(-1, LETTERS, LETTERS).log_softmax(2)
            letters = _letters(torch.arange(self.n_outputs, device=outputs.device))
            outputs = torch.stack([log_p[:, i, letters[:, i]] for i in range(LETTERS)]).sum(0)
        return outputs if n_way is None else outputs[:, :n_way]


def _letters(y: Tensor) -> Tensor:
    """The base-5 digits of labels, the first letter first: (n,) -> (n, 5)."""
    places = LETTERS ** torch.arange(LETTERS - 1, -1, -1, device=y.device)
    return y[:, None] // places % LETTERS
