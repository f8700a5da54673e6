"""The objective of proximal policy optimisation against numbers made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.experience import Experience
from quickstudy.learners.reinforcement.policies import distribution_of
from quickstudy.learners.reinforcement.ppo import PPO, PPOBatch
from quickstudy.tasks.environments import Discrete

PPO_ = PPO(0.9, 0.8, clip=0.2, value_weight=0.5, entropy_weight=0.1, epochs=3, batches=2)


def experience(active, rewards=None):
    t, n = active.shape
    return Experience(
        torch.zeros(t, n, 1),
        torch.tensor([[0, 1], [1, 0], [0, 0]])[:t, :n],
        torch.zeros(t, n) if rewards is None else rewards,
        ~active,
        active,
        torch.zeros(n, 1),
    )


def test_the_loss_is_the_clipped_objective_of_active_steps():
    active = torch.tensor([[True, True], [True, False]])
    lived = experience(active)
    p_old = np.array([[0.5, 0.5], [0.4, 0.9]])  # of the actions taken: 0, 1; 1, 0
    p_new = np.array([[0.8, 0.3], [0.41, 0.9]])  # ratios of 1.6, 0.6, 1.025 and 1
    advantage = np.array([[2.0, -1.0], [1.0, 100.0]])
    value, target = np.array([[0.5, 1.0], [0.0, 7.0]]), np.array([[1.0, 1.0], [2.0, -7.0]])
    p_first = np.array([[0.8, 0.7], [0.59, 0.9]])  # of action 0
    logits = torch.tensor(np.stack([np.log(p_first), np.log(1 - p_first)], 2))
    batch = PPOBatch(lived, *(torch.tensor(x) for x in (np.log(p_old), advantage, target)))
    loss = PPO_.loss(batch, distribution_of(Discrete(2), logits), torch.tensor(value))

    entropy = -(p_first * np.log(p_first) + (1 - p_first) * np.log(1 - p_first))
    gains = [1.2 * 2.0, 0.8 * -1.0, (p_new / p_old)[1, 0] * 1.0]  # clipped, clipped, as it is
    errors, entropies = [0.25, 0.0, 4.0], [entropy[0, 0], entropy[0, 1], entropy[1, 0]]
    each = [g - 0.5 * e + 0.1 * h for g, e, h in zip(gains, errors, entropies, strict=True)]
    assert loss.item() == pytest.approx(-sum(each) / 3, rel=1e-6)


def test_beyond_the_clip_a_good_action_has_no_more_gradient_and_a_bad_one_has():
    """The minimum of both ratios is pessimistic."""
    lived = experience(torch.ones(1, 2, dtype=torch.bool))
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    old = torch.full((1, 2), 0.5).log() - 1.0  # both actions are now e times as likely
    batch = PPOBatch(lived, old, torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2))
    ppo = PPO(0.9, 0.8, 0.2, 0.0, 0.0, 1, 1)
    ppo.loss(batch, distribution_of(Discrete(2), logits), torch.zeros(1, 2)).backward()
    assert logits.grad[0, 0].tolist() == [0.0, 0.0]
    assert logits.grad[0, 1].abs().min() > 0.1


def test_advantages_are_standardised_over_active_steps_and_returns_add_the_values_back():
    active = torch.tensor([[True, True], [True, False], [True, False]])
    rewards = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    lived, values = experience(active, rewards), torch.tensor([[1.0, 1.0], [2, 5], [0, 5], [0, 0]])
    ends = torch.tensor([[False, True], [False, True], [True, True]])
    batch = PPO_.batch(lived, rewards, torch.zeros(3, 2), values, ends)
    errors = [1 + 0.9 * 2 - 1, 0 + 0 - 2.0, 3.0 - 0]
    third = errors[2]
    second = errors[1] + 0.72 * third
    first = errors[0] + 0.72 * second
    raw = np.array([first, 2 - 1.0, second, third])
    expected = (raw - raw.mean()) / raw.std()
    np.testing.assert_allclose(batch.advantages[active], expected, rtol=1e-4)
    assert batch.returns[:, 0].tolist() == pytest.approx([first + 1, second + 2, third])


def test_rewards_are_scaled_before_anything_is_made_of_them():
    active = torch.ones(3, 2, dtype=torch.bool)
    rewards, values = torch.tensor([[1.0, 2.0], [0.0, 5.0], [3.0, 0.0]]), torch.ones(4, 2)
    ends = torch.zeros(3, 2, dtype=torch.bool)
    scaled = replace(PPO_, reward_scale=0.1)
    lived, chosen = experience(active, rewards), torch.zeros(3, 2)
    found = scaled.batch(lived, rewards, chosen, values, ends)
    expected = PPO_.batch(lived, 0.1 * rewards, chosen, values, ends)
    assert torch.equal(found.returns, expected.returns)
    assert torch.equal(found.advantages, expected.advantages)
    assert torch.equal(found.experience.rewards, rewards)  # what the memory sees stays
    with pytest.raises(UsageError, match=r"expected a reward_scale above 0, got 0"):
        replace(PPO_, reward_scale=0.0)


def test_every_pass_sees_every_environment_once():
    torch.manual_seed(0)
    rows = PPO_.rows(5)
    assert [len(part) for part in rows] == [3, 2] * 3
    for part in range(3):
        assert sorted(torch.cat(rows[2 * part : 2 * part + 2]).tolist()) == list(range(5))
    assert [len(part) for part in PPO_.rows(1)] == [1, 1, 1]


def test_a_batch_of_some_environments():
    lived = experience(torch.ones(2, 2, dtype=torch.bool))
    x = torch.arange(4.0).view(2, 2)
    part = PPOBatch(lived, x, 10 * x, 100 * x).of(torch.tensor([1]))
    assert part.log_probabilities.tolist() == [[1], [3]]
    assert part.advantages.tolist() == [[10], [30]]
    assert part.returns.tolist() == [[100], [300]]
    assert part.experience.actions.tolist() == [[1], [0]]


@pytest.mark.parametrize("option", [{"epochs": 0}, {"batches": 0}, {"clip": 0.0}, {"clip": 1.0}])
def test_options_that_cannot_train_are_refused(option):
    plain = {"clip": 0.2, "value_weight": 0.5, "entropy_weight": 0.0, "epochs": 1, "batches": 1}
    with pytest.raises(UsageError, match="expected epochs and batches of 1 or more and a clip"):
        PPO(0.9, 0.8, **{**plain, **option})
