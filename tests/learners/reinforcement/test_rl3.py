"""RL3: its model against one that counts step by step, and what its policy acts by."""

import pytest
import torch

from quickstudy.engine import meta_test
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import RL3
from quickstudy.learners.reinforcement import GreedyPlanner, history, play
from quickstudy.learners.reinforcement.planning import plan
from quickstudy.nn import Flatten
from quickstudy.tasks.environments import Box, GridNavi, TabularMDPs, Trials
from weights import with_noise

FAMILIES = {
    "mdp": TabularMDPs(n_states=4, n_actions=3, horizon=5),
    "grid": GridNavi(size=3, horizon=5),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def make(family, **options):
    sizes = {"n_states": 9, "horizon": family.horizon, "width": 8, **options}

    def new():
        return RL3(Flatten((family.observation_size,)), family.actions, **sizes)

    return with_noise(new)


def test_acting_step_by_step_and_passing_over_the_whole_trial_are_the_same(family, monkeypatch):
    acted = []

    def distribution_of(actions, parameters):
        acted.append(parameters)
        return real(actions, parameters)

    real = history.distribution_of
    monkeypatch.setattr(history, "distribution_of", distribution_of)
    learner = make(family)
    torch.manual_seed(1)
    lived = play(family.environments(range(6)), learner.policy(), episodes=4)
    with torch.no_grad():
        whole = learner.through(lived)
    torch.testing.assert_close(torch.stack(acted), whole, atol=1e-4, rtol=1e-4)
    assert whole.std(0).max() > 0.1  # it changes with what happened


def test_its_values_are_those_of_the_model_of_what_was_seen():
    """Counted and planned here for one trial, step by step."""
    family = FAMILIES["mdp"]
    s, k = family.n_states, 3
    learner = make(family, n_states=s)
    torch.manual_seed(1)
    lived = play(family.environments([3]), learner.policy(), episodes=3)
    values = learner.remember(lived)[:, 0, learner.memory.value_columns]  # (t, k)
    states = lived.observations[:, 0].argmax(1).tolist()
    visits, totals, moves = torch.zeros(s, k), torch.zeros(s, k), torch.zeros(s, k, s)
    for t, state in enumerate(states):
        usual = totals.sum() / (1 + visits.sum())
        means = (totals + usual) / (1 + visits)
        transitions = (moves + 1) / (moves + 1).sum(2, keepdim=True)
        planned = plan(means[None], transitions[None], family.horizon)[t % family.horizon, 0, state]
        torch.testing.assert_close(values[t], planned - planned.max(), atol=1e-4, rtol=1e-4)
        action, reward = int(lived.actions[t, 0]), float(lived.rewards[t, 0])
        visits[state, action] += 1
        totals[state, action] += reward
        if t % family.horizon < family.horizon - 1:
            moves[state, action, states[t + 1]] += 1


def test_untrained_it_acts_by_the_values_and_beats_chance():
    family = TabularMDPs(seed=1)
    learner = RL3(Flatten((10,)), family.actions, n_states=10)
    trials = Trials(family, n_query=10)
    assert meta_test(learner, trials, 200).mean > 11.5  # of 10 at random
    known = play(family.environments(range(200)), GreedyPlanner(family), 10).returns(10).mean()
    assert float(known) > 13.5


def test_more_states_than_it_has_room_for_are_refused():
    family = FAMILIES["grid"]
    learner = make(family, n_states=2)
    with pytest.raises(DataError, match="expected 2 states a task at most, got 3: set a larger"):
        meta_test(learner, Trials(family, n_query=3), 20)
    with pytest.raises(UsageError, match="expected n_states, a horizon and a width of 1 or more"):
        make(family, horizon=0)
    with pytest.raises(UsageError, match="expected actions that are choices"):
        RL3(Flatten((2,)), Box(2, -1.0, 1.0))
