"""RL³: what a planner says of the actions is an input of the policy.

Bhatia, Nashed & Zilberstein, "RL³: Boosting Meta Reinforcement Learning via RL inside RL²", 2025,
arXiv:2306.15909. Shapes: n observations of o numbers, f features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import feature_size
from quickstudy.learners.reinforcement.model_memory import ModelMemory
from quickstudy.learners.reinforcement.ppo import PPO
from quickstudy.learners.reinforcement.trial_ppo import TrialPPO
from quickstudy.tasks.environments import Box, Discrete

__all__ = ["RL3"]


class RL3(TrialPPO):
    """In each task, planning in what was seen so far says what the actions are worth. The policy
    sees these values, and how often each action was done, and is trained by proximal policy
    optimisation on the return of whole trials: it learns how far to trust the values, and when to
    try what is not known yet. For tasks of few states, such as `TabularMDPs`.

    Differs from the paper: the policy has no recurrent network, as the values and counts sum up
    the trial; beside the value of each action it sees how much of what is not known yet lies on
    the way, planned alike; plans end with the episode; PPO has one value function.

    Args:
        backbone: Maps observations (n, o) to features (n, f), different ones for each state; says
            f in `out_features`. `Flatten` serves.
        actions: Choices.
        n_states: The most states that a task has.
        horizon: Steps of an episode.
        width: Units of each layer of the policy.
        discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale: See
            `PPO`.
        learn_from: "rewards", or "regrets", which are what an oracle earns more, as in `RL2`.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> learner = RL3(Flatten((4,)), Discrete(2), horizon=5)
        >>> policy = learner.policy()
        >>> policy.reset(3)
        >>> policy.act(torch.eye(4)[[0, 0, 1]]).shape
        torch.Size([3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        *,
        n_states: int = 32,
        horizon: int = 10,
        width: int = 64,
        discount: float = 0.99,
        decay: float = 0.3,
        clip: float = 0.2,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        epochs: int = 3,
        batches: int = 2,
        reward_scale: float = 1.0,
        learn_from: Literal["rewards", "regrets"] = "rewards",
    ) -> None:
        if not isinstance(actions, Discrete):
            raise UsageError(f"expected actions that are choices, got {actions}")
        memory = ModelMemory(
            feature_size(backbone), actions.n, n_states=n_states, horizon=horizon, width=width
        )
        ppo = PPO(
            discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale
        )
        super().__init__(backbone, actions, memory, memory.hidden, ppo, learn_from)
        with torch.no_grad():
            self.head.linear.weight[:, memory.value_columns] += torch.eye(actions.n)
