import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from quickstudy.learners.transfer.heads import FoldedView, Folds, KernelHead, kernels


@pytest.fixture(autouse=True)
def converged(monkeypatch):
    """Let logistic regression take its time."""
    monkeypatch.setattr(kernels, "MAX_STEPS", 1000)
    monkeypatch.setattr(kernels, "TOLERANCE", 1e-5)


BALANCED, UNBALANCED = (8, 8, 8), (3, 20, 9)


def task(counts, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = torch.randn(len(counts), d, dtype=torch.float64, generator=generator)
    x = centres[y] + torch.randn(len(y), d, dtype=torch.float64, generator=generator)
    queries = torch.randn(20, d, dtype=torch.float64, generator=generator)
    view = FoldedView(x, Folds(y, len(counts)))
    return view, view.queries(queries)


def kernel_values(a, b, kernel, width):
    between = torch.stack([(one - b).square().sum(1) for one in a])
    if kernel == "linear":
        return a @ b.T + 1
    return torch.exp(-width * (between if kernel == "rbf" else between.sqrt())) + 0.5


@pytest.mark.parametrize(
    ("kernel", "width", "d"),
    [
        ("linear", 1.0, 4),
        ("linear", 1.0, 60),
        ("rbf", 1.0, 4),
        ("rbf", 0.3, 60),
        ("laplace", 0.5, 4),
    ],
)
@pytest.mark.parametrize("counts", [BALANCED, UNBALANCED])
def test_ridge_is_the_closed_form_in_every_fold(kernel, width, d, counts):
    view, queries = task(counts, d)
    strengths = (0.1, 1.0)
    scores = KernelHead("standardised", kernel, width, ridge=strengths).fit(view)
    of_support, of_queries = scores(view).double(), scores(queries).double()
    targets = F.one_hot(view.folds.y).double()
    for f, trains in enumerate(view.folds.trains):
        z = view.prepared("standardised")[f].double()
        mean = targets[trains].mean(0)
        gram = kernel_values(z[trains], z[trains], kernel, width)
        for k, strength in enumerate(strengths):
            dual = torch.linalg.solve(
                gram + strength * torch.eye(len(gram)).double(), targets[trains] - mean
            )
            expected = kernel_values(z, z[trains], kernel, width) @ dual + mean
            torch.testing.assert_close(of_support[k, f], expected, atol=2e-4, rtol=1e-3)
            if f == len(view.folds) - 1:
                q = queries.prepared("standardised")[0].double()
                expected = kernel_values(q, z, kernel, width) @ dual + mean
                torch.testing.assert_close(of_queries[k, 0], expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("preparation", ["standardised", "direction"])
@pytest.mark.parametrize("d", [4, 60])
@pytest.mark.parametrize("counts", [BALANCED, UNBALANCED, (1, 1, 1, 1, 1), (1, 12, 30)])
def test_logistic_regression_is_scikit_learns(preparation, d, counts):
    view, queries = task(counts, d)
    strengths = (1.0, 0.01, 0.1)
    scores = KernelHead(preparation, logistic=strengths).fit(view)(queries)[:, 0]
    z, q = view.prepared(preparation)[-1].double(), queries.prepared(preparation)[0].double()
    for strength, found in zip(strengths, scores, strict=True):
        peer = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-8, max_iter=10_000)
        peer.fit(F.pad(z, (0, 1), value=1.0), view.folds.y)
        expected = peer.predict_proba(F.pad(q, (0, 1), value=1.0))
        np.testing.assert_allclose(found.double().softmax(1), expected, atol=1e-2)


@pytest.mark.parametrize("counts", [BALANCED, UNBALANCED])
def test_logistic_regression_on_a_kernel_is_scikit_learns_on_its_root(counts):
    view, queries = task(counts, 4)
    found = KernelHead("standardised", "rbf", logistic=(0.1,)).fit(view)(queries)[0, 0]
    z = view.prepared("standardised")[-1].double()
    q = queries.prepared("standardised")[0].double()
    root = torch.linalg.cholesky(kernel_values(z, z, "rbf", 1.0) + 1e-10 * torch.eye(len(z)))
    new = torch.linalg.solve_triangular(root, kernel_values(z, q, "rbf", 1.0), upper=False).T
    peer = LogisticRegression(C=10, fit_intercept=False, tol=1e-8, max_iter=10_000)
    expected = peer.fit(root, view.folds.y).predict_proba(new)
    np.testing.assert_allclose(found.double().softmax(1), expected, atol=1e-2)


def test_logistic_regression_ends_close_to_where_it_converges(monkeypatch):
    monkeypatch.undo()
    for counts in (BALANCED, UNBALANCED):
        view, queries = task(counts, 4)
        scores = KernelHead("standardised", logistic=(0.01, 0.1, 1.0)).fit(view)(queries)[:, 0]
        z = F.pad(view.prepared("standardised")[-1].double(), (0, 1), value=1.0)
        q = F.pad(queries.prepared("standardised")[0].double(), (0, 1), value=1.0)
        for strength, found in zip((0.01, 0.1, 1.0), scores, strict=True):
            peer = LogisticRegression(C=1 / strength, fit_intercept=False, max_iter=10_000)
            expected = torch.from_numpy(peer.fit(z, view.folds.y).predict_proba(q))
            assert (found.double().softmax(1) - expected).abs().mean() < 0.05
            assert (found.argmax(1) == expected.argmax(1)).double().mean() > 0.85


@pytest.mark.parametrize("d", [20, 200])
def test_logistic_regression_of_many_classes_is_near_its_minimum(monkeypatch, d):
    monkeypatch.undo()
    view, queries = task((3,) * 60, d)
    strength = 0.01
    scores = KernelHead("direction", logistic=(strength, 0.1, 1.0)).fit(view)(queries)[0, 0]
    z = F.pad(view.prepared("direction")[-1].double(), (0, 1), value=1.0)
    q = F.pad(queries.prepared("direction")[0].double(), (0, 1), value=1.0)
    peer = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-8, max_iter=10_000)
    expected = torch.from_numpy(peer.fit(z, view.folds.y).predict_proba(q))
    assert (scores.double().softmax(1) - expected).abs().sum(1).mean() < 0.04


def test_features_and_examples_solve_the_same_regression():
    """With fewer features than examples there is a weight a feature, and else one an example."""
    view, queries = task(BALANCED, 4)
    zeros = torch.zeros(24, 60, dtype=torch.float64)
    wide = FoldedView(torch.cat([view.x, zeros], dim=1), view.folds)
    wide_queries = wide.queries(torch.cat([queries.x, zeros[:20]], dim=1))
    head = KernelHead("direction", ridge=(0.1,), logistic=(0.1,))
    torch.testing.assert_close(
        head.fit(wide)(wide_queries), head.fit(view)(queries), atol=2e-2, rtol=1e-2
    )


def test_names_say_kernel_strength_and_preparation():
    head = KernelHead("standardised", "rbf", ridge=(0.1, 1.0), logistic=(0.01,))
    assert head.names == (
        "rbf ridge 0.1, standardised",
        "rbf ridge 1, standardised",
        "rbf logistic 0.01, standardised",
    )
    assert KernelHead("direction", ridge=(0.1,)).names == ("ridge 0.1, direction",)
