"""VariBAD: a policy that acts by its belief about the task.

Zintgraf, Shiarlis, Igl, Schulze, Gal, Hofmann & Whiteson, "VariBAD: A Very Good Method for
Bayes-Adaptive Deep RL via Meta-Learning", 2020, arXiv:1910.08348. Shapes: t steps, p beliefs, n
environments, o numbers of an observation, d features, l numbers of the latent.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError, check_option
from quickstudy.learners.base import feature_size
from quickstudy.learners.reinforcement.beliefs import Belief, StepDecoder, divergences, perceptron
from quickstudy.learners.reinforcement.experience import Experience
from quickstudy.learners.reinforcement.memories import RecurrentMemory
from quickstudy.learners.reinforcement.policies import encode_actions, n_of_encoded_actions
from quickstudy.learners.reinforcement.ppo import PPO, PPOBatch
from quickstudy.learners.reinforcement.trial_ppo import TrialPPO
from quickstudy.tasks.environments import Box, Discrete
from quickstudy.tasks.environments.trials import Trial

__all__ = ["VariBAD"]

StepPart = Literal["observation", "action", "next_observation"]
STEP_PARTS: tuple[StepPart, ...] = ("observation", "action", "next_observation")


@dataclass(frozen=True)
class _Part:
    """What an update learns from.

    Args:
        batch: For the policy.
        beliefs: Parameters of those that the policy acted by, (t, n, 2l).
        trials: For encoder and decoders, of m environments.
        noise: By which latents are drawn, (t, m, l).
    """

    batch: PPOBatch
    beliefs: Tensor
    trials: Experience
    noise: Tensor


class VariBAD(TrialPPO):
    """A recurrent encoder turns the experience so far into a belief, a normal distribution of a
    latent variable that stands for the task. From a latent of every belief a decoder predicts the
    rewards of all steps of the trial, those to come too, which teaches the encoder what is worth
    knowing. The policy sees the observation and the parameters of the belief, is trained by
    proximal policy optimisation, and sends no gradient into the encoder.

    Differs from the paper: see the algorithm's page.

    Args:
        backbone: Maps observations (n, o) to features (n, d); says d in `out_features`. The policy
            has a copy of its own.
        actions: What actions are.
        hidden: Units of the recurrent encoder.
        latent: l.
        width: Units of each layer of policy and decoders.
        reward_model: How rewards are predicted: "normal", with squared error, or "bernoulli",
            whether they are above 0, with cross-entropy.
        reward_inputs: The parts of a step that decide its reward, beside the task:
            "observation", "action", "next_observation".
        state_weight: Of the squared error of predicted next observations, for families whose
            transitions differ from task to task; 0 for no such decoder.
        divergence_weight: Of the KL divergences.
        model_share: Share of the environments of a batch from which encoder and decoders learn.
        discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale: See
            `PPO`.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> learner = VariBAD(Flatten((2,)), Discrete(5), hidden=8)
        >>> policy = learner.policy()
        >>> policy.reset(3)
        >>> policy.act(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        *,
        hidden: int = 64,
        latent: int = 5,
        width: int = 64,
        reward_model: Literal["normal", "bernoulli"] = "normal",
        reward_inputs: Sequence[StepPart] = STEP_PARTS,
        state_weight: float = 0.0,
        divergence_weight: float = 1.0,
        model_share: float = 0.25,
        discount: float = 0.95,
        decay: float = 0.95,
        clip: float = 0.1,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        epochs: int = 2,
        batches: int = 4,
        reward_scale: float = 1.0,
    ) -> None:
        check_option("reward_model", reward_model, ("normal", "bernoulli"))
        for part in reward_inputs:
            check_option("reward_inputs", part, STEP_PARTS)
        if not reward_inputs or min(latent, width) < 1:
            raise UsageError(
                "expected reward_inputs, and a latent and width of 1 or more, got "
                f"{list(reward_inputs)}, {latent} and {width}"
            )
        if min(state_weight, divergence_weight) < 0 or not 0 < model_share <= 1:
            raise UsageError(
                "expected weights of 0 or more and a model_share above 0 and up to 1, got "
                f"state_weight {state_weight}, divergence_weight {divergence_weight} and "
                f"model_share {model_share}"
            )
        memory = RecurrentMemory(self.input_size(backbone, actions), hidden)
        ppo = PPO(
            discount, decay, clip, value_weight, entropy_weight, epochs, batches, reward_scale
        )
        super().__init__(backbone, actions, memory, width, ppo)
        self.latent, self.divergence_weight = latent, divergence_weight
        self.model_share = model_share
        self.reward_model, self.reward_inputs = reward_model, tuple(reward_inputs)
        self.belief = nn.Linear(hidden, 2 * latent)
        features, encoded = feature_size(backbone), n_of_encoded_actions(actions)
        self.policy_backbone = copy.deepcopy(backbone)
        self.policy_layers = perceptron(features + 2 * latent, width, width)
        sizes = {"observation": features, "action": encoded, "next_observation": features}
        step_size = sum(sizes[part] for part in self.reward_inputs)
        self.reward_decoder = StepDecoder(latent, step_size, 1, width)
        self.state_weight, self.state_decoder = state_weight, None
        if state_weight:
            self.state_decoder = StepDecoder(latent, features + encoded, features, width)

    def read(self, remembered: Tensor, observations: Tensor) -> Tensor:
        return self.policy_features(self.belief(remembered).detach(), observations)

    def policy_features(self, beliefs: Tensor, observations: Tensor) -> Tensor:
        """What the policy acts by (..., width), of beliefs (..., 2l) and observations (..., o)."""
        rows = observations.flatten(0, -2)
        features = self.policy_backbone(rows).unflatten(0, observations.shape[:-1])
        return self.policy_layers(torch.cat([features, beliefs], dim=-1))

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[_Part]]:
        batch, remembered = self.collect(tasks)
        with torch.no_grad():
            beliefs = self.belief(remembered)
        for rows in self.ppo.rows(len(tasks)):
            some = rows[: math.ceil(self.model_share * len(rows))]
            noise = torch.randn_like(beliefs[:, some, : self.latent])
            trials = batch.experience.of(some)
            yield [_Part(batch.of(rows), beliefs[:, rows], trials, noise)]

    def loss(self, episode: _Part) -> Tensor:  # type: ignore[override]
        batch = episode.batch
        out = self.policy_features(episode.beliefs, batch.experience.observations)
        return self.policy_loss(batch, out) + self.bound(episode.trials, episode.noise)

    def bound(self, experience: Experience, noise: Tensor) -> Tensor:
        """Minus the evidence lower bound (equation 9), the mean over trials and beliefs."""
        beliefs = Belief.of(self.belief(self.remember(experience)))  # p = t
        latents = beliefs.at(noise)
        last = self.backbone(experience.final_observations)
        parts = {
            "observation": self.features(experience.observations),
            "action": encode_actions(self.actions, experience.actions),
        }
        parts["next_observation"] = torch.cat([parts["observation"][1:], last[None]])
        # What follows the end of an episode is the next one's first observation.
        arrived = experience.active & ~experience.ends
        arrived[-1] = experience.active[-1]
        known = arrived if "next_observation" in self.reward_inputs else experience.active
        steps = torch.cat([parts[name] for name in self.reward_inputs], dim=-1)
        errors = self._reward_errors(self.reward_decoder(latents, steps)[..., 0], experience)
        bound = (errors * known.T[:, None]).sum(2).mean()
        if self.state_decoder is not None:
            steps = torch.cat([parts["observation"], parts["action"]], dim=-1)
            target = parts["next_observation"].detach().transpose(0, 1)[:, None]  # (n, 1, t, d)
            errors = (self.state_decoder(latents, steps) - target).square().sum(3)
            bound = bound + self.state_weight * (errors * arrived.T[:, None]).sum(2).mean()
        return bound + self.divergence_weight * divergences(beliefs).mean()

    def expected_rewards(
        self, beliefs: Tensor, steps: Tensor, *, draws: int = 128, seed: int = 0
    ) -> Tensor:
        """What the decoder says of the reward of some steps, or of the probability that it is above
        0 with `reward_model="bernoulli"`: the mean over latents drawn from beliefs.

        Args:
            beliefs: Their parameters, (n, 2l).
            steps: What decides the rewards of m steps: the features and encoded actions that
                `reward_inputs` names, side by side, (m, s).
            draws: Latents of each belief.
            seed: Of these.

        Returns:
            (n, m).
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, 1, self.latent, generator=generator).to(beliefs)
        latents = Belief.of(beliefs[None]).at(noise)  # (draws, n, l)
        each = steps[:, None].expand(-1, len(beliefs), -1)  # (m, n, s)
        predicted = self.reward_decoder(latents, each)[..., 0]  # (n, draws, m)
        return (predicted if self.reward_model == "normal" else predicted.sigmoid()).mean(1)

    def _reward_errors(self, predicted: Tensor, experience: Experience) -> Tensor:
        """Of rewards (n, p, t) that were predicted of the steps."""
        rewards = experience.rewards.T[:, None].expand_as(predicted)
        if self.reward_model == "normal":
            return (predicted - rewards).square()
        positive = (rewards > 0).to(predicted)
        return F.binary_cross_entropy_with_logits(predicted, positive, reduction="none")
