"""Conjugate gradients against a solve, trust-region steps against closed forms."""

import pytest
import torch

from quickstudy.learners.reinforcement.trpo import conjugate_gradients, trust_region_step

D = 6


@pytest.fixture
def fisher():
    half = torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return half @ half.T + torch.eye(D, dtype=torch.float64)


def test_conjugate_gradients_solve_in_as_many_steps_as_unknowns(fisher):
    b = torch.arange(1.0, D + 1, dtype=torch.float64)
    x = conjugate_gradients(lambda v: fisher @ v, b, D)
    torch.testing.assert_close(x, torch.linalg.solve(fisher, b))


def test_conjugate_gradients_end_early_where_nothing_is_left_to_solve(fisher):
    products = []

    def product(v):
        products.append(v)
        return v

    b = torch.ones(D)
    assert torch.equal(conjugate_gradients(product, b, 50), b)
    assert len(products) == 1


def quadratic(fisher, slope):
    """A linear gain, and the divergence x'Fx / 2, of weights in two tensors."""

    def objective(weights):
        x = torch.cat([w.flatten() for w in weights])
        return slope @ x, x @ fisher @ x / 2

    return objective


def test_a_step_is_the_natural_gradient_as_long_as_the_divergence_allows(fisher):
    slope = torch.arange(1.0, D + 1, dtype=torch.float64)
    weights = [torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    change = trust_region_step(
        quadratic(fisher, slope), weights, max_divergence=0.01, cg_steps=D, damping=0.0, shrink=0.99
    )
    assert [c.shape for c in change] == [w.shape for w in weights]
    natural = torch.linalg.solve(fisher, slope)
    whole = (2 * 0.01 / (slope @ natural)).sqrt() * natural
    found = torch.cat([c.flatten() for c in change])
    # Rounding may put the divergence just above its limit, which costs one shrinking.
    assert any(torch.allclose(found, share * whole) for share in (1.0, 0.99))
    assert all(bool((w == 0).all()) for w in weights)


def test_damping_is_added_to_the_curvature(fisher):
    slope = torch.ones(D, dtype=torch.float64)
    weights = [torch.zeros(D, dtype=torch.float64)]
    (change,) = trust_region_step(
        quadratic(fisher, slope), weights, max_divergence=0.01, cg_steps=D, damping=5.0
    )
    natural = torch.linalg.solve(fisher + 5 * torch.eye(D, dtype=torch.float64), slope)
    torch.testing.assert_close(change / change.norm(), natural / natural.norm())


def test_a_step_that_diverges_too_far_is_shortened(fisher):
    """Where the divergence grows faster than its second derivative says."""

    def objective(weights):
        (x,) = weights
        return x.sum(), x @ x / 2 + 1e4 * (x**4).sum()

    (change,) = trust_region_step(
        objective, [torch.zeros(D, dtype=torch.float64)], max_divergence=0.01, damping=0.0
    )
    divergence = objective([change])[1]
    assert 0 < divergence <= 0.01
    longer = objective([change / 0.8])[1]
    assert longer > 0.01


@pytest.mark.parametrize(
    "gain",
    [
        lambda x: x.sum() - 1e9 * (x**2).sum(),  # any step of a usable length is worse
        lambda x: 0 * x.sum(),  # there is no gradient
    ],
)
def test_where_nothing_improves_there_is_no_step(gain):
    def objective(weights):
        (x,) = weights
        return gain(x), x @ x / 2

    (change,) = trust_region_step(objective, [torch.zeros(D)], max_divergence=0.5, backtracks=5)
    assert change.tolist() == [0.0] * D


def test_a_step_on_a_softmax_stays_within_the_divergence():
    """The gain is the expected reward of three arms, importance-weighted."""
    rewards, old = torch.tensor([1.0, 0.0, -1.0]), torch.full((3,), 1 / 3)

    def objective(weights):
        log = weights[0].log_softmax(0)
        return (log.exp() * rewards).sum(), (old * (old.log() - log)).sum()

    (change,) = trust_region_step(objective, [torch.zeros(3)], max_divergence=0.05)
    gain, divergence = objective([change])
    assert gain > 0.2
    assert 0.03 < divergence <= 0.05
