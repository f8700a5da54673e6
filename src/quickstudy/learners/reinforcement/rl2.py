"""RL²: a recurrent policy whose memory is what it has learned of the task.

Duan, Schulman, Chen, Bartlett, Sutskever & Abbeel, "RL²: Fast Reinforcement Learning via Slow
Reinforcement Learning", 2016, arXiv:1611.02779. Shapes: t steps, n environments, o numbers of an
observation, d features, h hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from quickstudy.learners.base import Predictor, feature_size
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.learners.reinforcement.policies import (
    ActionHead,
    distribution_of,
    encode_actions,
    n_of_encoded_actions,
)
from quickstudy.learners.reinforcement.ppo import PPO, PPOBatch
from quickstudy.tasks.environments import Box, Discrete, Step
from quickstudy.tasks.environments.trials import Trial

__all__ = ["RL2"]


class RL2(ReinforcementLearner):
    """A gated recurrent unit that sees observation, last action, last reward and whether an episode
    has ended, and keeps its state from one episode of a trial to the next. It is trained by
    proximal policy optimisation on the return of whole trials, so it learns to explore where that
    pays later.

    Differs from the paper: PPO in place of TRPO, and layer normalisation of the state before the
    heads, as in the reproduction by Lucas Lingle.

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
        super().__init__(actions)
        self.ppo = PPO(discount, decay, clip, value_weight, entropy_weight, epochs, batches)
        self.backbone = backbone
        size = feature_size(backbone) + n_of_encoded_actions(actions) + 2
        self.memory = nn.GRU(size, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.head = ActionHead(hidden, actions)
        self.value = nn.Linear(hidden, 1)

    def adapt(self, support: Experience) -> Predictor:
        state, last = self._remember(support.in_sequence())  # (1, 1, h), (1, k + 2)

        def predict(x: Tensor) -> Tensor:
            inputs = torch.cat([self.backbone(x), last.expand(len(x), -1)], dim=1)
            out, _ = self.memory(inputs[None], state.expand(-1, len(x), -1).contiguous())
            return self.head(self.norm(out[0]))

        return predict

    def policy(self) -> RL2Policy:
        return RL2Policy(self)

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[PPOBatch]]:
        episodes = tasks[0].n_shot + tasks[0].n_query
        experience = play(self.environments(tasks), self.policy(), episodes)
        with torch.no_grad():
            parameters, values = self._through(experience)
            log_probabilities = distribution_of(self.actions, parameters).log_prob(
                experience.actions
            )
        # The trial is what counts, so values look beyond the ends of episodes, and not beyond it.
        values = torch.cat([values, torch.zeros_like(values[:1])])
        trial_ends = torch.zeros_like(experience.ends)
        trial_ends[-1] = True
        batch = self.ppo.batch(experience, log_probabilities, values, trial_ends)
        for rows in self.ppo.rows(len(tasks)):
            yield [batch.of(rows)]

    def loss(self, episode: PPOBatch) -> Tensor:  # type: ignore[override]
        parameters, values = self._through(episode.experience)
        return self.ppo.loss(episode, distribution_of(self.actions, parameters), values)

    def _through(self, experience: Experience) -> tuple[Tensor, Tensor]:
        """Parameters of distributions (t, n, k) and values (t, n) along trials."""
        out, _ = self.memory(self._inputs(experience))  # (t, n, h)
        out = self.norm(out)
        return self.head(out), self.value(out)[..., 0]

    def _inputs(self, experience: Experience) -> Tensor:
        """What the network sees at each step, (t, n, d + k + 2)."""
        features = self.backbone(experience.observations.flatten(0, 1))
        features = features.unflatten(0, experience.observations.shape[:2])
        followed = self._followed(experience.actions, experience.rewards, experience.ends)
        before = torch.cat([torch.zeros_like(followed[:1]), followed[:-1]])
        return torch.cat([features, before], dim=2)

    def _followed(self, actions: Tensor, rewards: Tensor, ends: Tensor) -> Tensor:
        """What the next step sees of the last one, (..., k + 2)."""
        encoded = encode_actions(self.actions, actions)
        return torch.cat([encoded, rewards[..., None], ends[..., None].to(rewards)], dim=-1)

    def _remember(self, experience: Experience) -> tuple[Tensor, Tensor]:
        """The state (1, n, h) after experience, and what the next step sees of it, (n, k + 2)."""
        n = experience.rewards.shape[1]
        if not len(experience):
            weight = self.norm.weight
            size = self.memory.input_size - feature_size(self.backbone)
            return weight.new_zeros(1, n, len(weight)), weight.new_zeros(n, size)
        _, state = self.memory(self._inputs(experience))
        last = self._followed(experience.actions[-1], experience.rewards[-1], experience.ends[-1])
        return state, last


class RL2Policy:
    """Acts by the recurrent network, from an empty memory on."""

    def __init__(self, learner: RL2) -> None:
        self.learner = learner

    def reset(self, n: int) -> None:
        learner = self.learner
        weight = learner.norm.weight
        self._state = weight.new_zeros(1, n, len(weight))  # (1, n, h)
        size = learner.memory.input_size - feature_size(learner.backbone)
        self._before = weight.new_zeros(n, size)  # (n, k + 2)

    def act(self, observations: Tensor) -> Tensor:
        learner = self.learner
        inputs = torch.cat([learner.backbone(observations), self._before], dim=1)
        out, self._state = learner.memory(inputs[None], self._state)
        return distribution_of(learner.actions, learner.head(learner.norm(out[0]))).sample()

    def observe(self, actions: Tensor, step: Step) -> None:
        self._before = self.learner._followed(actions, step.rewards, step.dones)
