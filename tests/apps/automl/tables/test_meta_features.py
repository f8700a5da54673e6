"""Meta-features of tables whose properties are known, and of messy ones."""

import math
import sys

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from quickstudy.apps.automl.tables.meta_features import meta_features  # noqa: E402
from quickstudy.errors import DataError, MissingError, UsageError  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 5))
LABELS = np.where(X[:, 0] > 0, "yes", "no")


def test_a_known_table_has_its_known_features():
    features = meta_features(X, LABELS, "classification")
    assert features["log_rows"] == math.log(400)
    assert features["log_columns"] == math.log(5)
    assert features["log_classes"] == math.log(2)
    assert features["share_number"] == 1
    assert features["skewness"] < 0.2
    assert features["kurtosis"] == pytest.approx(math.log(4), abs=0.1)  # of a Gaussian: 3
    assert features["correlation"] < 0.1
    assert features["first_component"] == pytest.approx(0.2, abs=0.05)
    assert features["stump"] > 0.95
    assert features["nearest"] < features["linear"]


def test_information_is_1_for_the_target_itself_and_0_for_noise():
    coin = RNG.integers(0, 2, 400)
    itself = meta_features(np.c_[coin, coin], coin, "classification")
    assert itself["information"] == pytest.approx(1)
    assert itself["correlation"] == pytest.approx(1)
    assert meta_features(X, coin, "classification")["most_information"] < 0.05


def test_landmarks_distinguish_what_only_a_tree_can_learn():
    corners = (X[:, 0] > 0) != (X[:, 1] > 0)
    features = meta_features(X[:, :2], corners, "classification")
    assert features["tree"] > 0.7
    assert features["linear"] < 0.4


def test_regression_has_landmarks_and_the_shape_of_its_target():
    line = meta_features(X, X @ np.arange(5.0), "regression")
    assert line["linear"] == pytest.approx(1, abs=1e-3)
    assert 0 < line["nearest"] < 1
    assert "bayes" not in line
    skewed = meta_features(X, np.exp(2 * X[:, 0]), "regression")
    assert skewed["target_skewness"] > 3 * line["target_skewness"]


def test_a_messy_table_has_finite_features():
    n = 60
    frame = pd.DataFrame(
        {
            "number": [np.inf, np.nan, *range(n - 2)],
            "text": [f"this is the text of row {i}" for i in range(n)],
            "date": pd.date_range("2020", periods=n).astype(str),
            "stamp": pd.date_range("2020", periods=n, tz="Europe/Berlin"),
            "mixed": [1, "one", None] * (n // 3),
            "nothing": [None] * n,
            "constant": ["x"] * n,
            "id": [f"id{i}" for i in range(n)],
            "flag": [True, False] * (n // 2),
            "category": pd.Categorical(["a", "b", None] * (n // 3)),
            "mostly nothing": [1.0, 2.0] + [None] * (n - 2),
        }
    )
    for y, goal in ((["a", "b", "c"] * (n // 3), "classification"), (range(n), "regression")):
        features = meta_features(frame, list(y), goal)
        assert all(math.isfinite(value) for value in features.values())
        assert features["share_text"] == pytest.approx(1 / 11)
        assert features["share_date"] == pytest.approx(2 / 11)
        assert features["share_empty"] == pytest.approx(2 / 11)
        assert features["share_identifier"] == pytest.approx(1 / 11)
        assert features["share_missing"] > 0.2
        assert set(features) == set(
            meta_features(X, RNG.permutation(400) if goal == "regression" else LABELS, goal)
        )


@pytest.mark.parametrize("table", [np.ones((9, 2)), np.full((9, 1), np.nan), np.arange(9)[:, None]])
def test_tables_with_nothing_in_them_or_one_column_have_finite_features(table):
    features = meta_features(table, [0, 1, 2] * 3, "classification")
    assert all(math.isfinite(value) for value in features.values())


def test_large_tables_are_sampled_the_same_way_each_time():
    wide = RNG.normal(size=(2500, 150))
    y = RNG.integers(0, 3, 2500)
    assert meta_features(wide, y, "classification") == meta_features(wide, y, "classification")
    assert meta_features(wide, y, "classification")["log_columns"] == math.log(150)


def test_a_class_with_one_row_does_no_harm():
    labels = [*LABELS[:-1], "rare"]
    assert math.isfinite(meta_features(X, labels, "classification")["tree"])


@pytest.mark.parametrize(
    ("y", "goal", "message"),
    [
        (LABELS[:5], "classification", "each of 400 rows"),
        (["a"] * 400, "classification", "varies"),
        ([None, *LABELS[1:]], "classification", "none in 1"),
        (LABELS, "regression", "finite numbers"),
        ([np.inf, *X[1:, 0]], "regression", "finite numbers"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(y, goal, message):
    with pytest.raises(DataError, match=message):
        meta_features(X, y, goal)


def test_an_unknown_goal_is_refused():
    with pytest.raises(UsageError, match="did you mean 'regression'"):
        meta_features(X, X[:, 0], "regresion")


@pytest.mark.parametrize("goal", ["classification", "regression"])
def test_rich_features_are_those_of_pymfe_too(goal):
    pytest.importorskip("pymfe")
    table = pd.DataFrame({"a": range(40), "b": ["x", "y", None, "z"] * 10, "c": [1] * 40})
    y = np.arange(40) // 20 if goal == "classification" else np.arange(40) ** 2
    features = meta_features(table, y, goal, rich=True)
    assert meta_features(table, y, goal).items() <= features.items()
    assert np.isfinite(list(features.values())).all()
    assert features == meta_features(table, y, goal, rich=True)
    added = {name for name in features if name.startswith("pymfe.")}
    assert len(added) > 90
    assert features["pymfe.nr_inst"] == pytest.approx(np.log1p(40))


def test_rich_features_without_pymfe_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymfe", None)
    with pytest.raises(MissingError, match=r"quickstudy\[pymfe\]"):
        meta_features([[1], [2], [3], [4]], [0, 1, 0, 1], "classification", rich=True)
