from functools import cache

import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement import GoalSearcher, RandomPolicy, experience, oracle
from quickstudy.learners.reinforcement.goal_search import GoalSearch
from quickstudy.learners.reinforcement.oracles import regrets
from quickstudy.learners.reinforcement.planning import OptimalPlanner
from quickstudy.tasks.environments import (
    Environments,
    GaussianBandits,
    GridNavi,
    Navigation,
    Pendulums,
    SparseNavigation,
    TabularMDPs,
)


def play(environments, policy, episodes=1, seed=0):
    """Returns (episodes, n), with the luck of a seed."""
    fresh = Environments(environments.family, environments.parameters, seed=seed)
    return experience.play(fresh, policy, episodes).returns(fresh.family.horizon)


MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))


def test_the_straight_line_reaches_the_goal_in_the_fewest_steps():
    goals = torch.tensor([[0.45, -0.13], [0.0, 0.31]])
    environments = Environments(Navigation(), {"goals": goals})
    returns = play(environments, oracle(environments))[0]
    first = sum((max(0.45 - 0.1 * i, 0) ** 2 + max(0.13 - 0.1 * i, 0) ** 2) ** 0.5
                for i in range(1, 6))  # fmt: skip
    assert torch.allclose(returns, -torch.tensor([first, 0.21 + 0.11 + 0.01]), atol=1e-5)
    assert (returns > play(environments, RandomPolicy(environments))[0]).all()


def test_the_straight_line_collects_sparse_rewards_from_the_radius_on():
    environments = Environments(SparseNavigation(), {"goals": torch.tensor([[0.0, 1.0]])})
    returns = play(environments, oracle(environments))[0]
    assert abs(returns.item() - (0.8 + 0.9 + 11)) < 1e-4  # steps 8 and 9, then 10 to 20


def test_the_shortest_way_takes_the_distance():
    environments = Environments(GridNavi(), {"goals": torch.tensor([[4, 3], [2, 0], [0, 4]])})
    returns = play(environments, oracle(environments), episodes=2)
    expected = torch.tensor([-0.1 * (d - 1) + 16 - d for d in (7, 2, 4)])
    assert torch.allclose(returns, expected.expand(2, 3))


def best_by_recursion(size, horizon, episodes):
    """Expected reward of the best policy, by backward induction over what has been seen."""
    goals = frozenset(GridNavi(size=size).goals)

    def straight(goal):
        distance = min(sum(goal) - 1, horizon)
        return -0.1 * distance + horizon - distance

    @cache
    def best(cell, unseen, step):  # summed over the goals that are possible
        if step == horizon * episodes or not unseen:
            return 0.0
        values = []
        for right, up in MOVES:
            x, y = (min(max(c + d, 0), size - 1) for c, d in zip(cell, (right, up), strict=True))
            later, left = unseen - {(x, y)}, episodes - 1 - step // horizon
            here = 0.0
            if (x, y) in unseen:
                here = horizon - step % horizon + left * straight((x, y))
            end = (step + 1) % horizon == 0
            rest = best((0, 0) if end else (x, y), later, step + 1)
            values.append(here - 0.1 * len(later) + rest)
        return max(values)

    return best((0, 0), goals, 0) / len(goals)


@pytest.mark.parametrize(
    ("size", "horizon", "episodes"), [(3, 4, 1), (3, 4, 3), (3, 6, 2), (4, 5, 2), (4, 7, 2)]
)
def test_the_search_is_as_good_as_the_best_of_all_policies(size, horizon, episodes):
    search = GoalSearch(GridNavi(size=size, horizon=horizon), episodes)
    assert search.exact
    assert abs(search.value - best_by_recursion(size, horizon, episodes)) < 1e-9


def test_the_searcher_earns_the_value_of_its_search():
    family = GridNavi()
    searcher = GoalSearcher(family, episodes=4)
    environments = Environments(family, {"goals": torch.tensor(family.goals)})
    returns = play(environments, searcher, episodes=4)
    assert abs(returns.sum(0).mean().item() - searcher.search.value) < 1e-4
    straight = play(environments, oracle(environments), episodes=4)
    assert torch.allclose(returns[2:], straight[2:])  # by then the goal is known
    assert searcher.search.exact


def test_what_has_no_oracle_is_refused():
    with pytest.raises(UsageError, match=r"an oracle .*Bandits.*, got Pendulums"):
        oracle(Pendulums().environments([0]))
    family = GridNavi()
    with pytest.raises(UsageError, match="expected 1 episodes, which were planned for"):
        play(family.environments([0]), GoalSearcher(family, episodes=1), episodes=2)


def lived_at_random(environments, episodes):
    return experience.play(environments, RandomPolicy(environments, seed=3), episodes)


def test_regrets_of_bandits_are_what_the_best_arm_has_more():
    environments = GaussianBandits(n_arms=3, horizon=4).environments(range(5))
    lived = lived_at_random(environments, 2)
    means = environments.parameters["means"]
    expected = [[float(row.max() - row[a]) for row, a in zip(means, acts, strict=True)]
                for acts in lived.actions]  # fmt: skip
    torch.testing.assert_close(regrets(environments, lived), torch.tensor(expected))


def test_regrets_of_an_episode_are_what_it_earns_less_than_the_optimum():
    """Exactly, where transitions are certain: all else telescopes."""
    family = TabularMDPs(n_states=4, n_actions=3, horizon=5)
    rows = family.parameters(range(20))
    sure = torch.nn.functional.one_hot(rows["transitions"].argmax(-1), 4).float()
    environments = Environments(family, {**rows, "transitions": sure})
    lived = lived_at_random(environments, 3)
    states = lived.observations.argmax(2)  # (t, n)
    earned = environments.parameters["means"][torch.arange(20), states, lived.actions]
    planner = OptimalPlanner(environments)
    less = planner.value - earned.unflatten(0, (3, 5)).sum(1)  # (episodes, n)
    found = regrets(environments, lived)
    assert found.min() >= 0
    torch.testing.assert_close(found.unflatten(0, (3, 5)).sum(1), less, rtol=1e-4, atol=1e-4)
    best = experience.play(environments, planner, 2)
    assert regrets(environments, best).abs().max() == 0


def test_where_no_oracle_knows_regrets_they_are_refused():
    environments = GridNavi().environments([0])
    with pytest.raises(UsageError, match=r"what each action forgoes, such as bandits .*GridNavi"):
        regrets(environments, lived_at_random(environments, 1))
