"""Names of learners, backbones, data sets, families and encoders of a user's own."""

import sys

import pytest
import torch

from quickstudy import registry
from quickstudy.errors import MissingError, UsageError
from quickstudy.experiments.build import make_learner, tasks_of_training
from quickstudy.learners import LEARNERS, Learner
from quickstudy.recipes.loading import parse_recipe
from quickstudy.tasks.datasets import DATASETS
from quickstudy.tasks.families import FAMILIES

MODULE = """
import torch
from torch import nn
from quickstudy.learners import EmbeddingLearner
from quickstudy.learners.base import class_means
from quickstudy.tasks import ClassData, GeneratedTasks, Batch, Episode, Support
from quickstudy.tasks.datasets import Dataset
from quickstudy.tasks.families import TaskFamily


class Medians(EmbeddingLearner):
    def fit(self, embedded, support):
        means = class_means(embedded, support)
        return lambda x: -torch.cdist(x, means)


class Tiny(nn.Module):
    def __init__(self, in_shape, width: int = 3):
        super().__init__()
        self.out_features = width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0], width))

    def forward(self, x):
        return self.layers(x)


def load(split, *, image_size, seed):
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(len(split)))
    return ClassData.from_arrays(x, [i // 8 for i in range(40)])


FLOWERS = Dataset(title="flowers", splits=("train", "test"), load=load, shape=(4,))


def parabolas(n_shot: int, n_query: int, seed: int):
    def draw(generator):
        x = torch.rand(n_shot + n_query, 1, generator=generator)
        y = torch.rand(1, generator=generator) * x**2
        return Episode(Support(x[:n_shot], y[:n_shot]), Batch(x[n_shot:], y[n_shot:]))

    return GeneratedTasks(draw, seed=seed)


PARABOLAS = TaskFamily(parabolas, (1,), regression=True)
"""


@pytest.fixture
def garden(tmp_path, monkeypatch):
    (tmp_path / "garden.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("garden", None)


def recipe(**changes):
    return parse_recipe(
        {
            "about": "flowers",
            "data": {"name": "garden:FLOWERS"},
            "backbone": {"name": "garden:Tiny", "width": 5},
            "learner": {"name": "garden:Medians"},
            "tasks": {"n_way": 3, "n_shot": 2, "n_query": 2},
            "train": {"steps": 1},
            **changes,
        }
    )


@pytest.mark.usefixtures("garden")
def test_a_recipe_names_a_learner_backbone_and_data_set_of_ones_own():
    made = recipe()
    learner = make_learner(made)
    assert type(learner).__name__ == "Medians"
    episode = tasks_of_training(made)[0]
    assert episode.support.x.shape == (6, 4)
    assert learner.adapt(episode.support)(episode.query.x).shape == (6, 3)


@pytest.mark.usefixtures("garden")
def test_a_recipe_names_a_task_family_of_ones_own():
    made = recipe(
        data={"name": "garden:PARABOLAS"},
        backbone={"name": "mlp"},
        learner={"name": "reptile", "inner_steps": 2},
        tasks={"n_shot": 5, "n_query": 3},
    )
    assert made.n_outputs == 1
    assert tasks_of_training(made)[0].query.y.shape == (3, 1)
    with pytest.raises(UsageError, match=r"no n_way for garden:PARABOLAS tasks, which are reg"):
        tasks_of_training(made.model_copy(update={"tasks": recipe().tasks}))


def test_a_module_that_cannot_be_imported_is_not_said_to_hold_what_it_may_not_hold():
    with pytest.raises(
        MissingError, match="cannot import meadow, the module of 'meadow:GRASS'"
    ) as e:
        recipe(data={"name": "meadow:GRASS"})
    assert "task family" not in str(e.value)


def test_an_entry_point_of_an_installed_package_is_a_name(garden, monkeypatch):
    point = registry.EntryPoint("medians", "garden:Medians", "quickstudy.learners")
    points = {"learners": {"medians": point}}
    monkeypatch.setattr(registry, "_entry_points", lambda group: points.get(group, {}))
    assert LEARNERS.find("medians").__name__ == "Medians"
    assert "medians" in LEARNERS.names()
    assert "maml" in LEARNERS.names()


@pytest.mark.usefixtures("garden")
@pytest.mark.parametrize(
    ("names", "name", "error", "message"),
    [
        (LEARNERS, "garden:Tiny", UsageError, "a subclass of Learner, to serve as learner"),
        (DATASETS, "garden:load", UsageError, "to be Dataset"),
        (
            LEARNERS,
            "garden:Median",
            UsageError,
            "the module garden, got none; did you mean 'Medians'",
        ),
        (LEARNERS, "meadow:Medians", MissingError, "cannot import meadow.*PYTHONPATH"),
        (LEARNERS, "os:system", UsageError, "Python's os"),
        (LEARNERS, "mamll", UsageError, "did you mean 'maml'"),
        (FAMILIES, "a b:", UsageError, "unknown task family"),
    ],
)
def test_what_cannot_serve_is_refused(names, name, error, message):
    with pytest.raises(error, match=message):
        names.find(name)


def test_nothing_of_another_kind_is_called(monkeypatch):
    called = []
    monkeypatch.setattr(torch, "compile", called.append)
    with pytest.raises(UsageError, match="a subclass of Learner"):
        LEARNERS.find("torch:compile")
    assert called == []
    assert issubclass(LEARNERS.find("maml"), Learner)
