import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_diabetes, load_linnerud, make_friedman1
from sklearn.linear_model import Ridge

from quickstudy.errors import DataError
from quickstudy.learners import BayesianRidge, GaussianClasses
from quickstudy.learners.transfer.closed_form import STRENGTHS
from quickstudy.tasks import Support
from quickstudy.testing import LearnerContract


class TestGaussianClasses(LearnerContract):
    steps = 0

    def make(self, n_way):
        return GaussianClasses()


def numbers(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d"), [(12, 3), (6, 20)])
def test_gaussian_logits_are_distances_under_the_posterior_covariance(n, d):
    y = torch.arange(n) % 3
    x, asked = numbers(n, d) + y[:, None], numbers(5, d, seed=1)
    logits = GaussianClasses().adapt(Support(x, y, 3))(asked)
    z, q = ((t - x.mean(0)) / x.std(0, correction=0) for t in (x, asked))
    means = torch.stack([z[y == c].mean(0) for c in range(3)])
    rest = z - means[y]
    covariance = (rest.T @ rest + d * torch.eye(d)) / (n - 3 + d)
    gaps = q[:, None] - means
    squares = torch.einsum("qcd,de,qce->qc", gaps, covariance.inverse(), gaps)
    torch.testing.assert_close(logits, -squares / 2 / d**0.5)


def average_of_ridges(z, y, q, unit):
    """Predictions of scikit-learn's ridges, averaged by the marginal likelihood of what is left of
    y when its mean is projected out, under the prior."""
    n = len(y)
    basis = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]
    predictions, evidence = [np.full(len(q), y.mean())], [math.log(0.5)]
    evidence[0] -= (n - 1) / 2 * math.log(np.square(basis.T @ y).sum())
    for strength in STRENGTHS.numpy() * unit:
        covariance = np.eye(n - 1) + basis.T @ z @ z.T @ basis / strength
        t = stats.multivariate_normal(np.zeros(n - 1), covariance)
        square = -2 * (t.logpdf(basis.T @ y) - t.logpdf(np.zeros(n - 1)))
        volume = np.linalg.slogdet(covariance)[1]
        evidence.append(math.log(0.5 / 29) - volume / 2 - (n - 1) / 2 * math.log(square))
        predictions.append(Ridge(strength).fit(z, y).predict(q))
    weights = np.exp(np.array(evidence) - max(evidence))
    return weights @ predictions / weights.sum()


@pytest.mark.parametrize(("n", "d"), [(15, 4), (6, 20)])
def test_regression_is_the_average_of_ridges_by_their_evidence(n, d):
    x = numbers(n, d)
    y = torch.stack([x[:, 0] + 0.3 * numbers(n, 1)[:, 0], numbers(n, 1, seed=2)[:, 0]], 1)
    found = BayesianRidge().adapt(Support(x, y))(x)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    for k in range(2):
        expected = average_of_ridges(z, y[:, k].numpy(), z, np.square(z).sum() / min(n, d))
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-6, atol=1e-9)


def reach_by_refitting(x, y):
    """How many ranges beyond the support set features are followed, by leaving each example out."""
    n = len(y)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    unit = np.square(z).sum() / min(z.shape)
    errors = []
    for i in range(n):
        rest = np.arange(n) != i
        errors.append(average_of_ridges(z[rest], y[rest], z[i : i + 1], unit)[0] - y[i])
    null = sum((y[i] - y[np.arange(n) != i].mean()) ** 2 for i in range(n))
    ratio = null / np.square(errors).sum() - 1
    return 0.5 * max(ratio, 0) / stats.f(n - 2, n - 2).ppf(0.95)


def test_features_are_followed_as_far_as_leaving_out_supports_it():
    x = numbers(12, 2)
    y = x[:, :1] + 0.3 * numbers(12, 1, seed=1)
    reach = reach_by_refitting(x, y[:, 0].numpy())
    assert 0.1 < reach < 5
    predict = BayesianRidge().adapt(Support(x, y))
    low, high = x.amin(0), x.amax(0)
    edge = high + reach * (high - low)
    assert not torch.allclose(predict((high + 0.5 * (edge - high))[None]), predict(edge[None]))
    torch.testing.assert_close(predict((edge + 1)[None]), predict(edge[None]))


