"""Planners against functions whose best plan is known."""

import math

import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.shooting import CrossEntropyMethod, RandomShooting
from quickstudy.tasks.environments import Box

ACTIONS = Box(2, -1.0, 2.0)
PLANNERS = [CrossEntropyMethod(horizon=3), RandomShooting(horizon=3, candidates=200)]


def best_near(goals):
    """Returns of plans whose best is (n, k, a) `goals`."""
    return lambda plans: -(plans - goals[:, None]).square().sum((2, 3))


def test_the_cross_entropy_method_finds_the_best_plan_of_each_environment():
    goals = torch.tensor([0.5, -0.7, 1.9])[:, None, None].expand(3, 4, 2)
    planner = CrossEntropyMethod(horizon=4, candidates=300, elites=30, iterations=10)
    found = planner.plan(best_near(goals), torch.zeros(3, 4, 2), ACTIONS, torch.Generator())
    assert (found - goals).abs().max() < 0.05


def test_the_best_plan_may_lie_at_a_bound():
    goals = torch.full((1, 4, 2), 9.0)
    planner = CrossEntropyMethod(horizon=4, iterations=10)
    found = planner.plan(best_near(goals), torch.zeros(1, 4, 2), ACTIONS, torch.Generator())
    assert found.max() <= 2
    assert found.min() > 1.95


def test_random_shooting_takes_the_best_that_it_tried():
    tried = []

    def returns(plans):
        tried.append(plans)
        return plans.sum((2, 3))

    planner = RandomShooting(horizon=3, candidates=50)
    found = planner.plan(returns, torch.zeros(2, 3, 2), ACTIONS, torch.Generator())
    assert tried[0].shape == (2, 50, 3, 2)
    assert -1 <= tried[0].min() < -0.9
    assert 1.9 < tried[0].max() <= 2
    assert torch.equal(found.sum((1, 2)), tried[0].sum((2, 3)).amax(1))


@pytest.mark.parametrize("planner", PLANNERS)
def test_plans_whose_return_is_not_a_number_are_not_taken(planner):
    def returns(plans):
        total = plans.sum((2, 3))
        return total.where(total < 3, math.nan)

    found = planner.plan(returns, torch.zeros(2, 3, 2), ACTIONS, torch.Generator())
    assert found.isfinite().all()
    assert (found.sum((1, 2)) < 3).all()


def test_a_plan_has_an_action_for_every_so_many_steps():
    assert CrossEntropyMethod(horizon=7, action_repeat=3).length == 3
    assert RandomShooting(horizon=6, action_repeat=3).length == 2


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CrossEntropyMethod, {"horizon": 0}, "horizon"),
        (CrossEntropyMethod, {"candidates": 10, "elites": 11}, "at most 10 elites"),
        (CrossEntropyMethod, {"iterations": 0}, "iterations"),
        (RandomShooting, {"action_repeat": 0}, "action_repeat"),
        (RandomShooting, {"candidates": 1.5}, "candidates"),
    ],
)
def test_bad_input_is_refused(kind, options, message):
    with pytest.raises(UsageError, match=message):
        kind(**options)
