"""Data of every kind that users have: frames, matrices, any scale, rows that cannot be read."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import Interactions, Recommender, generated, load_interactions
from quickstudy.apps.recommend.scales import nearest_levels, rating_levels
from quickstudy.errors import DataError, UsageError

ROWS = {"userId": [7, 7, 8], "movieId": ["a", "b", "a"], "rating": [0.5, 4.0, 3.5]}


def frames():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    return {
        "pandas": pandas.DataFrame(ROWS),
        "polars": polars.DataFrame(ROWS),
        "lazy": polars.LazyFrame(ROWS),
        "arrow": pyarrow.table(ROWS),
        "categories": pandas.DataFrame(ROWS).astype({"movieId": "category"}),
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "categories"])
def test_frames_of_any_library_are_read_as_files_are(kind, tmp_path):
    lines = ["userId,movieId,rating", "7,a,0.5", "7,b,4.0", "8,a,3.5"]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    expected = load_interactions(tmp_path / "ratings.csv")
    data = load_interactions(frames()[kind])
    assert (data.users, data.items) == (expected.users, expected.items) == (["7", "8"], ["a", "b"])
    np.testing.assert_array_equal(data.rating, expected.rating)


def test_frames_have_times_and_attributes_too():
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2024-01-02", "2024-01-01", "2024-01-03"], utc=False)
    items = pandas.DataFrame({"movieId": ["a", "b"], "title": ["A", "B"], "genres": ["x|y", "y"]})
    data = load_interactions(pandas.DataFrame({**ROWS, "timestamp": times}), items=items)
    assert data.time is not None
    assert (np.diff(data.time) / 86400).tolist() == [-1, 2]
    assert data.titles == ["A", "B"]
    assert data.item_columns["genres"] == [["x", "y"], ["y"]]
    with pytest.raises(UsageError, match=r"a file or a data frame, got list: .*from_rows"):
        load_interactions([("a", "x", 1)])


def test_a_sparse_matrix_keeps_ratings_of_0_and_its_names():
    matrix = sparse.csr_matrix(([0.0, -2.5, 3.0], ([0, 0, 2], [0, 1, 1])), shape=(3, 2))
    data = Interactions.from_matrix(matrix, users=["ann", "bob", "cid"], items=["x", "y"])
    assert (data.users, data.items) == (["ann", "cid"], ["x", "y"])
    assert data.rating.tolist() == [0.0, -2.5, 3.0]
    clicks = Interactions.from_matrix(matrix, clicks=True)
    assert (clicks.users, clicks.items) == (["0", "2"], ["1"])
    with pytest.raises(DataError, match="expected names of 3 users, got 2"):
        Interactions.from_matrix(matrix, users=["ann", "bob"])
    with pytest.raises(DataError, match="expected a sparse matrix of SciPy"):
        Interactions.from_matrix(np.ones((2, 2)))


def test_entries_that_a_matrix_stores_several_times_are_added_up():
    positions = ([0, 1, 0, 0], [1, 0, 1, 0])
    matrix = sparse.coo_matrix(([2.0, 4.0, 3.0, 0.0], positions), shape=(2, 2))
    data = Interactions.from_matrix(matrix)
    np.testing.assert_array_equal(data.matrix().toarray(), matrix.toarray())
    assert len(data.rating) == 3  # the stored 0 stays
    assert matrix.nnz == 4  # the caller's matrix is as it was


@pytest.mark.parametrize("separator", ["#", "~", "  ", " "])
def test_any_separator_can_be_named_and_white_space_is_found(tmp_path, separator):
    lines = ["user item rating time", "ann x 5 10", "bob x 2.5 20"]
    (tmp_path / "ratings.txt").write_text("\n".join(lines).replace(" ", separator))
    given = None if separator.isspace() else separator
    data = load_interactions(tmp_path / "ratings.txt", separator=given)
    assert (data.users, data.rating.tolist()) == (["ann", "bob"], [5.0, 2.5])


def test_clicks_without_a_header_are_recognised(tmp_path):
    (tmp_path / "clicks.csv").write_text("10001,1000\n10001,1001\n10002,1000\n")
    with pytest.warns(UserWarning, match="names no columns: they are taken to be user, item"):
        data = load_interactions(tmp_path / "clicks.csv", clicks=True)
    assert len(data.rating) == 3


def test_rows_that_cannot_be_read_are_counted_and_left_out_unless_asked_otherwise(tmp_path):
    rows = [f"u{i},x{i % 7},{i % 5},{i}" for i in range(60)]
    rows[10], rows[20], rows[30] = "u10,x1,good,10", ",x1,3,20", "u30,x1,3,noon"
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["user,item,rating,time", *rows]))
    with pytest.warns(UserWarning, match=r"3 of 60 rows cannot be read .*row 11 .*got 'good'"):
        data = load_interactions(path)
    assert len(data.rating) == 57
    assert not {"u10", "", "u30"} & set(data.users)
    with pytest.raises(DataError, match="row 11: expected a finite rating, got 'good'"):
        load_interactions(path, unreadable="raise")


def test_repeated_ratings_are_said_and_repeated_clicks_are_usual():
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "x", 4)]
    with pytest.warns(UserWarning, match="1 of 3 ratings are of an item that the user rated again"):
        data = Interactions.from_rows(rows)
    assert data.rating.tolist() == [4.0, 2.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clicks = Interactions.from_columns(["a", "a", "a"], ["x", "y", "x"], time=[1, 2, 3])
    assert clicks.matrix().toarray().tolist() == [[2, 1]]


def test_high_ratings_become_clicks(tmp_path):
    rows = [("a", "x", 5, 3), ("a", "y", 2, 2), ("b", "x", 1, 1), ("c", "y", 4, 4)]
    clicks = Interactions.from_rows(rows).as_clicks(4)
    assert clicks.clicks
    assert clicks.users == ["a", "c"]
    assert clicks.matrix().toarray().tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match=r"ratings of 6 or more, got 5 at most"):
        Interactions.from_rows(rows).as_clicks(6)
    (tmp_path / "r.csv").write_text("user,item,plays\na,x,9\na,y,1\nb,x,3\n")
    assert load_interactions(tmp_path / "r.csv", threshold=3).users == ["a", "b"]
    with pytest.raises(UsageError, match="clicks or a threshold"):
        load_interactions(tmp_path / "r.csv", threshold=3, clicks=True)


def test_a_scale_of_many_values_is_divided_into_levels():
    ratings = np.random.default_rng(0).normal(size=500) * 6
    with pytest.warns(UserWarning, match="of 500 different ratings, 10 levels are told apart"):
        levels = rating_levels(ratings, (-20, 20))
    assert len(levels) == 10
    assert (np.diff(levels) > 0).all()
    nearest = nearest_levels(ratings, levels)
    assert np.abs(nearest - ratings).mean() < 0.15 * ratings.std()
    halves = np.arange(1, 11) / 2
    np.testing.assert_array_equal(rating_levels(halves, (0, 5)), np.append(0, halves))


@pytest.mark.filterwarnings("ignore:of .* different ratings")
def test_continuous_and_negative_ratings_are_recommended_from(tmp_path):
    data = generated(n_users=30, n_items=20, seed=1)
    noise = np.random.default_rng(0).normal(size=len(data.rating))
    ratings = 4 * (data.rating - 3) + noise
    continuous = replace(data, rating=ratings, scale=(-20, 20))
    recommender = Recommender(meta=False).fit(continuous)
    assert len(recommender.rating_values_) == 10
    high, low = ratings.max(), ratings.min()
    user = recommender.adapt({"item 3": high, "item 8": low, "item 5": 0})
    assert low <= user.top_n(1)[0].rating <= high
    with pytest.raises(DataError, match="ratings of -20 to 20, got 21"):
        recommender.adapt({"item 3": 21})
    recommender.save(tmp_path / "it")
    again = Recommender.load(tmp_path / "it").adapt({"item 3": high, "item 8": low, "item 5": 0})
    np.testing.assert_array_equal(again.probabilities, user.probabilities)


def test_users_with_one_rating_take_part():
    data = generated(n_users=30, n_items=20, seed=1)
    once = np.arange(20)
    pairs = list(zip(data.user.tolist(), data.item.tolist(), data.rating.tolist(), strict=True))
    rows = [(f"user {u}", f"item {i}", r) for u, i, r in pairs]
    rows += [(f"once {i}", f"item {i}", 1 + i % 5) for i in once]
    recommender = Recommender(meta=False).fit(Interactions.from_rows(rows))
    assert recommender.n_users == 50
    assert len(recommender.adapt({"item 3": 5}).top_n(3)) == 3
