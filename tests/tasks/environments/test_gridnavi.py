import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import Environments, GridNavi


def test_moves_walls_and_rewards():
    environments = Environments(GridNavi(), {"goals": torch.tensor([[2, 0]])})
    environments.reset()
    cells, rewards = [], []
    for action in (4, 3, 2, 2, 0, 1, 3, 2, 2, 2):  # left, down, right, right, stay, up, down, right
        step = environments.step(torch.tensor([action]))
        cells.append(tuple(step.observations[0].int().tolist()))
        rewards.append(round(step.rewards.item(), 4))
    assert cells == [
        (0, 0), (0, 0), (1, 0), (2, 0), (2, 0), (2, 1), (2, 0), (3, 0), (4, 0), (4, 0),
    ]  # fmt: skip
    assert rewards == [-0.1, -0.1, -0.1, 1, 1, -0.1, 1, -0.1, -0.1, -0.1]


def test_an_episode_has_15_steps_and_the_goal_stays():
    environments = GridNavi().environments(range(3))
    environments.reset()
    goals = environments.parameters["goals"].clone()
    ends = [environments.step(torch.ones(3, dtype=torch.long)) for _ in range(30)]
    assert [i for i, step in enumerate(ends) if step.truncated.all()] == [14, 29]
    assert not ends[14].observations.any()
    assert torch.equal(environments.parameters["goals"], goals)


def test_each_of_the_21_cells_away_from_the_start_is_the_goal_as_often():
    goals = GridNavi().parameters(range(21_000))["goals"]
    counts = (5 * goals[:, 0] + goals[:, 1]).bincount(minlength=25)
    assert counts[[0, 1, 5, 6]].sum() == 0
    assert (counts > 0).sum() == 21
    assert (counts[counts > 0] - 1000).abs().max() < 160  # 5 standard deviations


def test_options_are_checked():
    with pytest.raises(UsageError, match="size"):
        GridNavi(size=2)
