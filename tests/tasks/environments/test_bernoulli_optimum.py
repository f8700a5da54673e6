from functools import cache

import pytest

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import bernoulli_optimum
from quickstudy.tasks.environments.bernoulli_optimum import BernoulliOptimum


@pytest.mark.parametrize(
    ("n_arms", "horizon", "value"),
    [(2, 10, 6.022), (5, 10, 6.660), (10, 10, 6.714), (50, 10, 6.714), (2, 20, 12.431)],
)
def test_values_are_those_computed_before_by_another_program(n_arms, horizon, value):
    assert abs(BernoulliOptimum(n_arms, horizon).value - value) < 5e-4


@pytest.mark.parametrize(("n_arms", "horizon"), [(1, 5), (2, 4), (3, 4), (3, 5), (4, 3)])
def test_values_are_those_of_plain_recursion(n_arms, horizon):
    @cache
    def best(arms, left):
        if not left:
            return 0.0
        values = []
        for i, (s, f) in enumerate(arms):
            p = (s + 1) / (s + f + 2)
            won, lost = (
                best(tuple(sorted((*arms[:i], arm, *arms[i + 1 :]))), left - 1)
                for arm in ((s + 1, f), (s, f + 1))
            )
            values.append(p * (1 + won) + (1 - p) * lost)
        return max(values)

    exact = best(((0, 0),) * n_arms, horizon)
    assert abs(BernoulliOptimum(n_arms, horizon).value - exact) < 1e-12


def test_too_many_beliefs_are_refused(monkeypatch):
    monkeypatch.setattr(bernoulli_optimum, "MAX_BELIEFS", 1000)
    with pytest.raises(UsageError, match="at most 1,000 beliefs, got more for 5 arms"):
        BernoulliOptimum(5, 10)
