import warnings

import numpy as np
import pytest

from quickstudy.apps.recommend import Interactions, load_interactions
from quickstudy.apps.recommend.identifiers import Catalogue, identifier
from quickstudy.errors import DataError

ONE = [7, 7.0, "7", " 7 ", "7.0", "7.00", b"7", np.int8(7), np.float32(7), np.bytes_(b"7")]


@pytest.mark.parametrize("value", ONE)
def test_one_item_has_one_name_however_it_is_written(value):
    assert identifier(value) == "7"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("007", "007"),
        ("7.5", "7.5"),
        (7.5, "7.5"),
        (-3.0, "-3"),
        ("1.0.0", "1.0.0"),
        (10**40, "1" + "0" * 40),
        (True, "True"),
        ("tt0.0", "tt0.0"),
        (float("inf"), "inf"),
        (None, ""),
        (float("nan"), ""),
        ("Amélie".encode(), "Amélie"),
        (b"\xff", "\\xff"),
    ],
)
def test_other_names_stay_apart(value, name):
    assert identifier(value) == name


def test_missing_values_of_pandas_are_no_names():
    pandas = pytest.importorskip("pandas")
    assert identifier(pandas.NA) == identifier(pandas.NaT) == ""


@pytest.mark.parametrize("key", [1, 1.0, "1", "1.0", " 1", b"1", np.int64(1)])
@pytest.mark.parametrize("row", [1, 1.0, "1", "1.0"])
def test_attributes_and_titles_are_found_whichever_way_their_keys_are_written(key, row):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = Interactions.from_rows(
            [(row, row, 5)],
            users={key: {"age": 30}},
            items={key: {"year": 1979}},
            titles={key: "Alien"},
        )
    assert (data.users, data.items, data.titles) == (["1"], ["1"], ["Alien"])
    assert data.user_columns == {"age": [30]}
    assert data.item_columns == {"year": [1979]}


def test_attributes_in_files_are_found_by_numbers_written_otherwise(tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating\n1,10,5\n2,10,3\n")
    (tmp_path / "users.csv").write_text("user,age\n1.0,30\n2.0,40\n")
    (tmp_path / "items.csv").write_text("item,title\n10.0,Alien\n")
    files = {"users": tmp_path / "users.csv", "items": tmp_path / "items.csv"}
    data = load_interactions(tmp_path / "ratings.csv", **files)
    assert data.user_columns == {"age": [30.0, 40.0]}
    assert data.titles == ["Alien"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"items": {"tt1": {"year": 1979}}, "titles": {"tt1": "Alien"}},
            "none of 3 items with ratings have a row in the table of items: the ratings name '1', "
            "the table has 'tt1'",
        ),
        ({"titles": {"1": "Alien"}}, "1 of 3 items.*the ratings name '2'; check"),
        ({"users": {"bob": {"age": 3}}}, "none of 1 users.*name 'ann', the table has 'bob'"),
    ],
)
def test_a_table_that_matches_few_or_none_is_warned_of_once(given, says):
    rows = [("ann", 1, 5), ("ann", 2, 4), ("ann", 3, 4)]
    with pytest.warns(UserWarning, match=says) as said:
        Interactions.from_rows(rows, **given)
    assert len(said) == 1


def test_a_table_that_matches_half_or_more_is_not_warned_of(recwarn):
    rows = [("ann", 1, 5), ("ann", 2, 4)]
    Interactions.from_rows(rows, titles={1: "Alien", 7: "never rated"})
    assert not recwarn


def test_one_name_written_in_two_ways_is_refused_as_twice_the_same():
    with pytest.raises(DataError, match="one row of attributes for '1', got several"):
        Interactions.from_rows([(1, 1, 5)], users={1: {"age": 3}, "1.0": {"age": 4}})
    at = np.array([0, 1])
    with pytest.raises(DataError, match="each of the users once, got '1' twice"):
        Interactions([1, "1"], ["a", "b"], at, at, np.ones(2))  # pyright: ignore


def test_items_are_found_by_id_first_and_by_a_title_that_no_other_has():
    films = Catalogue(["1", "2", "3", "4"], ["Amélie", "Emma", "emma", "1"])
    assert films.find(1) == 0  # not the film called "1"
    assert films.find("AMELIE") == 0
    assert (films.find("Emma"), films.find("emma")) == (1, 2)
    assert films.find("EMMA") is None
    assert films.positions(["Emma", "x"], "ignore").tolist() == [1, -1]
    assert "title 'EMMA' of 2: name one by its id, '2', '3'" in str(films.error("EMMA"))
    assert "did you mean 'Amélie'?" in str(films.error("Amelia"))


def test_titles_that_several_items_have_are_shown_with_the_id():
    films = Catalogue(["1", "2", "3"], ["Emma", "Emma", "Alien"])
    assert films.labels == ["Emma (1)", "Emma (2)", "Alien"]
