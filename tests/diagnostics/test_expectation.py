from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from quickstudy import EpisodeSampler, PrototypicalNetworks, SinusoidTasks
from quickstudy.diagnostics.expectation import (
    Evidence,
    TransferModel,
    accuracies,
    balanced_folds,
    expected_accuracy,
    forced_choice,
    left_out_right,
    sensitivity,
    shipped_model,
)
from quickstudy.diagnostics.finding import Finding, Skipped
from quickstudy.diagnostics.memorisation import task_scores
from quickstudy.diagnostics.training_statistics import TrainingStatistics
from quickstudy.learners import MAML
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import ClassData, Support

MODEL = TransferModel((0.0, 1.0, -0.5), 0.8, 0.05)


@pytest.fixture(scope="module")
def families():
    """Tasks of training and of validation, of other classes."""
    made = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        centres = 0.7 * torch.randn(40, 10, generator=generator).repeat(20, 1)
        x = centres + torch.randn(800, 10, generator=generator)
        data = ClassData(x, torch.arange(800) % 40, [str(i) for i in range(40)])
        made.append(EpisodeSampler(data, n_way=5, n_shot=5, n_query=10))
    return made


@pytest.fixture(scope="module")
def learner():
    return PrototypicalNetworks(Flatten((10,))).eval()


@pytest.fixture(scope="module")
def statistics(learner, families):
    return TrainingStatistics.of(learner, *families)


def test_a_forced_choice_between_two_is_the_normal_distribution_of_their_difference():
    d = np.linspace(0, 5, 11)
    assert forced_choice(d, 2) == pytest.approx(stats.norm.cdf(d / 2**0.5), abs=1e-9)


def test_a_forced_choice_among_many_is_as_simulated():
    rng = np.random.default_rng(0)
    others = rng.normal(size=(100_000, 9)).max(1)
    share = (rng.normal(size=100_000) + 2 > others).mean()
    assert forced_choice(np.array([2.0]), 10)[0] == pytest.approx(share, abs=0.005)


def test_a_sensitivity_is_the_same_by_tasks_of_any_shape():
    shapes = np.array([[5, 1], [20, 5], [10, 2]])
    scores = [np.interp(3.0, np.linspace(0, 9, 91), accuracies(*shape)) for shape in shapes]
    assert sensitivity(np.array(scores), *shapes.T) == pytest.approx(3.0, abs=0.02)


def test_intervals_hold_nine_in_ten_of_tasks_made_as_the_model_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        true = np.clip(rng.normal(3.0, 0.8), 0, 9)
        shown, asked = (
            float(forced_choice(np.array(true / (1 + 1 / k) ** 0.5), 5)) for k in (3, 4)
        )
        evidence = Evidence(5, 4, 1.0, 3.0, (int(rng.binomial(20, shown)), 20))
        _, low, high = MODEL.predict(evidence)
        held += low <= rng.binomial(100, asked) / 100 <= high
    assert 0.86 <= held / 300 <= 0.95


def test_examples_left_out_narrow_the_interval_and_move_it_their_way():
    known = Evidence(5, 5, 1.0, 3.0)
    mean, _, _ = MODEL.predict(known)
    worse, better = (MODEL.predict(replace(known, left_out=(n, 25)))[0] for n in (12, 25))
    assert worse < mean < better
    assert MODEL.predict(replace(known, novelty=5.0))[0] < mean
    few, many = (MODEL.predict(replace(known, left_out=(8 * k, 10 * k))) for k in (1, 10))
    assert many[2] - many[1] < few[2] - few[1]


def test_folds_leave_out_as_many_of_each_class_and_every_example_once(families):
    support = families[1][3].support
    seen = []
    for rest, left_out in balanced_folds(support):
        assert rest.y.bincount().tolist() == [4] * 5
        assert left_out.y.bincount().tolist() == [1] * 5
        seen.append(left_out.x)
    assert torch.equal(torch.cat(seen).sort(0).values, support.x.sort(0).values)
    uneven = Support(torch.rand(8, 3), torch.tensor([0, 1, 0, 1, 0, 0, 0, 1]), 2)
    assert [len(left_out) for _, left_out in balanced_folds(uneven)] == [3, 3, 2]


def test_examples_are_left_out_of_adaptation_by_itself(learner, families):
    support = families[1][3].support
    right = sum(
        int((learner.adapt(rest)(left_out.x).argmax(1) == left_out.y).sum())
        for rest, left_out in balanced_folds(support)
    )
    assert left_out_right(learner, support) == (right, 25)  # of examples embedded once
    assert left_out_right(learner, Support(support.x[:3], torch.tensor([0, 0, 1]), 2)) is None
    maml = MAML(MLP((10,)), 5, inner_lr=0.1).eval()
    assert left_out_right(maml, support, always=False) is None
    assert left_out_right(maml, support) is not None


def test_the_accuracy_on_the_domain_of_training_is_expected(statistics, learner, families):
    means, held = [], 0
    scores = task_scores(learner, families[1], 20, first=500)
    for i in range(20):
        found = expected_accuracy(statistics, learner, families[1][500 + i].support)
        assert isinstance(found, Finding)
        low, high = found.interval
        assert low <= found.value <= high
        means.append(found.value)
        held += low <= float(scores[i]) <= high
    assert held >= 16
    assert np.mean(means) == pytest.approx(float(scores.mean()), abs=0.08)


def test_what_may_not_beat_guessing_is_a_warning(statistics, learner):
    warned = 0
    for seed in range(5):
        noise = torch.randn(30, 10, generator=torch.Generator().manual_seed(seed))
        found = expected_accuracy(statistics, learner, Support(noise, torch.arange(30) % 3, 3))
        assert isinstance(found, Finding)
        assert found.is_warning == ("guessing" in found.verdict)
        warned += found.is_warning
    assert warned >= 3


def test_what_cannot_be_expected_is_left_out(statistics, learner, families):
    before = replace(statistics, scored=torch.empty(0, 3))
    support = families[1][0].support
    found = expected_accuracy(before, learner, support)
    assert isinstance(found, Skipped)
    assert "one step more" in found.reason
    one_class = Support(support.x[:3], torch.zeros(3, dtype=torch.int64), 1)
    assert isinstance(expected_accuracy(statistics, learner, one_class), Skipped)
    waves = SinusoidTasks(n_shot=5, n_query=5)
    maml = MAML(MLP((1,), [8]), 1, inner_lr=0.01).eval()
    of_waves = TrainingStatistics.of(maml, waves)
    assert isinstance(expected_accuracy(of_waves, maml, waves[0].support), Skipped)


def test_the_model_that_ships_expects_less_of_newer_examples():
    model = shipped_model()
    near, far = (model.predict(Evidence(5, 1, new, 4.0))[0] for new in (1.0, 8.0))
    assert far < near
