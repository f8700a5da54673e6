"""RL2: its memory acts, adapts and learns alike."""

import copy
from dataclasses import fields, replace
from functools import partial

import pytest
import torch
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import RL2
from quickstudy.learners.reinforcement import history, trial_ppo
from quickstudy.learners.reinforcement.experience import play
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks.environments import BernoulliBandits, Discrete, GridNavi, Navigation, Trials
from weights import with_noise

FAMILIES = {
    "choices": GridNavi(horizon=4),
    "vectors": Navigation(horizon=4),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def make(family, **options):
    def new():
        return RL2(MLP((family.observation_size,), (8,)), family.actions, hidden=8, **options)

    return with_noise(new)


def tasks_of(family, n=3, **episodes):
    trials = Trials(family, **{"n_query": 2, **episodes})
    return [trials[i] for i in range(n)]


@pytest.fixture
def seen(monkeypatch):
    """The parameters of each distribution that was made, in their order."""
    made = []

    def distribution_of(actions, parameters):
        made.append(parameters.detach())
        return real(actions, parameters)

    real = trial_ppo.distribution_of
    for module in (history, trial_ppo):
        monkeypatch.setattr(module, "distribution_of", distribution_of)
    return made


def test_acting_step_by_step_and_passing_over_the_whole_trial_are_the_same(family, seen):
    torch.manual_seed(1)
    next(make(family).updates(tasks_of(family)))
    *acted, whole = seen
    assert len(acted) == 8
    torch.testing.assert_close(torch.stack(acted), whole)
    assert whole.std(0).max() > 0.01  # it changes with what happened


def test_adapted_to_a_part_of_a_trial_it_goes_on_as_the_policy_would(family, seen):
    learner, policy = make(family), make(family).policy()
    torch.manual_seed(1)
    with torch.no_grad():
        lived = play(family.environments([5]), policy, episodes=2)
        for t in (0, 1, 4, 7):
            part = replace(
                lived,
                **{
                    field.name: getattr(lived, field.name)[:t]
                    for field in fields(lived)
                    if field.name != "final_observations"
                },
            )
            predicted = learner.adapt(part)(lived.observations[t])
            torch.testing.assert_close(predicted, seen[t])


def test_experience_side_by_side_counts_as_one_after_the_other(family):
    learner = make(family)
    torch.manual_seed(1)
    lived = play(family.environments([5], copies=3), learner.policy())
    x = torch.randn(4, family.observation_size)
    with torch.no_grad():
        several = learner.adapt(lived)(x)
        torch.testing.assert_close(several, learner.adapt(lived.in_sequence())(x))
        assert not torch.allclose(several, learner.adapt(lived.of(torch.tensor([0])))(x))


def test_its_memory_outlives_an_episode_and_not_a_trial(family, seen):
    policy = make(family).policy()
    policy.reset(2)
    with torch.no_grad():
        torch.manual_seed(1)
        for _ in range(2):
            play(family.environments([5, 6]), policy, episodes=2)
    first, again = seen[:8], seen[8:]
    assert torch.equal(first[0], again[0])
    assert not torch.allclose(first[0], first[4])


def test_the_meta_gradient_is_that_of_the_loss(family):
    """Against finite differences in float64, away from the policy that acted."""
    learner = make(family)
    torch.manual_seed(1)
    (batch,) = next(learner.updates(tasks_of(family, 6)))
    lived, learner = batch.experience, learner.double()
    batch = replace(
        batch,
        experience=replace(
            lived,
            observations=lived.observations.double(),
            actions=lived.actions if isinstance(family.actions, Discrete) else lived.actions * 0.9,
            rewards=lived.rewards.double(),
        ),
        log_probabilities=batch.log_probabilities.double() - 0.02,
        advantages=batch.advantages.double(),
        returns=batch.returns.double(),
    )
    exact = learner.meta_gradient(batch).gradients
    names = dict(learner.named_parameters())
    assert exact.keys() == names.keys()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = {n: torch.randn(p.shape, generator=generator).double() for n, p in names.items()}
        losses = []
        for step in (1e-6, -1e-6):
            moved = copy.deepcopy(learner)
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    parameter += step * way[name]
                losses.append(moved.loss(batch).item())
        expected = sum((exact[name] * way[name]).sum().item() for name in names)
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_each_update_has_its_share_of_the_environments_and_values_look_beyond_episodes(family):
    learner = make(family, epochs=2, batches=3, discount=1.0, decay=1.0)
    torch.manual_seed(1)
    parts = [part for (part,) in learner.updates(tasks_of(family, 6))]
    assert [part.experience.rewards.shape for part in parts] == [(8, 2)] * 6
    for part in parts:  # with neither discount nor decay, a return is all that the trial brings
        to_come = part.experience.rewards.flip(0).cumsum(0).flip(0)
        torch.testing.assert_close(part.returns, to_come)


def test_it_learns_to_pull_the_better_of_two_arms():
    family, unseen = (BernoulliBandits(n_arms=2, seed=seed) for seed in (0, 1))
    torch.manual_seed(0)
    learner = RL2(Flatten((1,)), Discrete(2), hidden=32)
    before = meta_test(learner, Trials(unseen), 1000)
    meta_train(
        learner, Trials(family), steps=20, meta_batch_size=200, optimizer=partial(Adam, lr=0.02)
    )
    after = meta_test(learner, Trials(unseen), 1000)
    assert before.mean == pytest.approx(5.0, abs=0.2)
    assert after.mean > 5.6  # no policy earns more than 6.02


def test_learning_from_regrets_changes_what_is_earned_and_not_what_is_seen():
    family = BernoulliBandits(n_arms=2, horizon=4)
    parts = {}
    for learn_from in ("rewards", "regrets"):
        learner = make(family, discount=1.0, decay=1.0, learn_from=learn_from)
        torch.manual_seed(1)
        parts[learn_from], _ = learner.collect(tasks_of(family, 5, n_query=1))
    plain, regretful = parts["rewards"], parts["regrets"]
    assert torch.equal(plain.experience.rewards, regretful.experience.rewards)
    means = family.parameters(range(5))["means"]
    forgone = means.amax(1) - means.gather(1, plain.experience.actions.T).T
    torch.testing.assert_close(regretful.returns, -forgone.flip(0).cumsum(0).flip(0))
    with pytest.raises(UsageError, match="unknown learn_from 'regret'; did you mean 'regrets'"):
        make(family, learn_from="regret")
