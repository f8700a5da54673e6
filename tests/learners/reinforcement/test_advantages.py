"""Generalized advantages against the formula, written out."""

import pytest
import torch

from quickstudy.learners.reinforcement.advantages import generalized_advantages, standardised

T, N = 7, 3


@pytest.fixture
def steps():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(T, N, generator=generator, dtype=torch.float64)
    values = torch.randn(T + 1, N, generator=generator, dtype=torch.float64)
    ends = torch.rand(T, N, generator=generator) < 0.3
    return rewards, values, ends


@pytest.mark.parametrize(("discount", "decay"), [(0.9, 0.7), (1.0, 1.0), (0.5, 0.0)])
def test_an_advantage_is_the_decaying_sum_of_errors_up_to_the_end(steps, discount, decay):
    rewards, values, ends = steps
    expected = torch.zeros(T, N, dtype=torch.float64)
    for n in range(N):
        for t in range(T):
            for k in range(t, T):
                after = 0 if ends[k, n] else discount * values[k + 1, n]
                error = rewards[k, n] + after - values[k, n]
                expected[t, n] += (discount * decay) ** (k - t) * error
                if ends[k, n]:
                    break
    torch.testing.assert_close(generalized_advantages(*steps, discount, decay), expected)


def test_without_values_and_decay_it_is_the_discounted_return():
    rewards = torch.tensor([[1.0], [2.0], [4.0]])
    none = torch.zeros(4, 1)
    last = torch.tensor([[False], [False], [True]])
    returns = generalized_advantages(rewards, none, last, 0.5, 1.0)
    assert returns[:, 0].tolist() == [1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4]


def test_what_is_expected_after_the_last_step_counts_unless_the_episode_is_over():
    rewards, values = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [3.0, 3.0]])
    advantages = generalized_advantages(rewards, values, torch.tensor([[False, True]]), 0.5, 1.0)
    assert advantages.tolist() == [[1.5, 0.0]]


def test_standardised_is_over_active_steps_alone():
    x = torch.tensor([[1.0, 2.0, 50.0], [5.0, 4.0, -90.0]])
    active = torch.tensor([[True, True, False], [True, True, True]])
    found = standardised(x, active, (0, 1))
    kept = x[active]
    expected = (kept - kept.mean()) / kept.std(correction=0)
    torch.testing.assert_close(found[active], expected)
    assert found[0, 2] == 0


def test_standardised_over_some_dimensions_leaves_rows_apart():
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    active = torch.ones(4, 2, 3, dtype=torch.bool)
    by_task = standardised(x, active, (0, 2))
    for task in range(2):
        alone = standardised(x[:, task], active[:, task], (0, 1))
        torch.testing.assert_close(by_task[:, task], alone)


def test_the_same_advantage_everywhere_is_none():
    assert standardised(torch.full((3, 2), 5.0), torch.ones(3, 2), (0, 1)).tolist() == [[0, 0]] * 3
