import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import KernelCenterer

from quickstudy.diagnostics import support
from quickstudy.diagnostics.finding import Skipped
from quickstudy.diagnostics.support import (
    copies,
    examine_support,
    gaussian_kernel,
    left_out_scores,
    mislabelled,
    outlier,
    two_in_one_class,
    unit_vectors,
)


def blobs(spread=0.4, ways=5, shots=5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(ways), shots)
    return np.eye(8)[y] + spread * rng.normal(size=(len(y), 8)) / 8**0.5, y


def test_scores_left_out_are_those_of_a_ridge_regression_fitted_without_the_example(monkeypatch):
    monkeypatch.setattr(support, "RIDGES", (0.3,))
    x, y = blobs(spread=2.0)
    u, n, c = unit_vectors(x), len(y), 5
    kernel = gaussian_kernel(u)
    centred = KernelCenterer().fit_transform(kernel)
    features = np.linalg.cholesky(kernel + 1e-12 * np.eye(n))  # with that kernel
    expected = []
    for i in range(n):
        left = np.arange(n) != i
        model = Ridge(alpha=0.3 * np.trace(centred) / n).fit(features[left], np.eye(c)[y[left]])
        expected.append(model.predict(features[i : i + 1])[0])
    np.testing.assert_allclose(left_out_scores(u, y), expected, atol=1e-6)


def test_labels_of_noise_are_not_told_by_what_the_others_lack():
    rng, right = np.random.default_rng(0), 0
    y = np.repeat(np.arange(5), 5)
    for _ in range(40):
        right += int(
            (left_out_scores(unit_vectors(rng.normal(size=(25, 8))), y).argmax(1) == y).sum()
        )
    assert right / 1000 < 0.25


def test_a_wrong_label_is_found_with_what_it_looks_like():
    for seed in range(5):
        x, y = blobs(seed=seed)
        assert not mislabelled(unit_vectors(x), y).is_warning
        y[7] = 4
        found = mislabelled(unit_vectors(x), y, list("abcde"))
        assert found.examples == (7,)
        assert found.details == {"looks_like": "b", "label": "e"}


def test_where_classes_overlap_no_label_is_called_wrong():
    rng = np.random.default_rng(0)
    alarms = [
        mislabelled(unit_vectors(rng.normal(size=(25, 8))), np.repeat(np.arange(5), 5)).is_warning
        for _ in range(20)
    ]
    assert not any(alarms)


def test_a_copy_in_another_class_is_found():
    x, y = blobs()
    assert not copies(unit_vectors(x), y).is_warning
    x[20] = x[3] + 1e-3
    assert copies(unit_vectors(x), y).examples == (3, 20)


@pytest.mark.parametrize("shots", [1, 2])
def test_with_one_or_two_examples_a_class_the_measure_is_left_out(shots):
    x, y = blobs(shots=shots)
    assert isinstance(mislabelled(unit_vectors(x), y), Skipped)


def test_short_vectors_are_not_compared_by_their_directions():
    x, y = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]]), np.repeat([0, 1], 3)
    assert all(isinstance(found, Skipped) for found in examine_support(x, y))


def test_an_example_unlike_all_others_is_found_and_one_of_a_class_is_not():
    for seed in range(5):
        x, _ = blobs(seed=seed)
        assert not outlier(x).is_warning
        x[3] = 3 * np.random.default_rng(seed).normal(size=8)
        assert outlier(x).examples == (3,)
    assert isinstance(outlier(x[:7]), Skipped)


def test_numbers_of_another_unit_hide_no_outlier():
    x, _ = blobs()
    x[:, 0] = 1000 * np.random.default_rng(0).normal(size=25)
    x[3, 5] = 4
    assert outlier(x, standardise=True).examples == (3,)
    assert outlier(x).examples != (3,)


def test_a_class_that_is_two_is_found_with_one_of_its_groups():
    for seed in range(5):
        x, y = blobs(seed=seed)
        assert not two_in_one_class(unit_vectors(x), y).is_warning
        x[5:7] += np.eye(8)[7] - np.eye(8)[1]
        found = two_in_one_class(unit_vectors(x), y, list("abcde"))
        assert found.examples == (5, 6)
        assert found.details == {"class": "b"}
        assert "b falls into two groups: examples 6, 7, and the rest" in found.verdict


def test_where_classes_overlap_or_are_few_none_is_called_two():
    x, y = np.random.default_rng(0).normal(size=(25, 8)), np.repeat(np.arange(5), 5)
    found = two_in_one_class(unit_vectors(x), y)
    assert not found.is_warning
    assert "overlap too much" in found.verdict
    assert isinstance(two_in_one_class(unit_vectors(x[:10]), y[:10]), Skipped)
