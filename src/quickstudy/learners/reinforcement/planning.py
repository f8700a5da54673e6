"""Policies for small Markov decision processes that plan in a model of what they saw.

Shapes: t steps, n environments, h steps of an episode, s states, k actions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from quickstudy.learners.reinforcement.classical import ClassicalPolicy
from quickstudy.learners.reinforcement.experience import Experience
from quickstudy.tasks.environments import Environments, Step, TabularMDPs
from quickstudy.tasks.environments.options import check_number, check_whole

__all__ = [
    "PSRL",
    "GreedyPlanner",
    "OptimalPlanner",
    "OptimisticPSRL",
    "Planner",
    "plan",
]


def plan(means: Tensor, transitions: Tensor, horizon: int) -> Tensor:
    """Solve MDPs by backward induction: the values of all actions at each step, (h, n, s, k).

    Args:
        means: (n, s, k), expected rewards.
        transitions: (n, s, k, s), probabilities of the next state.
        horizon: Steps of an episode, h.

    Example:
        >>> rows = TabularMDPs().parameters([0])
        >>> values = plan(rows["means"], rows["transitions"], 10)
        >>> values.shape, torch.equal(values[-1], rows["means"])
        (torch.Size([10, 1, 10, 5]), True)
    """
    values, following = [], torch.zeros_like(means[:, :, 0])
    n, s, k = means.shape
    flat = transitions.reshape(n, s * k, s)
    for _ in range(horizon):
        later = torch.bmm(flat, following[:, :, None]).view(n, s, k)
        values.append(means + later)
        following = values[-1].amax(2)  # (n, s)
    return torch.stack(values[::-1])


class Planner(ClassicalPolicy):
    """Plans at the beginning of each episode and follows the plan.

    It keeps the posterior of rewards and transitions under the family's priors: means N(1, 1) with
    rewards of deviation 1, and flat Dirichlet distributions.

    Args:
        family: The MDPs that are to be played.
        seed: Decides what the policy draws.
        device: Where the environments are.
    """

    def __init__(
        self, family: TabularMDPs, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(seed=seed, device=device)
        self.n_states, self.n_actions = family.n_states, family.n_actions
        self.horizon = family.horizon

    def reset(self, n: int) -> None:
        super().reset(n)
        s, k, device = self.n_states, self.n_actions, self.device
        self.counts = torch.ones(n, s, k, s, device=device)  # of the prior too
        self.totals = torch.ones(n, s, k, device=device)
        self._row = torch.arange(n, device=device)
        self.steps = 0

    @abstractmethod
    def values(self) -> Tensor:
        """Values of all actions at each step of the next episode, (h, n, s, k)."""

    def act(self, observations: Tensor) -> Tensor:
        step = self.steps % self.horizon
        if step == 0:
            self._choices = self.values().argmax(3)  # (h, n, s)
        self._states = observations.argmax(1)
        return self._choices[step, self._row, self._states]

    def observe(self, actions: Tensor, step: Step) -> None:
        following = step.final_observations.argmax(1)
        place = (self._row * self.n_states + self._states) * self.n_actions + actions
        self.totals.view(-1)[place] += step.rewards
        self.counts.view(-1)[place * self.n_states + following] += 1
        self.steps += 1

    def visits(self) -> Tensor:
        """How often each action was done in each state, (n, s, k)."""
        return self.counts.sum(3) - self.n_states

    def posterior_means(self) -> tuple[Tensor, Tensor]:
        """Means of rewards (n, s, k) and of transitions (n, s, k, s)."""
        transitions = self.counts / self.counts.sum(3, keepdim=True)
        return self.totals / (1 + self.visits()), transitions

    def draw(self) -> tuple[Tensor, Tensor]:
        """One MDP from the posterior of each environment: rewards and transitions."""
        precision = 1 + self.visits()
        noise = torch.randn(precision.shape, generator=self.generator, device=precision.device)
        weights = torch._standard_gamma(self.counts, generator=self.generator)
        means = self.totals / precision + noise / precision.sqrt()
        return means, weights / weights.sum(3, keepdim=True)


class PSRL(Planner):
    """Plans in one MDP drawn from the posterior, an episode long.

    Sources: Strens, A Bayesian Framework for Reinforcement Learning, 2000; Osband, Russo, Van Roy,
    (More) Efficient Reinforcement Learning via Posterior Sampling, 2013.

    Args:
        family: The MDPs that are to be played.
        seed: Decides the draws.
        device: Where the environments are.

    Example:
        >>> from quickstudy.learners.reinforcement.experience import play
        >>> family = TabularMDPs()
        >>> experience = play(family.environments(range(100)), PSRL(family), episodes=3)
        >>> experience.returns(family.horizon).shape
        torch.Size([3, 100])
    """

    def values(self) -> Tensor:
        return plan(*self.draw(), self.horizon)


class OptimisticPSRL(Planner):
    """Draws several MDPs from the posterior and takes each action's greatest value in them.

    Sources: Fonteneau, Korda, Munos, An Optimistic Posterior Sampling Strategy for Bayesian
    Reinforcement Learning, 2013; that values are compared, not MDPs, is as in Osband's TabulaRL.

    Args:
        family: The MDPs that are to be played.
        n_draws: MDPs drawn for each episode.
        options: Of `Planner`.
    """

    def __init__(self, family: TabularMDPs, *, n_draws: int = 10, **options: Any) -> None:
        super().__init__(family, **options)
        self.n_draws = check_whole("n_draws", n_draws)

    def values(self) -> Tensor:
        values = plan(*self.draw(), self.horizon)
        for _ in range(self.n_draws - 1):
            values = torch.maximum(values, plan(*self.draw(), self.horizon))
        return values


class GreedyPlanner(Planner):
    """Plans in the mean of the posterior, with a bonus for what was seldom done, or at random.

    Without bonus and epsilon it is the greedy policy. With a bonus of b / (1 + visits) to each
    reward it is that of the Bayesian exploration bonus.

    Sources: Kolter, Ng, Near-Bayesian Exploration in Polynomial Time, 2009, for the bonus.

    Args:
        family: The MDPs that are to be played.
        bonus: b above; 0 for none.
        epsilon: Probability of a random action.
        options: Of `Planner`.
    """

    def __init__(
        self, family: TabularMDPs, *, bonus: float = 0.0, epsilon: float = 0.0, **options: Any
    ) -> None:
        super().__init__(family, **options)
        self.bonus = check_number("bonus", bonus, least=0.0)
        self.epsilon = check_number("epsilon", epsilon, 0.0, 1.0)

    def values(self) -> Tensor:
        means, transitions = self.posterior_means()
        return plan(means + self.bonus / (1 + self.visits()), transitions, self.horizon)

    def act(self, observations: Tensor) -> Tensor:
        planned = super().act(observations)
        luck = torch.rand(2, self.n, generator=self.generator, device=planned.device)
        actions = (luck[1] * self.n_actions).long().clamp_max_(self.n_actions - 1)
        return torch.where(luck[0] < self.epsilon, actions, planned)


class OptimalPlanner(ClassicalPolicy):
    """Knows the MDPs and solves them: no policy does better.

    Args:
        environments: The environments to play, of `TabularMDPs`.

    Attributes:
        value: (n,), expected return of an episode.
    """

    def __init__(self, environments: Environments) -> None:
        super().__init__(device=environments.device)
        rows = environments.parameters
        self._values = plan(rows["means"], rows["transitions"], environments.family.horizon)
        self.value = self._values[0, :, 0].amax(1)
        self._choices = self._values.argmax(3)  # (h, n, s)

    def reset(self, n: int) -> None:
        super().reset(n)
        self._row, self._step = torch.arange(n, device=self.device), 0

    def act(self, observations: Tensor) -> Tensor:
        step = self._step % len(self._choices)
        return self._choices[step, self._row, observations.argmax(1)]

    def observe(self, actions: Tensor, step: Step) -> None:
        self._step += 1

    def regrets(self, experience: Experience) -> Tensor:
        step = torch.arange(len(experience), device=self.device) % len(self._values)
        row = torch.arange(experience.actions.shape[1], device=self.device)
        values = self._values[step[:, None], row, experience.observations.argmax(2)]  # (t, n, k)
        return values.amax(2) - values.gather(2, experience.actions[..., None])[..., 0]
