"""The encoder of raw tables, and each family on small tasks it should do well."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

from optuna.trial import FixedTrial  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402

from quickstudy.apps.automl.pipelines.build import make_model  # noqa: E402
from quickstudy.apps.automl.pipelines.encoder import TableEncoder  # noqa: E402
from quickstudy.apps.automl.pipelines.families import FAMILIES  # noqa: E402
from quickstudy.apps.automl.pipelines.parameters import (  # noqa: E402
    as_parameters,
    suggest_config,
)
from quickstudy.apps.automl.pipelines.selector import ColumnSelector  # noqa: E402
from quickstudy.errors import DataError, UsageError  # noqa: E402

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
    assert {c.name: c.kind for c in encoder.columns_}["text"] == "text"
    assert encoder.transform(TABLE).shape == x.shape
    if scaled:
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)


def test_new_rows_may_hold_what_was_never_seen():
    encoder = TableEncoder("classification").fit(TABLE, LABELS)
    unseen = pd.DataFrame(
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
    assert np.isfinite(encoder.transform(unseen)).all()
    with pytest.raises(DataError, match="called 'colour'"):
        encoder.transform(unseen.drop(columns="colour"))
    without = encoder.transform(unseen.drop(columns=["id", "nothing"]))
    np.testing.assert_array_equal(without, encoder.transform(unseen))


def test_a_table_of_nothing_becomes_a_constant():
    empty = pd.DataFrame({"a": [None, None], "b": [1, 1]})
    assert TableEncoder("regression").fit_transform(empty, [1.0, 2.0]).tolist() == [[0], [0]]
    assert TableEncoder("regression").fit(empty, [1.0, 2.0]).transform(empty).tolist() == [[0], [0]]


def test_words_of_one_row_change_nothing_and_texts_without_a_common_word_are_a_constant():
    texts = [f"say {'fine' if i % 2 else 'bad'} to the number{i}" for i in range(40)]
    frame = pd.DataFrame({"it": texts})
    encoder = TableEncoder("classification")
    x = encoder.fit_transform(frame, np.arange(40) % 2)
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
    train, test = np.arange(N) % 4 != 0, np.arange(N) % 4 == 0
    train[:2], test[:2] = True, False
    score = model.fit(TABLE[train], y[train]).score(TABLE[test], y[test])
    assert score > (0.7 if goal == "classification" else 0.2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_default_is_within_its_space(name):
    make_model(name, FAMILIES[name].default, "classification")


@pytest.mark.parametrize("how", ["anova", "information", "l1"])
@pytest.mark.parametrize("goal", ["classification", "regression"])
def test_a_selector_keeps_what_tells_of_the_target(how, goal):
    rng = np.random.default_rng(0)
    x = np.hstack([np.ones((3000, 1)), rng.normal(size=(3000, 9)) * 10.0 ** np.arange(-4, 5)])
    y = x[:, 2] / 1e-3 - x[:, 8] / 1e3 + 0.1 * rng.normal(size=3000)
    selector = ColumnSelector(how, 0.2, goal).fit(x, y > 0 if goal == "classification" else y)
    assert selector.columns_.tolist() == [2, 8]
    assert selector.transform(x[:5]).shape == (5, 2)
    assert ColumnSelector(how, 0.05, goal).fit(x[:, :1], np.arange(3000) % 2).columns_ == [0]


@pytest.mark.parametrize(
    ("construct", "target"),
    [("products", lambda a, b: a * b > 0), ("ratios", lambda a, b: a / b > 0.5)],
)
def test_constructed_columns_tell_what_single_ones_do_not(construct, target):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    table = pd.DataFrame({"colour": ["red", "blue"] * 150, "a": a, "hole": a, "b": b})
    table.loc[::7, "hole"] = None
    y = target(a, b).astype(int)
    plain = cross_val_score(make_model("linear", {"C": 1.0}, "classification"), table, y)
    model = make_model("linear", {"C": 1.0, "construct": construct}, "classification")
    built = cross_val_score(model, table, y)
    assert plain.mean() < 0.7
    assert built.mean() > 0.85
    zeros = table.assign(a=0, b=0.0)
    assert np.isfinite(model.fit(table, y)[:-1].transform(zeros)).all()


NOISE = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 300)))
COIN = np.random.default_rng(2).integers(0, 2, 60)


@pytest.mark.parametrize(
    "options",
    [
        {"select": "anova", "kept": 0.05},
        {"select": "information", "kept": 0.05},
        {"select": "l1", "kept": 0.05},
        {"construct": "products", "select": "anova", "kept": 0.05},
        {"construct": "ratios"},
    ],
)
def test_columns_chosen_from_noise_gain_nothing_inside_the_fold(options):
    model = make_model("linear", {"C": 1.0, **options}, "classification")
    fair = cross_val_score(model, NOISE, COIN).mean()
    assert fair < 0.65
    if "select" in options:  # the leak that this would find
        leaked = model[:-1].fit_transform(NOISE, COIN)
        assert cross_val_score(model[-1], leaked, COIN).mean() > fair + 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"C": 1.0},
        {"C": 1.0, "construct": "ratios"},
        {"C": 1.0, "select": "l1", "kept": 0.5},
        {"C": 1.0, "construct": "products", "select": "anova", "kept": 0.1},
    ],
)
def test_a_pipeline_is_the_parameters_it_was_made_of(options):
    parameters = as_parameters("linear", options)
    assert suggest_config(FixedTrial(parameters), ["linear", "svm"]) == ("linear", options)
    plain = make_model("linear", {"C": 1.0}, "classification")
    assert [name for name, _ in plain.steps] == ["encoder", "model"]


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("lightgbn", {}, "did you mean 'lightgbm'"),
        ("linear", {}, "expected the option 'C'"),
        ("linear", {"C": 1.0, "D": 1}, "unknown option of linear 'D'"),
        ("linear", {"C": 1e9}, "C of linear in"),
        ("linear", {"C": "much"}, "got 'much'"),
        ("gaussian process", {"nu": 1.0}, "nu of gaussian process"),
        ("linear", {"C": 1.0, "select": "l1"}, "'select' and 'kept' together"),
        ("linear", {"C": 1.0, "select": "all", "kept": 0.5}, "got 'all'"),
        ("linear", {"C": 1.0, "construct": "sums"}, "got 'sums'"),
        ("linear", {"C": 1.0, "selct": "l1"}, "did you mean 'select'"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused(family, options, message):
    with pytest.raises(UsageError, match=message):
        make_model(family, options, "classification")
