import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import Environments, Navigation, SparseNavigation


def test_the_reward_is_minus_the_distance_and_the_goal_ends_the_episode():
    environments = Environments(Navigation(), {"goals": torch.tensor([[0.3, -0.1], [0.5, 0.5]])})
    environments.reset()
    step = environments.step(torch.tensor([[0.1, -0.1], [-1.0, 0.05]]))
    assert torch.allclose(step.observations, torch.tensor([[0.1, -0.1], [-0.1, 0.05]]))
    assert torch.allclose(step.rewards, -torch.tensor([0.2, (0.6**2 + 0.45**2) ** 0.5]))
    environments.step(torch.tensor([[0.1, 0.0], [0.0, 0.0]]))
    step = environments.step(torch.tensor([[0.0915, 0.0085], [0.0, 0.0]]))
    assert step.terminated.tolist() == [True, False]  # 0.0085 from the goal in both directions


def test_goals_fill_their_square():
    goals = Navigation().parameters(range(4000))["goals"]
    assert -0.5 <= goals.min() < -0.499
    assert 0.499 < goals.max() <= 0.5
    assert abs(goals.mean()) < 0.02


def test_sparse_rewards_are_given_near_the_goal_alone():
    goals = torch.tensor([[0.0, 0.35], [0.0, 0.25], [0.1, 0.1]])
    environments = Environments(SparseNavigation(), {"goals": goals})
    environments.reset()
    step = environments.step(torch.full((3, 2), 0.1))
    assert step.rewards[0] == 0
    assert torch.isclose(step.rewards[1], 1 - torch.tensor(0.1**2 + 0.15**2).sqrt())
    assert step.rewards[2] == 1
    assert not step.dones.any()


def test_sparse_goals_lie_on_the_upper_half_circle():
    goals = SparseNavigation().parameters(range(2000))["goals"]
    assert torch.allclose(goals.norm(dim=1), torch.ones(2000))
    assert goals[:, 1].min() >= 0
    assert abs(goals[:, 0].mean()) < 0.05


def test_options_are_checked():
    with pytest.raises(UsageError, match="half_width"):
        Navigation(half_width=-1)
    with pytest.raises(UsageError, match="goal_radius"):
        SparseNavigation(goal_radius=float("inf"))
