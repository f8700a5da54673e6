"""Rows that differ from those of training, found column by column."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from quickstudy.apps.automl import AutoMLClassifier
from quickstudy.apps.automl.tables.column_inference import learn_columns
from quickstudy.apps.automl.tables.columns import read_columns
from quickstudy.apps.automl.tables.shift import TrainingCells, shift_line


def drawn(n, seed, **change):
    rng = np.random.default_rng(seed)
    cells = {
        "age": rng.normal(40, 10, n).round(),
        "income": rng.lognormal(size=n),
        "town": rng.choice(["Ulm", "Bonn", "Kiel"], n, p=[0.5, 0.3, 0.2]),
        "street": rng.choice([f"street {i}" for i in range(60)], n),
    }
    return pd.DataFrame(cells | {name: values(n, rng) for name, values in change.items()})


def shifts(train, new):
    columns = learn_columns(train)
    return TrainingCells(read_columns(train, columns), columns).shifts(read_columns(new, columns))


def test_tables_of_one_distribution_have_not_shifted():
    assert not any(shifts(drawn(200, s), drawn(60, 1000 + s)) for s in range(100))


def test_what_has_shifted_is_named_the_most_shifted_first():
    new = drawn(
        100,
        1,
        age=lambda n, rng: rng.normal(60, 10, n).round(),
        town=lambda n, rng: rng.choice(["Ulm", "Jena"], n),
    )
    train = drawn(300, 0)
    found = shifts(train, new)
    assert list(found) == ["age", "town"]
    assert found["age"] == pytest.approx(ks_2samp(train["age"], new["age"]).statistic)
    town = train["town"].value_counts(normalize=True)
    new_town = new["town"].value_counts(normalize=True)
    distance = town.subtract(new_town, fill_value=0).abs().sum() / 2
    assert found["town"] == pytest.approx(distance)


def test_what_comes_and_goes_with_the_rows_is_no_shift():
    table = pd.DataFrame({"half": np.arange(8000) % 4 / 2, "town": ["Ulm", "Bonn"] * 4000})
    assert not shifts(table, table.iloc[:200])


def test_cells_that_are_missing_now_are_a_shift():
    new = drawn(100, 1)
    new.loc[:60, "income"] = np.nan
    assert list(shifts(drawn(300, 0), new)) == ["income"]


def test_a_few_rows_tell_nothing():
    assert not shifts(drawn(300, 0), drawn(20, 1, age=lambda n, _: np.full(n, 90.0)))


def test_a_line_names_three_columns_and_counts_the_others():
    line = shift_line({name: 0.5 for name in "abcde"})
    assert "in a (0.50 of 1), b (0.50 of 1), c (0.50 of 1) and 2 other columns, so" in line


def test_predicting_rows_that_have_shifted_is_warned_of():
    train = drawn(120, 0)
    model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(train, train["age"] > 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(drawn(60, 1))
    with pytest.warns(UserWarning, match=r"differ from those of training in age \(1"):
        model.predict(drawn(60, 1, age=lambda n, _: np.full(n, 90.0)))
