import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from quickstudy.errors import DataError
from quickstudy.learners import GaussianClasses, LeaveOneOutRidge
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


@pytest.mark.parametrize(("n", "d"), [(15, 4), (6, 20)])
def test_ridge_is_that_of_least_error_in_leaving_each_example_out(n, d):
    x = numbers(n, d)
    y = torch.stack([x[:, 0] + 0.3 * numbers(n, 1)[:, 0], numbers(n, 1, seed=2)[:, 0]], 1)
    asked = numbers(5, d, seed=3)
    found = LeaveOneOutRidge().adapt(Support(x, y))(asked)
    z, q = (((t - x.mean(0)) / x.std(0, correction=0)).numpy() for t in (x, asked))
    unit = np.square(z).sum() / min(n, d)
    for k in range(2):
        target = y[:, k].numpy()
        peers = [Ridge(float(s) * unit) for s in STRENGTHS]
        errors = [
            np.square(cross_val_predict(peer, z, target, cv=LeaveOneOut()) - target).sum()
            for peer in peers
        ]
        best = peers[int(np.argmin(errors))].fit(z, target)
        np.testing.assert_allclose(found[:, k], best.predict(q), rtol=1e-6, atol=1e-9)


def test_constant_features_and_a_single_example_do_no_harm():
    x = torch.cat([numbers(6, 1), torch.full((6, 1), 0.1, dtype=torch.float64)], 1)
    y = torch.arange(6) % 2
    assert bool(GaussianClasses().adapt(Support(x, y, 2))(x).isfinite().all())
    one = LeaveOneOutRidge().adapt(Support(x[:1], torch.tensor([[3.0]]).double()))
    torch.testing.assert_close(one(x), torch.full((6, 1), 3.0, dtype=torch.float64))


def test_tasks_that_do_not_fit_are_refused():
    x = numbers(2, 2)
    with pytest.raises(DataError, match="got regression targets"):
        GaussianClasses().adapt(Support(x, x))
    with pytest.raises(DataError, match="expected regression targets"):
        LeaveOneOutRidge().adapt(Support(x, torch.arange(2), 2))
