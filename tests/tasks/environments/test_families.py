"""What every family of tensor code keeps."""

import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import ENVIRONMENTS, Environments

NAMES = [name for name in ENVIRONMENTS if not name.startswith("half_cheetah")]


def run(environments, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    observations = environments.reset(seed=5)
    actions = environments.family.actions
    shown = [observations]
    for _ in range(steps):
        shown.append(environments.step(actions.sample(len(environments), generator)))
    return shown


@pytest.mark.parametrize("name", NAMES)
def test_episodes_have_their_shapes_and_repeat_with_the_seed(name):
    family = ENVIRONMENTS[name](seed=2)
    environments = family.environments(range(6), copies=2)
    shown = run(environments, family.horizon + 3)
    again = run(family.environments(range(6), copies=2), family.horizon + 3)
    assert shown[0].shape == (12, family.observation_size)
    for step, other in zip(shown[1:], again[1:], strict=True):
        assert step.observations.shape == (12, family.observation_size)
        assert step.rewards.shape == (12,)
        assert step.rewards.dtype == step.observations.dtype == torch.float32
        assert torch.equal(step.rewards, other.rewards)
        assert torch.equal(step.observations, other.observations)
    assert [step.dones.all().item() for step in shown[1:]].index(True) == family.horizon - 1


@pytest.mark.parametrize("name", NAMES)
def test_no_state_is_written_into(name):
    """So that a learner may keep what it was given, and a waiting environment stays as it is."""
    family = ENVIRONMENTS[name]()
    parameters = family.parameters(range(8))
    generator = torch.Generator().manual_seed(0)
    state = family.reset(parameters, generator)
    kept = {key: value.clone() for key, value in state.items()}
    rows = {key: value.clone() for key, value in parameters.items()}
    for _ in range(3):
        family.step(parameters, state, family.actions.sample(8, generator), generator)
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    assert all(torch.equal(parameters[key], rows[key]) for key in rows)


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_does_not_depend_on_those_beside_it(name):
    """Each row's state follows from its own parameters, action and luck."""
    family = ENVIRONMENTS[name]()
    parameters = family.parameters(range(10))
    other = {key: value.clone() for key, value in parameters.items()}
    for key, value in family.parameters(range(20, 25)).items():
        other[key][5:] = value
    actions = family.actions.sample(10, torch.Generator().manual_seed(3))
    other_actions = actions.clone()
    other_actions[5:] = family.actions.sample(5, torch.Generator().manual_seed(4))
    shown = []
    for rows, chosen in ((parameters, actions), (other, other_actions)):
        environments = Environments(family, rows, seed=7)
        environments.reset()
        shown.append([environments.step(chosen) for _ in range(3)])
    for one, two in zip(*shown, strict=True):
        assert torch.equal(one.rewards[:5], two.rewards[:5])
        assert torch.equal(one.observations[:5], two.observations[:5])


def test_the_catalogue_finds_and_refuses():
    assert issubclass(ENVIRONMENTS.find("gridnavi"), ENVIRONMENTS.base)
    with pytest.raises(UsageError, match="did you mean 'navigation'"):
        ENVIRONMENTS.find("navigaton")
