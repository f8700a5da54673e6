import functools
import gc

import numpy as np
import pytest
import torch

from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.tasks.environments import (
    Box,
    Discrete,
    Environments,
    GymnasiumFamily,
    Pendulums,
)

gymnasium = pytest.importorskip("gymnasium")


def masses(n, generator):
    return {"m": 0.5 + torch.rand(n, generator=generator)}


class Counter(gymnasium.Env):
    """Counts to `limit`; a fault of choice."""

    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(2, start=5)
    made = 0

    def __init__(self, limit=3, fault=""):
        type(self).made += 1
        self.limit, self.fault = limit, fault

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return (np.random.randint(10) if self.fault == "luck" else 0), {}

    def step(self, action):
        assert action in (5, 6)
        self.count += 1
        return self.count, float(action), self.count == self.limit, False, {}


def limits(n, generator):
    return {"limit": torch.randint(2, 5, (n,), generator=generator)}


def test_a_pendulum_of_gymnasium_moves_as_ours():
    """Masses set as attributes; the same start in both."""
    theirs = GymnasiumFamily("Pendulum-v1", masses, horizon=200)
    assert theirs.actions == Box(1, -2.0, 2.0)
    environments = theirs.environments(range(3), copies=2)
    observations = environments.reset(seed=4)
    own = Pendulums()
    mass = environments.parameters["m"]
    assert torch.equal(mass[0], mass[1])
    parameters = {"mass": mass.double(), "length": torch.ones(6).double()}
    state = {
        "angle": torch.atan2(observations[:, 1], observations[:, 0]).double(),
        "velocity": observations[:, 2].double(),
    }
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        actions = theirs.actions.sample(6, generator)
        step = environments.step(actions)
        state, rewards, _ = own.step(parameters, state, actions.double(), generator)
        assert torch.allclose(step.rewards.double(), rewards, atol=1e-4)
        assert torch.allclose(step.observations, own.observe({}, state).float(), atol=1e-4)


def test_an_episode_repeats_with_its_seed():
    environments = GymnasiumFamily("Pendulum-v1", masses, horizon=5).environments([0, 1])
    first, second = environments.reset(seed=1), environments.reset(seed=1)
    assert torch.equal(first, second)
    assert not torch.equal(first, environments.reset())
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("parameters", ["attributes", "keywords"])
def test_those_that_end_wait_and_observations_are_one_hot(parameters):
    family = GymnasiumFamily(Counter, limits, horizon=6, parameters=parameters)
    assert family.actions == Discrete(2)
    assert family.observation_size == 10
    environments = Environments(family, {"limit": torch.tensor([2, 4])})
    assert environments.reset().argmax(1).tolist() == [0, 0]
    steps = [environments.step(torch.tensor([0, 1])) for _ in range(7)]
    assert [step.final_observations.argmax(1).tolist() for step in steps[:6]] == [
        [1, 1], [2, 2], [2, 3], [2, 4], [2, 4], [2, 4],
    ]  # fmt: skip
    assert [step.rewards.tolist() for step in steps[1:5]] == [[5, 6], [0, 6], [0, 6], [0, 0]]
    assert steps[5].terminated.all()
    assert steps[5].observations.argmax(1).tolist() == [0, 0]
    assert steps[6].observations.argmax(1).tolist() == [1, 1]
    assert steps[6].active.all()


def test_environments_are_used_again():
    family = GymnasiumFamily(Counter, limits, horizon=3)
    environments = family.environments(range(5))
    for _ in range(3):
        environments.reset()
    del environments
    gc.collect()
    made = Counter.made
    family.environments(range(5, 10)).reset()
    assert Counter.made == made
    two = family.environments(range(5)), family.environments(range(5))
    for environments in two:
        environments.reset()
    assert Counter.made == made + 5  # both at once need ten


def test_a_function_sets_the_parameters():
    def double(env, values):
        env.unwrapped.limit = 2 * values["limit"]

    family = GymnasiumFamily(Counter, limits, horizon=9, parameters=double)
    environments = Environments(family, {"limit": torch.tensor([2])})
    environments.reset()
    ends = [environments.step(torch.tensor([0])).terminated.item() for _ in range(5)]
    assert ends == [False, False, False, True, True]


class Unequal(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2, 2))
    action_space = gymnasium.spaces.Box(np.float32([0.0, -4.0]), np.float32([1.0, 4.0]))
    limit = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((2, 2)), {}

    def step(self, action):
        return np.diag(action), 0.0, False, False, {}


def test_actions_with_bounds_of_their_own_are_scaled():
    family = GymnasiumFamily(Unequal, limits, horizon=3)
    assert family.actions == Box(2, -1.0, 1.0)
    environments = family.environments([0])
    environments.reset()
    seen = environments.step(torch.tensor([[-1.0, 0.5]])).observations
    assert seen.tolist() == [[0.0, 0.0, 0.0, 2.0]]


class Swelling(Unequal):
    def step(self, action):
        return np.zeros((3, 3)), 0.0, False, False, {}


class Unbounded(Unequal):
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))


class Unseeded(Unequal):
    def reset(self):
        return np.zeros((2, 2)), {}


class Simulator(Unequal):
    def reset(self, *, seed=None, options=None):
        raise NotImplementedError("the simulator has no seed")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("no_such_robots:Robot-v0", "can be made, got ModuleNotFoundError: No module"),
        ("NoSuchPendulum-v1", "can be made, got NameNotFound"),
        (Unbounded, "a bounded Box"),
        (Unseeded, "whose reset takes a seed"),
        (Simulator, "takes a seed, got NotImplementedError: the simulator has no seed"),
        (functools.partial(Counter, fault="luck"), "begins alike after reset"),
        ("Pendulum-v1", "PendulumEnv to have the attribute 'limit'"),
    ],
)
def test_what_cannot_serve_is_refused(make, message):
    np.random.seed(0)
    with pytest.raises(UsageError, match=message) as refusal:
        GymnasiumFamily(make, limits, horizon=3)
    assert "\n" not in str(refusal.value)


def test_other_faults_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="unknown parameters 'attribute'; did you mean"):
        GymnasiumFamily(Counter, limits, horizon=3, parameters="attribute")  # type: ignore
    environments = GymnasiumFamily(Swelling, limits, horizon=3).environments([0])
    environments.reset()
    with pytest.raises(DataError, match="observations of 4 numbers, got 9"):
        environments.step(torch.zeros(1, 2))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"quickstudy\[gym\]"):
        GymnasiumFamily("Pendulum-v1", masses, horizon=3)
