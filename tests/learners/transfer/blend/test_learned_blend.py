from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from torch import nn

from quickstudy.apps.fewshot.views import default_blend
from quickstudy.engine.calibration import expected_calibration_error
from quickstudy.errors import DataError
from quickstudy.learners.transfer.blend import Gate, LearnedBlend, View, shipped_gate
from quickstudy.nn import Flatten
from quickstudy.tasks import Support
from quickstudy.testing import LearnerContract


class TestLearnedBlend(LearnerContract):
    steps = 0

    def make(self, n_way):
        blend = LearnedBlend(nn.Flatten(), [View("raw", 8, "columns")], "numbers")
        return blend.requires_grad_(False)  # its gate is trained on tasks of many domains


def numbers_blend(d):
    return default_blend("numbers", None, d)


def few(load, n_shot, seed=0):
    """Support set and queries of a table."""
    x, y = (torch.from_numpy(a) for a in load(return_X_y=True))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    rank = torch.empty_like(y)
    for c in y.unique():
        rows = order[y[order] == c]
        rank[rows] = torch.arange(len(rows))
    shown = rank < n_shot
    return Support(x[shown], y[shown], len(y.unique())), x[~shown], y[~shown]


@pytest.mark.parametrize("n_shot", [1, 5, 20])
@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_real_tables_are_learned(load, n_shot):
    right = []
    for seed in range(10):
        support, queries, y = few(load, n_shot, seed)
        scores = numbers_blend(support.x.shape[1]).adapt(support)(queries)
        right.append((scores.argmax(1) == y).double().mean())
    assert sum(right) / 10 > {1: 0.7, 5: 0.85, 20: 0.9}[n_shot]


def test_the_probabilities_are_calibrated_and_sum_to_one():
    probabilities, labels = [], []
    for seed in range(10):
        support, queries, y = few(load_wine, 5, seed)
        each = numbers_blend(13).adapt(support)(queries).softmax(1)
        torch.testing.assert_close(each.sum(1), torch.ones(len(each)).to(each))
        probabilities.append(each)
        labels.append(y)
    assert expected_calibration_error(torch.cat(probabilities), torch.cat(labels)) < 0.1


def test_left_out_scores_are_of_their_labels():
    support, _, _ = few(load_iris, 6)
    scores, labels = numbers_blend(4).adapt(support).left_out()
    assert scores.shape == (18, 3)
    assert labels.bincount().tolist() == [6, 6, 6]
    assert (scores.argmax(1) == labels).double().mean() > 0.75


def test_with_an_example_a_class_nothing_is_left_out():
    support, queries, _ = few(load_iris, 1)
    task = numbers_blend(4).adapt(support)
    scores, labels = task.left_out()
    assert scores.shape == (0, 3)
    assert labels.tolist() == []
    assert task(queries).isfinite().all()


@pytest.mark.parametrize("n_shot", [1, 2, 10])
def test_the_expected_accuracy_lies_in_its_interval_and_that_between_0_and_1(n_shot):
    support, _, _ = few(load_iris, n_shot)
    expected = numbers_blend(4).adapt(support).expected_accuracy()
    assert 0 <= expected.low <= expected.mean <= expected.high <= 1
    assert expected.chance == pytest.approx(1 / 3)


def test_more_accuracy_is_expected_of_classes_far_apart_than_of_noise():
    support, _, _ = few(load_iris, 10)
    y = support.y[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    of_noise = numbers_blend(4).adapt(Support(support.x, y, 3)).expected_accuracy()
    of_iris = numbers_blend(4).adapt(support).expected_accuracy()
    assert of_iris.mean > of_noise.mean + 0.2
    assert of_iris.beats_chance


def test_weights_are_of_all_candidates_the_greatest_first():
    support, _, _ = few(load_iris, 5)
    task = numbers_blend(4).adapt(support)
    weights = list(task.weights.values())
    assert len(weights) == len(task.candidates.names)
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1, abs=1e-5)


