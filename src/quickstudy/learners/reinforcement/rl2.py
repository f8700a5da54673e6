"""RL²: a recurrent policy whose memory is what it has learned of the task.

Duan, Schulman, Chen, Bartlett, Sutskever & Abbeel, "RL²: Fast Reinforcement Learning via Slow
Reinforcement Learning", 2016, arXiv:1611.02779. Shapes: t steps, n environments, h hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from quickstudy.learners.reinforcement.experience import play
from quickstudy.learners.reinforcement.history import HistoryLearner, HistoryPolicy
from quickstudy.learners.reinforcement.memories import RecurrentMemory
from quickstudy.learners.reinforcement.policies import distribution_of
from quickstudy.learners.reinforcement.ppo import PPO, PPOBatch
from quickstudy.tasks.environments import Box, Discrete
from quickstudy.tasks.environments.trials import Trial

__all__ = ["RL2"]


class RL2(HistoryLearner):
    """A gated recurrent unit that sees observation, last action, last reward and whether an episode
    has ended, and keeps its state from one episode of a trial to the next. It is trained by
    proximal policy optimisation on the return of whole trials, so it learns to explore where that
    pays later.

    Differs from the paper: PPO in place of TRPO, and layer normalisation of the state before the
    heads, as in the reproduction by Lucas Lingle. It also sees the features of the last
    observation.

    Args:
        backbone: Maps observations (n, o) to features (n, d); says d in `out_features`.
        actions: What actions are.
        hidden: Units of the recurrent network.
        discount, decay, clip, value_weight, entropy_weight, epochs, batches: See `PPO`.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> learner = RL2(Flatten((1,)), Discrete(5), hidden=8)
        >>> policy = learner.policy()
        >>> policy.reset(3)
        >>> policy.act(torch.zeros(3, 1)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        *,
        hidden: int = 128,
        discount: float = 0.99,
        decay: float = 0.3,
        clip: float = 0.1,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        epochs: int = 4,
        batches: int = 4,
    ) -> None:
        memory = RecurrentMemory(self.input_size(backbone, actions), hidden)
        super().__init__(backbone, actions, memory, hidden)
        self.ppo = PPO(discount, decay, clip, value_weight, entropy_weight, epochs, batches)
        self.value = nn.Linear(hidden, 1)

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[PPOBatch]]:
        episodes = tasks[0].n_shot + tasks[0].n_query
        policy = _Recording(self)
        experience = play(self.environments(tasks), policy, episodes)
        with torch.no_grad():
            out = torch.stack(policy.outputs)  # (t, n, h)
            acted_by = distribution_of(self.actions, self.head(out))
            log_probabilities = acted_by.log_prob(experience.actions)
            values = self.value(out)[..., 0]  # (t, n)
        # The trial is what counts, so values look beyond the ends of episodes, and not beyond it.
        values = torch.cat([values, torch.zeros_like(values[:1])])
        trial_ends = torch.zeros_like(experience.ends)
        trial_ends[-1] = True
        batch = self.ppo.batch(experience, log_probabilities, values, trial_ends)
        for rows in self.ppo.rows(len(tasks)):
            yield [batch.of(rows)]

    def loss(self, episode: PPOBatch) -> Tensor:  # type: ignore[override]
        out, parameters = self.through(episode.experience)
        values = self.value(out)[..., 0]
        return self.ppo.loss(episode, distribution_of(self.actions, parameters), values)


class _Recording(HistoryPolicy):
    """Acts, and keeps what the memory puts out at each step, which need not be computed again."""

    def reset(self, n: int) -> None:
        super().reset(n)
        self.outputs: list[Tensor] = []

    def act(self, observations: Tensor) -> Tensor:
        actions = super().act(observations)
        self.outputs.append(self.output)
        return actions
