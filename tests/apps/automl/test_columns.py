"""What columns of raw tables are taken for."""

from datetime import time

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from quickstudy.apps.automl.columns import (  # noqa: E402
    as_dates,
    as_frame,
    as_numbers,
    column_kinds,
)
from quickstudy.errors import DataError  # noqa: E402

WORDS = ["a fine day by the sea", "the cat sat on the mat", "rain is coming from the west"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "number"),
        ([1.5, None, 2.5], "number"),
        (["1", "2.5", "1e3"], "number"),
        ([str(i) for i in range(99)] + ["many"], "number"),
        (["1", "two", "3"], "category"),
        ([*map(str, range(9)), "unknown", "n/a"], "number"),
        ([*map(str, range(9)), "none", "few", "some", "many"], "category"),
        (["1", "2", "3", "4", "5+"], "category"),
        (["red", "blue", "red"], "category"),
        ([True, False, True], "category"),
        ([f"id{i}" for i in range(1000)], "identifier"),
        ([f"id{i}" for i in range(19)], "category"),
        ([f"id{i // 2}" for i in range(1000)], "category"),
        ([1, "one", 2.0], "category"),
        (["2024-01-31", "2024-02-01", None], "date"),
        (["31.12.2020 10:00", "30.12.2020 11:30"], "date"),
        (pd.date_range("2020", periods=3), "date"),
        (pd.date_range("2020", periods=3, tz="UTC"), "date"),
        (pd.Categorical(["1", "2", "1"]), "category"),
        (WORDS, "text"),
        (WORDS * 9, "category"),
        ([f"{i} Long Street, 2{i:03}-{i} " + "by the old mill " * 3 for i in range(30)], "text"),
        ([None, None, None], "empty"),
        ([7, 7, None], "empty"),
        (["x", "x"], "empty"),
        ([np.inf, np.nan, 1.0], "empty"),
    ],
)
def test_a_column_is_what_nearly_all_of_its_values_are(values, kind):
    assert column_kinds(pd.DataFrame({"it": values})) == {"it": kind}


def test_dates_become_days():
    days = as_numbers(pd.Series(pd.to_datetime(["1970-01-02T00:00", None, "1969-12-31T12:00"])))
    np.testing.assert_array_equal(days, [1, np.nan, -0.5])


@pytest.mark.parametrize(
    "times",
    [
        ["12:30", None, "1:05", "11:59 PM"],
        [time(12, 30), None, time(1, 5), time(23, 59)],
        ["1970-01-01 12:30", None, "1970-01-01T01:05:00", "1970-01-01 23:59"],
    ],
)
def test_times_are_parts_of_a_day_whatever_day_it_is(times):
    minutes = as_numbers(as_dates(pd.Series(times, dtype=object))) * 24 * 60
    np.testing.assert_allclose(minutes, [750, np.nan, 65, 1439])


def test_periods_are_dates():
    months = pd.Series(pd.period_range("1970-01", periods=3, freq="M"))
    assert as_numbers(as_dates(months)).tolist() == [0, 31, 59]


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-31", None, "x", "3 March 2021", "2020-02-01 10:00"],
        ["12/31/2020", "01/02/2020", "31/12/2020"],
        ["31.12.2020", "01.02.2020"],
        ["31 December 2020, 10:00", "1 May 2021, 23:59"],
        ["2020-01-31T10:00:00Z", "2021-01-31T10:00:00+02:00", ""],
        ["1677-01-01", "9999-12-31", None],
        [None, None],
    ],
)
def test_dates_are_read_one_by_one_whatever_comes_first(values):
    for order in (values, values[::-1]):
        column = pd.Series(order, dtype=object)
        alone = [as_dates(pd.Series([value], dtype=object))[0] for value in order]
        found = as_dates(column)
        assert [None if pd.isna(v) else v for v in found] == [
            None if pd.isna(v) else v for v in alone
        ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "rows and columns"),
        (np.zeros((0, 3)), "rows and columns"),
        (np.zeros((3, 0)), "rows and columns"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' more often"),
    ],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(DataError, match=message):
        as_frame(table)


@pytest.mark.parametrize("part", [["a", "b"], {"a": 1}, np.zeros(2)])
def test_columns_of_lists_are_refused(part):
    with pytest.raises(DataError, match="dates or texts in the column 'it', got"):
        column_kinds(pd.DataFrame({"it": [None, part, part]}))
