import math

import pytest
import torch

from quickstudy.learners.transfer.heads import (
    FoldedView,
    Folds,
    NearestCentroid,
    NearestNeighbours,
)


def numbers(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("how", ["raw", "direction", "standardised"])
def test_the_nearest_centroid_is_by_minus_the_squared_distance_to_the_mean(how):
    x, y, queries = numbers(11, 4), torch.arange(11) % 3, numbers(5, 4, seed=1)
    view = FoldedView(x, Folds(y, 3))
    found = NearestCentroid(how).fit(view)(view.queries(queries))[0, 0]
    support, query = (
        view.prepared(how)[-1].double(),
        view.queries(queries).prepared(how)[0].double(),
    )
    for i in range(5):
        for c in range(3):
            mean = support[y == c].sum(0) / (y == c).sum()
            assert found[i, c] == pytest.approx(-float((query[i] - mean).square().sum()), abs=1e-4)


def densities(support, y, queries, n_way):
    """The logarithm of each class's kernel density, one pair at a time."""
    n = len(support)
    nearest = [
        min(float((support[i] - support[j]).square().sum()) for j in range(n) if j != i)
        for i in range(n)
    ]
    scale = sum(nearest) / n
    return torch.tensor(
        [
            [
                math.log(
                    sum(
                        math.exp(-2 * float((q - support[i]).square().sum()) / scale)
                        for i in range(n)
                        if y[i] == c
                    )
                )
                for c in range(n_way)
            ]
            for q in queries
        ]
    )


@pytest.mark.parametrize("how", ["raw", "direction", "standardised"])
def test_nearest_neighbours_are_a_kernel_density_whose_width_is_their_distance(how):
    x, y, queries = numbers(11, 4), torch.arange(11) % 3, numbers(5, 4, seed=1)
    view = FoldedView(x, Folds(y, 3))
    found = NearestNeighbours(how).fit(view)(view.queries(queries))[0, 0]
    support, query = view.prepared(how)[-1].double(), view.queries(queries).prepared(how)[0]
    torch.testing.assert_close(
        found, densities(support, y, query.double(), 3).float(), atol=2e-3, rtol=1e-3
    )


def test_neighbours_of_large_numbers_are_compared_among_those_a_fold_trains_on():
    """Squared distances of a million are far above those of any usual scale."""
    x, y = 1e6 * numbers(12, 3), torch.arange(12) % 2
    view = FoldedView(x, Folds(y, 2))
    found = NearestNeighbours("raw").fit(view)(view)[0]
    trains = view.folds.trains[0]
    expected = densities(x[trains], y[trains], x[~trains], 2)
    torch.testing.assert_close(found[0, ~trains], expected.float(), atol=1e-2, rtol=1e-3)


def test_a_class_none_of_whose_examples_is_near_keeps_a_finite_score():
    x = torch.tensor([[0.0], [1e-3], [1e5], [1e5 + 1e-3]], dtype=torch.float64)
    view = FoldedView(x, Folds(torch.tensor([0, 0, 1, 1]), 2))
    found = NearestNeighbours("raw").fit(view)(view.queries(torch.zeros(1, 1).double()))[0, 0]
    assert found.isfinite().all()
    assert found.argmax() == 0
