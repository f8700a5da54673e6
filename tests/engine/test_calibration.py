import pytest
import torch
from scipy import stats

from quickstudy.apps.fewshot.methods import METHODS, make_method
from quickstudy.engine.calibration import (
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    scores_left_out,
)
from quickstudy.errors import DataError, UsageError
from quickstudy.tasks import Support


def test_the_error_is_the_mean_gap_over_bins():
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6]]).double()
    y = torch.tensor([0, 1, 0, 1])
    gaps = [abs(0.95 - 0.5), abs(0.6 - 1.0)]  # two queries in each of two bins
    assert expected_calibration_error(probabilities, y) == pytest.approx(sum(gaps) / 2)
    within_one_bin = abs(probabilities.amax(1).mean().item() - 0.75)
    assert expected_calibration_error(probabilities, y, n_bins=1) == pytest.approx(within_one_bin)


def test_certainty_that_is_right_has_no_error():
    assert expected_calibration_error(torch.eye(3), torch.arange(3)) == 0
    assert expected_calibration_error(torch.eye(3), torch.tensor([1, 2, 0])) == 1


@pytest.mark.parametrize("temperature", [0.2, 1.0, 30.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    generator = torch.Generator().manual_seed(0)
    tasks = []
    for n_way in (2, 5):  # tasks may differ in ways
        scores = 2 * temperature * torch.randn(4000, n_way, generator=generator)
        chances = (scores / temperature).softmax(1)
        tasks.append((scores, torch.multinomial(chances, 1, generator=generator)[:, 0]))
    found = fit_temperature(tasks)
    assert found == pytest.approx(temperature, rel=0.05)
    for scores, y in tasks:
        assert expected_calibration_error((scores / found).softmax(1), y) < 0.03


def test_few_queries_say_little():
    right = (torch.eye(2), torch.arange(2))
    assert 0.5 < fit_temperature([right]) < 1
    assert fit_temperature([right] * 1000) < 0.2


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DataError, match="got none"):
        fit_temperature([])
    with pytest.raises(DataError, match=r"got \(2, 2\) and \(3,\)"):
        expected_calibration_error(torch.eye(2), torch.arange(3))
    with pytest.raises(DataError, match=r"labels \(n,\)"):
        expected_calibration_error(torch.zeros(0, 2), torch.zeros(0))
    with pytest.raises(UsageError, match="n_bins >= 1"):
        expected_calibration_error(torch.eye(2), torch.arange(2), 0)


@pytest.mark.parametrize("n", [19, 25, 39, 50])
def test_a_threshold_refuses_its_share_of_queries_drawn_as_the_examples_are(n):
    drawn = torch.randn(4000, n + 1, 1, generator=torch.Generator().manual_seed(0)).double()
    refused = [float(task[n]) < fit_threshold(task[:n]) for task in drawn]
    assert sum(refused) / len(refused) == pytest.approx(0.055, abs=0.012)


def test_the_threshold_of_few_normal_scores_is_the_bound_of_the_next():
    scores = torch.randn(25, 1, generator=torch.Generator().manual_seed(0)).double() - 9
    scores[0] = -30.0  # the bound lies above it
    reach = stats.t.ppf(0.95, 24) * (1 + 1 / 25) ** 0.5 * float(scores.std())
    assert fit_threshold(scores) == pytest.approx(float(scores.mean()) - reach)


def test_of_a_handful_of_examples_the_smallest_score_is_the_threshold():
    assert fit_threshold(torch.tensor([[3.0, 1.0], [0.5, 2.0]])) == 2.0


def clusters(n_way, n_each, d=64, seed=0):
    """Vectors about the means of classes, which lie far from the origin as embeddings do."""
    generator = torch.Generator().manual_seed(seed)
    means = 3 + torch.randn(n_way, 1, d, generator=generator)
    x = means + 0.7 * torch.randn(n_way, n_each, d, generator=generator)
    return x.double()


@pytest.mark.parametrize("method", METHODS)
def test_a_score_left_out_knows_nothing_of_the_example(method):
    x, y = clusters(3, 4).flatten(0, 1), torch.arange(3).repeat_interleave(4)
    scores, labels = scores_left_out(make_method(method).adapt, Support(x, y, 3))
    order = labels.argsort(stable=True)
    for i in range(12):
        others = torch.arange(12) != i
        alone = make_method(method).adapt(Support(x[others], y[others], 3))
        torch.testing.assert_close(scores[order][i], alone(x[i : i + 1])[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_shot", [5, 10])
def test_thresholds_of_every_method_refuse_strangers_and_few_others(method, n_shot):
    known, strangers = [], []
    for seed in range(15):
        x = clusters(8, n_shot + 10, seed=seed)
        y = torch.arange(5).repeat_interleave(n_shot)
        support = Support(x[:5, :n_shot].flatten(0, 1), y, 5)
        learner = make_method(method)
        threshold = fit_threshold(scores_left_out(learner.adapt, support)[0])
        predict = learner.adapt(support)
        for refused, queries in ((known, x[:5, n_shot:]), (strangers, x[5:])):
            best = predict(queries.flatten(0, 1)).amax(1)
            refused.append(float((best < threshold).double().mean()))
    assert sum(known) / 15 < 0.1
    assert sum(strangers) / 15 > 0.5
