"""MAML-TRPO: inner steps against gradients by hand, meta-gradients against finite differences."""

from dataclasses import replace

import pytest
import torch

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import MAMLTRPO
from quickstudy.learners.reinforcement import maml_trpo
from quickstudy.learners.reinforcement.advantages import generalized_advantages
from quickstudy.learners.reinforcement.baseline import linear_baseline
from quickstudy.learners.reinforcement.experience import play
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks.environments import (
    BernoulliBandits,
    Discrete,
    EnvironmentFamily,
    GridNavi,
    Navigation,
    Trials,
)


class Quits(EnvironmentFamily):
    """Pays the task's number each step, plus 1 for action 1; action 2 ends the episode."""

    observation_size, actions, horizon = 1, Discrete(3), 6

    def sample(self, n, generator):
        return {"pay": torch.randn(n, generator=generator)}

    def reset(self, parameters, generator):
        return {"step": torch.zeros(len(parameters["pay"]))}

    def step(self, parameters, state, actions, generator):
        rewards = parameters["pay"] + (actions == 1)
        return {"step": state["step"] + 1}, rewards, actions == 2

    def observe(self, parameters, state):
        return state["step"][:, None]


FAMILIES = {"choices": GridNavi(horizon=5), "vectors": Navigation(horizon=5), "ending": Quits()}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def make(family, widths=(6,), **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = MLP((family.observation_size,), widths)
        learner = MAMLTRPO(backbone, family.actions, **options)
        for parameter in learner.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
        return learner


def tasks_of(family, n=3, n_shot=4, n_query=4):
    trials = Trials(family, n_shot=n_shot, n_query=n_query)
    return [trials[i] for i in range(n)]


def batch_of(learner, tasks, seed=1):
    torch.manual_seed(seed)
    ((batch,),) = learner.updates(tasks)
    return batch


def wide(lived):
    """The same experience in float64."""
    actions = lived.actions.double() if lived.actions.is_floating_point() else lived.actions
    return replace(
        lived,
        observations=lived.observations.double(),
        actions=actions,
        rewards=lived.rewards.double(),
    )


def test_the_inner_step_is_the_gradient_by_hand():
    """Of a softmax of a linear map: the advantage times what was done minus what was likely."""
    family = Quits()
    learner = MAMLTRPO(Flatten((1,)), family.actions, inner_lr=0.3, discount=0.9, decay=0.8)
    torch.manual_seed(1)
    lived = play(family.environments([3], copies=5), learner.policy())
    assert not bool(lived.active.all())
    x, active = lived.observations, lived.active
    with torch.no_grad():
        weight, bias = learner.network.head.linear.weight, learner.network.head.linear.bias
        likely = (x @ weight.T + bias).softmax(2)  # (t, e, 3)
        nothing = torch.zeros(len(lived) + 1, 5)
        returns = generalized_advantages(lived.rewards, nothing, lived.ends, 0.9, 1.0)
        values = torch.cat([linear_baseline(lived, returns, 1), nothing[:1]])
        raw = generalized_advantages(lived.rewards, values, lived.ends, 0.9, 0.8)
        kept = raw[active]
        advantages = ((raw - kept.mean()) / kept.std(correction=0) * active)[..., None]
        surprise = (torch.eye(3)[lived.actions] - likely) * advantages / active.sum()
        new_weight = weight + 0.3 * (surprise[..., None] * x[..., None, :]).sum((0, 1))
        new_bias = bias + 0.3 * surprise.sum((0, 1))
        queries = torch.arange(4.0)[:, None]
        adapted = learner.adapt(lived)(queries)
        torch.testing.assert_close(adapted, queries @ new_weight.T + new_bias, rtol=1e-4, atol=1e-5)


def test_later_steps_have_a_rate_of_their_own(family):
    torch.manual_seed(1)
    lived = play(family.environments([3], copies=5), make(family).policy())
    x = torch.randn(4, family.observation_size)

    def adapted(**options):
        with torch.no_grad():
            return make(family, **options).adapt(lived)(x)

    once = adapted(inner_steps=1)
    torch.testing.assert_close(adapted(inner_steps=2, later_lr=0.0), once)
    half = adapted(inner_steps=2, later_lr=0.05)
    assert not torch.allclose(half, once)
    torch.testing.assert_close(adapted(inner_steps=2), half)  # of 0.1
    torch.testing.assert_close(adapted(inner_steps=0), make(family).network(x))


def test_tasks_do_not_mix(family):
    learner = make(family)
    batch = batch_of(learner, tasks_of(family))
    (lived,) = batch.support

    def adapted(experience, n_tasks):
        steps = [learner._steps(experience, n_tasks)]
        return learner._adapted(learner._initial(n_tasks), steps)

    before = adapted(lived, 3)
    for task in range(3):  # as if it were alone
        weights = adapted(lived.of(torch.arange(4 * task, 4 * task + 4)), 1)
        for name, w in weights.items():
            torch.testing.assert_close(w[0], before[name][task], rtol=1e-4, atol=1e-6)
    others, active = lived.rewards.clone(), lived.active.clone()
    others[:, :4] *= torch.rand(len(lived), 4)
    active[2:, :4] = False
    after = adapted(replace(lived, rewards=others, active=active), 3)
    changed = {name: (w != before[name]).flatten(1).any(1) for name, w in after.items()}
    assert any(bool(of_task[0]) for of_task in changed.values())
    assert not any(bool(of_task[1:].any()) for of_task in changed.values())


@pytest.fixture
def objective_of(monkeypatch):
    """What the trust region is asked to maximise, and the weights where it starts."""

    def of(learner, batch):
        caught = []

        def step(objective, weights, **options):
            caught.append((objective, [w.detach() for w in weights]))
            return [torch.zeros_like(w) for w in weights]

        with monkeypatch.context() as patch:
            patch.setattr(maml_trpo, "trust_region_step", step)
            learner.meta_gradient(batch)
        return caught[0]

    return of


def gain_gradient(objective, weights):
    leaves = [w.clone().requires_grad_() for w in weights]
    return torch.autograd.grad(objective(leaves)[0], leaves)


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_the_meta_gradient_goes_through_the_inner_steps(family, inner_steps, objective_of):
    """Against finite differences in float64, with the experience held fixed."""
    learner = make(family, inner_steps=inner_steps, inner_lr=0.5)
    batch = batch_of(learner, tasks_of(family))
    batch = replace(batch, support=[*map(wide, batch.support)], query=wide(batch.query))
    objective, weights = objective_of(learner.double(), batch)
    gradients = gain_gradient(objective, weights)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = [torch.randn(w.shape, generator=generator).double() for w in weights]
        gains = [
            objective([w + step * d for w, d in zip(weights, way, strict=True)])[0].item()
            for step in (1e-6, -1e-6)
        ]
        expected = sum((g * d).sum().item() for g, d in zip(gradients, way, strict=True))
        assert (gains[0] - gains[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_first_order_takes_the_inner_gradients_for_constant(family, objective_of):
    found = []
    for first_order in (False, True):
        learner = make(family, inner_lr=0.5, first_order=first_order)
        batch = batch_of(learner, tasks_of(family))
        found.append(gain_gradient(*objective_of(learner, batch)))
    whole, first = (torch.cat([g.flatten() for g in gradients]) for gradients in found)
    assert not torch.allclose(whole, first, rtol=1e-2)
    # The first order is the gradient at the adapted weights, summed over tasks.
    support, query = [learner._steps(batch.support[0], 3)], learner._steps(batch.query, 3)
    weights = learner._adapted(learner._initial(3), support)
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    now = learner._distribution(leaves, query).log_prob(query.actions)
    gain = (now * query.advantages * query.active).sum() / query.active.sum()
    each = torch.autograd.grad(gain, list(leaves.values()))
    expected = torch.cat([g.sum(0).flatten() for g in each])
    torch.testing.assert_close(first, expected, rtol=1e-3, atol=1e-5)


def test_a_step_of_the_trust_region_improves_the_gain_and_diverges_little(family, objective_of):
    learner = make(family, max_divergence=0.02)
    batch = batch_of(learner, tasks_of(family, n_shot=10, n_query=10))
    objective, weights = objective_of(learner, batch)
    gain, divergence = objective(weights)
    assert gain.item() == pytest.approx(0, abs=1e-5)
    assert divergence.item() == pytest.approx(0, abs=1e-6)
    result = learner.meta_gradient(batch)
    gain, divergence = objective(
        [w - g for w, g in zip(weights, result.gradients.values(), strict=True)]
    )
    assert gain > 0.01
    assert 0.002 < divergence <= 0.02
    assert result.loss.item() == pytest.approx(-batch.query.rewards.sum(0).mean().item(), rel=1e-5)


def test_the_curvature_of_a_part_of_the_steps_gives_nearly_the_same_way(family):
    def step(**options):
        learner = make(family, **options)
        batch = batch_of(learner, tasks_of(family, n_shot=50, n_query=50))
        change = learner.meta_gradient(batch).gradients.values()
        return torch.cat([part.flatten() for part in change])

    whole, part = step(thinning=1), step(thinning=2)
    assert torch.cosine_similarity(whole, part, dim=0) > 0.9


def test_experience_before_each_step_is_that_of_the_policy_so_far(family):
    learner = make(family, inner_steps=2)
    batch = batch_of(learner, tasks_of(family, n_shot=3, n_query=5))
    horizon = family.horizon
    assert [part.rewards.shape for part in batch.support] == [(horizon, 9)] * 2
    assert batch.query.rewards.shape == (horizon, 15)
    assert batch_of(make(family, inner_steps=0), tasks_of(family, n_shot=0)).support == []


def test_inner_steps_without_episodes_to_adapt_to_are_refused(family):
    with pytest.raises(UsageError, match="expected n_shot episodes to adapt to, got none"):
        next(make(family).updates(tasks_of(family, n_shot=0)))
    with pytest.raises(UsageError, match="expected n_shot episodes to adapt to, got none"):
        meta_test(make(family), Trials(family, n_shot=0), 3)
    assert meta_test(make(family, inner_steps=0), Trials(family), 3).metric == "return"


def test_without_inner_steps_a_test_is_of_the_policy_as_it_is(family):
    learner = make(family, inner_steps=0)
    one, other = (meta_test(learner, Trials(family, n_shot=k), 5).scores for k in (0, 7))
    assert one == other


def test_the_policy_that_lives_through_a_trial_adapts_after_each_of_the_first_episodes(family):
    learner = make(family, inner_steps=2, inner_lr=1.0)
    policy, start = learner.policy(), dict(learner.network.named_parameters())
    environments = family.environments([0, 1, 2], seed=3)
    torch.manual_seed(1)
    policy.reset(3)
    weights = []
    for _ in range(4):
        observations = environments.reset()
        for _ in range(family.horizon):
            actions = policy.act(observations)
            step = environments.step(actions)
            policy.observe(actions, step)
            observations = step.observations
        weights.append({name: w.clone() for name, w in policy._weights.items()})
    name = "head.linear.weight"
    assert not torch.allclose(weights[0][name][0], start[name])
    assert not torch.allclose(weights[1][name], weights[0][name])
    assert torch.equal(weights[3][name], weights[1][name])
    assert all(bool(w.isfinite().all()) for w in weights[3].values())
    assert not torch.allclose(weights[3][name][0], weights[3][name][1])
    policy.reset(1)
    assert torch.equal(policy._weights[name][0], start[name])


def test_episodes_that_all_end_early_teach_once():
    """What then waits for the horizon is no episode."""
    family = Quits()
    learner = make(family, inner_steps=3)
    with torch.no_grad():
        learner.network.head.linear.bias += torch.tensor([0.0, 0.0, 50.0])  # always quits
    policy = learner.policy()
    lived = play(family.environments([0, 1]), policy)
    assert lived.active.sum() == 2
    assert policy._n_steps == 1
    assert all(bool(w.isfinite().all()) for w in policy._weights.values())


def test_meta_training_finds_weights_that_one_step_adapts():
    """To bandits of two arms that always or never pay."""

    class Extremes(BernoulliBandits):
        def sample(self, n, generator):
            first = (torch.rand(n, 1, generator=generator) < 0.5).float()
            return {"means": torch.cat([first, 1 - first], 1)}

    torch.manual_seed(0)
    learner = MAMLTRPO(Flatten((1,)), Discrete(2), inner_lr=2.0, max_divergence=0.05)
    with torch.no_grad():
        learner.network.head.linear.bias += torch.tensor([1.5, -1.5])  # from which steps are small
    unseen = Trials(Extremes(n_arms=2, seed=1), n_shot=10, n_query=10)
    before = meta_test(learner, unseen, 100).mean
    meta_train(
        learner,
        Trials(Extremes(n_arms=2), n_shot=10, n_query=10),
        steps=10,
        meta_batch_size=20,
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
    )
    assert meta_test(learner, unseen, 100).mean > before + 1


@pytest.mark.parametrize(
    "option", [{"inner_steps": -1}, {"inner_lr": 0}, {"max_divergence": 0}, {"thinning": 0}]
)
def test_options_that_cannot_train_are_refused(option):
    with pytest.raises(UsageError, match="expected inner_steps >= 0, inner_lr > 0, max_div"):
        make(Quits(), **option)


class Rightwards(MAMLTRPO):
    """Each step of adapting moves the mean action by 0.05 to the right."""

    def _inner_step(self, weights, experience, step, *, create_graph):
        bias = weights["head.linear.bias"]
        return weights | {"head.linear.bias": bias + torch.tensor([0.5, 0.0])}


def test_the_curve_has_the_returns_after_each_step():
    family = Navigation(horizon=3)
    learner = Rightwards(MLP((2,), (4,)), family.actions, deviation=1e-6, inner_steps=2)
    with torch.no_grad():
        learner.network.head.linear.weight.zero_()
    trials = Trials(family, n_shot=2, n_query=3)
    curve = learner.adaptation_curve(trials, trials.indices(5), 2)
    goals = family.parameters(range(5))["goals"]
    moved = torch.tensor([1.0, 2.0, 3.0])[:, None] * torch.tensor([0.05, 0.0])
    for step in range(3):
        distances = (step * moved - goals[:, None]).norm(dim=2)
        torch.testing.assert_close(curve[step], -distances.sum(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(learner.returns(trials, range(5)), curve[2], rtol=0, atol=1e-4)
    assert learner.adapts_by(trials) == "steps of 2 episodes"


def test_a_curve_of_steps_needs_episodes_to_step_by():
    learner = make(Navigation(horizon=3), inner_steps=0)
    with pytest.raises(UsageError, match="expected n_shot episodes to adapt to, got none"):
        learner.adaptation_curve(Trials(Navigation(horizon=3)), range(2), 1)
