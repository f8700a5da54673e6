import pytest

from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.remember import task_of
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks import SinusoidTasks


@pytest.mark.parametrize(
    ("recipe", "images"),
    [
        ("prototypical_glyphs", {"image_size": 28, "channels": 1}),
        ("maml_caltech", {"image_size": 84, "channels": 3}),
        ("prototypical_clinc150", {}),
        ("maml_sinusoid", {}),
    ],
)
def test_a_task_has_the_size_of_its_images_if_it_has_images(recipe, images):
    pytest.importorskip("quickstudy.experience")
    parsed = load_recipe(recipe)
    tasks = SinusoidTasks(n_shot=1, n_query=1)  # the classes of a sampler are not looked at here
    known = task_of(parsed.data, parsed.test[0], tasks).features
    assert {name: known[name] for name in ("image_size", "channels") if name in known} == images


def acting_task(*changes, name="rl2_bandits"):
    recipe = load_recipe(name, changes)
    return task_of(recipe.data, recipe.tasks, make_tasks(recipe, recipe.tasks, recipe.data, 0))


def test_a_task_to_act_in_has_its_episodes_and_sizes_and_no_shots_per_class():
    pytest.importorskip("quickstudy.experience")
    task = acting_task(name="maml_trpo_navigation")
    assert task.kind == "environments"
    assert task.name == "navigation, 20 scored episodes after 20 to learn from"
    assert task.features == {
        "shots": 20,
        "queries": 20,
        "horizon": 100,
        "observation_size": 2,
        "action_size": 2,
    }
    bandits = acting_task()
    assert bandits.name == "bernoulli_bandit, 1 scored episode after 0 to learn from"
    assert bandits.features["action_size"] == 5


def test_tasks_to_act_in_are_one_if_environments_and_episodes_are():
    pytest.importorskip("quickstudy.experience")
    same = acting_task().fingerprint
    assert acting_task("seed=3").fingerprint == same
    assert acting_task("data.options.n_arms=3").fingerprint != same
    assert acting_task("tasks.n_query=2").fingerprint != same
    recipe = load_recipe("rl2_bandits")
    (test,) = recipe.test
    tested = task_of(recipe.data, test, make_tasks(recipe, test, recipe.data, 2))
    assert tested.fingerprint == same
