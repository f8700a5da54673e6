"""Distributions over actions against their formulas."""

import math

import pytest
import torch
from scipy import stats

from quickstudy.learners.reinforcement.policies import (
    MIN_LOG_DEVIATION,
    ActionHead,
    distribution_of,
    encode_actions,
    n_of_encoded_actions,
)
from quickstudy.tasks.environments import Box, Discrete


def test_logits_are_a_categorical_distribution():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    distribution = distribution_of(Discrete(3), logits)
    log = logits - logits.exp().sum(1, keepdim=True).log()
    actions = torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(distribution.log_prob(actions), log[range(4), actions])
    torch.testing.assert_close(distribution.entropy(), -(log.exp() * log).sum(1))


def test_means_and_deviations_are_normal_distributions_of_each_number():
    parameters = torch.tensor([[0.5, -1.0, math.log(2.0), math.log(0.1)]])
    distribution = distribution_of(Box(2, -1, 1), parameters)
    action = torch.tensor([[1.5, -1.1]])
    expected = stats.norm.logpdf([1.5, -1.1], [0.5, -1.0], [2.0, 0.1]).sum()
    assert distribution.log_prob(action).item() == pytest.approx(expected, rel=1e-5)
    entropy = sum(float(stats.norm.entropy(scale=s)) for s in (2.0, 0.1))
    assert distribution.entropy().item() == pytest.approx(entropy, rel=1e-5)


def test_a_deviation_does_not_vanish():
    parameters = torch.tensor([[0.0, -1000.0]], requires_grad=True)
    distribution = distribution_of(Box(1, -1, 1), parameters)
    assert distribution.stddev.item() == pytest.approx(math.exp(MIN_LOG_DEVIATION))
    assert distribution.log_prob(torch.zeros(1, 1)).isfinite()


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (0.0, 10.0)])
def test_a_new_head_acts_about_the_middle_of_the_range_with_the_deviation_asked_for(low, high):
    torch.manual_seed(0)
    head = ActionHead(16, Box(2, low, high), deviation=0.5)
    distribution = distribution_of(head.actions, head(torch.randn(50, 16)))
    half = (high - low) / 2
    torch.testing.assert_close(distribution.stddev, torch.full((50, 2), 0.5 * half))
    assert bool(((distribution.mean - (low + high) / 2).abs() < 0.2 * half).all())


def test_a_new_head_of_choices_is_nearly_indifferent():
    torch.manual_seed(0)
    logits = ActionHead(16, Discrete(4))(torch.randn(50, 16))
    torch.testing.assert_close(logits.softmax(1), torch.full((50, 4), 0.25), atol=0.02, rtol=0)


def test_actions_are_encoded_as_one_of_n_or_as_shares_of_the_range():
    assert encode_actions(Discrete(3), torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    box = Box(2, 0.0, 10.0)
    assert encode_actions(box, torch.tensor([[5.0, 10.0], [-3.0, 2.5]])).tolist() == [
        [0, 1],
        [-1, -0.5],
    ]
    assert (n_of_encoded_actions(Discrete(3)), n_of_encoded_actions(box)) == (3, 2)
