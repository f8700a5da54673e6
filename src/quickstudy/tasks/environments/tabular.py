"""Random Markov decision processes with few states and actions.

Shapes: n environments, s states, k actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Discrete
from quickstudy.tasks.environments.environment import EnvironmentFamily, Parameters, State
from quickstudy.tasks.environments.options import check_whole

__all__ = ["TabularMDPs"]


class TabularMDPs(EnvironmentFamily):
    """Random MDPs: normal rewards about means drawn from N(1, 1), transitions drawn from a flat
    Dirichlet distribution. An episode starts in state 0; the observation is the state, one-hot.

    Sources: Duan et al., RL2: Fast Reinforcement Learning via Slow Reinforcement Learning, 2016,
    section 3.2; Osband, Russo, Van Roy, (More) Efficient Reinforcement Learning via Posterior
    Sampling, 2013.

    Args:
        n_states: Number of states, s.
        n_actions: Number of actions, k.
        horizon: Steps of an episode.
        seed: Decides every task.

    Parameters of a task: `means` (s, k) of the rewards, whose deviation is 1, and `transitions`
    (s, k, s), the probability of the next state.

    Example:
        >>> family = TabularMDPs()
        >>> family.environments([0, 1]).reset().shape
        torch.Size([2, 10])
        >>> family[0].parameters["transitions"].sum(-1).allclose(torch.ones(10, 5))
        True
    """

    def __init__(
        self, *, n_states: int = 10, n_actions: int = 5, horizon: int = 10, seed: int = 0
    ) -> None:
        super().__init__(seed=seed)
        self.n_states = check_whole("n_states", n_states)
        self.n_actions = check_whole("n_actions", n_actions)
        self.actions = Discrete(n_actions)
        self.horizon = check_whole("horizon", horizon)
        self.observation_size = n_states

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        s, k = self.n_states, self.n_actions
        means = 1.0 + torch.randn(n, s, k, generator=generator)
        weights = torch.empty(n, s, k, s).exponential_(generator=generator)
        return {"means": means, "transitions": weights / weights.sum(-1, keepdim=True)}

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        means = parameters["means"]
        return {"states": torch.zeros(len(means), dtype=torch.long, device=means.device)}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        means, transitions = parameters["means"], parameters["transitions"]
        n, s, k = means.shape
        kind = {"generator": generator, "dtype": means.dtype, "device": means.device}
        rewards, luck = torch.randn(n, **kind), torch.rand(n, 1, **kind)
        row = torch.arange(n, device=means.device)
        place = (row * s + state["states"]) * k + actions  # of (n, s, k), flattened
        rewards += means.flatten()[place]
        cumulative = transitions.reshape(-1, s)[place].cumsum(1)  # (n, s)
        states = (cumulative < luck * cumulative[:, -1:]).sum(1)
        return {"states": states}, rewards, None

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        means, states = parameters["means"], state["states"]
        return means.new_zeros(len(states), self.n_states).scatter_(1, states[:, None], 1.0)
