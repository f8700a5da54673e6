import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_ridge import KernelRidge

from quickstudy.learners import BayesianRidge
from quickstudy.learners.transfer.heads import (
    EvidenceRidge,
    GaussianProcess,
    KernelHead,
    Mean,
    NeighbourAverage,
    RegressionFolds,
    RegressionTrees,
    RegressionView,
)
from quickstudy.learners.transfer.heads.regression import (
    MARGIN,
    NOISE_RATIOS,
    ROUGH_WIDTHS,
    SMOOTH_WIDTHS,
)
from quickstudy.tasks import Support

HEADS = [
    Mean(),
    EvidenceRidge(),
    KernelHead("bounded", ridge=(0.1, 1.0)),
    KernelHead("relevant", "laplace", ridge=(0.1,)),
    GaussianProcess("bounded"),
    GaussianProcess("relevant"),
    NeighbourAverage("bounded", (0.5, 2.0)),
]


def task(n=15, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x[:, 0]) + 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)
    queries = torch.randn(6, d, generator=generator, dtype=torch.float64)
    return x, ((y - y.mean()) / y.std(correction=0)).float(), queries


def bounded(x, trains, queries):
    """Queries as a fold takes them that trains on some rows of x."""
    seen = x[trains]
    low, high = seen.amin(0), seen.amax(0)
    reach = MARGIN * (high - low)
    z = (queries.clamp(low - reach, high + reach) - seen.mean(0)) / seen.std(0, correction=0)
    return (z / x.shape[1] ** 0.5).numpy()


def each_fold(head, candidate=0):
    """What each fold trains on and predicts of all examples, and of queries for the whole."""
    x, y, queries = task()
    folds = RegressionFolds(y)
    view = RegressionView(x, folds)
    fitted = head.fit(view)
    predictions = fitted(view)[candidate, ..., 0]
    of_queries = fitted(view.queries(queries))[candidate, 0, :, 0]
    for trains, predicted in zip(folds.trains, predictions, strict=True):
        others = x if bool(trains.all()) else x[~trains]
        of_others = predicted if bool(trains.all()) else predicted[~trains]
        yield x, y, trains, others, of_others.numpy()
    yield x, y, folds.trains[-1], queries, of_queries.numpy()


def test_a_fold_of_the_mean_predicts_the_mean_of_its_own():
    for _, y, trains, _, predicted in each_fold(Mean()):
        np.testing.assert_allclose(predicted, float(y[trains].mean()), atol=1e-6)


def test_a_fold_of_bayesian_ridge_is_one_of_its_examples():
    for x, y, trains, queries, predicted in each_fold(EvidenceRidge()):
        alone = BayesianRidge().adapt(Support(x[trains], y[trains, None].double()))
        np.testing.assert_allclose(predicted, alone(queries)[:, 0], atol=1e-5)


@pytest.mark.parametrize("candidate", [0, 1])
def test_a_fold_of_kernel_ridge_is_scikit_learns(candidate):
    strengths = (0.1, 1.0)
    head = KernelHead("bounded", "rbf", 0.5, ridge=strengths)
    for x, y, trains, queries, predicted in each_fold(head, candidate):
        a, b = bounded(x, trains, x[trains]), bounded(x, trains, queries)
        targets = y[trains].numpy()
        peer = KernelRidge(alpha=strengths[candidate], kernel="precomputed")
        peer.fit(np.exp(-0.5 * cdist(a, a, "sqeuclidean")) + 0.5, targets - targets.mean())
        expected = peer.predict(np.exp(-0.5 * cdist(b, a, "sqeuclidean")) + 0.5) + targets.mean()
        np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_a_neighbour_average_weighs_by_the_kernel():
    for x, y, trains, queries, predicted in each_fold(NeighbourAverage("bounded", (0.5, 2.0)), 1):
        a, b = bounded(x, trains, x[trains]), bounded(x, trains, queries)
        between = cdist(a, a, "sqeuclidean")
        scale = (between + 1e9 * np.eye(len(a))).min(1).mean()
        kernel = np.exp(-2 * cdist(b, a, "sqeuclidean") / scale)
        expected = kernel @ y[trains].numpy() / kernel.sum(1)
        np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_a_gaussian_process_averages_by_its_evidence():
    for x, y, trains, queries, predicted in each_fold(GaussianProcess("bounded")):
        a, b = bounded(x, trains, x[trains]), bounded(x, trains, queries)
        targets = y[trains].double().numpy()
        centred = targets - targets.mean()
        evidences, means = [], []
        for width, power in [*((w, 2) for w in SMOOTH_WIDTHS), *((w, 1) for w in ROUGH_WIDTHS)]:
            for noise in NOISE_RATIOS:
                covariance = np.exp(-width * cdist(a, a) ** power) + noise * np.eye(len(a))
                solved = np.linalg.solve(covariance, centred)
                log_volume = np.linalg.slogdet(covariance)[1]
                evidences.append(-log_volume / 2 - (len(a) - 1) / 2 * np.log(centred @ solved))
                means.append(np.exp(-width * cdist(b, a) ** power) @ solved)
        weights = np.exp(np.array(evidences) - max(evidences))
        expected = weights / weights.sum() @ np.array(means) + targets.mean()
        np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_trees_of_many_examples_predict_as_scikit_learns_do():
    x, y, queries = task(80, 1)
    view = RegressionView(x, RegressionFolds(y))
    ours = RegressionTrees().fit(view)(view.queries(queries))[0, 0, :, 0]
    theirs = ExtraTreesRegressor(400, random_state=0).fit(x, y).predict(queries)
    assert float((ours - torch.from_numpy(theirs)).abs().mean()) < 0.1


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.names[0])
def test_what_a_fold_leaves_out_changes_nothing_for_it(head):
    x, y, _ = task()
    folds = RegressionFolds(y)
    before = head.fit(view := RegressionView(x, folds))(view)
    for fold in range(len(folds) - 1):
        out = ~folds.trains[fold]
        changed = RegressionFolds(y)
        changed.y = torch.where(out, 5.0, y)
        view = RegressionView(x, changed)
        after = head.fit(view)(view)
        torch.testing.assert_close(after[:, fold, out], before[:, fold, out], atol=1e-5, rtol=0)


def test_trees_predict_within_what_their_fold_has_seen():
    x, y, _ = task()
    folds = RegressionFolds(y)
    for fold in range(len(folds) - 1):
        out = ~folds.trains[fold]
        changed = RegressionFolds(y)
        changed.y = torch.where(out, 1000.0, y)
        view = RegressionView(x, changed)
        predicted = RegressionTrees().fit(view)(view)[0, fold, out]
        assert float(y.min()) <= float(predicted.min())
        assert float(predicted.max()) <= float(y.max())


def test_every_example_is_left_out_once_beside_distant_targets():
    folds = RegressionFolds(torch.arange(40.0).flip(0))
    assert (~folds.trains).sum(0).tolist() == [1] * 40
    assert bool(folds.trains[-1].all())
    for trains in folds.trains[:-1]:
        rows = (~trains).nonzero()[:, 0]
        assert int(rows.diff().min()) >= 10


def test_a_column_that_matters_is_the_relevant_one():
    x = task(60, 5)[0]
    view = RegressionView(x, RegressionFolds(x[:, 0].float()))
    assert bool((view.relevance.argmax(1) == 0).all())
    torch.testing.assert_close(view.relevance.sum(1), torch.ones(len(view.relevance)).double())
