"""Classical bandit policies against exact values, published figures and brute force."""

from functools import cache

import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.reinforcement import (
    UCB1,
    BayesOptimal,
    EpsilonGreedy,
    GittinsIndex,
    Greedy,
    RandomPolicy,
    ThompsonSampling,
    experience,
    oracle,
)
from quickstudy.learners.reinforcement.classical import BanditPolicy
from quickstudy.learners.reinforcement.gittins import gittins_indices
from quickstudy.tasks.environments import BernoulliBandits, Environments, GaussianBandits


def play(environments, policy, episodes=1, seed=0):
    """Returns (episodes, n), with the luck of a seed."""
    fresh = Environments(environments.family, environments.parameters, seed=seed)
    return experience.play(fresh, policy, episodes).returns(fresh.family.horizon)


N = 5_000


@cache
def environments(n_arms, horizon):
    return BernoulliBandits(n_arms=n_arms, horizon=horizon).environments(
        range(min(N, 200_000 // horizon))
    )


def mean_return(policy, n_arms=5, horizon=10):
    return play(environments(n_arms, horizon), policy)[0].mean().item()


def within(value, expected, error):
    return abs(value - expected) < error


def test_policies_reach_the_published_returns():
    """Of 10 pulls of 5 arms and 100 of 10 (Duan et al., 2016), whose errors are 0.07 and 0.3."""
    short, long = BernoulliBandits(n_arms=5), BernoulliBandits(n_arms=10, horizon=100)
    assert within(mean_return(RandomPolicy(environments(5, 10))), 5.0, 0.08)
    assert within(mean_return(Greedy(short)), 6.6, 0.1)
    assert within(mean_return(GittinsIndex(short)), 6.6, 0.15)
    assert within(mean_return(ThompsonSampling(short)), 5.7, 0.2)
    assert within(mean_return(UCB1(short, c=0.2, use_prior=True)), 6.7, 0.2)
    assert within(mean_return(ThompsonSampling(long), 10, 100), 76.7, 1.0)
    assert within(mean_return(GittinsIndex(long), 10, 100), 83.5, 1.0)
    assert within(mean_return(Greedy(long), 10, 100), 77.1, 1.5)


def test_the_bayes_optimal_policy_earns_what_backward_induction_says():
    policy = BayesOptimal(BernoulliBandits(n_arms=5))
    returns = play(environments(5, 10), policy)[0]
    assert within(returns.mean(), policy.optimum.value, 4 * returns.std() / N**0.5)
    worse = mean_return(ThompsonSampling(BernoulliBandits(n_arms=5)))
    assert returns.mean() > worse + 0.5


def test_more_arms_than_pulls_make_no_difference_to_it():
    policy = BayesOptimal(BernoulliBandits(n_arms=12, horizon=4))
    returns = play(environments(12, 4), policy)[0]
    assert within(returns.mean(), policy.optimum.value, 4 * returns.std() / N**0.5)


def test_the_oracle_earns_the_greatest_mean():
    bandits = environments(5, 10)
    assert within(mean_return(oracle(bandits)), 10 * 5 / 6, 0.06)  # E max of 5 uniforms is 5/6


def test_ucb1_pulls_every_arm_once_at_first():
    family = BernoulliBandits(n_arms=6)
    bandits, policy = family.environments(range(20)), UCB1(family)
    observations = bandits.reset()
    policy.reset(20)
    for _ in range(6):
        actions = policy.act(observations)
        policy.observe(actions, bandits.step(actions))
    assert (policy.pulls == 1).all()
    # then the best bound: all bonuses are equal, so an arm that paid, if there is one
    actions = policy.act(observations)[:, None]
    assert torch.equal(policy.totals.gather(1, actions)[:, 0], policy.totals.amax(1))


def test_epsilon_is_the_share_of_random_pulls():
    family = BernoulliBandits(n_arms=4)
    policy = EpsilonGreedy(family, epsilon=0.4)
    policy.reset(50_000)
    policy.pulls[:], policy.totals[:, 2] = 1.0, 1.0
    shares = policy.act(torch.empty(0)).bincount(minlength=4) / 50_000
    assert within(shares[2], 0.6 + 0.1, 0.015)
    assert within(shares[0], 0.1, 0.01)


class Probe(BanditPolicy):
    def act(self, observations):
        raise NotImplementedError


def test_the_bernoulli_posterior_is_beta():
    policy = Probe(BernoulliBandits(n_arms=1))
    policy.reset(200_000)
    policy.pulls[:], policy.totals[:] = 7.0, 2.0  # Beta(3, 6)
    drawn = policy.draw()
    assert within(drawn.mean(), 3 / 9, 0.002)
    assert within(drawn.var(), 3 * 6 / (81 * 10), 0.0005)
    assert torch.allclose(policy.means()[0], torch.tensor(3 / 9))


def test_the_gaussian_posterior_is_normal():
    policy = Probe(GaussianBandits(n_arms=1, noise=2.0))
    policy.reset(200_000)
    policy.pulls[:], policy.totals[:] = 5.0, 4.0  # precision 1 + 5/4, mean (4/4) / that
    drawn = policy.draw()
    assert within(drawn.mean(), 1 / 2.25, 0.008)
    assert within(drawn.var(), 1 / 2.25, 0.008)


def test_gaussian_arms_without_noise_are_known_after_one_pull():
    family = GaussianBandits(n_arms=3, noise=0.0, horizon=4)
    bandits = family.environments(range(2000))
    policy = ThompsonSampling(family)
    play(bandits, policy)
    pulled = policy.pulls > 0
    assert torch.allclose(policy.means()[pulled], bandits.parameters["means"][pulled], atol=1e-4)
    returns = play(bandits, UCB1(family, use_prior=True))[0]
    assert returns.mean() > 4 * bandits.parameters["means"].mean()


def gittins_by_bisection(s, f, left):
    @cache
    def surplus(s, f, left, price):
        if left == 0:
            return 0.0
        p = (s + 1) / (s + f + 2)
        after = p * surplus(s + 1, f, left - 1, price)
        return max(0.0, p - price + after + (1 - p) * surplus(s, f + 1, left - 1, price))

    low, high = 0.0, 1.0
    for _ in range(40):
        price = (low + high) / 2
        low, high = (price, high) if surplus(s, f, left, price) > 0 else (low, price)
    return low


def test_gittins_indices_are_those_of_bisection():
    indices = gittins_indices(12)
    for left in (1, 2, 5, 12):
        for s in range(12 - left + 1):
            for f in range(12 - left + 1 - s):
                exact = gittins_by_bisection(s, f, left)
                assert within(indices[left][s, f].item(), exact, 1e-4), (s, f, left)


def test_a_trial_repeats_and_two_policies_meet_the_same_luck():
    family = BernoulliBandits(n_arms=5)
    bandits, policy = family.environments(range(200)), ThompsonSampling(family)
    first = play(bandits, policy, episodes=2, seed=3)
    assert first.shape == (2, 200)
    assert torch.equal(first, play(bandits, policy, episodes=2, seed=3))
    assert not torch.equal(first, play(bandits, policy, episodes=2, seed=4))
    assert first[1].mean() > first[0].mean()  # it keeps what it learned


def test_what_cannot_be_played_is_refused():
    family, gaussian = BernoulliBandits(n_arms=2, horizon=3), GaussianBandits()
    for policy in (BayesOptimal, GittinsIndex):
        with pytest.raises(UsageError, match="expected Bernoulli bandits"):
            policy(gaussian)
        with pytest.raises(DataError, match="one episode of 3 pulls"):
            play(family.environments([0]), policy(family), episodes=2)
    with pytest.raises(UsageError, match="epsilon to be a number from 0"):
        EpsilonGreedy(family, epsilon=1.5)
