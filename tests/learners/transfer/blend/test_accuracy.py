import pytest
import torch

from quickstudy.learners.transfer.blend import AccuracyModel, ExpectedAccuracy
from quickstudy.learners.transfer.blend.accuracy import N_INPUTS
from quickstudy.learners.transfer.blend.features import N_FEATURES


def test_a_line_says_the_interval_and_whether_it_may_be_guessing():
    good = ExpectedAccuracy(0.9, 0.8, 0.97, 0.5)
    assert str(good) == "90% (80% to 97%)"
    assert good.beats_chance
    poor = ExpectedAccuracy(0.55, 0.4, 0.7, 0.5)
    assert not poor.beats_chance
    assert str(poor) == "55% (40% to 70%); guessing would give 50%, which this may not beat"


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e9])
def test_the_distribution_is_proper_whatever_is_put_in(scale):
    torch.manual_seed(0)
    alpha, beta = AccuracyModel()(scale * torch.randn(100, N_INPUTS))
    assert (alpha > 0).all()
    assert (beta > 0).all()
    assert (alpha + beta).isfinite().all()


def inputs(right, n):
    left_out = torch.tensor([[0.9, 0.1]]).log().expand(n, 2)
    labels = (torch.arange(n) >= right).long()
    return AccuracyModel.inputs(torch.zeros(3, N_FEATURES), torch.ones(3) / 3, left_out, labels)


def test_the_share_that_was_right_is_among_the_inputs():
    shares = [float(inputs(right, 20)[N_FEATURES]) for right in (0, 5, 10, 15, 20)]
    assert shares == sorted(shares)
    assert shares[2] == pytest.approx(0, abs=1e-6)
    assert float(inputs(2, 2)[N_FEATURES]) < float(inputs(200, 200)[N_FEATURES])


def test_without_any_left_out_the_inputs_say_so():
    none = AccuracyModel.inputs(
        torch.ones(3, N_FEATURES), torch.ones(3) / 3, torch.zeros(0, 2), torch.zeros(0).long()
    )
    assert none[N_FEATURES:].tolist() == [0, 0, 0, 0]
    assert float(inputs(5, 10)[-1]) == 1
