import itertools
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from quickstudy.encoders import SeriesEncoder
from quickstudy.encoders.series import n_rocket_features, resample, rocket
from quickstudy.errors import DataError, UsageError


def walks(n, channels, length, seed=0):
    steps = np.random.default_rng(seed).normal(size=(n, channels, length))
    return torch.from_numpy(steps.cumsum(2))


def by_hand(series, length):
    """The features of a series of one channel, one output after the other, in float64."""
    series = (series - series.mean()) / series.std()
    series = np.concatenate([series, np.zeros(max(0, 9 - len(series)))])
    most = max(0.0, math.log2((len(series) - 1) / 8))
    features = []
    for dilation in sorted({int(2 ** (i * most / 4)) for i in range(5)}):
        padded = np.pad(series, 4 * dilation)
        windows = [padded[i : i + 8 * dilation + 1 : dilation] for i in range(len(series))]
        kernels = [
            np.where(np.isin(range(9), twos), 2.0, -1.0)
            for twos in itertools.combinations(range(9), 3)
        ]
        outputs = np.array(windows) @ np.array(kernels).T  # (l, k)
        deviation = outputs.std(0)
        for threshold in (-0.7, 0.1, 0.7, 1.5):
            features.append((outputs / deviation > threshold).mean(0))
        features.append(0.3 * np.log(deviation))
    return torch.from_numpy(np.concatenate(features)).float()


@pytest.mark.parametrize("length", [3, 8, 9, 40, 300])
def test_features_are_those_of_the_definition(length):
    x = walks(4, 1, length)
    expected = torch.stack([by_hand(one[0].numpy(), length) for one in x])
    assert expected.shape == (4, n_rocket_features(length))
    off = (rocket(x) - expected).abs()
    # a point of an output may lie on the other side of a threshold by rounding
    assert float(off.max()) <= 1.01 / max(length, 9)
    assert float((off > 1e-5).float().mean()) < 1e-3


def test_kernels_are_all_choices_of_three_and_sum_to_zero():
    x = walks(1, 1, 30)
    torch.testing.assert_close(rocket(3 * x + 70), rocket(x))
    assert n_rocket_features(9) == 84 * 5


def test_a_kernel_of_several_channels_adds_up_some_of_them():
    x = walks(3, 4, 50)
    assert torch.equal(rocket(x), rocket(x))
    assert not torch.allclose(rocket(x), rocket(x.flip(1)))
    same = x[:, :1].expand(3, 4, 50)
    # outputs of equal channels are multiples of one channel's, so the shares are the same
    shares = rocket(same).view(3, -1, 5, 84)[:, :, :4]
    expected = rocket(x[:, :1]).view(3, -1, 5, 84)[:, :, :4]
    assert float((shares - expected).abs().max()) <= 1.01 / 50


def test_a_series_has_the_same_features_whatever_the_others():
    x = walks(6, 2, 64)
    together = rocket(x)
    alone = torch.cat([rocket(one[None]) for one in x])
    assert float(((together - alone).abs() > 1e-5).float().mean()) < 1e-3


@pytest.mark.parametrize(("factor", "shift"), [(1e-13, 0.0), (1e13, 0.0), (1.0, 1e6)])
def test_units_do_not_change_the_features(factor, shift):
    x = walks(3, 2, 80)
    off = (rocket(x * factor + shift) - rocket(x)).abs()
    assert float((off > 1e-4).float().mean()) < 1e-3


def test_a_constant_channel_among_others_counts_as_zeros():
    x = walks(2, 2, 40)
    flat, zero = x.clone(), x.clone()
    flat[:, 1], zero[:, 1] = 0.1, 0.0
    assert torch.equal(rocket(flat), rocket(zero))
    assert bool(rocket(flat).isfinite().all())


def test_chunks_do_not_change_the_features(monkeypatch):
    x = walks(5, 1, 33)
    whole = rocket(x)
    monkeypatch.setattr("quickstudy.encoders.series.MAX_CHUNK", 1)
    assert float(((rocket(x) - whole).abs() > 1e-5).float().mean()) < 1e-3


