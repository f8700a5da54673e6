import math

import pytest
import torch

from quickstudy.learners.transfer.heads import FoldedView, Folds, LinearDiscriminant, NaiveBayes


def task(n, d, n_way=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    y = torch.arange(n) % n_way
    x[:, :2] += y[:, None]
    queries = torch.randn(5, d, dtype=torch.float64, generator=generator)
    view = FoldedView(x, Folds(y, n_way))
    z, q = view.prepared("standardised")[-1], view.queries(queries).prepared("standardised")[0]
    return view, view.queries(queries), z.double(), y, q.double()


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 12), (12, 13), (9, 40)])
@pytest.mark.parametrize("shrinkage", [1.0, 0.1])
def test_the_linear_discriminant_is_that_of_the_inverse_covariance(n, d, shrinkage):
    view, queries, z, y, q = task(n, d)
    means = torch.stack([z[y == c].mean(0) for c in range(3)])
    residuals = z - means[y]
    covariance = (residuals.T @ residuals + shrinkage * torch.eye(d, dtype=torch.float64)) / (
        n - 3 + d * shrinkage
    )
    precision = torch.linalg.inv(covariance)
    expected = torch.stack([q @ precision @ m - m @ precision @ m / 2 for m in means], dim=1)
    found = LinearDiscriminant(shrinkage).fit(view)(queries)[0, 0]
    torch.testing.assert_close(found.double(), expected / d**0.5, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (7, 12)])
def test_naive_bayes_is_that_of_each_feature_by_itself(n, d):
    view, queries, z, y, q = task(n, d)
    found = NaiveBayes().fit(view)(queries)[0, 0]
    means = [z[y == c].mean(0) for c in range(3)]
    counts = [int((y == c).sum()) for c in range(3)]
    for i in range(5):
        for c in range(3):
            log_likelihood = 0.0
            for j in range(d):
                squares = [float((z[k, j] - means[y[k]][j]) ** 2) for k in range(n)]
                pooled = (sum(squares) + 2 / d) / (n - 3 + 2)
                within = sum(squares[k] for k in range(n) if y[k] == c)
                variance = (within + 4 * pooled) / (counts[c] + 4)
                deviation = float(q[i, j] - means[c][j])
                log_likelihood -= (deviation**2 / variance + math.log(variance)) / 2
            expected = log_likelihood / d**0.5 + math.log(counts[c] / n)
            assert found[i, c] == pytest.approx(expected, abs=2e-3)
