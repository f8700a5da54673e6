"""Trials count tasks, and processes share them."""

import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks.environments import BernoulliBandits, Trial, Trials


def test_a_trial_is_a_task_of_the_family_with_its_episodes():
    family = BernoulliBandits(n_arms=3, seed=5)
    trial = Trials(family, n_shot=2, n_query=4)[7]
    assert isinstance(trial, Trial)
    assert (trial.n_shot, trial.n_query, trial.task.index) == (2, 4, 7)
    assert torch.equal(trial.task.parameters["means"], family[7].parameters["means"])
    assert trial.to(torch.device("cpu")) is trial


def test_by_default_all_is_scored_from_the_first_episode_on():
    trial = Trials(BernoulliBandits())[0]
    assert (trial.n_shot, trial.n_query) == (0, 1)


def test_indices_are_those_of_the_first_trials():
    trials = Trials(BernoulliBandits(), first=3, every=2)
    assert list(trials.indices(4)) == [trials[i].task.index for i in range(4)] == [3, 5, 7, 9]


def test_shares_are_disjoint_and_together_all():
    trials = Trials(BernoulliBandits(), n_shot=1, n_query=2)
    shares = [trials.share(rank, 3) for rank in range(3)]
    taken = [index for share in shares for index in share.indices(4)]
    assert sorted(taken) == list(range(12))
    assert all((share.n_shot, share.n_query) == (1, 2) for share in shares)
    again = [half for share in shares for half in (share.share(0, 2), share.share(1, 2))]
    assert sorted(index for half in again for index in half.indices(2)) == list(range(12))


@pytest.mark.parametrize("option", [{"n_shot": -1}, {"n_query": 0}, {"n_query": 1.5}])
def test_episodes_that_cannot_be_counted_are_refused(option):
    with pytest.raises(UsageError, match=f"expected {next(iter(option))} to be a whole number"):
        Trials(BernoulliBandits(), **option)
