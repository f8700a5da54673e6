"""The contract of families and environments, with small families of its own."""

import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.environments import (
    BernoulliBandits,
    Box,
    Discrete,
    EnvironmentFamily,
    Environments,
)
from quickstudy.tasks.environments.environment import BLOCK


class Walks(EnvironmentFamily):
    """A position that grows by the action and a little luck, and ends beyond its task's limit."""

    observation_size, actions, horizon = 1, Box(1, -1.0, 1.0), 5

    def __init__(self, fault="", **options):
        super().__init__(**options)
        self.fault = fault

    def sample(self, n, generator):
        return {"limit": 0.5 + torch.rand(n, generator=generator)}

    def reset(self, parameters, generator):
        return {"position": torch.zeros(len(parameters["limit"]), 1)}

    def step(self, parameters, state, actions, generator):
        luck = 0.01 * torch.rand(actions.shape, generator=generator)
        position = state["position"] + actions + luck
        reward = position[:, 0]
        if self.fault == "reward":
            reward = reward * float("nan")
        if self.fault == "reward shape":
            reward = position
        return {"position": position}, reward, position[:, 0] > parameters["limit"]

    def observe(self, parameters, state):
        position = state["position"]
        if self.fault == "observation" and position.max() > 0:
            return position * float("inf")
        if self.fault == "size" and position.max() > 0:
            return torch.cat([position, position], 1)
        return position


def test_a_task_depends_on_the_seed_and_its_index_alone():
    family = BernoulliBandits(seed=3)
    many = family.parameters([5, BLOCK + 1, 5, 20 * BLOCK])["means"]
    assert torch.equal(many[0], many[2])
    again = BernoulliBandits(seed=3)
    assert torch.equal(again[20 * BLOCK].parameters["means"], many[3])
    assert torch.equal(again[BLOCK + 1].parameters["means"], many[1])
    assert not torch.equal(BernoulliBandits(seed=4)[5].parameters["means"], many[0])
    assert not torch.equal(many[0], many[1])


def test_copies_of_a_task_stand_side_by_side_and_stacked_tasks_are_the_same():
    family = BernoulliBandits(seed=1)
    environments = family.environments([7, 2], copies=3)
    means = environments.parameters["means"]
    assert len(environments) == 6
    assert torch.equal(means[0], means[2])
    assert torch.equal(means[3], family[2].parameters["means"])
    stacked = Environments.of([family[7], family[2]], copies=3)
    assert torch.equal(stacked.parameters["means"], means)


def test_an_environment_that_terminates_waits_and_all_begin_anew_at_the_horizon():
    environments = Environments(Walks(), {"limit": torch.tensor([1.5, 100.0])}, seed=0)
    assert torch.equal(environments.reset(), torch.zeros(2, 1))
    steps = [environments.step(torch.ones(2, 1)) for _ in range(5)]
    assert [s.terminated[0].item() for s in steps] == [False, True, True, True, True]
    assert [s.active[0].item() for s in steps] == [True, True, False, False, False]
    assert all((s.rewards[0] == 0) == (not s.active[0]) for s in steps)
    assert torch.equal(steps[1].observations[0], steps[3].observations[0])
    assert [s.truncated.tolist() for s in steps[3:]] == [[False, False], [False, True]]
    assert steps[4].dones.all()
    assert torch.equal(steps[4].observations, torch.zeros(2, 1))
    assert steps[4].final_observations[1] > 4.9
    after = environments.step(torch.ones(2, 1))
    assert after.active.all()
    assert not after.dones.any()
    assert after.rewards[0] > 0.9


def test_without_auto_reset_the_last_step_shows_the_end_and_no_step_follows():
    environments = Environments(Walks(), {"limit": torch.tensor([100.0])}, auto_reset=False)
    environments.reset()
    for _ in range(5):
        step = environments.step(torch.ones(1, 1))
    assert torch.equal(step.observations, step.final_observations)
    with pytest.raises(UsageError, match=r"reset\(\) after the last step"):
        environments.step(torch.ones(1, 1))


