"""Episodes of what machines do next: what decides them, and how they are scaled."""

import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.experiments.build import make_learner, tasks_of_test
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks.environments import CartPoleSwingUp, Navigation, Pendulums, TwoLinkArms
from quickstudy.tasks.environments import dynamics as module
from quickstudy.tasks.environments.dynamics import DynamicsTasks, Scaling, simulate
from quickstudy.tasks.families import FAMILIES

MACHINES = [Pendulums, CartPoleSwingUp, TwoLinkArms]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(DynamicsTasks, "BLOCK", 8)


def anywhere(kind, n=50, seed=0):
    """Machines in states from anywhere, in float64."""
    family, generator = kind(), torch.Generator().manual_seed(seed)
    parameters = {name: p.double() for name, p in family.parameters(range(n)).items()}
    return family, parameters, family.reset_anywhere(parameters, generator)


@pytest.mark.parametrize("kind", MACHINES)
def test_a_state_follows_from_what_is_seen(kind):
    family, parameters, state = anywhere(kind)
    seen = family.observe(parameters, state)
    again = family.state_of(seen)
    assert all(torch.allclose(again[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", MACHINES)
def test_the_reward_of_what_is_seen_is_that_of_the_step(kind):
    family, parameters, state = anywhere(kind)
    generator = torch.Generator().manual_seed(1)
    actions = family.actions.sample(50, generator).double()
    before = family.observe(parameters, state)
    state, rewards, _ = family.step(parameters, state, actions, generator)
    after = family.observe(parameters, state)
    assert torch.allclose(family.reward(before, actions, after), rewards)
    many = family.reward(before[None], actions[None], after[None])  # with a dimension of candidates
    assert torch.equal(many, family.reward(before, actions, after)[None])


@pytest.mark.parametrize("kind", MACHINES)
def test_a_task_depends_on_seed_and_index_alone(kind):
    tasks, again = (DynamicsTasks(kind, n_shot=6, n_query=4, seed=3) for _ in range(2))
    first = [tasks[i] for i in range(20)]
    for i in (17, 2, 9):
        assert torch.equal(again[i].support.x, first[i].support.x)
        assert torch.equal(again[i].query.y, first[i].query.y)
    other = DynamicsTasks(kind, n_shot=6, n_query=4, seed=4)[0]
    assert not torch.equal(other.support.x, first[0].support.x)
    assert (len(first[0].support), len(first[0].query)) == (6, 4)


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("independent", [False, True])
def test_targets_are_what_the_machine_of_the_task_does(kind, independent):
    tasks = DynamicsTasks(kind, n_shot=6, n_query=4, seed=3, beyond=0.5, independent=independent)
    episode, parameters = tasks[9], tasks.family.parameters([9] * 10)
    x = torch.cat([episode.support.x, episode.query.x])
    o = kind.observation_size
    observations, actions = x[:, :o] * tasks.scaling.observations, x[:, o:] * tasks.scaling.actions
    state = tasks.family.state_of(observations)
    state, *_ = tasks.family.step(parameters, state, actions, torch.Generator())
    after = tasks.family.observe(parameters, state)
    y = torch.cat([episode.support.y, episode.query.y])
    expected = tasks.scaling.next_observations(observations, y)
    assert torch.allclose(after, expected, rtol=1e-4, atol=1e-4)


def test_the_query_goes_on_where_the_support_ends_unless_transitions_are_independent(monkeypatch):
    monkeypatch.setattr(module, "RESTART", 0.0)

    def breaks(independent):
        """How far an observation is from what the transition before it led to."""
        tasks = DynamicsTasks(Pendulums, n_shot=6, n_query=4, independent=independent)
        x = torch.cat([tasks[0].support.x, tasks[0].query.x])[:, :3]
        y = torch.cat([tasks[0].support.y, tasks[0].query.y])
        observations = x * tasks.scaling.observations
        after = tasks.scaling.next_observations(observations, y)
        return (observations[1:] - after[:-1]).abs().amax(1)

    assert breaks(False).max() < 1e-5
    assert breaks(True).min() > 0.01


def test_machines_start_anew_now_and_then():
    family, n = Pendulums(), 400
    moved = simulate(family, family.parameters(range(n)), 30, torch.Generator().manual_seed(0))
    gaps = (moved.observations[:, 1:] - moved.next_observations[:, :-1]).abs().amax(2)
    assert abs((gaps > 1e-6).float().mean() - module.RESTART) < 0.01


@pytest.mark.parametrize("kind", MACHINES)
def test_inputs_and_targets_have_about_unit_size_by_constants_of_the_family(kind):
    tasks = DynamicsTasks(kind, n_shot=20, n_query=20, seed=5)
    episodes = [tasks[i] for i in range(80)]
    for parts in ([e.query.x for e in episodes], [e.query.y for e in episodes]):
        size = torch.cat(parts).square().mean(0).sqrt()
        assert (size > 0.6).all()
        assert (size < 1.6).all()
    beyond = DynamicsTasks(kind, n_shot=3, n_query=3, seed=6, beyond=0.5)
    assert beyond.scaling is tasks.scaling is Scaling.of(kind)


def test_scaling_and_its_inverse():
    scaling = Scaling(torch.tensor([2.0]), torch.tensor([4.0]), torch.tensor([0.5]))
    before, after = torch.tensor([[6.0]]), torch.tensor([[7.0]])
    assert scaling.inputs(before, torch.tensor([[2.0]])).tolist() == [[3.0, 0.5]]
    assert scaling.targets(before, after).tolist() == [[2.0]]
    assert scaling.next_observations(before, torch.tensor([[2.0]])).tolist() == [[7.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": Navigation}, "expected a family of machines such as Pendulums"),
        ({"n_shot": -1}, "n_shot"),
        ({"n_query": 0}, "n_query"),
        ({"beyond": 2.0}, "beyond"),
        ({"independent": "yes"}, "independent"),
    ],
)
def test_bad_input_is_refused(change, message):
    options = {"kind": Pendulums, "n_shot": 5, "n_query": 5, **change}
    with pytest.raises(UsageError, match=message):
        DynamicsTasks(options.pop("kind"), **options)
    with pytest.raises(UsageError, match="index of a task"):
        DynamicsTasks(Pendulums, n_shot=5, n_query=5)[-1]


@pytest.mark.parametrize("name", ["pendulum", "cartpole_swingup", "two_link_arm"])
def test_recipes_make_them_by_name_with_targets_of_their_size(name):
    changes = [f"data.name={name}_dynamics", "data.options={beyond=0.25}", "test=[{title='x'}]"]
    recipe = load_recipe("maml_sinusoid", changes)
    learner, tasks = make_learner(recipe), tasks_of_test(recipe, recipe.test[0])
    assert recipe.n_outputs == tasks[0].query.y.shape[1] == FAMILIES[f"{name}_dynamics"].n_targets
    assert tasks.family.beyond == 0.25
    assert learner.adapt(tasks[0].support)(tasks[0].query.x).shape == tasks[0].query.y.shape


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{name='pendulum_dynamics', options={beyon=1.0}}", "did you mean 'beyond'"),
        ("{name='sinusoid', options={beyond=1.0}}", "unknown option of sinusoid 'beyond'"),
        ("{name='omniglot', options={beyond=1.0}}", "expected options only with the name of a"),
    ],
)
def test_recipes_with_unknown_options_are_refused(data, message):
    def read():
        recipe = load_recipe("maml_sinusoid", [f"data={data}"])
        return tasks_of_test(recipe, recipe.test[0])

    with pytest.raises(UsageError, match=message):
        read()
