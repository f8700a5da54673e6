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


class Faulty(Unequal):
    """Returns what it is told from its second step on, or from the first."""

    def __init__(self, returned, late=False):
        self.returned, self.late, self.steps = returned, late, 0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.steps += 1
        return super().step(action) if self.late and self.steps == 1 else self.returned


def faulty(returned, late=False):
    return functools.partial(Faulty, returned, late)


SEEN = np.zeros((2, 2), np.float32)


class Unbounded(Unequal):
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))


class Unseeded(Unequal):
    def reset(self):
        return np.zeros((2, 2)), {}


class Simulator(Unequal):
    def reset(self, *, seed=None, options=None):
        raise NotImplementedError("the simulator has no seed")


class OldReset(Unequal):
    def reset(self, *, seed=None, options=None):
        return SEEN


class Broken(Unequal):
    def step(self, action):
        raise RuntimeError("a wheel came off")


class LateLuck(Unequal):
    def step(self, action):
        return SEEN, np.random.rand(), False, False, {}


class Endless(Unequal):
    observation_space = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("no_such_robots:Robot-v0", "can be made, got ModuleNotFoundError: No module"),
        ("NoSuchPendulum-v1", "can be made, got NameNotFound"),
        (Unbounded, "a bounded Box"),
        (Unseeded, "reset to take a seed, got TypeError"),
        (Simulator, "take a seed, got NotImplementedError: the simulator has no seed"),
        (faulty((SEEN, 0.0, False, {})), r"\(observation, reward, .*\) from step, got 4 parts"),
        (faulty((SEEN, None, False, False, {})), "reward that is a number from step, got None"),
        (faulty((SEEN, np.ones(1), False, False, {})), "reward that is a number from step, got ar"),
        (faulty((np.zeros(9), 0.0, False, False, {})), "observations of 4 numbers, got 9"),
        (faulty(None), "from step, got NoneType"),
        (OldReset, r"\(observation, info\) from reset, got ndarray"),
        (Broken, "step to take the action .*, got RuntimeError: a wheel came off"),
        (LateLuck, r"goes on alike after reset\(seed=7\) twice"),
        (Endless, "observations of a fixed size, got ValueError"),
        (int, "a gymnasium.Env, got int"),
        (Counter(), "a function that makes one, got Counter"),
        (functools.partial(Counter, fault="luck"), "begins alike after reset"),
        ("Pendulum-v1", "PendulumEnv to have the attribute 'limit'"),
    ],
)
def test_what_cannot_serve_is_refused(make, message):
    np.random.seed(0)
    with pytest.raises((UsageError, DataError), match=message) as refusal:
        GymnasiumFamily(make, limits, horizon=3)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda n, generator: {"limit": torch.ones(3)}, r"with 2 rows .*, got \{'limit': \[3\]\}"),
        (lambda n, generator: {"limit": [1.0] * n}, "got {'limit': 'list'}"),
        (lambda n, generator: {}, "got {}"),
        (lambda n, generator: torch.ones(n), "got Tensor"),
        (lambda n: {"limit": torch.ones(n)}, "to draw, got TypeError"),
        (lambda n, generator: {"limit": torch.rand(n)}, "draw the same from the same generator"),
    ],
)
def test_parameters_that_are_none_are_refused(sample, message):
    with pytest.raises((UsageError, DataError), match=message):
        GymnasiumFamily(Counter, sample, horizon=3)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((np.zeros(9), 0.0, False, False, {}), "observations of 4 numbers, got 9"),
        ((SEEN, float("nan"), False, False, {}), "finite rewards .* in step 2 of an episode"),
        ((SEEN + np.nan, 0.0, False, False, {}), "finite observations .* after 2 steps"),
    ],
)
def test_what_goes_wrong_later_is_refused_then(returned, message):
    environments = GymnasiumFamily(faulty(returned, late=True), limits, horizon=3).environments([0])
    environments.reset()
    environments.step(torch.zeros(1, 2))
    with pytest.raises(DataError, match=message):
        environments.step(torch.zeros(1, 2))


def test_other_faults_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="unknown parameters 'attribute'; did you mean"):
        GymnasiumFamily(Counter, limits, horizon=3, parameters="attribute")  # type: ignore
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"quickstudy\[gym\]"):
        GymnasiumFamily("Pendulum-v1", masses, horizon=3)
