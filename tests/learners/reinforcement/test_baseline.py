"""The linear baseline against NumPy's least squares."""

import numpy as np
import torch

from quickstudy.learners.reinforcement.baseline import RIDGE, linear_baseline
from quickstudy.learners.reinforcement.experience import Experience

T, N, SIZE = 12, 6, 2


def experience(seed=0, horizon=T):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.zeros(T, N, dtype=torch.bool)
    ends[horizon - 1 :: horizon] = True
    return Experience(
        20 * torch.randn(T, N, SIZE, generator=generator),  # some beyond the bounds of 10
        torch.zeros(T, N, dtype=torch.long),
        torch.randn(T, N, generator=generator),
        ends,
        torch.ones(T, N, dtype=torch.bool),
        torch.zeros(N, SIZE),
    )


def least_squares(lived, returns, rows, steps):
    """Fitted returns (T, n) of some environments, by NumPy; with the ridge as further rows."""
    x = np.clip(lived.observations[:, rows].double().numpy(), -10, 10)
    time = np.broadcast_to(np.array(steps)[:, None, None] / 100, (T, len(rows), 1))
    features = np.concatenate([x, x**2, time, time**2, time**3, np.ones_like(time)], 2)
    flat, active = features.reshape(-1, features.shape[2]), lived.active[:, rows].flatten().numpy()
    ridge = np.sqrt(RIDGE) * np.eye(flat.shape[1])
    targets = returns[:, rows].double().numpy().reshape(-1)
    left = np.concatenate([flat[active], ridge])
    right = np.concatenate([targets[active], np.zeros(len(ridge))])
    weights = np.linalg.lstsq(left, right, rcond=None)[0]
    return torch.from_numpy((flat @ weights).reshape(T, len(rows))).float()


def check(lived, groups, steps):
    returns = torch.randn(T, N, generator=torch.Generator().manual_seed(1))
    found = linear_baseline(lived, returns, groups)
    for rows in torch.arange(N).tensor_split(groups):
        expected = least_squares(lived, returns, rows, steps)
        torch.testing.assert_close(found[:, rows], expected, rtol=1e-3, atol=1e-3)


def test_it_is_the_least_squares_fit_of_each_group():
    for groups in (1, 2, 3):
        check(experience(), groups, range(T))


def test_time_begins_anew_with_each_episode():
    check(experience(horizon=4), 2, [0, 1, 2, 3] * 3)


def test_steps_that_only_wait_are_not_fitted():
    lived = experience()
    lived.active[8:, 1], lived.ends[7:, 1] = False, True
    returns = torch.randn(T, N, generator=torch.Generator().manual_seed(1))
    before = linear_baseline(lived, returns, 2)
    expected = least_squares(lived, returns, torch.arange(3), range(T))
    torch.testing.assert_close(before[:8, :3], expected[:8], rtol=1e-3, atol=1e-3)
    returns[8:, 1] = 1000.0
    after = linear_baseline(lived, returns, 2)
    torch.testing.assert_close(after[:8], before[:8])


def test_a_constant_return_is_found_where_observations_say_nothing():
    lived = experience()
    blind = Experience(
        torch.zeros(T, N, SIZE),
        lived.actions,
        lived.rewards,
        lived.ends,
        lived.active,
        torch.zeros(N),
    )
    found = linear_baseline(blind, torch.full((T, N), 3.0), 1)
    torch.testing.assert_close(found, torch.full((T, N), 3.0), rtol=1e-3, atol=1e-3)
