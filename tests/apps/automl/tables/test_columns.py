"""What columns of raw tables are taken for."""

import json
from datetime import date, time

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from quickstudy.apps.automl.tables.column_inference import learn_columns  # noqa: E402
from quickstudy.apps.automl.tables.columns import (  # noqa: E402
    Column,
    as_numbers,
    columns_from_json,
    columns_to_json,
    match_columns,
    read_columns,
)
from quickstudy.apps.automl.tables.frames import as_column, as_frame  # noqa: E402
from quickstudy.apps.automl.tables.notes import unreadable_cells  # noqa: E402
from quickstudy.apps.automl.tables.targets import as_target_numbers  # noqa: E402
from quickstudy.errors import DataError  # noqa: E402


def column_kinds(frame):
    return {column.name: column.kind for column in learn_columns(frame)}


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


def learn(values):
    (column,) = learn_columns(pd.DataFrame({"it": values}))
    return column


def dates(values):
    values = pd.Series(values, name="it", dtype=object if isinstance(values, list) else None)
    return learn(values).read(values)


@pytest.mark.parametrize(
    "times",
    [
        ["12:30", None, "1:05", "11:59 PM"],
        [time(12, 30), None, time(1, 5), time(23, 59)],
        ["1970-01-01 12:30", None, "1970-01-01T01:05:00", "1970-01-01 23:59"],
    ],
)
def test_times_are_parts_of_a_day_whatever_day_it_is(times):
    minutes = as_numbers(dates(times)) * 24 * 60
    np.testing.assert_allclose(minutes, [750, np.nan, 65, 1439])


def test_periods_are_dates():
    months = pd.Series(pd.period_range("1970-01", periods=3, freq="M"))
    assert as_numbers(dates(months)).tolist() == [0, 31, 59]


def test_spans_of_time_are_numbers():
    spans = pd.Series(pd.to_timedelta(["1h", "90min", None]), name="it")
    np.testing.assert_array_equal(learn(spans).read(spans), [3600, 5400, np.nan])


@pytest.mark.parametrize(
    ("values", "moments"),
    [
        (["12/31/2020", "01/02/2020", "12/30/2020"], ["2020-12-31", "2020-01-02", "2020-12-30"]),
        (["31/12/2020", "01/02/2020", None], ["2020-12-31", "2020-02-01", "NaT"]),
        (["2020-01-31T10:00:00Z", "2021-01-31T10:00:00+02:00"], ["2020-01-31T10", "2021-01-31T08"]),
        ([20240131, 20240201], ["2024-01-31", "2024-02-01"]),
        (["1677-01-01", "9999-12-31", ""], ["1677-01-01", "9999-12-31", "NaT"]),
    ],
)
def test_dates_are_read_alike_whatever_comes_first(values, moments):
    for order in (slice(None), slice(None, None, -1)):
        times = dates(values[order]).to_numpy("datetime64[us]")
        np.testing.assert_array_equal(times, np.array(moments[order], dtype="datetime64[us]"))


def test_a_column_that_leaves_its_format_open_follows_the_others():
    table = pd.DataFrame(
        {
            "price": ["1.234", "2.512", "3.456"],
            "weight": ["1,5", "2,25", "3,0"],
            "sent": ["01/02/2024", "03/04/2024", "05/06/2024"],
            "born": ["31/01/1990", "12/12/1980", "01/02/1970"],
        }
    )
    columns = {column.name: column for column in learn_columns(table)}
    assert columns["price"].read(table["price"]).tolist() == [1234, 2512, 3456]
    assert columns["sent"].date.order == "day first"
    alone = {column.name: column for column in learn_columns(table[["price", "sent"]])}
    assert alone["price"].read(table["price"]).tolist() == [1.234, 2.512, 3.456]
    assert alone["sent"].date.order == "month first"


@pytest.mark.parametrize(
    ("fitted", "new", "same"),
    [
        ([True, False, True], [1, 0, 1.0, "true", "FALSE", "1", "0.0"], [0, 1, 0, 0, 1, 0, 1]),
        (["TRUE", "FALSE", "TRUE"], [True, False, np.True_, 1], [0, 1, 0, 0]),
        (["1", "x", "2"], [1, 1.0, "1.0", np.int64(2), " x "], [0, 0, 0, 2, 1]),
        ([1, "x", 2.0], ["1", "2", "2.0", 2], [0, 2, 2, 2]),
        (pd.Categorical([1, 2, 1]), ["1", 2.0, "2"], [0, 1, 1]),
        (["007", "7", "x"], ["007", 7, "7.0"], [0, 1, 1]),
    ],
)
def test_a_level_is_the_same_however_it_is_written(fitted, new, same):
    column = learn(fitted)
    assert column.kind == "category"
    levels = column.read(pd.Series(fitted, name="it")).tolist()
    read = column.read(pd.Series(new, dtype=object, name="it"))
    assert read.tolist() == [levels[i] for i in same]
    assert column.read(read).tolist() == read.tolist()


def test_truth_is_read_among_ones_and_zeros_but_not_among_other_numbers():
    cells = pd.Series([True, "false", "1", 0.0, "maybe"], dtype=object, name="it")
    np.testing.assert_array_equal(learn([0, 1, 1]).read(cells), [1, 0, 1, 0, np.nan])
    np.testing.assert_array_equal(learn([0, 1, 2]).read(cells), [1, np.nan, 1, 0, np.nan])


