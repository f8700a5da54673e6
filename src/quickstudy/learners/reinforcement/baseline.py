"""What a return is expected to be, by a linear function of time and observations.

Duan, Chen, Houthooft, Schulman & Abbeel, "Benchmarking Deep Reinforcement Learning for Continuous
Control", 2016, appendix. Shapes: t steps, n environments, f features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.learners.reinforcement.experience import Experience

__all__ = ["linear_baseline"]

RIDGE = 1e-5


def linear_baseline(experience: Experience, returns: Tensor, groups: int) -> Tensor:
    """Expected returns (t, n), fitted to the active steps of each group of environments.

    Args:
        experience: Of n environments.
        returns: Sums of rewards to come, (t, n).
        groups: Number of groups, each of n / groups environments side by side.
    """

    def by_group(x: Tensor) -> Tensor:  # (t, n, f) -> (groups, t * n / groups, f)
        return x.unflatten(1, (groups, -1)).transpose(0, 1).flatten(1, 2).double()

    observations = experience.observations.clamp(-10, 10)
    time = _steps_of_episodes(experience.ends).to(observations) / 100  # (t, n)
    of_time = torch.stack([time, time**2, time**3, torch.ones_like(time)], 2)
    features = by_group(torch.cat([observations, observations.square(), of_time], 2))
    weighed = features * by_group(experience.active[..., None])
    gram = weighed.mT @ features  # (groups, f, f)
    ridge = RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    right = weighed.mT @ by_group(returns[..., None])
    weights = torch.linalg.lstsq(gram.cpu() + ridge.cpu(), right.cpu(), driver="gelsy")
    fitted = features @ weights.solution.to(features)  # (groups, t * n / groups, 1)
    return fitted.unflatten(1, (len(returns), -1))[..., 0].transpose(0, 1).flatten(1).to(returns)


def _steps_of_episodes(ends: Tensor) -> Tensor:
    """How many steps each came after the first of its episode, (t, n)."""
    step = torch.arange(len(ends), device=ends.device)[:, None].expand_as(ends)
    begins = torch.cat([torch.ones_like(ends[:1]), ends[:-1]])
    return step - (step * begins).cummax(0).values
