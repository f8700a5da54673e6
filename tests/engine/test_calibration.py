import pytest
import torch

from quickstudy.engine.calibration import expected_calibration_error, fit_temperature
from quickstudy.errors import DataError, UsageError


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
