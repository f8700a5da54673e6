import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import Environments, TabularMDPs


def test_states_follow_the_transitions_and_rewards_their_means():
    family = TabularMDPs(n_states=3, n_actions=2, horizon=6)
    task = family[5].parameters
    n = 40_000
    rows = {name: value.expand(n, *value.shape) for name, value in task.items()}
    environments = Environments(family, rows, seed=1)
    states = environments.reset().argmax(1)
    assert (states == 0).all()
    for turn in range(3):
        actions = torch.arange(n) % 2
        step = environments.step(actions)
        following = step.observations.argmax(1)
        for state in states.unique():
            for action in range(2):
                here = (states == state) & (actions == action)
                shares = following[here].bincount(minlength=3) / here.sum()
                error = 5 * 0.5 / here.sum() ** 0.5
                assert (shares - task["transitions"][state, action]).abs().max() < error, turn
                mean = step.rewards[here].mean() - task["means"][state, action]
                assert abs(mean) < 5 / here.sum() ** 0.5
        states = following
    assert abs((step.rewards - task["means"][0, 0])[:1].item()) < 9


def test_tasks_are_drawn_from_the_published_priors():
    rows = TabularMDPs().parameters(range(2000))
    assert rows["transitions"].shape == (2000, 10, 5, 10)
    assert abs(rows["means"].mean() - 1) < 0.02
    assert abs(rows["means"].std() - 1) < 0.02
    flat = rows["transitions"].reshape(-1, 10)
    assert torch.allclose(flat.sum(1), torch.ones(len(flat)), atol=1e-5)
    assert abs(flat[:, 0].var() - 9 / (100 * 11)) < 2e-4  # of Dirichlet(1, ..., 1)


def test_options_are_checked():
    with pytest.raises(UsageError, match="n_states"):
        TabularMDPs(n_states=0)
    with pytest.raises(UsageError, match="n_actions"):
        TabularMDPs(n_actions=-1)
