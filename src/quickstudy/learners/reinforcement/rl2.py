"""RL²: a recurrent policy whose memory is what it has learned of the task.

Duan, Schulman, Chen, Bartlett, Sutskever & Abbeel, "RL²: Fast Reinforcement Learning via Slow
Reinforcement Learning", 2016, arXiv:1611.02779. Shapes: n observations of o numbers, d features.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from quickstudy.learners.reinforcement.memories import RecurrentMemory
from quickstudy.learners.reinforcement.ppo import PPO
from quickstudy.learners.reinforcement.trial_ppo import TrialPPO
from quickstudy.tasks.environments import Box, Discrete

__all__ = ["RL2"]


class RL2(TrialPPO):
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
        discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale: See
            `PPO`.
        learn_from: "rewards", or "regrets", which are what an oracle earns more. They have no
            noise, so fewer trials suffice; families with such an oracle are bandits and
            `TabularMDPs`.

    Example:
        >>> import torch
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
        reward_scale: float = 1.0,
        learn_from: Literal["rewards", "regrets"] = "rewards",
    ) -> None:
        memory = RecurrentMemory(self.input_size(backbone, actions), hidden)
        ppo = PPO(
            discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale
        )
        super().__init__(backbone, actions, memory, hidden, ppo, learn_from)
