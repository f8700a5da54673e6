import numpy as np
import pytest
import torch

from quickstudy.errors import DataError, RunError
from quickstudy.learners.transfer.blend import View
from quickstudy.learners.transfer.regression import (
    RegressionBlend,
    read_regression_gate,
    shipped_regression_gate,
    write_regression_gate,
)
from quickstudy.nn import Flatten
from quickstudy.tasks import Support


def blend(d, gate=None):
    views = [View("raw", d, "columns")]
    gate = gate or shipped_regression_gate()
    return RegressionBlend(Flatten((d,)), views, gate=gate).double().eval()


def linear(n, d=3, noise=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, x @ torch.arange(1.0, d + 1).double() + noise * torch.randn(
        n, generator=generator, dtype=torch.float64
    )


def test_the_order_of_examples_does_not_matter():
    x, y = linear(20)
    rows = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    before = blend(3).adapt(Support(x, y[:, None]))(x)
    after = blend(3).adapt(Support(x[rows], y[rows, None]))(x)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_each_target_is_learned_alone_in_its_own_units():
    x, y = linear(20)
    other = 1000 * x[:, 0].sin() + 1e5
    both = blend(3).adapt(Support(x, torch.stack([y, other], 1)))
    one, two = blend(3).adapt(Support(x, y[:, None])), blend(3).adapt(Support(x, other[:, None]))
    torch.testing.assert_close(both(x), torch.cat([one(x), two(x)], 1))
    low, high = both.interval(x, 0.9)
    torch.testing.assert_close(high[:, 1:], two.interval(x, 0.9)[1])
    assert bool((low < both(x)).all())
    assert bool((both(x) < high).all())


@pytest.mark.parametrize("n", [5, 20])
def test_noise_is_predicted_by_its_mean(n):
    ratios = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = torch.from_numpy(rng.normal(size=(n + 100, 4)))
        y = torch.from_numpy(rng.normal(size=n + 100))
        predicted = blend(4).adapt(Support(x[:n], y[:n, None]))(x[n:])[:, 0]
        error = (predicted - y[n:]).square().mean().sqrt()
        ratios.append(float(error / (y[:n].mean() - y[n:]).square().mean().sqrt()))
    assert np.mean(ratios) <= 1.05


def waves(n, *, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, size=(n, 3))
    return torch.from_numpy(x), torch.from_numpy(np.sin(x[:, 0]) + 0.3 * rng.normal(size=n))


def noise(n, *, seed):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rng.normal(size=n))


@pytest.mark.parametrize("n", [5, 10, 20, 50])
def test_intervals_hold_their_share_of_targets_over_families_of_functions(n):
    inside = []
    for family in (linear, waves, noise):
        for seed in range(15):
            x, y = family(n + 100, seed=seed)
            low, high = blend(3).adapt(Support(x[:n], y[:n, None])).interval(x[n:], 0.9)
            inside.append(float(((low[:, 0] <= y[n:]) & (y[n:] <= high[:, 0])).double().mean()))
    assert 0.84 <= np.mean(inside) <= 0.96


def test_a_line_is_learned_from_few_examples():
    x, y = linear(120, noise=0.1)
    predicted = blend(3).adapt(Support(x[:20], y[:20, None]))(x[20:])[:, 0]
    assert float((predicted - y[20:]).square().mean() / y[20:].var()) < 0.02


def test_weights_sum_to_one_and_name_the_mean():
    x, y = linear(10)
    weights = blend(3).adapt(Support(x, y[:, None])).weights()
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    assert ("", "mean") in weights


def test_equal_targets_and_few_examples_do_no_harm():
    x = linear(6)[0]
    equal = blend(3).adapt(Support(x, torch.full((6, 1), 0.1).double()))
    torch.testing.assert_close(equal(x), torch.full((6, 1), 0.1).double())
    for n in (1, 2):
        few = blend(3).adapt(Support(x[:n], x[:n, :1]))
        assert bool(few(x).isfinite().all())
        with pytest.raises(DataError, match="at least 3 examples"):
            few.interval(x, 0.9)


def test_labels_are_refused():
    with pytest.raises(DataError, match="expected regression targets"):
        blend(2).adapt(Support(torch.zeros(2, 2), torch.arange(2), 2))


def test_a_gate_that_is_read_is_the_one_written(tmp_path):
    gate = shipped_regression_gate()
    write_regression_gate(tmp_path, gate, "a copy")
    x, y = linear(10)
    again = blend(3, read_regression_gate(tmp_path)).adapt(Support(x, y[:, None]))
    torch.testing.assert_close(again(x), blend(3).adapt(Support(x, y[:, None]))(x))
    (tmp_path / "gate.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match="holds no gate"):
        read_regression_gate(tmp_path)
