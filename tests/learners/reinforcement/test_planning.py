from itertools import product

import numpy as np
import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement import (
    PSRL,
    GreedyPlanner,
    OptimalPlanner,
    OptimisticPSRL,
    RandomPolicy,
    experience,
    oracle,
)
from quickstudy.learners.reinforcement.planning import plan
from quickstudy.tasks.environments import Environments, TabularMDPs


def play(environments, policy, episodes=1, seed=0):
    """Returns (episodes, n), with the luck of a seed."""
    fresh = Environments(environments.family, environments.parameters, seed=seed)
    return experience.play(fresh, policy, episodes).returns(fresh.family.horizon)


def test_a_plan_is_as_good_as_the_best_of_all_plans():
    """All 2^(3 x 3) deterministic plans of a small MDP, one by one."""
    rows = TabularMDPs(n_states=3, n_actions=2, horizon=3, seed=4).parameters([2])
    means, transitions = (rows[key].double() for key in ("means", "transitions"))
    values = []
    for choices in product(range(2), repeat=9):
        chosen = np.array(choices).reshape(3, 3)
        following = np.zeros(3)
        for step in (2, 1, 0):
            r = means[0].numpy()[range(3), chosen[step]]
            following = r + transitions[0].numpy()[range(3), chosen[step]] @ following
        values.append(following[0])
    assert abs(plan(means, transitions, 3)[0, 0, 0].max().item() - max(values)) < 1e-12


def test_the_optimal_planner_earns_its_value():
    family = TabularMDPs()
    mdps = family.environments([7], copies=5000)
    policy = OptimalPlanner(mdps)
    returns = play(mdps, policy, episodes=2)
    assert abs(returns.mean() - policy.value[0]) < 4 * returns.std() / 10_000**0.5
    assert isinstance(oracle(mdps), OptimalPlanner)


def test_planners_reach_the_published_returns_or_more():
    """Totals of 10 episodes: 100.1 for random actions and 138.1 for PSRL (Duan et al., 2016)."""
    family = TabularMDPs()
    mdps = family.environments(range(1000))
    best = play(mdps, oracle(mdps), episodes=10).sum(0).mean()
    total = {
        policy: play(mdps, made, episodes=10).sum(0).mean().item()
        for policy, made in {
            "random": RandomPolicy(mdps),
            "psrl": PSRL(family),
            "optimistic": OptimisticPSRL(family, n_draws=2),
            "greedy": GreedyPlanner(family),
            "bonus": GreedyPlanner(family, bonus=0.5),
        }.items()
    }
    assert abs(total["random"] - 100.1) < 2.5
    assert abs(total["psrl"] - 138.1) < 6
    assert abs(total["optimistic"] - total["psrl"]) < 6
    assert total["psrl"] < total["greedy"] < best
    assert total["psrl"] < total["bonus"] < best


def test_posteriors_tend_to_the_truth():
    family = TabularMDPs(n_states=2, n_actions=2)
    mdps = family.environments([3])
    policy = GreedyPlanner(family, epsilon=1.0)
    play(mdps, policy, episodes=300)
    means, transitions = policy.posterior_means()
    assert policy.visits().sum() == 3000
    assert (means - mdps.parameters["means"]).abs().max() < 0.25
    assert (transitions - mdps.parameters["transitions"]).abs().max() < 0.1
    drawn_means, drawn = policy.draw()
    assert (drawn_means - means).abs().max() < 0.25
    assert (drawn - transitions).abs().max() < 0.1
    assert torch.allclose(drawn.sum(3), torch.ones(1, 2, 2))


def test_before_the_first_step_the_posterior_is_the_prior():
    policy = PSRL(TabularMDPs(n_states=4, n_actions=2))
    policy.reset(5000)
    means, transitions = policy.draw()
    assert abs(means.mean() - 1) < 0.02
    assert abs(means.std() - 1) < 0.02
    assert abs(transitions.var() - 3 / (16 * 5)) < 0.001


def test_options_are_checked():
    with pytest.raises(UsageError, match="n_draws"):
        OptimisticPSRL(TabularMDPs(), n_draws=0)
    with pytest.raises(UsageError, match="bonus"):
        GreedyPlanner(TabularMDPs(), bonus=-1)
