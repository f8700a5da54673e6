"""A memory that keeps a model of its task, for tasks of few states, and plans in it.

Shapes: t steps, n environments, f numbers of an observation's features, s states, k actions, d
numbers of an input, h of an output, r rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.reinforcement.beliefs import perceptron

__all__ = ["ModelMemory"]


class _Counts(NamedTuple):
    """What was seen of r tasks.

    Args:
        visits: How often each action was done in each state, (r, s * k).
        totals: Sums of the rewards of these, (r, s * k).
        moves: How often each state followed, (r, s * k, s).
    """

    visits: Tensor
    totals: Tensor
    moves: Tensor


class _Trial(NamedTuple):
    """Where n trials are.

    Args:
        counts: What was seen.
        known: A number for each state that was seen, NaN for others, (n, s).
        state: The present one, (n,).
        step: Steps since the episode began, (n,).
        n_steps: Steps since the trial began.
    """

    counts: _Counts
    known: Tensor
    state: Tensor
    step: Tensor
    n_steps: int


class ModelMemory(nn.Module):
    """Counts what followed what, plans in the model that this makes, and remembers what the actions
    in the present state are worth. It learns no weights for that, only how to read the values.

    Each observation that differs from the others of the trial is a state. The model shrinks rewards
    to the mean of all that were seen, as if each action had been done once more, and has seen each
    next state once (Laplace's rule of succession).

    Args:
        n_features: f.
        n_actions: k.
        n_states: s, the most states that a task has.
        horizon: Steps of an episode; a plan goes on to its end.
        width: Units of each of the two layers that read the values.

    Example:
        >>> memory = ModelMemory(3, 2, n_states=4, horizon=5, width=8)
        >>> memory(torch.zeros(10, 6, 3 + 3 + 2 + 2)).shape == (10, 6, memory.hidden)
        True
    """

    def __init__(
        self, n_features: int, n_actions: int, *, n_states: int, horizon: int, width: int
    ) -> None:
        super().__init__()
        if min(n_states, horizon, width) < 1:
            raise UsageError(
                "expected n_states, a horizon and a width of 1 or more, got "
                f"{n_states}, {horizon} and {width}"
            )
        self.sizes = [n_features, n_features, n_actions, 1, 1]
        self.n_actions, self.n_states, self.horizon = n_actions, n_states, horizon
        n_values = 3 * n_actions + 4
        self.layers = perceptron(n_values, width, width)
        self.hidden = width + n_values
        self.value_columns = range(width, width + 2 * n_actions, 2)  # of the output

    def forward(self, inputs: Tensor) -> Tensor:
        """(t, n, d) to (t, n, h)."""
        t, n = inputs.shape[:2]
        with torch.no_grad():
            features, _, actions, rewards, ended = inputs.split(self.sizes, -1)
            states = self._number(_signature(features))  # (t, n)
            before = torch.cat([states[:1], states[:-1]])
            counts = self._counts(before, actions, rewards, ended, states)
            counts = _Counts(*(part.cumsum(0).flatten(0, 1) for part in counts))
            n_steps = torch.arange(t, device=inputs.device)[:, None].expand(t, n)
            began = torch.where(ended[..., 0] > 0, n_steps, 0).cummax(0).values
            step = (n_steps - began).flatten()
            values = self._values(counts, states.flatten(), step, n_steps.flatten())
        return self._read(values).unflatten(0, (t, n))

    def start(self, n: int) -> _Trial:
        """The state of n empty memories."""
        s, k = self.n_states, self.n_actions
        weight = next(self.layers.parameters())
        none = torch.zeros(n, dtype=torch.long, device=weight.device)
        visits = weight.new_zeros(n, s * k)
        counts = _Counts(visits, visits, weight.new_zeros(n, s * k, s))
        known = weight.new_full((n, s), torch.nan, dtype=torch.float64)
        return _Trial(counts, known, none, none - 1, 0)

    def step(self, inputs: Tensor, state: _Trial) -> tuple[Tensor, _Trial]:
        """Inputs (n, d) to outputs (n, h), and the next state."""
        with torch.no_grad():
            features, _, actions, rewards, ended = inputs.split(self.sizes, -1)
            signature = _signature(features)[:, None]  # (n, 1)
            alike = state.known == signature
            n_known = state.known.isfinite().sum(1)
            now = torch.where(alike.any(1), alike.int().argmax(1), n_known)
            self._check_states(now)
            known = state.known.scatter(1, now[:, None], signature)
            seen = self._counts(state.state, actions, rewards, ended, now)
            counts = _Counts(*(a + b for a, b in zip(state.counts, seen, strict=True)))
            step = torch.where(ended[:, 0] > 0, 0, state.step + 1)
            n_steps = torch.full_like(step, state.n_steps)
            values = self._values(counts, now, step, n_steps)
        return self._read(values), _Trial(counts, known, now, step, state.n_steps + 1)

    def _number(self, signatures: Tensor) -> Tensor:
        """States from 0 on, in the order in which they come in each trial, (t, n)."""
        first = (signatures[:, None] == signatures).int().argmax(1)  # (t, n): when it came first
        is_new = first == torch.arange(len(first), device=first.device)[:, None]
        states = (is_new.cumsum(0) - 1).gather(0, first)
        self._check_states(states)
        return states

    def _check_states(self, states: Tensor) -> None:
        if states.numel() and int(states.max()) >= self.n_states:
            raise DataError(
                f"expected {self.n_states} states a task at most, got {int(states.max()) + 1}: "
                "set a larger n_states, or a learner for tasks of many states, such as rl2"
            )

    def _counts(
        self, before: Tensor, actions: Tensor, rewards: Tensor, ended: Tensor, now: Tensor
    ) -> _Counts:
        """Of one step each: what was done, what it brought, and where it led, unless an episode
        ended with it. States (...,), the others (..., k) and (..., 1)."""
        states = F.one_hot(before, self.n_states).to(actions)
        visits = (states[..., :, None] * actions[..., None, :]).flatten(-2)
        following = F.one_hot(now, self.n_states).to(actions) * (1 - ended)
        return _Counts(visits, visits * rewards, visits[..., None] * following[..., None, :])

    def _values(self, counts: _Counts, states: Tensor, step: Tensor, n_steps: Tensor) -> Tensor:
        """Of each action in the present state: what it is worth in the model, and how much of what
        is not known lies on the way, both less the greatest; and how unknown it is. Then the
        greatest, the steps left and those past, (r, 3 * k + 4)."""
        r, s, k = len(states), self.n_states, self.n_actions
        usual = counts.totals.sum(1, keepdim=True) / (1 + counts.visits.sum(1, keepdim=True))
        unknown = 1 / (1 + counts.visits)  # (r, s * k)
        rewards = torch.stack([(counts.totals + usual) * unknown, unknown], 2)  # (r, s * k, 2)
        transitions = counts.moves + 1
        transitions /= transitions.sum(2, keepdim=True)
        row = torch.arange(r, device=states.device)
        left = (self.horizon - step).clamp_min(1)
        following, planned = unknown.new_zeros(r, s, 2), unknown.new_zeros(r, k, 2)
        for n_left in range(1, self.horizon + 1):
            values = (rewards + torch.bmm(transitions, following)).view(r, s, k, 2)
            planned = torch.where((left == n_left)[:, None, None], values[row, states], planned)
            following = values.amax(2)  # (r, s, 2)
        best = planned.amax(1, keepdim=True)  # (r, 1, 2)
        return torch.cat(
            [
                (planned - best).flatten(1),
                unknown.view(r, s, k)[row, states],
                best[:, 0] / self.horizon,
                left[:, None] / self.horizon,
                n_steps[:, None].log1p(),
            ],
            dim=1,
        )

    def _read(self, values: Tensor) -> Tensor:
        return torch.cat([self.layers(values), values], dim=-1)


def _signature(features: Tensor) -> Tensor:
    """A number for each row of features (..., f), the same for the same features alone, (...,)."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(features.shape[-1], generator=generator, dtype=torch.float64)
    return (features.double() * weights.to(features.device)).sum(-1)
