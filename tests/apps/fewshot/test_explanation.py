import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from quickstudy import FewShotClassifier
from quickstudy.errors import UsageError


@pytest.fixture(scope="module")
def explanation():
    X, y = load_iris(return_X_y=True)
    return FewShotClassifier().fit(X[::10], y[::10]).explain()


def test_a_line_names_what_weighs_most_and_the_accuracy_expected(explanation):
    line = str(explanation)
    assert re.fullmatch(
        r"a blend of \d+ candidates \(.+ \d+%, .+ \d+%, .+ \d+%, \.\.\.\); "
        r"expected accuracy \d+% \(\d+% to \d+%\)",
        line,
    )
    assert line.startswith(f"a blend of {len(explanation.candidates)} candidates")
    assert explanation.candidates[0].head in line


def test_all_of_it_is_json(explanation):
    read = json.loads(json.dumps(explanation.as_dict()))
    assert read["n_examples"] == read["n_left_out"] == 15
    assert (read["n_classes"], read["kind"]) == (3, "numbers")
    assert read["beats_chance"] is True
    assert sum(one["weight"] for one in read["candidates"]) == pytest.approx(1, abs=1e-5)
    assert all(0 <= one["accuracy"] <= 1 for one in read["candidates"])
    assert 0 <= read["expected"]["low"] <= read["expected"]["mean"] <= read["expected"]["high"] <= 1


def test_a_notebook_shows_a_row_for_each_candidate(explanation):
    html = explanation._repr_html_()
    assert html.count("<tr") == len(explanation.candidates) + 1
    assert "correct of 15 left out" in html
    assert "Expected accuracy" in html


def test_with_an_example_a_class_nothing_was_left_out():
    explanation = FewShotClassifier().fit([[0.0], [1.0]], [0, 1]).explain()
    assert explanation.n_left_out == 0
    assert {one.accuracy for one in explanation.candidates} == {None}
    assert "expected accuracy" in str(explanation)
    assert "None" not in explanation._repr_html_()
    json.dumps(explanation.as_dict())


def test_little_more_than_guessing_is_expected_of_noise():
    expected = []
    for seed in range(5):
        X = np.random.default_rng(seed).normal(size=(60, 3))
        expected.append(FewShotClassifier().fit(X, np.arange(60) % 2).explain().expected)
    assert np.mean([one.mean for one in expected]) < 0.65
    assert np.mean([one.low for one in expected]) < 0.6
    assert {one.chance for one in expected} == {0.5}


def test_a_saved_classifier_explains_the_same(tmp_path):
    X, y = load_iris(return_X_y=True)
    classifier = FewShotClassifier().fit(X[::10], y[::10])
    classifier.save(tmp_path / "saved")
    assert FewShotClassifier.load(tmp_path / "saved").explain() == classifier.explain()


def test_a_learner_that_was_named_weighs_nothing():
    with pytest.raises(UsageError, match=r"the default learner to explain.*got ridge"):
        FewShotClassifier("ridge").fit([[0.0], [1.0]], [0, 1]).explain()
    described = FewShotClassifier().fit([], [], {"a": [0.0], "b": [1.0]})
    with pytest.raises(UsageError, match="leave out learner= and descriptions"):
        described.explain()
    with pytest.raises(NotFittedError):
        FewShotClassifier().explain()
