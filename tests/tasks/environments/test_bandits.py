import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import BernoulliBandits, Environments, GaussianBandits


def pull(environments, arm, steps):
    environments.reset()
    actions = torch.full((len(environments),), arm)
    return torch.stack([environments.step(actions).rewards for _ in range(steps)])


def test_an_arm_pays_with_its_probability():
    means = torch.tensor([[0.0, 0.3, 1.0]]).expand(20_000, 3)
    environments = Environments(BernoulliBandits(n_arms=3), {"means": means})
    assert pull(environments, 0, 3).sum() == 0
    assert pull(environments, 2, 3).mean() == 1
    rewards = pull(environments, 1, 10)
    assert set(rewards.unique().tolist()) == {0.0, 1.0}
    assert abs(rewards.mean() - 0.3) < 5 * (0.21 / rewards.numel()) ** 0.5


def test_a_gaussian_arm_has_its_mean_and_noise():
    means = torch.tensor([[1.5, -2.0]]).expand(20_000, 2)
    environments = Environments(GaussianBandits(n_arms=2, noise=0.5), {"means": means})
    rewards = pull(environments, 1, 10)
    assert abs(rewards.mean() + 2.0) < 5 * 0.5 / rewards.numel() ** 0.5
    assert abs(rewards.std() - 0.5) < 0.01


def test_arms_are_drawn_from_their_priors():
    bernoulli = BernoulliBandits(n_arms=10).parameters(range(10_000))["means"]
    assert abs(bernoulli.mean() - 1 / 2) < 0.005
    assert abs(bernoulli.var() - 1 / 12) < 0.002
    gaussian = GaussianBandits(n_arms=10).parameters(range(10_000))["means"]
    assert abs(gaussian.mean()) < 0.02
    assert abs(gaussian.std() - 1) < 0.02


def test_options_are_checked():
    with pytest.raises(UsageError, match="n_arms to be a whole number of 1 or more, got 0"):
        BernoulliBandits(n_arms=0)
    with pytest.raises(UsageError, match="horizon"):
        GaussianBandits(horizon=1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="noise"):
        GaussianBandits(noise=float("nan"))