def test_a_line_goes_on_and_noise_does_not():
    x = torch.arange(6.0, dtype=torch.float64)[:, None]
    far = torch.tensor([[20.0]], dtype=torch.float64)
    line = BayesianRidge().adapt(Support(x, 2 * x + 1))(far)
    assert line.item() == pytest.approx(41, rel=1e-3)
    noise = torch.tensor([[1.0], [-1.0], [-1.0], [1.0], [1.0], [-1.0]]).double()
    assert BayesianRidge().adapt(Support(x, noise))(far).item() == pytest.approx(0, abs=0.2)


def sparse_columns(rng, n):
    x = (rng.random((n, 20)) < 0.1) * rng.exponential(size=(n, 20))
    return x, x @ rng.normal(size=20) + 0.2 * rng.normal(size=n)


def heavy_tails(rng, n):
    x = rng.standard_t(1.5, size=(n, 4))
    return x, np.tanh(x[:, 0]) + 0.3 * rng.normal(size=n)


def sine(rng, n):
    x = rng.uniform(-5, 5, size=(n, 1))
    return x, rng.uniform(0.1, 5) * np.sin(x[:, 0] + rng.uniform(0, np.pi))


def noise(rng, n):
    return rng.normal(size=(n, 6)), rng.normal(size=n)


def many_columns_of_noise(rng, n):
    return rng.normal(size=(n, 200)), rng.normal(size=n)


def steps(rng, n):
    x = rng.uniform(size=(n, 3))
    return x, np.floor(4 * x[:, 0]) % 2 + np.floor(3 * x[:, 1])


def friedman(rng, n):
    return make_friedman1(n, noise=1.0, random_state=int(rng.integers(2**31)))


def diabetes(rng, n):
    x, y = load_diabetes(return_X_y=True)
    rows = rng.permutation(len(y))[:n]
    return x[rows], y[rows]


def exercises(rng, n):
    x, y = load_linnerud(return_X_y=True)
    rows = rng.permutation(len(y))[:n]
    return x[rows], y[rows, 0]


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize(
    "family",
    [
        sparse_columns,
        heavy_tails,
        sine,
        noise,
        many_columns_of_noise,
        steps,
        friedman,
        diabetes,
        exercises,
    ],
)
def test_few_examples_are_hardly_ever_worse_than_their_mean(family, n):
    ratios = []
    for seed in range(30):
        x, y = map(torch.tensor, family(np.random.default_rng(seed), n + 200))
        n = min(n, len(y) - 5)
        predict = BayesianRidge().adapt(Support(x[:n], y[:n, None]))
        error = (predict(x[n:])[:, 0] - y[n:]).square().mean().sqrt()
        ratios.append(float(error / (y[n:] - y[:n].mean()).square().mean().sqrt()))
    assert np.mean(ratios) < 1.05


def test_constant_features_and_a_single_example_do_no_harm():
    x = torch.cat([numbers(6, 1), torch.full((6, 1), 0.1, dtype=torch.float64)], 1)
    y = torch.arange(6) % 2
    assert bool(GaussianClasses().adapt(Support(x, y, 2))(x).isfinite().all())
    one = BayesianRidge().adapt(Support(x[:1], torch.tensor([[3.0]]).double()))
    torch.testing.assert_close(one(x), torch.full((6, 1), 3.0, dtype=torch.float64))


def test_tasks_that_do_not_fit_are_refused():
    x = numbers(2, 2)
    with pytest.raises(DataError, match="got regression targets"):
        GaussianClasses().adapt(Support(x, x))
    with pytest.raises(DataError, match="expected regression targets"):
        BayesianRidge().adapt(Support(x, torch.arange(2), 2))
