"""Bandits: the same arms at every step, of which only the one that is pulled pays.

Shapes: n environments, k arms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.tasks.environments.actions import Discrete
from quickstudy.tasks.environments.environment import EnvironmentFamily, Parameters, State
from quickstudy.tasks.environments.options import check_number, check_whole

__all__ = ["Bandits", "BernoulliBandits", "GaussianBandits"]


class Bandits(EnvironmentFamily):
    """What all bandits share: `n_arms` actions and nothing to see, an observation of one 0.

    Args:
        n_arms: Number of arms, k.
        horizon: Pulls of an episode.
        seed: Decides every task.
    """

    observation_size = 1

    def __init__(self, *, n_arms: int = 5, horizon: int = 10, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.n_arms = check_whole("n_arms", n_arms)
        self.actions, self.horizon = Discrete(n_arms), check_whole("horizon", horizon)

    def reset(self, parameters: Parameters, generator: torch.Generator) -> State:
        means = parameters["means"]  # (n, k)
        return {"observations": means.new_zeros(len(means), 1)}

    def observe(self, parameters: Parameters, state: State) -> Tensor:
        return state["observations"]


class BernoulliBandits(Bandits):
    """Arms that pay 1 with a probability of their own, drawn from U(0, 1), and else 0.

    Sources: Duan et al., RL2: Fast Reinforcement Learning via Slow Reinforcement Learning, 2016,
    section 3.1, with horizons of 10, 100, 500 and 5, 10, 50 arms.

    Args:
        n_arms: Number of arms, k.
        horizon: Pulls of an episode.
        seed: Decides every task.

    Parameters of a task: `means` (k,), the probability of each arm.

    Example:
        >>> BernoulliBandits(n_arms=3)[7].parameters["means"].shape
        torch.Size([3])
    """

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"means": torch.rand(n, self.n_arms, generator=generator)}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        means = parameters["means"]
        luck = torch.rand(len(means), generator=generator, dtype=means.dtype, device=means.device)
        pulled = means.gather(1, actions[:, None])[:, 0]  # (n, k) -> (n,)
        return state, (luck < pulled).to(means.dtype), None


class GaussianBandits(Bandits):
    """Arms with means of their own, drawn from N(0, 1), that pay with normal noise.

    Args:
        n_arms: Number of arms, k.
        horizon: Pulls of an episode.
        noise: Standard deviation of a reward about the mean of its arm.
        seed: Decides every task.

    Parameters of a task: `means` (k,).

    Example:
        >>> family = GaussianBandits(n_arms=2, noise=0.0)
        >>> environments = family.environments([4])
        >>> observations = environments.reset()
        >>> reward = environments.step(torch.tensor([1])).rewards[0]
        >>> bool(reward == family[4].parameters["means"][1])
        True
    """

    def __init__(
        self, *, n_arms: int = 5, horizon: int = 10, noise: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__(n_arms=n_arms, horizon=horizon, seed=seed)
        self.noise = check_number("noise", noise, least=0.0)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"means": torch.randn(n, self.n_arms, generator=generator)}

    def step(
        self, parameters: Parameters, state: State, actions: Tensor, generator: torch.Generator
    ) -> tuple[State, Tensor, None]:
        means = parameters["means"]
        luck = torch.randn(len(means), generator=generator, dtype=means.dtype, device=means.device)
        pulled = means.gather(1, actions[:, None])[:, 0]  # (n, k) -> (n,)
        return state, luck.mul_(self.noise).add_(pulled), None
