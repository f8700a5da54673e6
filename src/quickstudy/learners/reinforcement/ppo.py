"""Proximal policy optimisation.

Schulman, Wolski, Dhariwal, Radford & Klimov, "Proximal Policy Optimization Algorithms", 2017,
arXiv:1707.06347. Shapes: t steps, n environments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.advantages import generalized_advantages, standardised
from quickstudy.learners.reinforcement.experience import Experience

__all__ = ["PPO", "PPOBatch"]


@dataclass(frozen=True)
class PPOBatch:
    """Experience, and what the policy that collected it said of it.

    Args:
        experience: Of n environments.
        log_probabilities: Of the actions, (t, n).
        advantages: Of the actions, with mean 0 and deviation 1, (t, n).
        returns: What the value function is to say, (t, n).
    """

    experience: Experience
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor

    def of(self, rows: Tensor) -> PPOBatch:
        """That of some of the environments."""
        parts = (self.log_probabilities, self.advantages, self.returns)
        return PPOBatch(self.experience.of(rows), *(part[:, rows] for part in parts))


@dataclass(frozen=True)
class PPO:
    """The objective and its numbers.

    Args:
        discount, decay: gamma and lambda of generalized advantages.
        clip: Epsilon of the clipped ratio.
        value_weight, entropy_weight: Of the squared error of values and of the entropy.
        epochs, batches: Passes over the experience, and batches of environments in each.
        reward_scale: By which rewards are multiplied first. Where returns are large, their errors
            drown the gradient of the policy in that of the values; about 1 over their standard
            deviation is a good scale.
    """

    discount: float
    decay: float
    clip: float
    value_weight: float
    entropy_weight: float
    epochs: int
    batches: int
    reward_scale: float = 1.0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batches) < 1 or not 0 < self.clip < 1:
            raise UsageError(
                "expected epochs and batches of 1 or more and a clip between 0 and 1, got "
                f"{self.epochs}, {self.batches} and {self.clip}"
            )
        if not self.reward_scale > 0:
            raise UsageError(f"expected a reward_scale above 0, got {self.reward_scale}")

    def batch(
        self,
        experience: Experience,
        rewards: Tensor,
        log_probabilities: Tensor,
        values: Tensor,
        ends: Tensor,
    ) -> PPOBatch:
        """What to learn from, of rewards (t, n) and of values (t + 1, n), whose last are expected
        after the last step; nothing after one of the `ends` (t, n) counts for it."""
        rewards = self.reward_scale * rewards
        advantages = generalized_advantages(rewards, values, ends, self.discount, self.decay)
        scaled = standardised(advantages, experience.active, (0, 1))
        return PPOBatch(experience, log_probabilities, scaled, advantages + values[:-1])

    def rows(self, n: int) -> list[Tensor]:
        """Environments of each batch of each pass, in a random order."""
        n_batches = min(self.batches, n)
        return [
            rows for _ in range(self.epochs) for rows in torch.randperm(n).tensor_split(n_batches)
        ]

    def loss(self, batch: PPOBatch, distribution: Distribution, values: Tensor) -> Tensor:
        """The negative of equation 9, of distributions of actions and values (t, n)."""
        active = batch.experience.active.to(values)
        n = active.sum()
        now = distribution.log_prob(batch.experience.actions)
        ratio = (now - batch.log_probabilities).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        error = (values - batch.returns).square()
        gain = gain - self.value_weight * error + self.entropy_weight * distribution.entropy()
        return -(gain * active).sum() / n
