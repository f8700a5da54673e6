"""Policies that are not meta-trained: what they share, and the classical ones for bandits.

Shapes: n environments, o numbers of an observation, k arms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.environments import Environments, GaussianBandits, Step
from quickstudy.tasks.environments.bandits import Bandits
from quickstudy.tasks.environments.bernoulli_optimum import BernoulliOptimum
from quickstudy.tasks.environments.options import check_number, check_whole

__all__ = [
    "UCB1",
    "BanditPolicy",
    "BayesOptimal",
    "ClassicalPolicy",
    "EpsilonGreedy",
    "Greedy",
    "RandomPolicy",
    "ThompsonSampling",
]


class ClassicalPolicy(ABC):
    """A policy that is not meta-trained: it acts in n environments at once and may learn from what
    follows, until `reset` begins a new trial and it forgets.

    Args:
        seed: Decides what the policy draws; every trial begins with the same draws.
        device: Where the environments are.
    """

    def __init__(self, *, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.seed, self.device = check_whole("seed", seed, least=0), torch.device(device)

    def reset(self, n: int) -> None:
        """Begin trials in n environments."""
        self.n = n
        self.generator = torch.Generator(self.device).manual_seed(self.seed)

    @abstractmethod
    def act(self, observations: Tensor) -> Tensor:
        """Choose actions, (n,) or (n, a), for observations (n, o)."""

    def observe(self, actions: Tensor, step: Step) -> None:  # noqa: B027
        """Learn what followed the actions; a policy that learns nothing leaves this as it is."""


class RandomPolicy(ClassicalPolicy):
    """Draws every action uniformly.

    Args:
        environments: Any environments of the family that is to be played.
        seed: Decides the draws.

    Example:
        >>> from quickstudy.tasks.environments import GridNavi
        >>> from quickstudy.learners.reinforcement.experience import play
        >>> environments = GridNavi().environments(range(8))
        >>> play(environments, RandomPolicy(environments), episodes=4).returns(15).shape
        torch.Size([4, 8])
    """

    def __init__(self, environments: Environments, *, seed: int = 0) -> None:
        super().__init__(seed=seed, device=environments.device)
        self.actions = environments.family.actions

    def act(self, observations: Tensor) -> Tensor:
        return self.actions.sample(self.n, self.generator)


class BanditPolicy(ClassicalPolicy):
    """A policy for bandits that keeps the posterior of each arm's mean.

    The prior is that of the family: Beta(1, 1) of a `BernoulliBandits`, N(0, 1) of a
    `GaussianBandits`, whose noise is known.

    Args:
        family: The bandits that are to be played.
        seed: Decides what the policy draws.
        device: Where the environments are.
    """

    def __init__(
        self, family: Bandits, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(seed=seed, device=device)
        self.n_arms, self.horizon = family.n_arms, family.horizon
        self.gaussian = isinstance(family, GaussianBandits)
        self.prior_pulls, self.prior_total = 2.0, 1.0
        """Pulls that are worth as much as the prior, and what they paid."""
        if isinstance(family, GaussianBandits):
            self.prior_pulls, self.prior_total = max(family.noise, 1e-6) ** 2, 0.0

    def reset(self, n: int) -> None:
        super().reset(n)
        self.pulls = torch.zeros(n, self.n_arms, device=self.device)
        self.totals = torch.zeros(n, self.n_arms, device=self.device)
        self.steps = 0

    def observe(self, actions: Tensor, step: Step) -> None:
        arms = actions[:, None]
        self.pulls.scatter_add_(1, arms, torch.ones_like(step.rewards[:, None]))
        self.totals.scatter_add_(1, arms, step.rewards[:, None])
        self.steps += 1

    def means(self) -> Tensor:
        """Posterior means of the arms, (n, k)."""
        return (self.totals + self.prior_total) / (self.pulls + self.prior_pulls)

    def draw(self) -> Tensor:
        """One draw from the posterior of each arm's mean, (n, k)."""
        if self.gaussian:
            deviation = (self.prior_pulls / (self.pulls + self.prior_pulls)).sqrt()
            return self.means() + deviation * self._normal()
        successes = _gamma(1 + self.totals, self.generator)
        return successes / (successes + _gamma(1 + self.pulls - self.totals, self.generator))

    def _normal(self) -> Tensor:
        return torch.randn(self.pulls.shape, generator=self.generator, device=self.device)


