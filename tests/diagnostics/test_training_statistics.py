import pytest
import torch

from quickstudy import EpisodeSampler, PrototypicalNetworks, SinusoidTasks
from quickstudy.diagnostics.training_statistics import STATISTICS_FILE, TrainingStatistics, novelty
from quickstudy.errors import DataError, RunError
from quickstudy.learners import MAML
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import Batch, ClassData, Support


@pytest.fixture(scope="module")
def families():
    """Tasks of training and of validation, of other classes."""
    made = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(40, 30, generator=generator).repeat(10, 1)
        x = centres + torch.randn(400, 30, generator=generator)
        data = ClassData(x, torch.arange(400) % 40, [str(i) for i in range(40)])
        made.append(EpisodeSampler(data, n_way=5, n_shot=5, n_query=5))
    return made


@pytest.fixture(scope="module")
def learner():
    return PrototypicalNetworks(Flatten((30,))).eval()


@pytest.fixture(scope="module")
def statistics(learner, families):
    return TrainingStatistics.of(learner, *families)


def test_support_sets_of_new_classes_of_the_domain_are_seldom_new(statistics, learner, families):
    found = [novelty(statistics, learner, families[1][1000 + i].support) for i in range(40)]
    assert sum(one.is_warning for one in found) <= 3
    assert found[0].value == pytest.approx(1, abs=0.3)


def test_examples_of_another_domain_are_new_from_the_first_image_on(statistics, learner, families):
    shifted = families[1][0].support.x + 3
    one = Support(shifted[:1], torch.tensor([0]), 1)
    assert novelty(statistics, learner, one).is_warning
    assert novelty(statistics, learner, Support(shifted, families[1][0].support.y, 5)).is_warning


def test_distances_are_those_of_mahalanobis(statistics, learner, families):
    from scipy.spatial.distance import mahalanobis

    x = families[0][5].support.x[:3]
    from quickstudy.diagnostics.training_statistics import _describe

    described = _describe(learner, Batch(x, torch.arange(3))).double()
    inverse = (statistics.whitening.T @ statistics.whitening).double()
    mean = statistics.mean.double()
    expected = [mahalanobis(row, mean, inverse) / len(mean) ** 0.5 for row in described]
    assert statistics._distances(described.float()).tolist() == pytest.approx(expected, rel=1e-3)


def test_statistics_take_a_few_kilobytes_and_come_back_the_same(statistics, tmp_path):
    assert TrainingStatistics.read(tmp_path) is None
    statistics.write(tmp_path)
    assert (tmp_path / STATISTICS_FILE).stat().st_size < 12_000
    read = TrainingStatistics.read(tmp_path)
    assert torch.equal(read.distances, statistics.distances)
    (tmp_path / STATISTICS_FILE).write_bytes(b"damaged")
    with pytest.raises(RunError, match="is damaged"):
        TrainingStatistics.read(tmp_path)


def test_a_regression_of_another_scale_is_new():
    learner = MAML(MLP((1,), [8]), 1, inner_lr=0.01).eval()
    tasks = SinusoidTasks(n_shot=5, n_query=5)
    statistics = TrainingStatistics.of(learner, tasks)
    usual = SinusoidTasks(n_shot=5, n_query=5, seed=1)[0].support
    assert not novelty(statistics, learner, usual).is_warning
    assert novelty(statistics, learner, Support(usual.x, 100 * usual.y + 90)).is_warning


def test_examples_of_another_shape_are_refused(statistics):
    other = PrototypicalNetworks(Flatten((4,)))
    with pytest.raises(DataError, match="as in training"):
        novelty(statistics, other, Batch(torch.rand(5, 4), torch.arange(5)))
