"""Classes of functions: their values, their scale, and how inputs are distributed."""

import pytest
import torch
from scipy import stats
from sklearn.tree import DecisionTreeRegressor

from quickstudy.errors import UsageError
from quickstudy.tasks.functions import (
    DecisionTreeTasks,
    LinearTasks,
    ReLUNetworkTasks,
    SparseLinearTasks,
)

CLASSES = [LinearTasks, SparseLinearTasks, DecisionTreeTasks, ReLUNetworkTasks]


def drawn(kind, n_shot=30, n_query=10, number=0, **options):
    """Inputs (n, t, d) and targets (n, t) of a block, in float64."""
    x, y = kind(n_shot=n_shot, n_query=n_query, **options).draw_block(number)
    return x.double(), y.double()[..., 0]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_task_depends_on_seed_and_index_alone(kind):
    tasks, again = (kind(n_shot=4, n_query=2, seed=3) for _ in range(2))
    first = [tasks[i] for i in (0, 600, 5)]
    for i, episode in zip((5, 600), (first[2], first[1]), strict=True):
        assert torch.equal(again[i].support.x, episode.support.x)
        assert torch.equal(again[i].query.y, episode.query.y)
    assert not torch.equal(kind(n_shot=4, n_query=2, seed=4)[0].query.y, first[0].query.y)
    assert not torch.equal(first[0].support.y, first[2].support.y)


@pytest.mark.parametrize("kind", CLASSES)
def test_targets_have_mean_0_and_variance_1(kind):
    _, y = drawn(kind)
    of_tasks = y.square().mean(1)
    half = 4 * float(of_tasks.std()) / len(y) ** 0.5
    assert abs(float(of_tasks.mean()) - 1) < half
    assert abs(float(y.mean())) < half


def test_linear_functions_are_linear_and_their_weights_standard_normal():
    x, y = drawn(LinearTasks)
    weights = torch.linalg.lstsq(x[:, :30], y[:, :30, None]).solution
    torch.testing.assert_close((x @ weights)[..., 0], y, atol=1e-4, rtol=1e-4)
    found = weights.flatten() * 20**0.5
    assert stats.kstest(found.numpy(), "norm").pvalue > 1e-3


def test_sparse_functions_have_three_weights_of_any_active_inputs():
    x, y = drawn(SparseLinearTasks, active=12)
    weights = torch.linalg.lstsq(x[:, :30, :12], y[:, :30, None]).solution[..., 0]
    used = weights.abs() > 1e-4
    assert (used.sum(1) == 3).all()
    assert used.any(0).all()


def test_trees_are_of_depth_4_and_ask_for_signs(monkeypatch):
    monkeypatch.setattr(DecisionTreeTasks, "BLOCK", 5)
    x, y = drawn(DecisionTreeTasks, n_shot=2000, number=1)
    for xs, ys in zip(x, y, strict=True):
        signs = (xs > 0).numpy()
        assert len(ys.unique()) <= 16
        tree = DecisionTreeRegressor(random_state=0).fit(signs[:1500], ys[:1500])
        assert tree.score(signs[1500:], ys[1500:]) > 0.9


def test_relu_networks_are_positively_homogeneous_and_not_linear():
    near, far = (drawn(ReLUNetworkTasks, input_scale=scale)[1] for scale in (1.0, 3.0))
    torch.testing.assert_close(far, 3 * near, atol=1e-4, rtol=1e-4)
    x, y = drawn(ReLUNetworkTasks)
    weights = torch.linalg.lstsq(x, y[..., None]).solution
    assert (((x @ weights)[..., 0] - y).square().mean(1) > 0.01).all()


def test_inputs_that_are_not_active_are_zero():
    x, _ = drawn(LinearTasks, active=7)
    assert (x[..., 7:] == 0).all()
    assert (x[..., :7] != 0).all()


def test_noise_is_of_the_scale_of_unscaled_targets_and_of_queries_too():
    x, y = drawn(LinearTasks, n_shot=200, n_query=1, noise=2.0)
    weights = torch.linalg.lstsq(x, y[..., None]).solution
    residuals = (x @ weights)[..., 0] - y
    variance = residuals.square().sum() / (201 - 20) / len(y) * 20
    assert abs(float(variance) - 4) < 0.1
    clean = drawn(LinearTasks, n_shot=200, n_query=1)[1]
    assert (clean[:, -1] != y[:, -1]).all()


def test_support_of_an_orthant_and_queries_of_any():
    x, _ = drawn(LinearTasks, inputs="orthant")
    support = x[:, :30].sign()
    assert (support == support[:, :1]).all()
    assert 0.45 < float((x[:, 30:].sign() == support[:, :1]).double().mean()) < 0.55
    assert len(support[:, 0].unique(dim=0)) > 400


@pytest.mark.parametrize(
    ("inputs", "eigenvalues"),
    [
        ("skewed", 1 / torch.arange(1, 21).double() ** 2),
        ("subspace", (torch.arange(20) < 10).double()),
    ],
)
def test_covariances_have_the_eigenvalues_of_the_paper(inputs, eigenvalues, monkeypatch):
    monkeypatch.setattr(LinearTasks, "BLOCK", 8)
    x, _ = drawn(LinearTasks, n_shot=4000, n_query=1, inputs=inputs)
    found = torch.linalg.eigvalsh(x.mT @ x / x.shape[1]).flip(1)
    expected = 20 * eigenvalues / eigenvalues.sum()
    torch.testing.assert_close(found, expected.expand(8, -1), rtol=0.2, atol=1e-4)


def test_factors_of_inputs_and_targets():
    x, y = drawn(LinearTasks)
    wide, high = drawn(LinearTasks, input_scale=2.0), drawn(LinearTasks, target_scale=2.0)
    assert torch.equal(wide[0], 2 * x)
    torch.testing.assert_close(high[1], 2 * y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active": 21}, "20 active inputs at most"),
        ({"active": 0}, "active to be a whole number of 1"),
        ({"inputs": "round"}, "inputs"),
        ({"noise": -1.0}, "noise"),
        ({"n_query": 0}, "n_query"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        LinearTasks(**{"n_shot": 5, "n_query": 1, **options})