def test_resampling_is_linear_and_keeps_both_ends():
    line = np.linspace(-1, 5, 7)
    found = resample([line, line[:4]], 13)
    torch.testing.assert_close(found[0, 0], torch.linspace(-1, 5, 13, dtype=torch.float64))
    torch.testing.assert_close(found[1, 0], torch.linspace(-1, 2, 13, dtype=torch.float64))
    x = walks(3, 2, 17)
    assert torch.equal(resample(x, 17), x)


def test_arrays_tensors_tables_and_lists_of_series_are_embedded_alike():
    pandas = pytest.importorskip("pandas")
    x = walks(4, 1, 20).float()
    encode = SeriesEncoder.fitted(x)
    assert encode == SeriesEncoder(20, 1)
    expected = encode(x)
    assert expected.dtype == torch.float32
    table = pandas.DataFrame(x[:, 0].numpy())
    for same in (x.numpy(), x[:, 0], x[:, 0].tolist(), list(x), list(x.numpy()), table):
        assert torch.equal(encode(same), expected)


def test_vectors_are_the_values_and_the_features_side_by_side():
    x = walks(3, 2, 30)
    encode = SeriesEncoder(30, 2)
    (raw, n_raw), (name, n_features) = encode.parts
    assert (raw, n_raw, name, n_features) == ("raw", 60, "rocket", n_rocket_features(30))
    values, features = encode(x).split([n_raw, n_features], dim=1)
    torch.testing.assert_close(values, x.flatten(1).float())
    assert torch.equal(features, rocket(x))


def test_series_of_several_lengths_are_brought_to_their_median():
    series = [walks(1, 3, length)[0] for length in (10, 20, 50)]
    encode = SeriesEncoder.fitted(series)
    assert encode == SeriesEncoder(20, 3)
    assert encode(series).shape == (3, 60 + n_rocket_features(20))
    assert SeriesEncoder(**json.loads(json.dumps(asdict(encode)))) == encode


def test_more_channels_than_points_are_warned_of():
    with pytest.warns(UserWarning, match=r"30 channels and 3 points: .*transpose"):
        SeriesEncoder.fitted(walks(2, 30, 3))


GOOD = [0.0, 1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "3 points or more, got 0 in series 1"),
        ([1.0, 2.0], "3 points or more, got 2 in series 1"),
        ([[1.0, 2.0]] * 5, r"got 2 in series 1 of 5 channels: give it as \(channels, length\)"),
        ([3.0] * 4, "got 3.0 at all 4 points of series 1"),
        ([0.0, math.nan, 1.0], "got nan at point 1 of series 1"),
        ([0.0, 1.0, -math.inf], "got -inf at point 2 of series 1"),
        ([0.0, 1.0, 1e200], r"got 1e\+200 at point 2 of series 1"),
        ([[1.0, 2.0, 3.0]] * 2, "got 1 in series 0 and 2 in series 1"),
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], "expected series of numbers"),
        (["a", "b", "c"], "expected series of numbers"),
        ([1j, 2j, 3j], "expected series of numbers"),
        ([None, 1.0, 2.0], "expected series of numbers"),
        (7.0, r"got \(\) as series 1|3 points"),
        ([[[1.0, 2.0, 3.0]]], r"got \(1, 1, 3\) as series 1"),
        ("words", "expected series of numbers"),
    ],
)
def test_a_series_that_cannot_be_read_is_named(bad, message):
    with pytest.raises(DataError, match=message):
        SeriesEncoder.fitted([GOOD, bad])
    with pytest.raises(DataError, match=message):
        SeriesEncoder(4)([GOOD, bad])


def test_queries_have_the_channels_of_the_support_set():
    with pytest.raises(DataError, match="series of 1 channels, got 2"):
        SeriesEncoder(4, 1)(walks(2, 2, 4))


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 9)), "text", 3])
def test_no_series_are_refused(nothing):
    with pytest.raises(UsageError, match="list of one series or more"):
        SeriesEncoder(9)(nothing)


def test_an_encoder_has_a_length_and_channels():
    for length, channels in ((2, 1), (9, 0)):
        with pytest.raises(UsageError, match="expected a length from 3 and channels from 1"):
            SeriesEncoder(length, channels)