def _gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from the gamma distributions with these shapes and rate 1."""
    return torch._standard_gamma(shape, generator=generator)


class Greedy(BanditPolicy):
    """Pulls the arm with the highest posterior mean.

    Args:
        family: The bandits that are to be played.
        seed: Decides nothing: there are no draws.
        device: Where the environments are.
    """

    def act(self, observations: Tensor) -> Tensor:
        return self.means().argmax(1)


class EpsilonGreedy(Greedy):
    """Pulls the arm with the highest posterior mean, or, with some probability, any.

    Args:
        family: The bandits that are to be played.
        epsilon: Probability of a random arm.
        options: Of `BanditPolicy`.
    """

    def __init__(self, family: Bandits, *, epsilon: float = 0.1, **options: Any) -> None:
        super().__init__(family, **options)
        self.epsilon = check_number("epsilon", epsilon, 0.0, 1.0)

    def act(self, observations: Tensor) -> Tensor:
        luck = torch.rand(2, self.n, generator=self.generator, device=self.device)
        arms = (luck[1] * self.n_arms).long().clamp_max_(self.n_arms - 1)
        return torch.where(luck[0] < self.epsilon, arms, super().act(observations))


class ThompsonSampling(BanditPolicy):
    """Pulls the arm that is best in a draw from the posterior.

    Sources: Thompson, On the Likelihood that One Unknown Probability Exceeds Another, 1933;
    May et al., Optimistic Bayesian Sampling in Contextual-Bandit Problems, 2012.

    Args:
        family: The bandits that are to be played.
        optimistic: Draws below the posterior mean count as the mean.
        options: Of `BanditPolicy`.
    """

    def __init__(self, family: Bandits, *, optimistic: bool = False, **options: Any) -> None:
        super().__init__(family, **options)
        self.optimistic = optimistic

    def act(self, observations: Tensor) -> Tensor:
        drawn = self.draw()
        return (torch.maximum(drawn, self.means()) if self.optimistic else drawn).argmax(1)


class UCB1(BanditPolicy):
    """Pulls the arm with the highest upper confidence bound, mean + sqrt(c ln t / pulls).

    As published, every arm is pulled once before, and t is the number of pulls so far. With few
    pulls for many arms that costs much, so that results such as those of Duan et al. (2016) are
    for a variant that lets the prior stand for first pulls: means are posterior means, an arm's
    pulls begin at those that the prior is worth (2 for Bernoulli arms), and t at 1.

    Sources: Auer, Cesa-Bianchi, Fischer, Finite-time Analysis of the Multiarmed Bandit Problem,
    2002, figure 1.

    Args:
        family: The bandits that are to be played.
        c: Weight of the bonus; 2 as published.
        use_prior: Let the prior stand for the first pulls.
        options: Of `BanditPolicy`.
    """

    def __init__(
        self, family: Bandits, *, c: float = 2.0, use_prior: bool = False, **options: Any
    ) -> None:
        super().__init__(family, **options)
        self.c, self.use_prior = check_number("c", c, least=0.0), use_prior

    def act(self, observations: Tensor) -> Tensor:
        log = torch.tensor(max(self.steps + self.use_prior, 1)).log().item()
        if self.use_prior:
            return (self.means() + (self.c * log / (self.pulls + self.prior_pulls)).sqrt()).argmax(
                1
            )
        bounds = self.totals / self.pulls + (self.c * log / self.pulls).sqrt()
        return bounds.where(self.pulls > 0, torch.inf).argmax(1)


class BayesOptimal(BanditPolicy):
    """Plays Bernoulli bandits as well as any policy can: see `BernoulliOptimum`.

    Args:
        family: The bandits that are to be played, for one episode.
        options: Of `BanditPolicy`.

    Raises:
        UsageError: If the arms are Gaussian, or there are too many beliefs to compute.

    Example:
        >>> from quickstudy.learners.reinforcement.experience import play
        >>> from quickstudy.tasks.environments import BernoulliBandits
        >>> family = BernoulliBandits(n_arms=2, horizon=10)
        >>> environments = family.environments(range(20_000))
        >>> returns = play(environments, BayesOptimal(family)).returns(10)
        >>> bool(abs(returns.mean() - 6.022) < 4 * 2.3 / 20_000**0.5)
        True
    """

    def __init__(self, family: Bandits, **options: Any) -> None:
        super().__init__(family, **options)
        check_bernoulli(family)
        self.optimum = BernoulliOptimum(family.n_arms, family.horizon)
        self._hashes = torch.from_numpy(self.optimum.hashes.view("int64"))

    def codes(self) -> Tensor:
        """Number of each arm's pair of successes and failures, (n, k)."""
        pulls = self.pulls.long()
        return pulls * (pulls + 1) // 2 + pulls - self.totals.long()

    def act(self, observations: Tensor) -> Tensor:
        check_steps(self.steps, self.horizon)
        codes = self.codes()
        keys = self._hashes[codes.cpu()].sum(1).numpy().view("uint64")
        best = torch.from_numpy(self.optimum.best_codes(self.steps, keys)).to(codes)
        return (codes == best[:, None]).int().argmax(1)


def check_bernoulli(family: Bandits) -> None:
    """Refuse bandits whose arms do not pay 0 or 1."""
    if isinstance(family, GaussianBandits):
        raise UsageError("expected Bernoulli bandits, got Gaussian ones")


def check_steps(steps: int, horizon: int) -> None:
    """Refuse to play on when the pulls that a policy plans for are over."""
    if steps >= horizon:
        raise DataError(f"expected one episode of {horizon} pulls, for which the policy plans")
