"""What is played is recorded as it came."""

import pytest
import torch

from quickstudy.errors import DataError
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.tasks.environments import Discrete, EnvironmentFamily, Environments


class Quits(EnvironmentFamily):
    """Each step pays the task's number; action 1 ends the episode. Observes the step."""

    observation_size, actions, horizon = 1, Discrete(2), 3

    def sample(self, n, generator):
        return {"pay": torch.rand(n, generator=generator)}

    def reset(self, parameters, generator):
        return {"step": torch.zeros(len(parameters["pay"]))}

    def step(self, parameters, state, actions, generator):
        return {"step": state["step"] + 1}, parameters["pay"], actions == 1

    def observe(self, parameters, state):
        return state["step"][:, None]


class Script:
    """Acts as written, (t, n), and keeps what it was told."""

    def __init__(self, actions):
        self.actions, self.told = actions, []

    def reset(self, n):
        self.now = iter(self.actions)

    def act(self, observations):
        return next(self.now)

    def observe(self, actions, step):
        self.told.append((actions, step.rewards))


@pytest.fixture
def environments():
    return Environments(Quits(), {"pay": torch.tensor([1.0, 10.0])})


ACTIONS = torch.tensor([[0, 1], [0, 0], [0, 0], [1, 0], [0, 0], [0, 0]])


def test_two_episodes_are_recorded_in_the_order_in_which_they_came(environments):
    script = Script(ACTIONS)
    lived = play(environments, script, episodes=2)
    assert len(lived) == 6
    assert torch.equal(lived.actions, ACTIONS)
    assert lived.observations[..., 0].tolist() == [[0, 0], [1, 1], [2, 1], [0, 0], [1, 1], [1, 2]]
    assert lived.rewards.tolist() == [[1, 10], [1, 0], [1, 0], [1, 10], [0, 10], [0, 10]]
    assert lived.ends.int().tolist() == [[0, 1], [0, 1], [1, 1], [1, 0], [1, 0], [1, 1]]
    assert lived.active.int().tolist() == [[1, 1], [1, 0], [1, 0], [1, 1], [0, 1], [0, 1]]
    assert lived.final_observations.tolist() == [[1], [3]]
    assert lived.returns(3).tolist() == [[3, 10], [1, 30]]
    assert [step.tolist() for _, step in script.told] == lived.rewards.tolist()


def test_that_of_some_environments(environments):
    lived = play(environments, Script(ACTIONS), episodes=2)
    one = lived.of(torch.tensor([1]))
    assert torch.equal(one.rewards, lived.rewards[:, 1:])
    assert torch.equal(one.observations, lived.observations[:, 1:])
    assert torch.equal(one.final_observations, lived.final_observations[1:])


def test_environments_side_by_side_become_one_after_the_other(environments):
    lived = play(environments, Script(ACTIONS), episodes=2)
    line = lived.in_sequence()
    assert line.rewards[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 10, 0, 0, 10, 10, 10]
    assert line.observations.shape == (12, 1, 1)
    assert line.final_observations.tolist() == [[3]]
    assert torch.equal(line.in_sequence().actions, line.actions)


def test_parts_that_differ_in_steps_are_refused():
    x = torch.zeros(3, 2)
    with pytest.raises(DataError, match=r"as observations \(3, 2\), got \(2, 2\)"):
        Experience(x[..., None], x, x[:2], x, x, x)
