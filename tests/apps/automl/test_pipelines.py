"""The encoder of raw tables, and each family on small tasks it should do well."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

from sklearn.base import clone  # noqa: E402

from quickstudy.apps.automl.pipelines import FAMILIES, TableEncoder, make_model  # noqa: E402
from quickstudy.errors import UsageError  # noqa: E402

RNG = np.random.default_rng(0)
N = 80
COLOURS = np.array(["red", "blue"] * (N // 2))
NUMBERS = RNG.normal(size=N)
TABLE = pd.DataFrame(
    {
        "colour": COLOURS,
        "number": np.where(np.arange(N) % 9, NUMBERS, np.nan),
        "as text": [str(v) for v in RNG.normal(size=N)],
        "date": pd.date_range("2020-01-31", periods=N).astype(str),
        "id": [f"id{i}" for i in range(N)],
        "text": [f"row {i} is a {'fine' if i % 2 else 'bad'} one I say" for i in range(N)],
        "nothing": [None] * N,
    }
)
LABELS = (COLOURS == "red").astype(int)
TARGET = 100 + 5 * LABELS + NUMBERS


@pytest.mark.parametrize("scaled", [False, True])
def test_a_raw_table_becomes_finite_numbers(scaled):
    encoder = TableEncoder("classification", scaled=scaled)
    x = encoder.fit_transform(TABLE, LABELS)
    assert np.isfinite(x).all()
    assert encoder.kinds_["text"] == "text"
    assert encoder.transform(TABLE).shape == x.shape
    if scaled:
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)


def test_new_rows_may_hold_what_was_never_seen():
    encoder = TableEncoder("classification").fit(TABLE, LABELS)
    strange = pd.DataFrame(
        {
            "colour": ["green", None],
            "number": ["many", np.inf],
            "as text": [None, "x"],
            "date": ["soon", None],
            "id": ["new", None],
            "text": [None, ""],
            "nothing": ["something", 1],
        }
    )
    assert np.isfinite(encoder.transform(strange)).all()
    with pytest.raises(UsageError, match="called colour"):
        encoder.transform(strange.drop(columns="colour"))


def test_a_table_of_nothing_becomes_a_constant():
    empty = pd.DataFrame({"a": [None, None], "b": [1, 1]})
    assert TableEncoder("regression").fit_transform(empty, [1.0, 2.0]).tolist() == [[0], [0]]
    assert TableEncoder("regression").fit(empty, [1.0, 2.0]).transform(empty).tolist() == [[0], [0]]


def test_words_of_one_row_change_nothing_and_texts_without_a_common_word_are_a_constant():
    texts = [f"say {'fine' if i % 2 else 'bad'} to the number{i}" for i in range(40)]
    shown = pd.DataFrame({"it": texts})
    encoder = TableEncoder("classification")
    x = encoder.fit_transform(shown, np.arange(40) % 2)
    new = encoder.transform(pd.DataFrame({"it": ["say fine to the unknown", "say bad to the"]}))
    np.testing.assert_allclose(new, x[[1, 0]], atol=1e-9)
    unlike = pd.DataFrame({"it": [" ".join(f"w{i}x{j}" for j in range(5)) for i in range(9)]})
    assert not TableEncoder("regression").fit_transform(unlike, np.arange(9.0)).any()


def test_rare_levels_are_one_and_many_levels_are_means_of_the_target():
    n = 300
    levels = ["a"] * 150 + ["b"] * 148 + ["c", "d"]
    encoder = TableEncoder("regression")
    x = encoder.fit_transform(pd.DataFrame({"it": levels}), np.zeros(n) + np.arange(n))
    assert x.shape == (n, 3)
    np.testing.assert_array_equal(x[-1], x[-2])
    many = pd.DataFrame({"it": [f"level {i % 30}" for i in range(n)]})
    y = np.arange(n) % 30 * 1.0
    encoded = TableEncoder("regression").fit(many, y).transform(many)
    assert encoded.shape == (n, 1)
    assert np.corrcoef(encoded[:, 0], y)[0, 1] > 0.99


@pytest.mark.parametrize("goal", ["classification", "regression"])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_learns_from_a_raw_table(name, goal):
    family = FAMILIES[name]
    options = dict(family.default)
    if name == "lightgbm":
        options |= {"n_estimators": 30, "min_child_samples": 5}
    y = LABELS if goal == "classification" else TARGET
    if goal == "regression" and not family.regression:
        with pytest.raises(UsageError, match="expected classification"):
            make_model(name, options, goal)
        return
    model = clone(make_model(name, options, goal))
    shown, asked = np.arange(N) % 4 != 0, np.arange(N) % 4 == 0
    shown[:2], asked[:2] = True, False
    score = model.fit(TABLE[shown], y[shown]).score(TABLE[asked], y[asked])
    assert score > (0.7 if goal == "classification" else 0.2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_default_is_within_its_space(name):
    make_model(name, FAMILIES[name].default, "classification")


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("lightgbn", {}, "did you mean 'lightgbm'"),
        ("linear", {}, "expected the option 'C'"),
        ("linear", {"C": 1.0, "D": 1}, "unknown option of linear 'D'"),
        ("linear", {"C": 1e9}, "C of linear in"),
        ("linear", {"C": "much"}, "got 'much'"),
        ("gaussian process", {"nu": 1.0}, "nu of gaussian process"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused(family, options, message):
    with pytest.raises(UsageError, match=message):
        make_model(family, options, "classification")
