import numpy as np
import pytest
from scipy import linalg, optimize, spatial

from quickstudy.diagnostics.mismatch import (
    dataset_distance,
    gaussian_distance,
    kernel_distance,
    mmd_test,
    proxy_a_distance,
)
from quickstudy.errors import DataError


def two_domains(shift, n=40, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d)) + shift


def test_proxy_a_distance_is_2_of_domains_told_apart_and_near_0_of_one_domain():
    assert proxy_a_distance(*two_domains(10)).value == 2.0
    same = proxy_a_distance(*two_domains(0))
    assert same.status == "fine"
    assert same.interval[0] <= 0.2


def test_mmd_is_the_mean_of_kernels_between_and_within_domains():
    x, y = two_domains(0.5, n=12)
    both = np.concatenate([x, y])
    median = np.median(spatial.distance.pdist(both, "sqeuclidean"))

    def kernel(a, b):
        d = ((a - b) ** 2).sum()
        return np.mean([np.exp(-d / (2 * f * median)) for f in (0.25, 1, 4)])

    n, within = len(x), 0.0
    for z in (x, y):
        within += np.mean([kernel(z[i], z[j]) for i in range(n) for j in range(n) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert mmd_test(x, y, permutations=10).value == pytest.approx(within - 2 * between)


def test_mmd_rejects_a_shift_and_about_5_in_100_of_no_shift():
    assert mmd_test(*two_domains(1)).status == "warning"
    rejected = [
        mmd_test(*two_domains(0, n=8, d=2, seed=s), permutations=39).is_warning for s in range(100)
    ]
    assert 1 <= sum(rejected) <= 14  # the 99.9 % interval of 100 draws at 5 %


def test_kernel_distance_is_that_of_the_cubic_kernel():
    x, y = two_domains(0.3, n=10)
    k = [(a @ b.T / 5 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    expected = sum((m.sum() - np.trace(m)) / 90 for m in k[:2]) - 2 * k[2].mean()
    assert kernel_distance(x, y).value == pytest.approx(expected)


def test_gaussian_distance_is_that_of_the_matrix_root():
    rng = np.random.default_rng(0)
    a, b = (m @ m.T for m in rng.normal(size=(2, 4, 4)))
    root = linalg.sqrtm(a)
    expected = np.trace(a + b - 2 * linalg.sqrtm(root @ b @ root).real)
    assert gaussian_distance(np.zeros(4), a, np.zeros(4), b) == pytest.approx(expected)


def test_data_set_distance_is_0_on_itself_and_symmetric():
    x, y = two_domains(1)
    one, other = np.arange(40) % 2, np.arange(40) % 4
    assert dataset_distance(x, one, x, one).value == pytest.approx(0, abs=1e-6)
    there, back = dataset_distance(x, one, y, other), dataset_distance(y, other, x, one)
    assert there.value == pytest.approx(back.value)
    assert there.value > 1


def test_data_set_distance_of_single_points_is_the_optimal_transport_by_linear_programming():
    x, y = two_domains(0.5, n=6, d=2)
    labels = np.arange(6)  # a class an example: its Gaussian is a point
    cost = 2 * spatial.distance.cdist(x, y, "sqeuclidean")
    equal = np.zeros((12, 36))
    for i in range(6):
        equal[i, 6 * i : 6 * i + 6] = 1
        equal[6 + i, i::6] = 1
    plan = optimize.linprog(cost.ravel(), A_eq=equal, b_eq=np.full(12, 1 / 6))
    value = dataset_distance(x, labels, y, labels).value
    assert value == pytest.approx(np.sqrt(plan.fun))


def test_too_few_examples_are_refused():
    with pytest.raises(DataError, match="expected 5 examples of each domain"):
        proxy_a_distance(np.eye(3), np.eye(9)[:, :3])
