import pytest

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