def test_two_policies_meet_the_same_luck():
    environments = BernoulliBandits(n_arms=2).environments(range(50), seed=9)
    environments.parameters["means"][:, 1] = environments.parameters["means"][:, 0]
    runs = []
    for action in (0, 1):
        environments.reset(seed=9)
        actions = torch.full((50,), action)
        runs.append([environments.step(actions).rewards for _ in range(25)])
    assert torch.equal(torch.stack(runs[0]), torch.stack(runs[1]))
    environments.reset()
    assert not torch.equal(environments.step(actions).rewards, runs[0][0])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1], "as a tensor, got list"),
        (torch.zeros(3, dtype=torch.long), r"shape \(2,\), got \(3,\)"),
        (torch.zeros(2), "whole numbers, got torch.float32"),
        (torch.tensor([0, 5]), "from 0 to 4, got some from 0 to 5"),
        (torch.tensor([-1, 0]), "got some from -1 to 0"),
    ],
)
def test_a_wrong_choice_is_refused(actions, message):
    environments = BernoulliBandits(n_arms=5).environments([0, 1])
    environments.reset()
    with pytest.raises(DataError, match=message):
        environments.step(actions)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(2), r"shape \(2, 1\), got \(2,\)"),
        (torch.zeros(2, 1, dtype=torch.long), "floating-point"),
        (torch.tensor([[0.0], [float("nan")]]), "NaN"),
    ],
)
def test_a_wrong_vector_is_refused(actions, message):
    environments = Walks().environments([0, 1])
    environments.reset()
    with pytest.raises(DataError, match=message):
        environments.step(actions)


def test_a_vector_outside_the_box_is_clipped():
    environments = Environments(Walks(), {"limit": torch.tensor([9.0])})
    environments.reset()
    assert 1.0 <= environments.step(torch.tensor([[7.0]])).rewards[0] < 1.02


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reward", "finite rewards from Walks, got NaN"),
        ("reward shape", r"rewards of shape \(2,\) from Walks, got \(2, 1\)"),
        ("observation", "finite observations from Walks, got NaN or infinity after 1 steps"),
        ("size", r"observations of shape \(2, 1\) from Walks, got \(2, 2\)"),
    ],
)
def test_a_family_that_breaks_its_word_is_named(fault, message):
    environments = Walks(fault).environments([0, 1])
    environments.reset()
    with pytest.raises(DataError, match=message):
        environments.step(torch.ones(2, 1))


def test_without_checks_values_pass_and_actions_are_still_clipped():
    rows = {"limit": torch.tensor([9.0])}
    environments = Environments(Walks("reward"), rows, check=False)
    environments.reset()
    step = environments.step(torch.tensor([[7.0]]))
    assert step.rewards.isnan().all()
    assert step.observations < 1.02


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UsageError, match="reset"):
        Walks().environments([0]).step(torch.zeros(1, 1))
    with pytest.raises(UsageError, match="n of Discrete"):
        Discrete(0)
    with pytest.raises(UsageError, match="low below high"):
        Box(1, 1.0, 1.0)
    with pytest.raises(UsageError, match="indices"):
        Walks().environments([])
    with pytest.raises(UsageError, match="index of a task"):
        Walks()[-1]
    with pytest.raises(UsageError, match="of one family"):
        Environments.of([Walks()[0], Walks()[0]])
    with pytest.raises(UsageError, match="copies"):
        Walks().environments([0], copies=0)
    with pytest.raises(UsageError, match="seed"):
        Walks(seed=-1)
    with pytest.raises(DataError, match="as many rows"):
        Environments(Walks(), {"limit": torch.ones(2), "other": torch.ones(3)})
    with pytest.raises(DataError, match="'limit' to be a tensor with rows"):
        Environments(Walks(), {"limit": torch.tensor(1.0)})


def test_actions_are_drawn_over_their_whole_range():
    generator = torch.Generator().manual_seed(0)
    assert Discrete(3).sample(1000, generator).bincount().min() > 250
    drawn = Box(2, -3.0, 1.0).sample(1000, generator)
    assert drawn.shape == (1000, 2)
    assert -3.0 <= drawn.min() < -2.9
    assert 0.9 < drawn.max() <= 1.0
