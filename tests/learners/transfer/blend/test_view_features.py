import math

import pytest
import torch

from quickstudy.learners.transfer.blend.view_features import VIEW_FEATURES, describe_view


def features(x):
    return dict(zip(VIEW_FEATURES, describe_view(x), strict=True))


def normal(n, d):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_integers_and_zeros_are_counted():
    of_counts = features(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    assert (of_counts["integers"], of_counts["zeros"]) == (1.0, 0.5)
    assert features(normal(50, 4))["integers"] == 0


def test_dimensions_are_few_where_columns_repeat():
    independent = normal(200, 5)
    assert features(independent)["effective dimensions"] > 0.9
    repeated = independent[:, :1].expand(200, 5)
    assert features(repeated)["effective dimensions"] == pytest.approx(0.2, abs=1e-6)


def test_neighbouring_columns_that_agree_are_smooth():
    walks = normal(50, 40).cumsum(1)
    assert features(walks)["smoothness"] > 0.7 > abs(features(normal(50, 40))["smoothness"]) + 0.5


def test_scales_that_differ_are_seen_and_a_common_one_is_not():
    x = normal(50, 4)
    assert features(x * 1e5)["spread of scales"] == pytest.approx(features(x)["spread of scales"])
    assert features(x * torch.tensor([1, 1e2, 1e4, 1e6]))["spread of scales"] > 3


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(5, 3),
        torch.full((5, 1), 0.1),
        torch.tensor([[1.0, 2.0]]),
        normal(2, 1),
        normal(3, 2000),
        normal(9, 4) * 1e30,
        normal(9, 4) * 1e-12,
        normal(9, 4) + 1e9,
    ],
)
def test_features_are_finite(x):
    assert all(map(math.isfinite, describe_view(x)))
