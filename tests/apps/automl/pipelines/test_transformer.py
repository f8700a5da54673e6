"""The shipped transformer on real and odd tables."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.pipelines import transformer
from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier
from quickstudy.errors import DataError, UsageError

X = np.random.default_rng(0).normal(size=(30, 3))
Y = np.where(X[:, 0] > 0, "up", "down")


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_it_names_flowers_and_wines_it_was_never_trained_on(load):
    x, y = load(return_X_y=True)
    even = np.arange(len(y)) % 2 == 0
    model = clone(TransformerClassifier()).fit(x[even], y[even])
    assert model.score(x[~even], y[~even]) > 0.9
    proba = model.predict_proba(x[~even])
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)


def test_missing_and_infinite_values_and_labels_of_any_kind_are_fine():
    x = X.copy()
    x[::7, 1], x[1::9, 2] = np.nan, np.inf
    assert (TransformerClassifier().fit(x, Y).predict(x) == Y).mean() > 0.9


def test_rows_in_several_passes_get_the_same_answers(monkeypatch):
    model = TransformerClassifier(members=2).fit(X, Y)
    whole = model.predict_proba(X)
    monkeypatch.setattr(transformer, "AT_ONCE", 7)
    np.testing.assert_allclose(model.predict_proba(X), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([["a"], ["b"]], [0, 1], "expected a table of numbers"),
        ([1.0, 2.0], [0, 1], "rows and columns"),
        (np.zeros((0, 3)), [], "rows and columns"),
        (X, Y[:-1], "a label for each of 30 rows"),
        (X, ["same"] * 30, "2 to 10 classes, got 1"),
        (X, np.arange(30), "2 to 10 classes, got 30"),
    ],
)
def test_tables_that_cannot_serve_are_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        TransformerClassifier().fit(x, y)


def test_members_and_columns_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="members of 1 or more"):
        TransformerClassifier(members=0).fit(X, Y)
    with pytest.raises(DataError, match="expected 3 columns, got 2"):
        TransformerClassifier().fit(X, Y).predict(X[:, :2])


def test_automl_offers_it_for_small_tables_of_classes_alone():
    rows = [[float(a), "red" if a > 0 else "blue"] for a in X[:, 0]]
    model = AutoMLClassifier(n_trials=1, families=["transformer"]).fit(rows, Y)
    assert model.leaderboard_[0].mean > 0.8
    with pytest.raises(UsageError, match=r"a family for regression .* 30 rows and 3 columns"):
        AutoMLRegressor(n_trials=1, families=["transformer"]).fit(X, X[:, 0])
    for shape in ((1100, 3), (30, 21)):
        x = np.random.default_rng(0).normal(size=shape)
        with pytest.raises(UsageError, match="a family for classification"):
            AutoMLClassifier(n_trials=1, families=["transformer"]).fit(x, x[:, 0] > 0)