def test_cells_that_cannot_be_read_are_counted_and_empty_ones_are_not():
    table = pd.DataFrame({"price": ["$1", "$2", "$3"], "day": ["2024-01-31", "2024-02-01", None]})
    columns = learn_columns(table)
    new = pd.DataFrame({"price": ["$4", "€5", "n/a", "7 kg"], "day": ["soon", None, " ", "?"]})
    assert unreadable_cells(new, read_columns(new, columns), columns) == [
        "price: 2 of 4 cells cannot be read as numbers (currency $) and count as missing, such as "
        "'€5'",
        "day: 1 of 4 cells cannot be read as dates and count as missing, such as 'soon'",
    ]


N = 30
SHUFFLED = np.random.default_rng(0).permutation(N)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("n", range(1, N + 1), "identifier"),
        ("n", [str(i) for i in SHUFFLED], "identifier"),
        ("n", SHUFFLED[: N - 5], "identifier"),
        ("customer_id", SHUFFLED * 7919, "identifier"),
        ("customerId", SHUFFLED * 7919, "identifier"),
        ("Unnamed: 0", SHUFFLED * 7919, "identifier"),
        ("humid", SHUFFLED * 7919, "number"),
        ("year", range(1960, 1960 + N), "number"),
        ("n", np.arange(N) * 37, "number"),
        ("n", np.arange(N) * 1.0, "number"),
        ("n", [*range(N - 1), 0], "number"),
        ("n", [*range(N - 1), None], "number"),
        ("n", range(15), "number"),
    ],
)
def test_whole_numbers_that_number_the_rows_are_identifiers(name, values, kind):
    table = pd.DataFrame({name: values, "x": np.arange(len(values)) % 3})
    assert column_kinds(table)[name] == kind


def test_numbers_of_rows_are_used_where_there_is_nothing_else():
    (column,) = learn_columns(pd.DataFrame({"id": range(N)}))
    assert column.kind == "number"
    assert column.reason.startswith("they number the rows")


def test_columns_are_the_same_after_they_were_written():
    table = pd.DataFrame(
        {"a": ["1,5 kg", "3 kg"], "b": ["31/01/2024", "01/02/2024"], "c": [True, False]}
    )
    columns = learn_columns(table)
    assert columns_from_json(json.loads(json.dumps(columns_to_json(columns)))) == columns
    with pytest.raises(DataError, match=r"expected columns of a table, .* at 0.kind"):
        columns_from_json([{"name": "a", "kind": "none"}])


FRAMES = {
    "pandas": lambda data: pd.DataFrame(data),
    "polars": lambda data: pytest.importorskip("polars").DataFrame(data),
    "lazy polars": lambda data: pytest.importorskip("polars").LazyFrame(data),
    "pyarrow": lambda data: pytest.importorskip("pyarrow").table(data),
}


@pytest.mark.parametrize("library", FRAMES)
def test_frames_of_any_library_keep_their_names_and_cells(library):
    day = date(2024, 1, 31)
    data = {"a": [1.5, None], "b": ["x", "y"], "c": [True, None], "d": [day, None], "e": [1, 2]}
    frame = as_frame(FRAMES[library](data))
    assert frame.columns.tolist() == list("abcde")
    columns = learn_columns(frame.assign(d=frame["d"].iloc[[0, 0]].to_numpy()))
    assert columns[0].kind == "empty"
    new = FRAMES[library]({name: data[name] for name in "edcba"} | {"f": [0, 0]})
    matched, others = match_columns(new, learn_columns(as_frame(FRAMES[library](data))))
    assert matched.columns.tolist() == list("abcde")
    assert others == ["f"]
    assert as_numbers(Column("d", "date").read(frame["d"])).tolist()[0] == 19753


@pytest.mark.parametrize("library", FRAMES)
def test_targets_of_any_library_are_taken(library):
    if library != "lazy polars":
        assert as_column(FRAMES[library]({"y": [3, 4]})["y"]).tolist() == [3, 4]
    assert as_column(FRAMES[library]({"y": [3, 4]})).tolist() == [3, 4]


def test_targets_may_have_units_but_no_limits():
    assert as_target_numbers(pd.Series(["$1,234", "$5"])).tolist() == [1234, 5]
    target = as_target_numbers(pd.Series(["<5", "7", "8", "9"]))
    np.testing.assert_array_equal(target, [np.nan, 7, 8, 9])


def test_arrays_go_by_position_and_frames_by_name():
    columns = learn_columns(pd.DataFrame({"a": [1.5, 2.5], "same": [1, 1], "b": ["x", "y"]}))
    matched, _ = match_columns([[3, 1, "x"]], columns)
    assert matched.columns.tolist() == ["a", "same", "b"]
    with pytest.raises(DataError, match="expected 3 columns, as were fitted, got an array of 2"):
        match_columns([[3, "x"]], columns)
    matched, _ = match_columns(pd.DataFrame({"b": ["x"], "a": [1.0]}), columns)
    assert matched.columns.tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"none called 'a' and 1 more \(is it 'A'\?\)"):
        match_columns(pd.DataFrame({"A": [1]}), columns)


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


@pytest.mark.parametrize("part", [["a", "b"], {"a": 1}, np.zeros(2), b"a", ("a", 1), 1j])
def test_columns_of_lists_or_bytes_are_refused(part):
    with pytest.raises(DataError, match="dates or texts in the column 'it', got"):
        column_kinds(pd.DataFrame({"it": [None, part, part]}))
    with pytest.raises(DataError, match="dates or texts in the column 'it', got"):
        learn(["a", "b", "a"]).read(pd.Series(["a", part], dtype=object, name="it"))
