import warnings

import numpy as np
import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import (
    ENVIRONMENTS,
    BernoulliBandits,
    GymnasiumFamily,
    Navigation,
)

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from quickstudy.tasks.environments.as_gymnasium import as_gymnasium, as_gymnasium_vector

NAMES = [name for name in ENVIRONMENTS if not name.startswith("half_cheetah")]


@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_checker_finds_no_fault(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*(infinity|normalized|[Nn]ot able to test|spec).*")
        check_env(as_gymnasium(ENVIRONMENTS[name]()), skip_render_check=True)


def test_an_episode_ends_at_the_horizon_or_the_goal():
    family = Navigation(horizon=30)
    environment = as_gymnasium(family, task=1)
    goal = family[1].parameters["goals"].numpy()
    observation, _ = environment.reset(seed=0)
    for _ in range(30):
        action = np.clip(goal - observation, -0.1, 0.1)
        observation, _reward, terminated, truncated, _ = environment.step(action)
        if terminated or truncated:
            break
    assert terminated
    environment.reset()
    ends = [environment.step(np.zeros(2, np.float32))[2:4] for _ in range(30)]
    assert ends[-2:] == [(False, False), (False, True)]
    _, info = environment.reset(options={"task": 5})
    assert info == {"task": 5}
    _, reward, *_ = environment.step(np.zeros(2, np.float32))
    assert abs(reward + family[5].parameters["goals"].norm()) < 1e-6


def test_a_vector_begins_each_episode_on_its_own():
    family = Navigation(horizon=4)
    vector = as_gymnasium_vector(family, [0, 1, 2])
    vector._parameters = {"goals": torch.tensor([[0.15, 0.0], [9.0, 9.0], [0.35, 0.0]])}
    observations, _ = vector.reset(seed=1)
    assert vector.observation_space.contains(observations)
    seen = []
    for _ in range(4):
        actions = np.tile(np.array([0.1, 0.0], np.float32), (3, 1))
        actions[0, 0] = 0.075
        seen.append(vector.step(actions))
    assert [s[2].tolist() for s in seen] == [
        [False, False, False], [True, False, False], [False, False, False], [True, False, False],
    ]  # fmt: skip
    assert [s[3].tolist() for s in seen[2:]] == [[False, False, False], [False, True, True]]
    assert np.allclose(seen[1][0], [[0, 0], [0.2, 0], [0.2, 0]])
    info = seen[1][4]
    assert info["_final_obs"].tolist() == [True, False, False]
    assert np.allclose(info["final_obs"][0], [0.15, 0])
    assert seen[2][4] == {}
    assert np.allclose(seen[2][0][0], [0.075, 0])


def test_a_vector_steps_as_single_environments_do():
    family = ENVIRONMENTS["pendulum"](horizon=50)
    vector = as_gymnasium_vector(family, [3, 4])
    observations, _ = vector.reset(seed=0)
    for number in range(2):
        state = {
            "angle": torch.tensor([np.arctan2(observations[number, 1], observations[number, 0])]),
            "velocity": torch.tensor([observations[number, 2]]),
        }
        parameters = family.parameters([3 + number])
        _, reward, _ = family.step(parameters, state, torch.ones(1, 1), torch.Generator())
        if number == 0:
            rewards = vector.step(np.ones((2, 1), np.float32))[1]
        assert abs(rewards[number] - reward.item()) < 1e-4


def test_what_a_vector_cannot_do_is_refused():
    vector = as_gymnasium_vector(BernoulliBandits(n_arms=2), [0, 1])
    with pytest.raises(UsageError, match="reset"):
        vector.step(np.zeros(2, int))
    other = GymnasiumFamily("Pendulum-v1", lambda n, _: {"m": torch.ones(n)}, horizon=3)
    with pytest.raises(UsageError, match="state is tensors, got GymnasiumFamily"):
        as_gymnasium_vector(other, [0]).reset()
