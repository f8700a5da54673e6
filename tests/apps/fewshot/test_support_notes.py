"""What is said of a support set without being asked: planted faults, and nothing of clean ones."""

import warnings

import numpy as np
import pytest

from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot.adapt import adapt


def blobs(seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(["ant", "bee", "cat"], 5)
    centres = 3 * rng.normal(size=(3, 10))
    return centres[np.arange(15) // 5] + 0.3 * rng.normal(size=(15, 10)), y


def warned(X, y, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FewShotClassifier(**options).fit(X, y)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_label_is_named_and_a_clean_set_is_not(seed):
    X, y = blobs(seed)
    assert warned(X, y) == []
    y[7] = "cat"
    (message,) = warned(X, y)
    assert "Example 8 is labelled cat and looks like bee" in message
    assert warned(X, y, check=False) == []


def test_a_copy_in_another_class_is_named():
    X, y = blobs()
    X[12] = X[1]
    assert any("Examples 2 and 13 are almost the same in two classes" in m for m in warned(X, y))


def test_adapt_notes_what_looks_wrong_in_a_table(tmp_path):
    X, y = blobs()
    y[7] = "cat"
    head = ",".join([*(f"x{i}" for i in range(X.shape[1])), "label"])

    def write(name, rows, labels):
        lines = [
            ",".join(f"{v:.6f}" for v in row) + f",{label}"
            for row, label in zip(rows, labels, strict=True)
        ]
        (tmp_path / name).write_text("\n".join([head, *lines]))
        return tmp_path / name

    found = adapt(write("support.csv", X, y), write("query.csv", X[:3], y[:3]))
    assert any("Example 8 is labelled cat and looks like bee" in note for note in found.notes)