def test_a_query_like_no_example_has_a_low_greatest_score():
    support, queries, _ = few(load_iris, 10)
    task = numbers_blend(4).adapt(support)
    known, far = task(queries).amax(1), task(queries * -30 + 500).amax(1)
    assert far.max() < known.quantile(0.05)


def test_queries_do_not_depend_on_each_other():
    support, queries, _ = few(load_iris, 5)
    task = numbers_blend(4).adapt(support)
    one_by_one = torch.cat([task(query[None]) for query in queries[:20]])
    torch.testing.assert_close(one_by_one, task(queries[:20]), atol=1e-3, rtol=1e-3)


def test_other_numbers_for_the_classes_give_about_the_same_probabilities():
    support, queries, _ = few(load_iris, 5)
    number = torch.tensor([2, 0, 1])
    before = numbers_blend(4).adapt(support)(queries).softmax(1)
    renumbered = Support(support.x, number[support.y], 3)
    after = numbers_blend(4).adapt(renumbered)(queries).softmax(1)[:, number]
    assert (after - before).abs().mean() < 0.05


def test_threads_are_as_many_after_as_before():
    before = torch.get_num_threads()
    support, queries, _ = few(load_iris, 2)
    torch.set_num_threads(2)
    try:
        numbers_blend(4).adapt(support)(queries)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_300_classes_of_one_example_are_learned():
    x = torch.randn(300, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    task = numbers_blend(16).adapt(Support(x, torch.arange(300), 300))
    assert (task(x).argmax(1) == torch.arange(300)).double().mean() > 0.95
    assert 0 <= task.expected_accuracy().low <= 1


def test_a_view_unknown_to_the_gate_is_weighed_as_any_other():
    support, queries, y = few(load_iris, 10)
    gate, accuracy, _ = shipped_gate()
    blend = LearnedBlend(
        Flatten((4,)), [View.of("of my own", 4)], "image", gate=gate, accuracy=accuracy
    )
    assert (blend.eval().adapt(support)(queries).argmax(1) == y).double().mean() > 0.8


def test_a_class_without_an_example_or_other_sizes_are_refused():
    support, queries, _ = few(load_iris, 5)
    with pytest.raises(DataError, match="class"):
        numbers_blend(4).adapt(Support(support.x, support.y, 4))
    with pytest.raises(DataError, match="examples of 4 numbers, got 3"):
        numbers_blend(4).adapt(support)(queries[:, :3])


def test_a_blend_that_was_not_trained_averages_its_candidates():
    support, queries, _ = few(load_iris, 5)
    blend = LearnedBlend(Flatten((4,)), [View("raw", 4, "columns")], gate=None).eval()
    task = blend.adapt(support)
    assert isinstance(blend.gate, Gate)
    weights = torch.tensor(list(task.weights.values()))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / len(weights)))
    assert task(queries).isfinite().all()


def test_a_query_that_one_view_does_not_know_is_decided_and_judged_by_the_other():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(20) % 2
    centres = torch.tensor([[5.0, 0, 0, 0], [0, 5, 0, 0]])
    a, b = (centres[y] + torch.randn(20, 4, generator=rng) for _ in range(2))
    views = [View("minilm", 4), View("use_multilingual", 4)]
    gate, accuracy, _ = shipped_gate()
    blend = LearnedBlend(Flatten((8,)), views, "text", gate=gate, accuracy=accuracy).eval()
    task = blend.adapt(Support(torch.cat([a, b], 1), y, 2))
    trusted = task.candidates.names.index(("minilm", "ridge 0.1, direction"))
    weights = torch.full_like(task.decision.weights, 0.001)
    weights[0, trusted] = 1
    task = replace(task, decision=replace(task.decision, weights=weights / weights.sum()))
    known, stranger = torch.zeros(2, 8), torch.zeros(1, 8)
    known[:, 4:], stranger[:, 6:] = centres, 5.0
    assert task(known).argmax(1).tolist() == [0, 1]
    assert task(stranger).amax() < task(known).amax() - 3
