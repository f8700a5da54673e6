from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from quickstudy.apps.recommend import Interactions
from quickstudy.apps.recommend.times import seconds
from quickstudy.errors import DataError

NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
SECONDS = 1_717_156_800


@pytest.mark.parametrize(
    "value",
    [
        SECONDS,
        str(SECONDS),
        f" {SECONDS}.0",
        SECONDS * 10**3,
        SECONDS * 10**6,
        SECONDS * 10**9,
        str(SECONDS * 10**9),
        np.int64(SECONDS * 10**9),
        "2024-05-31T12:00:00Z",
        "2024-05-31 12:00",
        "2024-05-31T14:00:00+02:00",
        "20240531T120000Z",
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=-7))),
        np.datetime64("2024-05-31T12:00:00"),
    ],
)
def test_a_time_is_read_in_any_unit_or_form(value):
    assert seconds([value, value]).tolist() == [SECONDS, SECONDS]


def test_times_of_pandas_and_days_are_read():
    assert seconds([date(2024, 5, 31)]).tolist() == [SECONDS - 12 * 3600]
    pandas = pytest.importorskip("pandas")
    assert seconds([pandas.Timestamp("2024-05-31 12:00", tz="UTC")]).tolist() == [SECONDS]
    with pytest.raises(DataError, match="row 2: expected a finite time, got NaT"):
        seconds([pandas.Timestamp("2024-05-31"), pandas.NaT])


def test_small_numbers_are_an_order_and_stay():
    assert seconds([3, 1, -2.5]).tolist() == [3, 1, -2.5]


def test_the_column_decides_on_the_unit():
    assert seconds([5, SECONDS * 1000]).tolist() == [0.005, SECONDS]


@pytest.mark.parametrize("other", ["2024-05-31", None, "", "noon", float("nan"), True, "9" * 400])
def test_a_time_of_another_form_than_the_first_is_refused_with_its_row(other):
    with pytest.raises(DataError, match=r"row 2: expected a finite time, .* as in row 1, 7"):
        seconds([7, other])


def test_a_number_among_dates_is_refused():
    with pytest.raises(DataError, match="row 2: expected a finite time, got 7"):
        seconds(["2024-05-31", 7])


def test_rows_with_dates_are_ordered_by_them():
    rows = [("a", "x", 1, "2024-05-31T10:00+02:00"), ("a", "x", 5, "2024-05-31T09:00Z")]
    assert Interactions.from_rows(rows).rating.tolist() == [5]
