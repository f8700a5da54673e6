import numpy as np
import pytest
import torch

from quickstudy import MAML, EpisodeSampler, GeneratedTasks, PrototypicalNetworks, SinusoidTasks
from quickstudy.diagnostics.memorisation import (
    adaptation_gain,
    feature_reuse,
    generalisation_gap,
    linear_cka,
    shuffled_labels,
    task_scores,
    without_support,
)
from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import Batch, ClassData, Episode, Support


@pytest.fixture(scope="module")
def tasks():
    """Classes far apart."""
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(20, 6, generator=generator).repeat(12, 1)
    x = centres + torch.randn(240, 6, generator=generator)
    data = ClassData(x, torch.arange(240) % 20, [str(i) for i in range(20)])
    return EpisodeSampler(data, n_way=4, n_shot=2, n_query=4)


class Memory(Learner):
    """Knows the class of every example from its centre, and looks at no support set."""

    def __init__(self, tasks):
        super().__init__()
        means = torch.stack([tasks.data.x[tasks.data.y == c].mean(0) for c in range(20)])
        self.means = means

    def adapt(self, support):
        return lambda x: torch.nn.functional.one_hot(
            torch.cdist(x, self.means).argmin(1) % 4, 4
        ).float()


def fixed_order(tasks):
    """Class c always has the label c mod 4."""

    def draw(generator):
        classes = torch.arange(4) + 4 * torch.randint(5, (4,), generator=generator)
        rows = tasks.data.index[classes][:, torch.randperm(12, generator=generator)[:6]]
        y = torch.arange(4)[:, None].expand(4, 6)
        x = tasks.data.x[rows]
        return Episode(
            Support(x[:, :2].flatten(0, 1), y[:, :2].flatten(), 4),
            Batch(x[:, 2:].flatten(0, 1), y[:, 2:].flatten()),
            classes,
        )

    return GeneratedTasks(draw)


def test_scores_are_those_of_meta_testing(tasks):
    learner = PrototypicalNetworks(Flatten((6,)))
    scores = task_scores(learner, tasks, 10)
    assert scores.tolist() == pytest.approx(meta_test(learner, tasks, 10).scores)


def test_a_learner_that_compares_falls_to_chance_without_its_labels(tasks):
    learner = PrototypicalNetworks(Flatten((6,)))
    for found in (shuffled_labels(learner, tasks), without_support(learner, tasks)):
        assert found.status == "fine"
        assert found.interval[0] < 0.25 < found.interval[1]
    assert adaptation_gain(learner, tasks, tasks).value > 0.5
    assert generalisation_gap(learner, tasks, tasks, first=1000).status == "fine"


def test_a_learner_that_remembers_is_found(tasks):
    fixed, memory = fixed_order(tasks), Memory(tasks)
    assert shuffled_labels(memory, fixed, 30).is_warning
    assert without_support(memory, fixed, 30).is_warning
    assert adaptation_gain(memory, fixed, tasks, 30).is_warning
    assert generalisation_gap(memory, fixed, tasks, 30).is_warning


def test_maml_trained_with_a_fixed_order_of_classes_is_found(tasks):
    fixed = fixed_order(tasks)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = MAML(MLP((6,), [32]), 4, inner_lr=0.01)
    meta_train(learner, fixed, steps=150, executor="serial", show_progress=False)
    assert shuffled_labels(learner, fixed, 30, first=1000).is_warning


def test_cka_is_that_of_centred_gram_matrices():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, d, generator=generator, dtype=torch.float64) for d in (3, 5))
    centring = torch.eye(9, dtype=torch.float64) - 1 / 9
    k, m = (centring @ z @ z.T @ centring for z in (x, y))
    expected = (k * m).sum() / (k.norm() * m.norm())
    assert linear_cka(x, y) == pytest.approx(float(expected))


def test_features_are_reused_by_a_learner_without_inner_loop_and_changed_by_maml(tasks):
    assert feature_reuse(PrototypicalNetworks(MLP((6,), [16])), tasks, 5).value > 0.9999
    maml = MAML(MLP((6,), [16]), 4, inner_lr=1.0, inner_steps=5)
    assert feature_reuse(maml, tasks, 5).value < 0.999


def test_a_regression_is_measured_by_its_error_and_has_no_chance():
    sinusoids = SinusoidTasks(n_shot=5, n_query=5)
    learner = MAML(MLP((1,), [16]), 1, inner_lr=0.01)
    assert np.isfinite(generalisation_gap(learner, sinusoids, sinusoids, 10).value)
    with pytest.raises(DataError, match="has no chance"):
        shuffled_labels(learner, sinusoids, 10)
