import pytest
import torch

from quickstudy.errors import MissingError
from quickstudy.tasks.environments import (
    CrippledHalfCheetahs,
    Environments,
    HalfCheetahDirections,
    HalfCheetahVelocities,
)

pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")


def run(family, parameters, n_steps=5):
    environments = Environments(family, parameters)
    environments.reset(seed=2)
    n, generator = len(environments), torch.Generator().manual_seed(1)
    steps, taken = [], []
    for _ in range(n_steps):
        actions = family.actions.sample(1, generator).expand(n, 6)
        steps.append(environments.step(actions))
        taken.append(actions[0])
    return torch.stack([step.rewards for step in steps]), torch.stack(taken)


def test_rewards_are_those_of_the_goals():
    """From a run of Gymnasium's own environment with the same seed and actions."""
    directions, velocities = HalfCheetahDirections(horizon=9), HalfCheetahVelocities(horizon=9)
    forwards, actions = run(directions, {"direction": torch.tensor([1.0])})
    backwards, _ = run(directions, {"direction": torch.tensor([-1.0])})
    slow, _ = run(velocities, {"velocity": torch.tensor([1.5])})
    environments = Environments(directions, {"direction": torch.tensor([1.0])})
    environments.reset(seed=2)
    inner = environments._state["environments"].environments[0]  # began alike
    speeds = [inner.step(action.numpy())[4]["x_velocity"] for action in actions]
    speed, cost = torch.tensor(speeds), 0.05 * actions.square().sum(1)
    assert torch.allclose(forwards[:, 0].double(), speed - cost, atol=1e-5)
    assert torch.allclose(backwards[:, 0].double(), -speed - cost, atol=1e-5)
    assert torch.allclose(slow[:, 0].double(), -(speed - 1.5).abs() - cost, atol=1e-5)


def test_a_dead_joint_does_not_feel_its_action():
    family = CrippledHalfCheetahs(horizon=9)
    environments = Environments(family, {"joint": torch.tensor([4, 2])})
    seen = []
    for value in (1.0, -1.0):
        environments.reset(seed=3)
        actions = torch.zeros(2, 6)
        actions[:, 4] = value
        seen.append(environments.step(actions).observations)
    assert torch.equal(seen[0][0], seen[1][0])
    assert not torch.allclose(seen[0][1], seen[1][1])


def test_tasks_are_drawn_as_published():
    directions = HalfCheetahDirections().parameters(range(1000))["direction"]
    assert set(directions.tolist()) == {1.0, -1.0}
    assert abs(directions.mean()) < 0.15
    velocities = HalfCheetahVelocities().parameters(range(1000))["velocity"]
    assert 0 <= velocities.min() < 0.02
    assert 1.98 < velocities.max() <= 2
    assert set(CrippledHalfCheetahs().parameters(range(99))["joint"].tolist()) == set(range(6))


def test_no_log_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    HalfCheetahDirections()
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"quickstudy\[mujoco\]"):
        HalfCheetahDirections()
