"""Columns as other people's files hold them: what is a number or a date, and what is not."""

import math

import numpy as np
import pytest

from quickstudy.apps.automl.tables.date_formats import guess_date_format
from quickstudy.apps.automl.tables.number_formats import guess_number_format

NUMBERS = {
    "plain": (["1", "2.5", "-3e2"], [1, 2.5, -300]),
    "bare points": ([".5", "-.25", "1."], [0.5, -0.25, 1]),
    "dollars": (["$1,234", "-$12,500.50", "$9"], [1234, -12500.5, 9]),
    "pounds after the sign": (["£-5.50", "£7"], [-5.5, 7]),
    "euros after": (["1.234,50 €", "12,5 €", "3.000.000 €"], [1234.5, 12.5, 3e6]),
    "no cents": (["12,- €", "1.500,- €"], [12, 1500]),
    "rupees": (["Rs. 1,23,456/-", "Rs. 500/-"], [123456, 500]),
    "Indian groups": (["1,23,456", "12,34,567", "45,678"], [123456, 1234567, 45678]),
    "francs": (["CHF 1'234.50", "CHF 12.00"], [1234.5, 12]),
    "codes after": (["12 USD", "1,300.5 USD"], [12, 1300.5]),
    "German": (["1.234,50", "12,5", "3.000.000,1"], [1234.5, 12.5, 3000000.1]),
    "decimal comma": (["0,123", "12,345"], [0.123, 12.345]),
    "French": (["1\u202f234,5", "12\u00a0345,0"], [1234.5, 12345]),
    "blanks": (["1 234", "567", "12 345"], [1234, 567, 12345]),
    "per cent": (["12.5 %", "3 %", "-1%"], [12.5, 3, -1]),
    "accounting": (["(1,234.50)", "567.00", "(89)"], [-1234.5, 567, -89]),
    "trailing minus": (["1,234.00-", "5.00"], [-1234, 5]),
    "minus sign": (["\u22125", "3"], [-5, 3]),
    "one unit": (["12 km/h", "90 km/h"], [12, 90]),
    "area": (["12 m²", "40.5 m2"], [12, 40.5]),
    "degrees": (["12°C", "-3 °C"], [12, -3]),
    "plural": (["1 room", "3 rooms"], [1, 3]),
    "mass": (["12 kg", "300 g", "1.5 kg"], [12, 0.3, 1.5]),
    "bytes": (["1.5 GB", "500 MB", "2 GB"], [1.5, 0.5, 2]),
    "thousands": (["1.5K", "950", "2M"], [1500, 950, 2e6]),
    "millions": (["1,5 Mio. €", "12 Mio. €"], [1.5e6, 12e6]),
    "money in millions": (["$1.5M", "$900K"], [1.5e6, 9e5]),
    "durations": (["1h 30m", "45m", "2h"], [90, 45, 120]),
    "durations in words": (["2 hours", "1 day", "36 hours"], [2, 24, 36]),
    "days and a clock": (["1 days 02:03:04", "3 days 00:00:00"], [93784, 259200]),
    "long clock": (["26:15:00", "1:30:00"], [94500, 5400]),
    "ISO durations": (["PT1H30M", "P1DT5M"], [5400, 86700]),
    "feet": (["5'11\"", "6'2\""], [71, 74]),
    "ordinals": (["1st", "2nd", "13th"], [1, 2, 13]),
    "at least": (["1,000+", "500,000+", "5+"], [1000, 500000, 5]),
    "of four": (["3.5/4.0", "3.9/4.0"], [3.5, 3.9]),
    "pay": (["$12.50/hr", "$15/hr"], [12.5, 15]),
    "accounting after the sign": (["$(1,234.00)", "$500.00"], [-1234, 500]),
    "laps": (["1:23.456", "12:04.001"], [83.456, 724.001]),
    "of five": (["4.1/5", "3.9/5"], [4.1, 3.9]),
    "sizes of apps": (["19M", "8.7M", "201k", "5M", "Varies"], [19e6, 8.7e6, 201e3, 5e6, math.nan]),
    "lakhs and crores": (["₹ 1.5 Lakh", "₹ 2.3 Cr"], [150000, 23e6]),
    "years and months": (["3 yrs 2 mos", "2 mos", "8 mos"], [3 * 12 + 2, 2, 8]),
    "a range in forty": (
        [*map(str, range(1000, 1039)), "1133 - 1384"],
        [*range(1000, 1039), math.nan],
    ),
    "limits": (["<5", "12", "7.5", ">90", "9", "8"], [5, 12, 7.5, 90, 9, 8]),
    "missing words": (
        ["1", "2", "3", "4", "n/a", "-", "unknown", "#N/A"],
        [1, 2, 3, 4, math.nan, math.nan, math.nan, math.nan],
    ),
    "a typing error in two hundred": (
        [*map(str, range(1, 200)), "1O5"],
        [*range(1, 200), math.nan],
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_column_of_numbers_is_read_by_one_format(name):
    texts, values = NUMBERS[name]
    for order in (slice(None), slice(None, None, -1)):
        form = guess_number_format(texts[order])
        assert form is not None
        np.testing.assert_allclose([form.read(text) for text in texts], values)


@pytest.mark.parametrize(
    "texts",
    [
        ["031A", "12", "45", "77"],
        [*map(str, range(10, 40)), "12B", "14B"],  # house numbers
        ["02139", "10001", "94105"],  # ZIP codes
        ["0170 1234567", "0171 7654321"],
        ["+49 170 1234567", "+49 171 7654321"],
        ["(212) 555-1234", "(646) 555-0000"],
        ["1.2.3", "1.10.0", "2.0.1"],
        ["192.168.1.1", "10.0.0.1"],
        ["1,2,3", "2,1"],
        ["18-25", "26-35", "<18", ">65"],
        ["<=50K", ">50K"],
        ["1/2", "3/2", "4/5"],
        ["3-2", "1-0"],
        ["2020-2021", "2021-2022"],
        ["$5", "€7", "$8"],
        ["12 kg", "5 km", "3 kg"],
        ["A12", "A13", "A7"],
        ["id1", "id2"],
        ["1.5", "1,5", "2.5", "2,5"],
        ["1.234", "1,234"],
        ["XL", "L", "M"],
        ["7K", "12C", "31A"],  # seats
        ["978-3-16-148410-0", "978-0-262-03384-8"],
        ["555-12-3456", "555-98-7654"],
        ["12:00-13:00", "13:00-14:00"],
        ["2024-01-31", "2024-02-01"],
        ["5+", "1", "2", "3"],
        ["many", "few"],
        ["n/a", "-"],
        [],
    ],
)
def test_what_only_looks_like_numbers_is_none(texts):
    assert guess_number_format(texts) is None


def test_marks_that_may_be_either_are_said_and_follow_the_rest_of_the_table():
    for texts, values, other in (
        (["1,234", "2,512"], [1234, 2512], ","),
        (["1.234", "2.512"], [1.234, 2.512], ","),
    ):
        form = guess_number_format(texts)
        assert form is not None
        assert form.ambiguous
        assert [form.read(text) for text in texts] == values
        form = guess_number_format(texts, other)
        assert form is not None
        assert form.read(texts[0]) == pytest.approx(1.234 if texts[0][1] == "," else 1234)
    thousands = guess_number_format(["1.234", "2.500", "999", "12"])
    assert thousands is not None
    assert (thousands.ambiguous, thousands.read("2.500")) == (True, 2500)
    many = guess_number_format([f"{137 * i:,}" for i in range(40)], ",")
    assert many is not None
    assert (many.ambiguous, many.read("1,370")) == (False, 1370)


def test_new_cells_are_read_by_the_format_of_the_column():
    kg = guess_number_format(["12 kg", "8 kg", "9 kg"])
    assert kg is not None
    assert [kg.read(t) for t in ("500 g", "3", "12 kg")] == [0.5, 3, 12]
    assert all(math.isnan(kg.read(t)) for t in ("5 km", "$5", "1,5 kg", "<5 kg", "many", ""))


DATES = {
    "ISO": (["2024-01-31", "2024-02-01T10:00:00Z"], ["2024-01-31", "2024-02-01T10:00"]),
    "a zone": (["2024-01-31 10:00:00+02:00"], ["2024-01-31T08:00"]),
    "fractions": (["2020-01-31 10:00:00.123456"], ["2020-01-31T10:00:00.123456"]),
    "long ago": (["1677-01-01", "9999-12-31"], ["1677-01-01", "9999-12-31"]),
    "day first": (["31/01/2024", "01/02/2024"], ["2024-01-31", "2024-02-01"]),
    "month first": (["1/31/24", "2/1/69"], ["2024-01-31", "1969-02-01"]),
    "points": (["1.2.2024 10:00", "31.3.2024 09:15"], ["2024-02-01T10:00", "2024-03-31T09:15"]),
    "dashes": (["31-01-2024", "01-02-2024"], ["2024-01-31", "2024-02-01"]),
    "year first": (["2024/01/31", "2024/02/01"], ["2024-01-31", "2024-02-01"]),
    "Excel in the US": (["1/25/2024 1:05:00 PM"], ["2024-01-25T13:05"]),
    "first of a month": (
        ["01/01/2024", "01/02/2024", "01/03/2024"],
        ["2024-01", "2024-02", "2024-03"],
    ),
    "names": (
        ["3 March 2021", "Mar 5, 2020", "1st of May 2020"],
        ["2021-03-03", "2020-03-05", "2020-05-01"],
    ),
    "German": (
        ["31. Dezember 2020, 10:00 Uhr", "1. März 2021"],
        ["2020-12-31T10:00", "2021-03-01"],
    ),
    "French": (["1er mars 2020", "14 août 2021"], ["2020-03-01", "2021-08-14"]),
    "Portuguese": (["5 de março de 2021"], ["2021-03-05"]),
    "without blanks": (["31JAN2020", "01FEB2021"], ["2020-01-31", "2021-02-01"]),
    "Excel months": (["Mar-21", "Apr-22"], ["2021-03", "2022-04"]),
    "months": (["2024-01", "01/2024", "2024/01"], ["2024-01"] * 3),
    "Japanese": (["2024年3月12日"], ["2024-03-12"]),
    "weeks": (["2024-W05", "2024-W06-3"], ["2024-01-29", "2024-02-07"]),
    "quarters": (["2024Q1", "Q3 2023"], ["2024-01", "2023-07"]),
    "mail": (
        ["Thu, 14 Mar 2024 10:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +0200"],
        ["2024-03-14T10", "2023-12-31T22"],
    ),
    "ctime": (["Tue Mar 05 12:00:00 2024"], ["2024-03-05T12:00"]),
    "digits": (["20240131", "20240201"], ["2024-01-31", "2024-02-01"]),
    "times": (
        ["12:30", "11:59 PM", "12:05 am"],
        ["1970-01-01T12:30", "1970-01-01T23:59", "1970-01-01T00:05"],
    ),
}


@pytest.mark.parametrize("name", DATES)
def test_a_column_of_dates_is_read_in_one_order(name):
    texts, moments = DATES[name]
    for order in (slice(None), slice(None, None, -1)):
        form = guess_date_format(texts[order])
        assert form is not None
        assert [form.read(t) for t in texts] == [np.datetime64(m, "us") for m in moments]


@pytest.mark.parametrize(
    "texts",
    [
        ["12/31/2020", "01/02/2020", "31/12/2020"],  # two orders
        ["2024-02-30", "2024-01-01"],
        ["1.2.10", "3.4.11"],
        ["1.2.3", "10.0.1"],
        ["1/2", "3/4"],
        ["10-20", "30-40"],
        ["3-2", "1-0"],
        ["2020-2021", "2021-2022"],
        ["555-12-3456"],
        ["1 234", "2 345"],
        ["12345678", "20249931"],
        ["May", "June"],
        ["5 apples 2020", "3 pears 2021"],
        ["soon", ""],
        [],
    ],
)
def test_what_only_looks_like_dates_is_none(texts):
    assert guess_date_format(texts) is None


def test_an_order_that_may_be_either_is_said_and_follows_the_rest_of_the_table():
    slashes, dashes = (
        guess_date_format(["01/02/2024", "03/04/2024"]),
        guess_date_format(["01-02-2024", "03-04-2024"]),
    )
    assert slashes is not None
    assert dashes is not None
    assert (slashes.order, slashes.ambiguous) == ("month first", True)
    assert (dashes.order, dashes.ambiguous) == ("day first", True)
    form = guess_date_format(["01/02/2024", "03/04/2024"], "day first")
    assert form is not None
    assert form.order == "day first"
