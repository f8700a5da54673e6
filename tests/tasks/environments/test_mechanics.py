"""Parameters within and beyond their ranges, and each machine against an independent one."""

import importlib.util
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import CartPoleSwingUp, Pendulums, TwoLinkArms
from quickstudy.tasks.environments.mechanics import draw

MACHINES = [Pendulums, CartPoleSwingUp, TwoLinkArms]
needs_gymnasium = pytest.mark.skipif(
    importlib.util.find_spec("gymnasium") is None, reason="gymnasium is not installed"
)
needs_mujoco = pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None, reason="mujoco is not installed"
)
CPU = torch.Generator()


def doubles(**values):
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


@pytest.mark.parametrize("machine", MACHINES)
def test_parameters_are_within_their_ranges_or_all_outside(machine):
    inside, outside = (machine(beyond=b).parameters(range(2000)) for b in (0, 0.5))
    for name, (low, high) in machine.ranges.items():
        width = high - low
        assert low <= inside[name].min() < low + 0.01 * width
        assert high - 0.01 * width < inside[name].max() <= high
        value = outside[name]
        assert ((value <= low) | (value >= high)).all()
        assert 0.45 < (value <= low).float().mean() < 0.55
        assert value.min() > max(0, low - 0.501 * width)
        assert value.max() < high + 0.501 * width


def test_beyond_is_checked():
    with pytest.raises(UsageError, match=r"leave mass above 0: less than 1\.16"):
        Pendulums(beyond=1.5)
    with pytest.raises(UsageError, match="beyond"):
        Pendulums(beyond=-0.5)
    assert draw(1.0, 2.0, 0.0, 5, CPU).shape == (5,)


@needs_gymnasium
def test_the_pendulum_moves_as_gymnasiums_does():
    import gymnasium

    own, other = Pendulums(), gymnasium.make("Pendulum-v1").unwrapped
    parameters = doubles(mass=1.0, length=1.0)
    other.reset(seed=3)
    state = doubles(angle=other.state[0], velocity=other.state[1])
    torques = np.random.default_rng(0).uniform(-2, 2, (200, 1))
    for torque in torques:
        state, reward, _ = own.step(parameters, state, torch.tensor(torque)[None], CPU)
        observation, other_reward, *_ = other.step(torque)
        assert abs(reward.item() - other_reward) < 1e-9
        assert np.abs(own.observe(parameters, state)[0].numpy() - observation).max() < 1e-6
    assert np.allclose([state["angle"].item(), state["velocity"].item()], other.state, atol=1e-10)


@needs_gymnasium
def test_the_pendulums_mass_and_length_are_gymnasiums():
    import gymnasium

    own, other = Pendulums(), gymnasium.make("Pendulum-v1").unwrapped
    other.reset(seed=1)
    other.m, other.l = 0.8, 1.2
    state = doubles(angle=other.state[0], velocity=other.state[1])
    for _ in range(50):
        state, *_ = own.step(doubles(mass=0.8, length=1.2), state, torch.tensor([[1.5]]), CPU)
        other.step(np.array([1.5]))
    assert np.allclose([state["angle"].item(), state["velocity"].item()], other.state, atol=1e-10)


@needs_gymnasium
def test_the_cart_pole_moves_as_gymnasiums_does():
    import gymnasium

    own, other = CartPoleSwingUp(), gymnasium.make("CartPole-v1").unwrapped
    parameters = doubles(cart_mass=1.0, pole_mass=0.1, half_length=0.5)
    other.reset(seed=3)
    other.state = np.array([0.1, -0.2, math.pi - 0.3, 0.5])
    state = doubles(x=0.1, x_velocity=-0.2, angle=math.pi - 0.3, velocity=0.5)
    for action in np.random.default_rng(1).integers(0, 2, 60):
        force = torch.tensor([[2.0 * action - 1.0]], dtype=torch.float64)
        state, *_ = own.step(parameters, state, force, CPU)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that the pole has fallen
            other.step(int(action))
        ours = [state[name].item() for name in ("x", "x_velocity", "angle", "velocity")]
        assert abs(ours[0]) < 2.4
        assert np.allclose(ours, other.state, rtol=0, atol=1e-10)


def test_the_cart_stops_at_the_end_of_the_rail():
    own = CartPoleSwingUp()
    parameters = doubles(cart_mass=1.0, pole_mass=0.1, half_length=0.5)
    state = doubles(x=2.35, x_velocity=5.0, angle=math.pi, velocity=0.0)
    state, reward, _ = own.step(parameters, state, torch.zeros(1, 1), CPU)
    assert (state["x"].item(), state["x_velocity"].item()) == (2.4, 0.0)
    assert abs(reward.item() + 0.1) < 1e-12


