"""What columns of raw tables are taken for."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from quickstudy.apps.automl.columns import as_frame, as_numbers, column_kinds  # noqa: E402
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
