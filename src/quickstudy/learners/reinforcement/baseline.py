"""What a return is expected to be, by a linear function of time and observations.

Duan, Chen, Houthooft, Schulman & Abbeel, "Benchmarking Deep Reinforcement Learning for Continuous
Control", 2016, appendix. Shapes: t steps, n environments, o numbers of an observation, f features.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_baseline"]

RIDGE = 1e-5


def linear_baseline(observations: Tensor, returns: Tensor, groups: int) -> Tensor:
    """Expected returns (t, n), fitted to those of each group of environments.

    Args:
        observations: (t, n, o).
        returns: Sums of rewards to come, (t, n).
        groups: Number of groups, each of n / groups environments side by side.
    """
    t, n, _ = observations.shape
    clipped = observations.clamp(-10, 10)
    time = torch.arange(t, dtype=observations.dtype, device=observations.device) / 100
    of_time = torch.stack([time, time**2, time**3, torch.ones_like(time)], 1)  # (t, 4)
    parts = [clipped, clipped.square(), of_time[:, None].expand(t, n, 4)]
    features = torch.cat(parts, 2)  # (t, n, f)
    by_group = features.unflatten(1, (groups, -1)).transpose(0, 1).flatten(1, 2).double()
    targets = returns.unflatten(1, (groups, -1)).transpose(0, 1).flatten(1, 2).double()
    gram = by_group.mT @ by_group  # (groups, f, f)
    ridge = RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    right = by_group.mT @ targets[..., None]
    weights = torch.linalg.lstsq(gram.cpu() + ridge.cpu(), right.cpu(), driver="gelsy")
    fitted = by_group @ weights.solution.to(by_group)  # (groups, t * n / groups, 1)
    return fitted.unflatten(1, (t, -1))[..., 0].transpose(0, 1).flatten(1).to(returns)