def swing(seconds, payload, damping, steps):
    """Angles and velocities of an arm under torques that change each step, by ours."""
    own = TwoLinkArms()
    own.seconds = seconds
    parameters = doubles(payload=payload, damping=damping)
    state = doubles(
        angle1=0.3, angle2=-0.4, velocity1=0.2, velocity2=0.1, target_x=0.5, target_y=0.0
    )
    motions = []
    for action in steps:
        state, *_ = own.step(parameters, state, torch.tensor(action)[None], CPU)
        motions.append([state[n].item() for n in ("angle1", "angle2", "velocity1", "velocity2")])
    return np.array(motions)


ACTIONS = np.random.default_rng(2).uniform(-1, 1, (100, 2))


def lagrangian(payload, damping, torque):
    """Accelerations by numeric differentiation of where two rods and the payload are."""

    def positions(q):  # centres of both rods, and the hand
        first, both = q[0], q[0] + q[1]
        elbow = 0.5 * np.array([np.sin(first), -np.cos(first)])
        direction = 0.5 * np.array([np.sin(both), -np.cos(both)])
        return elbow / 2, elbow + direction / 2, elbow + direction

    masses = (1.0, 1.0, payload)

    def jacobians(q, h=1e-6):
        moved = [
            [(a - b) / (2 * h) for a, b in zip(positions(q + d), positions(q - d), strict=True)]
            for d in h * np.eye(2)
        ]
        return [np.stack([moved[0][i], moved[1][i]], 1) for i in range(3)]

    def mass_matrix(q):
        matrix = sum(m * j.T @ j for m, j in zip(masses, jacobians(q), strict=True))
        rod = 1.0 * 0.5**2 / 12  # about its centre
        return matrix + rod * np.array([[1.0, 0.0], [0.0, 0.0]]) + rod * np.ones((2, 2))

    def rates(_, y, h=1e-4):
        q, v = y[:2], y[2:]
        slopes = [(mass_matrix(q + d) - mass_matrix(q - d)) / (2 * h) for d in h * np.eye(2)]
        along = v[0] * slopes[0] + v[1] * slopes[1]
        kinetic = np.array([0.5 * v @ slope @ v for slope in slopes])
        gravity = -sum(m * 9.81 * j[1] for m, j in zip(masses, jacobians(q), strict=True))
        force = torque - damping * v - along @ v + kinetic + gravity
        return np.concatenate([v, np.linalg.solve(mass_matrix(q), force)])

    return rates


def test_the_arm_moves_as_its_lagrangian_says():
    """In steps of 2 ms, at which the error of the Runge-Kutta method is small."""
    ours = swing(0.002, 1.7, 0.3, ACTIONS[:10])
    y = np.array([0.3, -0.4, 0.2, 0.1])
    for action, motion in zip(ACTIONS, ours, strict=False):
        rates = lagrangian(1.7, 0.3, action * TwoLinkArms.max_torques)
        y = solve_ivp(rates, (0, 0.002), y, rtol=1e-9, atol=1e-10).y[:, -1]
        assert np.allclose(motion, y, rtol=0, atol=1e-6)


MODEL = f"""
<mujoco>
  <option gravity="0 0 -9.81" integrator="RK4" timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="shoulder" axis="0 -1 0" damping="0.3"/>
      <inertial pos="0 0 -0.25" mass="1" diaginertia="{0.25 / 12} {0.25 / 12} 1e-9"/>
      <body pos="0 0 -0.5">
        <joint name="elbow" axis="0 -1 0" damping="0.3"/>
        <inertial pos="0 0 -0.25" mass="1" diaginertia="{0.25 / 12} {0.25 / 12} 1e-9"/>
        <body pos="0 0 -0.5"><inertial pos="0 0 0" mass="1.7" diaginertia="1e-9 1e-9 1e-9"/></body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" gear="60"/>
    <motor joint="elbow" gear="30"/>
  </actuator>
</mujoco>
"""


@needs_mujoco
def test_the_arm_moves_as_mujocos_does():
    import mujoco

    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = [0.3, -0.4], [0.2, 0.1]
    ours = swing(0.02, 1.7, 0.3, ACTIONS)
    for action, motion in zip(ACTIONS, ours, strict=True):
        data.ctrl[:] = action
        mujoco.mj_step(model, data, TwoLinkArms.substeps)
        assert np.allclose(motion, [*data.qpos, *data.qvel], rtol=0, atol=1e-5)
    assert np.abs(ours[:, :2]).max() > 1  # it moved far


def test_the_arms_reward_is_the_distance_of_its_hand():
    own = TwoLinkArms()
    state = doubles(
        angle1=math.pi / 2, angle2=-math.pi / 2, velocity1=0, velocity2=0, target_x=0, target_y=0
    )
    x, y = own.hand(state)
    assert np.allclose([x.item(), y.item()], [0.5, -0.5])
    state["target_x"], state["target_y"] = x + 0.3, y - 0.4
    own.seconds = 1e-9
    _, reward, _ = own.step(doubles(payload=1.0, damping=0.3), state, torch.ones(1, 2), CPU)
    assert abs(reward.item() + 0.5 + 0.01) < 1e-6
    assert np.allclose(own.observe({}, state)[0, -2:].numpy(), [0.3, -0.4])
