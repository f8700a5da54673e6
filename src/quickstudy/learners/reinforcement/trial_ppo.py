"""Policies with a memory that are trained by PPO on the return of whole trials.

Shapes: t steps, n environments, h of what is acted by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.errors import check_option
from quickstudy.learners.reinforcement.experience import play
from quickstudy.learners.reinforcement.history import HistoryLearner, HistoryPolicy
from quickstudy.learners.reinforcement.oracles import regrets
from quickstudy.learners.reinforcement.policies import distribution_of
from quickstudy.learners.reinforcement.ppo import PPO, PPOBatch
from quickstudy.tasks.environments import Box, Discrete
from quickstudy.tasks.environments.trials import Trial

__all__ = ["TrialPPO"]


class TrialPPO(HistoryLearner):
    """A history learner with a value function beside its policy, both of what `read` returns.

    Args:
        backbone, actions, memory, hidden: See `HistoryLearner`.
        ppo: The objective.
        learn_from: What is to be earned in training: "rewards", or the least "regrets", which an
            oracle knows (see `regrets`). The memory sees rewards in either case.
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        memory: Any,
        hidden: int,
        ppo: PPO,
        learn_from: str = "rewards",
    ) -> None:
        check_option("learn_from", learn_from, ("rewards", "regrets"))
        super().__init__(backbone, actions, memory, hidden)
        self.ppo, self.learn_from = ppo, learn_from
        self.value = nn.Linear(hidden, 1)

    @torch.no_grad()
    def collect(self, tasks: Sequence[Trial]) -> tuple[PPOBatch, Tensor]:
        """Live through trials; returns what to learn from them, and the outputs of the memory
        (t, n, h) along them."""
        episodes = tasks[0].n_shot + tasks[0].n_query
        policy = _Recording(self)
        environments = self.environments(tasks)
        experience = play(environments, policy, episodes)
        remembered = torch.stack(policy.outputs)  # (t, n, h)
        out = self.read(remembered, experience.observations)
        chosen = distribution_of(self.actions, self.head(out)).log_prob(experience.actions)
        values = self.value(out)[..., 0]  # (t, n)
        # The trial is what counts, so values look beyond the ends of episodes, and not beyond it.
        values = torch.cat([values, torch.zeros_like(values[:1])])
        trial_ends = torch.zeros_like(experience.ends)
        trial_ends[-1] = True
        earned = experience.rewards
        if self.learn_from == "regrets":
            earned = -regrets(environments, experience)
        return self.ppo.batch(experience, earned, chosen, values, trial_ends), remembered

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[Any]]:
        batch, _ = self.collect(tasks)
        for rows in self.ppo.rows(len(tasks)):
            yield [batch.of(rows)]

    def loss(self, episode: PPOBatch) -> Tensor:  # type: ignore[override]
        observations = episode.experience.observations
        remembered = self.remember(episode.experience)
        return self.policy_loss(episode, self.read(remembered, observations))

    def policy_loss(self, batch: PPOBatch, out: Tensor) -> Tensor:
        """The loss of PPO, of what `read` returned along the trials, (t, n, h)."""
        distribution = distribution_of(self.actions, self.head(out))
        return self.ppo.loss(batch, distribution, self.value(out)[..., 0])


class _Recording(HistoryPolicy):
    """Acts, and keeps what the memory puts out at each step, which need not be computed again."""

    def reset(self, n: int) -> None:
        super().reset(n)
        self.outputs: list[Tensor] = []

    def act(self, observations: Tensor) -> Tensor:
        actions = super().act(observations)
        self.outputs.append(self.output)
        return actions
