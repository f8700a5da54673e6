"""Unlabelled examples of each kind: to learn from, as queries together, and to label next."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from drawings import draw_boxes
from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot.adapt import adapt
from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.image_files import list_images

X, y = load_digits(return_X_y=True)
SUPPORT = [int(np.flatnonzero(y == digit)[0]) for digit in range(10)]
POOL, REST = slice(100, 600), slice(900, 1797)


def letters(words):
    return np.array([[word.count(letter) for letter in "aeiou"] for word in words])


def pool_use(classifier):
    """What the explanation says of unlabelled examples."""
    unlabelled: Any = classifier.explain().unlabelled
    return unlabelled


@pytest.fixture(scope="module")
def without():
    return FewShotClassifier().fit(X[SUPPORT], y[SUPPORT])


@pytest.fixture(scope="module")
def refined():
    return FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=X[POOL])


def test_unlabelled_digits_help_and_the_explanation_says_how(without, refined):
    assert refined.score(X[REST], y[REST]) > without.score(X[REST], y[REST]) + 0.05
    explained = refined.explain()
    assert pool_use(refined).n_used == 500
    assert "500 unlabelled examples" in str(explained)
    assert explained.as_dict()["unlabelled"]["n_unlabelled"] == 500
    assert without.explain().unlabelled is None


def test_a_shifted_pool_is_left_out_and_said_so(without):
    moved = FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=X[POOL] * 3 + 20)
    assert (moved.predict_proba(X[REST]) == without.predict_proba(X[REST])).all()
    assert "500 unlabelled examples are left out" in str(moved.explain())


def test_it_is_saved_and_loaded_with_the_pool(refined, tmp_path):
    refined.save(tmp_path / "saved")
    again = FewShotClassifier.load(tmp_path / "saved")
    assert (again.predict_proba(X[REST]) == refined.predict_proba(X[REST])).all()


def test_partial_fit_keeps_the_pool_unless_another_is_given():
    classifier = FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=X[POOL])
    classifier.partial_fit(X[10:12], y[10:12])
    assert pool_use(classifier).n_unlabelled == 500
    classifier.partial_fit(X[12:13], y[12:13], unlabelled=X[100:120])
    assert pool_use(classifier).n_unlabelled == 20


def test_transductive_answers_use_the_queries_and_leave_the_classifier_as_it_was(without):
    before = without.predict_proba(X[REST])
    together = without.predict(X[REST], transductive=True)
    pooled = FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=X[REST])
    assert (together == pooled.predict(X[REST])).all()
    assert np.mean(together == y[REST]) > without.score(X[REST], y[REST])
    assert (without.predict_proba(X[REST]) == before).all()
    probabilities = without.predict_proba(X[REST], transductive=True)
    assert (without.classes_[probabilities.argmax(1)] == together).all()


KINDS = {
    "texts": (["aha", "papa", "hello", "mend"], ["banana", "event", "sea"], {"encoder": letters}),
    "series": ([np.sin(np.arange(20 + i) / (2 + i % 2)) for i in range(4)], None, {}),
    "arrays": (np.arange(8.0).reshape(4, 2), None, {}),
    "tables": (np.arange(8.0).reshape(4, 2).tolist(), None, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_may_be_of_any_kind_that_examples_are(kind):
    x, pool, options = KINDS[kind]
    pool = x[:3] if pool is None else pool
    classifier = FewShotClassifier(**options).fit(x, [0, 1, 0, 1], unlabelled=pool)
    assert pool_use(classifier).n_unlabelled == 3
    assert len(classifier.suggest_labels(pool, 2)) == 2
    assert len(FewShotClassifier(**options).suggest_labels(pool, 2)) == 2


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ([], "expected at least one unlabelled example, got none"),
        ("abc", "expected a list or an array of unlabelled examples, got 'abc'"),
        (["a", "b"], "of the kind numbers, got text"),
        (np.zeros((3, 5)), "X has 5 features"),
        (np.zeros((3, 64, 2)), "expected examples of shape"),
        (np.full((3, 64), np.nan), "NaN"),
    ],
)
def test_a_pool_that_cannot_serve_is_refused_in_a_line(pool, message):
    with pytest.raises(ValueError, match=message) as error:
        FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=pool)
    assert isinstance(error.value, DataError) or "X" in message or message == "NaN"


def test_a_learner_that_would_not_look_at_the_pool_refuses_it():
    with pytest.raises(UsageError, match="got ridge: leave out learner="):
        FewShotClassifier("ridge").fit(X[SUPPORT], y[SUPPORT], unlabelled=X[POOL])
    described = {digit: X[row] for digit, row in enumerate(SUPPORT)}
    with pytest.raises(UsageError, match="for descriptions"):
        FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], described, unlabelled=X[POOL])


def test_suggestions_reach_more_classes_than_chance_before_and_after_fit(without):
    pool, labels = X[POOL], y[POOL]
    first = FewShotClassifier().suggest_labels(pool, 10)
    assert len(set(labels[first])) >= 8  # of ten drawn at random 6.5 on average
    assert len(set(first)) == 10
    wrong = without.predict(pool) != labels
    assert wrong[without.suggest_labels(pool, 50)].mean() > wrong.mean()


def test_suggestions_work_for_a_named_learner_and_are_refused_in_a_line():
    ridge = FewShotClassifier("ridge").fit(X[SUPPORT], y[SUPPORT])
    assert len(set(ridge.suggest_labels(X[POOL], 10))) == 10
    with pytest.raises(UsageError, match="expected to choose 1 to 3 of 3 examples, got n=4"):
        FewShotClassifier().suggest_labels(X[:3], 4)
    with pytest.raises(DataError, match="got none"):
        FewShotClassifier().suggest_labels([])


def as_csv(path, rows, labels=None):
    header = [f"x{i}" for i in range(64)] + (["label"] if labels is not None else [])
    lines = [",".join(header)]
    for i, row in enumerate(rows):
        lines.append(",".join([*map(str, row), *([str(labels[i])] if labels is not None else [])]))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def tables(tmp_path):
    return {
        "support": as_csv(tmp_path / "s.csv", X[SUPPORT], y[SUPPORT]),
        "query": as_csv(tmp_path / "q.csv", X[900:1000]),
        "unlabelled": as_csv(tmp_path / "u.csv", X[100:300]),
    }


def test_the_command_takes_a_table_of_unlabelled_rows_and_suggests_some(tables):
    found = adapt(**tables, n_suggested=3)
    refined = FewShotClassifier().fit(X[SUPPORT], y[SUPPORT], unlabelled=X[100:300])
    assert [p.label for p in found.predictions] == refined.predict(X[900:1000]).astype(str).tolist()
    assert "200 unlabelled examples" in found.reason
    expected = refined.suggest_labels(X[100:300], 3) + 1
    assert found.suggested == expected.astype(str).tolist()
    with pytest.raises(UsageError, match="only with the default learner"):
        adapt(**tables, learner="ridge")
    with pytest.raises(UsageError, match="expected --unlabelled with --suggest"):
        adapt(tables["support"], tables["query"], n_suggested=3)
    (tables["unlabelled"]).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"expected the column 'x0' in .*u\.csv"):
        adapt(**tables)


def test_the_command_takes_a_folder_of_unlabelled_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    boxes = {"left": (2, 8, 8, 20), "right": (18, 8, 24, 20)}
    draw_boxes(tmp_path / "support", boxes)
    draw_boxes(tmp_path / "pool", boxes | {"top": (8, 2, 20, 6)})
    found = adapt(
        tmp_path / "support", tmp_path / "pool", unlabelled=tmp_path / "pool", n_suggested=2
    )
    names = {name for name, _ in list_images(tmp_path / "pool")}
    assert set(found.suggested) <= names
    assert len(found.suggested) == 2
    assert "unlabelled examples" in found.reason


def test_support_refuses_unlabelled_inputs_of_another_shape():
    from quickstudy.tasks import Support

    with pytest.raises(DataError, match="expected unlabelled inputs of shape"):
        Support(torch.zeros(2, 3), torch.arange(2), 2, unlabelled=torch.zeros(4, 5))
