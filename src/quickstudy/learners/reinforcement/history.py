"""Policies that act by the history of their trial: what they have learned is what they remember.

Shapes: t steps, n environments, o numbers of an observation, d features, h of a memory's output, k
parameters of a distribution over actions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.learners.base import Predictor, feature_size
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import Experience
from quickstudy.learners.reinforcement.policies import (
    ActionHead,
    distribution_of,
    encode_actions,
    n_of_encoded_actions,
)
from quickstudy.tasks.environments import Box, Discrete, Step

__all__ = ["HistoryLearner", "HistoryPolicy"]


class HistoryLearner(ReinforcementLearner):
    """At each step the memory sees the observation, and of the step before its features, action,
    reward and whether the episode ended. It is kept from one episode of a trial to the next.

    Args:
        backbone: Maps observations (n, o) to features (n, d); says d in `out_features`.
        actions: What actions are.
        memory: Made by a subclass, for inputs of `input_size(backbone, actions)`.
    """

    def __init__(
        self, backbone: nn.Module, actions: Discrete | Box, memory: Any, hidden: int
    ) -> None:
        super().__init__(actions)
        self.backbone, self.memory = backbone, memory
        self.head = ActionHead(hidden, actions)

    @staticmethod
    def input_size(backbone: nn.Module, actions: Discrete | Box) -> int:
        """Numbers that the memory sees at a step."""
        return 2 * feature_size(backbone) + n_of_encoded_actions(actions) + 2

    def adapt(self, support: Experience) -> Predictor:
        past = support.in_sequence()

        def predict(x: Tensor) -> Tensor:
            rows = torch.zeros(len(x), dtype=torch.long, device=x.device)
            return self.through(past.of(rows).then(x))[-1]

        return predict

    def policy(self) -> HistoryPolicy:
        return HistoryPolicy(self)

    def through(self, experience: Experience) -> Tensor:
        """Parameters of the distributions over actions (t, n, k) along trials."""
        return self.head(self.read(self.remember(experience), experience.observations))

    def remember(self, experience: Experience) -> Tensor:
        """Outputs of the memory along trials, (t, n, h)."""
        features = self.features(experience.observations)
        after = self.after(features, experience.actions, experience.rewards, experience.ends)
        before = torch.cat([torch.zeros_like(after[:1]), after[:-1]])
        return self.memory(torch.cat([features, before], dim=2))

    def features(self, observations: Tensor) -> Tensor:
        """Of observations along trials: (t, n, o) to (t, n, d)."""
        return self.backbone(observations.flatten(0, 1)).unflatten(0, observations.shape[:2])

    def read(self, remembered: Tensor, observations: Tensor) -> Tensor:
        """What the policy acts by, of the memory's outputs (..., h) and observations (..., o): by
        default the outputs, which know the observation."""
        del observations
        return remembered

    def after(self, features: Tensor, actions: Tensor, rewards: Tensor, ends: Tensor) -> Tensor:
        """What the next step sees of a step, (..., d + k + 2)."""
        encoded = encode_actions(self.actions, actions)
        return torch.cat([features, encoded, rewards[..., None], ends[..., None].to(rewards)], -1)


class HistoryPolicy:
    """Acts through trials, from an empty memory on.

    Args:
        learner: Whose memory and head it acts by.

    Attributes:
        output: That of the memory at the last step, (n, h).
    """

    output: Tensor

    def __init__(self, learner: HistoryLearner) -> None:
        self.learner = learner

    def reset(self, n: int) -> None:
        learner = self.learner
        self._state = learner.memory.start(n)
        size = learner.input_size(learner.backbone, learner.actions)
        size -= feature_size(learner.backbone)
        self._before = next(learner.parameters()).new_zeros(n, size)

    def act(self, observations: Tensor) -> Tensor:
        return distribution_of(self.learner.actions, self.see(observations)).sample()

    def observe(self, actions: Tensor, step: Step) -> None:
        self.remember(actions, step.rewards, step.dones)

    def see(self, observations: Tensor) -> Tensor:
        """Parameters of the distributions over actions (n, k) for observations (n, o)."""
        self._features = self.learner.backbone(observations)
        inputs = torch.cat([self._features, self._before], dim=1)
        self.output, self._state = self.learner.memory.step(inputs, self._state)
        return self.learner.head(self.learner.read(self.output, observations))

    def remember(self, actions: Tensor, rewards: Tensor, ends: Tensor) -> None:
        """Keep what followed, for the next step."""
        self._before = self.learner.after(self._features, actions, rewards, ends)
