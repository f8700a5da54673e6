"""What happened in environments: the support set of a learner that acts.

Shapes: t steps, n environments, o numbers of an observation, a numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from quickstudy.errors import DataError
from quickstudy.tasks.environments import Environments, Step

__all__ = ["Experience", "Policy", "play"]


class Policy(Protocol):
    """Acts in n environments at once, each a task of its own, and may learn as it goes."""

    def reset(self, n: int) -> None:
        """Begin trials in n tasks, of which nothing is known."""
        ...

    def act(self, observations: Tensor) -> Tensor:
        """Actions (n,) or (n, a) for observations (n, o)."""
        ...

    def observe(self, actions: Tensor, step: Step) -> None:
        """Learn what followed the actions."""
        ...


@dataclass(frozen=True)
class Experience:
    """Steps of n environments, in the order in which they came.

    Args:
        observations: What was seen before each action, (t, n, o).
        actions: (t, n), whole numbers, or (t, n, a).
        rewards: (t, n).
        ends: Whether the episode was over after the action, (t, n).
        active: Whether the environment had not come to an end before the action, (t, n).
        final_observations: What was seen after the last action, (n, o).

    Raises:
        DataError: If these differ in steps or environments.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    active: Tensor
    final_observations: Tensor

    def __post_init__(self) -> None:
        shape = self.observations.shape[:2]
        for part in (self.actions, self.rewards, self.ends, self.active):
            if part.shape[:2] != shape:
                raise DataError(
                    f"expected as many steps and environments as observations {tuple(shape)}, got "
                    f"{tuple(part.shape)}"
                )

    def __len__(self) -> int:
        return len(self.rewards)

    @classmethod
    def of_steps(cls, steps: Sequence[tuple[Tensor, Tensor, Step]]) -> Self:
        """That of observations, the actions on them, and what followed these."""
        observations, actions, after = zip(*steps, strict=True)
        return cls(
            torch.stack(observations),
            torch.stack(actions),
            torch.stack([step.rewards for step in after]),
            torch.stack([step.dones for step in after]),
            torch.stack([step.active for step in after]),
            after[-1].final_observations,
        )

    def of(self, rows: Tensor) -> Experience:
        """That of some of the environments."""
        return Experience(
            self.observations[:, rows],
            self.actions[:, rows],
            self.rewards[:, rows],
            self.ends[:, rows],
            self.active[:, rows],
            self.final_observations[rows],
        )

    def after(self, step: int) -> Experience:
        """That from a step on."""
        return Experience(
            self.observations[step:],
            self.actions[step:],
            self.rewards[step:],
            self.ends[step:],
            self.active[step:],
            self.final_observations,
        )

    def then(self, observations: Tensor) -> Experience:
        """With one more step, on which nothing has been done yet: its actions and rewards are 0.

        Args:
            observations: Of that step, (n, o).
        """

        def longer(part: Tensor, last: Tensor | None = None) -> Tensor:
            last = part.new_zeros(part.shape[1:]) if last is None else last
            return torch.cat([part, last[None]])

        return Experience(
            longer(self.observations, observations),
            longer(self.actions),
            longer(self.rewards),
            longer(self.ends),
            longer(self.active),
            observations,
        )

    def in_sequence(self) -> Experience:
        """That of one environment, which has been through what each of these was in turn."""

        def joined(part: Tensor) -> Tensor:
            return part.transpose(0, 1).flatten(0, 1)[:, None]

        return Experience(
            joined(self.observations),
            joined(self.actions),
            joined(self.rewards),
            joined(self.ends),
            joined(self.active),
            self.final_observations[-1:],
        )

    def returns(self, horizon: int) -> Tensor:
        """Sums of rewards of episodes of `horizon` steps, (episodes, n)."""
        return self.rewards.unflatten(0, (-1, horizon)).sum(1)


@torch.no_grad()
def play(environments: Environments, policy: Policy, episodes: int = 1) -> Experience:
    """Let a policy act for some episodes, and learn what it can from one to the next.

    Example:
        >>> from quickstudy.tasks.environments import BernoulliBandits
        >>> class FirstArm:
        ...     def reset(self, n): self.n = n
        ...     def act(self, observations): return torch.zeros(self.n, dtype=torch.long)
        ...     def observe(self, actions, step): pass
        >>> environments = BernoulliBandits(n_arms=2, horizon=10).environments(range(4))
        >>> play(environments, FirstArm(), episodes=3).returns(10).shape
        torch.Size([3, 4])
    """
    policy.reset(environments.n)
    observations = environments.reset()
    steps: list[tuple[Tensor, Tensor, Step]] = []
    for _ in range(episodes * environments.family.horizon):
        actions = policy.act(observations)
        step = environments.step(actions)
        policy.observe(actions, step)
        steps.append((observations, actions, step))
        observations = step.observations
    return Experience.of_steps(steps)
