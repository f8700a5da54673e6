import numpy as np
import pytest

from quickstudy.apps.recommend import (
    ColdUsers,
    Interactions,
    generated,
    load_interactions,
    load_ml_100k,
    load_movielens,
    user_folds,
)
from quickstudy.apps.recommend.reading import load_history
from quickstudy.errors import DataError, MissingError, QuickstudyError, UsageError


def write(folder, text, name="ratings.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_csv_file_is_read_whatever_its_columns_are_called(tmp_path):
    path = write(
        tmp_path, 'userId,movieId,rating,timestamp\nann,"Alien, 1979",4.5,10\nbob,7,1,20\n'
    )
    data = load_interactions(path)
    assert data.users == ["ann", "bob"]
    assert data.items == ["Alien, 1979", "7"]
    assert data.rating.tolist() == [4.5, 1.0]
    assert data.time is not None
    assert data.time.tolist() == [10, 20]
    named = write(tmp_path, "who,book,stars\nann,Emma,5\n", "books.csv")
    columns = {"user": "who", "item": "book", "rating": "stars"}
    assert load_interactions(named, columns=columns).items == ["Emma"]


def test_a_parquet_file_is_read_as_a_csv_file_is(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"user": [1, 1, 2], "item": ["a", "b", "a"], "rating": [1.0, 2.0, 3.0]})
    parquet.write_table(table, tmp_path / "ratings.parquet")
    data = load_interactions(tmp_path / "ratings.parquet")
    assert (data.users, data.items) == (["1", "2"], ["a", "b"])
    assert data.matrix().toarray().tolist() == [[1, 2], [3, 0]]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(DataError, match="as Parquet"):
        load_interactions(tmp_path / "bad.parquet")


def test_the_newest_of_several_ratings_of_an_item_is_kept(tmp_path):
    rows = "user,item,rating,time\na,x,1,30\na,x,5,40\na,x,3,20\n"
    assert load_interactions(write(tmp_path, rows)).rating.tolist() == [5]
    rows = "user,item,rating\na,x,1\na,x,5\na,x,3\n"
    assert load_interactions(write(tmp_path, rows)).rating.tolist() == [3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty file"),
        ("user,item,rating\n", "got none"),
        ("user,item\na,x\n", "expected a column 'rating'.*got user, item.*--clicks"),
        ("user,thing,rating\na,x,1\n", "expected a column 'item'.*rename one"),
        ("user,item,rating\na,x,good\n", "row 1: expected a finite rating, got 'good'"),
        ("user,item,rating\na,x,nan\n", "expected a finite rating"),
        ("user,item,rating\na,x,inf\n", "expected a finite rating"),
        ("user,item,rating\na,x,\n", "expected a finite rating"),
        ("user,item,rating\na,x,1\n,x,1\n", "row 2: expected a user and an item"),
        ("user,item,rating\na,x\n", "expected 3 cells in each line of .*, got 2 in row 1"),
        ("user,item,rating,time\na,x,1,noon\n", "expected a finite time, got 'noon'"),
    ],
)
def test_a_file_that_cannot_serve_is_refused_with_its_row(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        load_interactions(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "userId,movieId,rating,timestamp\nann,x,4.5,978300760\n",
        "User-ID;ISBN;Book-Rating;Date\nann;x;4,5;2024-01-01\n",
        "customer_id\tproduct_id\tstars\tdate\nann\tx\t4.5\t2024-01-01\n",
        "Visitor ID|SKU|Score|Created At\nann|x|4.5|2024-01-01\n",
        "time,overall_rating,place_id,user\n978300760,4.5,x,ann\n",
    ],
)
def test_columns_are_known_by_the_names_that_people_give_them(tmp_path, text):
    data = load_interactions(write(tmp_path, text))
    assert (data.users, data.items, data.rating.tolist()) == (["ann"], ["x"], [4.5])
    assert data.time is not None


def test_rows_with_an_empty_cell_are_left_out_even_if_they_are_many(tmp_path):
    rows = "".join(f"u{i},x,{'' if i % 3 else i}\n" if i % 2 else f"u{i},x,1\n" for i in range(30))
    with pytest.warns(UserWarning, match="^10 of 30 rows cannot be read and are left out; row 2"):
        assert len(load_interactions(write(tmp_path, "user,item,rating\n" + rows)).users) == 20
    wrong = rows.replace(",\n", ",good\n")
    with pytest.raises(DataError, match=r"row 2: .* got 'good' \(10 of 30 rows cannot be read"):
        load_interactions(write(tmp_path, "user,item,rating\n" + wrong))


def test_a_row_with_a_cell_too_many_is_left_out(tmp_path):
    rows = "".join(f"u{i},x,{i % 5}\n" for i in range(20)) + "u0,Yes, No,3\n"
    with pytest.warns(UserWarning, match="^1 of 21 rows are left out: .* got 4 in row 21"):
        assert len(load_interactions(write(tmp_path, "user,item,rating\n" + rows)).users) == 20
    with pytest.raises(DataError, match="got 4 in row 21"):
        load_interactions(write(tmp_path, "user,item,rating\n" + rows), unreadable="raise")


def test_files_that_are_absent_or_no_text_are_refused(tmp_path):
    with pytest.raises(MissingError, match="found none"):
        load_interactions(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        load_interactions(tmp_path / "bytes.csv")
    with pytest.raises(UsageError, match="unknown column 'itm'"):
        load_interactions(write(tmp_path, "user,item,rating\n"), columns={"itm": "x"})
    with pytest.raises(DataError, match="expected a column 'book'"):
        load_interactions(write(tmp_path, "user,item,rating\n"), columns={"item": "book"})


def test_the_newer_movielens_has_genres_and_titles(tmp_path):
    write(tmp_path, "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,32,3,1260759145\n")
    movies = 'movieId,title,genres\n31,"Dangerous Minds (1995)",Drama\n32,Two (1990),Drama|War\n'
    write(tmp_path, movies, "movies.csv")
    data = load_movielens(tmp_path)
    assert data.titles == ["Dangerous Minds (1995)", "Two (1990)"]
    assert data.item_columns["genres"] == [["Drama"], ["Drama", "War"]]


@pytest.mark.data("ml-100k")
def test_movielens_100k_is_what_its_authors_say():
    data = load_ml_100k()
    assert (len(data.users), len(data.items), len(data.rating)) == (943, 1682, 100_000)
    assert data.rating.mean() == pytest.approx(3.52986)
    first = data.users.index("1")
    assert {name: values[first] for name, values in data.user_columns.items()} == {
        "age": 24.0,
        "gender": "M",
        "occupation": "technician",
    }
    assert data.titles is not None
    assert data.titles[data.items.index("1")] == "Toy Story (1995)"


def test_a_rating_twice_or_of_nothing_known_is_refused():
    def make(user, item, **more):
        ratings = np.ones(len(user))
        return Interactions(["a", "b"], ["x"], np.array(user), np.array(item), ratings, **more)

    with pytest.raises(DataError, match="several of 'x' by 'b'"):
        make([0, 1, 1], [0, 0, 0])
    with pytest.raises(DataError, match=r"users in 0\.\.1"):
        make([2], [0])
    with pytest.raises(DataError, match="expected a time for each of 2"):
        make([0, 1], [0, 0], time=np.zeros(1))
    with pytest.raises(DataError, match="'age' of each of 2 users, got 1"):
        make([0, 1], [0, 0], user_columns={"age": [3]})


def test_folds_share_no_user_and_leave_none_out():
    folds = user_folds(103, 5, seed=1)
    assert sorted(np.concatenate(folds).tolist()) == list(range(103))
    assert {len(fold) for fold in folds} == {20, 21}
    assert not np.array_equal(folds[0], user_folds(103, 5, seed=2)[0])
    with pytest.raises(UsageError, match="2 to 3 folds"):
        user_folds(3, 4)


@pytest.mark.parametrize("order", ["random", "chronological"])
def test_support_sets_grow_and_share_nothing_with_the_queries(order):
    data = generated(n_users=60)
    cold = ColdUsers(data, n_query=4, max_support=6, order=order, seed=3)
    true = data.of_users(cold.users).matrix()
    for small, large in ((0, 1), (1, 3), (3, 6)):
        few, more = cold.support(small).toarray(), cold.support(large).toarray()
        assert ((few > 0).sum(1) == small).all()
        assert (more[few > 0] == few[few > 0]).all()
        assert (more[more > 0] == true.toarray()[more > 0]).all()
        assert (np.take_along_axis(more, cold.query_items, 1) == 0).all()
    assert (np.take_along_axis(true.toarray(), cold.query_items, 1) == cold.query_ratings).all()
    with pytest.raises(UsageError, match="0 to 6"):
        cold.support(7)


def test_in_time_the_first_ratings_are_the_support_set_and_the_last_the_queries():
    rows = [("a", f"x{t}", 1 + t % 5, -t) for t in range(8)]
    data = Interactions.from_rows(rows)
    cold = ColdUsers(data, n_query=2, max_support=3, order="chronological")
    assert [data.items[i] for i in cold.query_items[0]] == ["x1", "x0"]
    assert {data.items[i] for i in cold.support(2).indices} == {"x7", "x6"}


def test_cold_users_without_times_or_ratings_enough_are_refused():
    data = Interactions.from_rows([("a", "x", 1), ("a", "y", 2)])
    with pytest.raises(DataError, match="expected times"):
        ColdUsers(data, n_query=1, max_support=1, order="chronological")
    with pytest.raises(DataError, match=r"users with 30 ratings.*--n-query"):
        ColdUsers(data)
    with pytest.raises(QuickstudyError, match="unknown order 'sorted'"):
        ColdUsers(data, order="sorted")  # pyright: ignore


def test_clicks_are_read_without_ratings_and_in_the_order_of_their_times(tmp_path):
    path = write(tmp_path, "user,item,time\nann,Emma,30\nann,Alien,10\nbob,Emma,20\n")
    data = load_interactions(path, clicks=True)
    assert data.clicks
    assert data.matrix().toarray().tolist() == [[2, 1], [1, 0]]
    rated = write(tmp_path, "user,item,rating\nann,Alien,5\nann,Emma,2\n", "rated.csv")
    assert not load_interactions(rated).clicks
    assert load_interactions(rated, clicks=True).rating.tolist() == [1, 1]
    assert load_interactions(rated).as_clicks().matrix().toarray().tolist() == [[1, 1]]
    with pytest.raises(DataError, match="times for an order, got none"):
        load_interactions(rated, clicks=True).positions()


def test_some_ratings_that_are_none_among_others_are_refused():
    with pytest.raises(DataError, match="row 2: expected a finite rating, got None"):
        Interactions.from_rows([("a", "x", 3), ("b", "x", None)])


def test_what_follows_a_support_set_comes_next_in_time():
    rows = [("a", f"x{t}", None, -t) for t in range(8)]
    cold = ColdUsers(Interactions.from_rows(rows), n_query=2, max_support=3, order="chronological")
    for size, then in ((0, ["x7", "x6"]), (3, ["x4", "x3"])):
        assert [cold.data.items[i] for i in cold.next_items(size)[0]] == then
        assert sorted(cold.support(size).data) == list(range(1, size + 1))
    with pytest.raises(UsageError, match="0 to 3"):
        cold.next_items(4)


def test_what_is_missing_in_parquet_is_no_name(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for user, item in ((["a", None], ["x", "y"]), (["a", "b"], ["x", None])):
        table = pyarrow.table({"user": user, "item": item, "rating": [1.0, 2.0]})
        parquet.write_table(table, tmp_path / "ratings.parquet")
        with pytest.raises(DataError, match="row 2: expected a user and an item"):
            load_interactions(tmp_path / "ratings.parquet")
    table = {"item": ["x", "y"], "title": [None, "Y"], "tags": [["a", "b"], ["c"]]}
    parquet.write_table(
        pyarrow.table({**table, "year": [1990.0, float("nan")]}), tmp_path / "items.parquet"
    )
    ratings = write(tmp_path, "user,item,rating\na,x,1\nb,y,2\n")
    data = load_interactions(ratings, items=tmp_path / "items.parquet")
    assert data.titles == ["x", "Y"]
    assert data.item_columns == {"tags": [["a", "b"], ["c"]], "year": [1990.0, None]}


def test_attributes_are_of_names_without_blanks_once_each(tmp_path):
    ratings = write(tmp_path, "user,item,rating\n ann,x,1\nbob,x,2\n")
    users = write(tmp_path, "user,age\n ann,30\nbob ,40\n", "users.csv")
    assert load_interactions(ratings, users=users).user_columns == {"age": [30.0, 40.0]}
    twice = write(tmp_path, "item,title,genre\nx,,comedy\nx,,drama\n", "items.csv")
    with pytest.raises(DataError, match=r"^expected a row for each item in .*items.csv, got 2"):
        load_interactions(ratings, items=twice)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::"])
def test_any_usual_delimiter_is_found_and_names_of_columns_can_be_given(tmp_path, delimiter):
    lines = ["who,book,stars,when", "ann,Emma,4.5,10", "bob,Emma,2,20"]
    path = write(tmp_path, "\n".join(lines).replace(",", delimiter), "ratings.dat")
    columns = {"user": "who", "item": "book", "rating": "stars", "time": "when"}
    data = load_interactions(path, columns=columns)
    assert (data.users, data.items, data.rating.tolist()) == (["ann", "bob"], ["Emma"], [4.5, 2])
    assert data.time is not None
    assert data.time.tolist() == [10, 20]
    about = write(tmp_path, f"book{delimiter}title\nEmma{delimiter}Emma: a novel\n", "books.dat")
    assert load_interactions(path, columns=columns, items=about).titles == ["Emma: a novel"]
    assert load_history(path, columns=columns) == [("Emma", 4.5), ("Emma", 2.0)]


@pytest.mark.parametrize("delimiter", ["::", "\t", ","])
def test_a_file_without_names_of_columns_has_those_of_movielens(tmp_path, delimiter):
    text = "1,1,5,978300760\n2,661,3,978302109\n".replace(",", delimiter)
    with pytest.warns(UserWarning, match="names no columns.* user, item, rating, time"):
        data = load_interactions(write(tmp_path, text, "ratings.dat"))
    assert (data.users, data.items) == (["1", "2"], ["1", "661"])
    assert data.rating.tolist() == [5, 3]
    assert data.time is not None


def test_the_scale_is_that_of_all_ratings_or_as_given_and_stays_in_parts(tmp_path):
    rows = [("a", "x", 1), ("a", "y", 9), ("b", "x", 10)]
    data = Interactions.from_rows(rows)
    assert data.of_users(np.array([0])).rating_range == (1, 10)
    assert Interactions.from_rows(rows, scale=(0, 10)).of_users(np.array([1])).rating_range == (
        0,
        10,
    )
    path = write(tmp_path, "user,item,rating\na,x,1\n")
    assert load_interactions(path, scale=(1, 5)).rating_range == (1, 5)
    with pytest.raises(DataError, match=r"ratings of 2 to 5, got 1: .*--scale"):
        load_interactions(path, scale=(2, 5))
    with pytest.raises(UsageError, match="a scale from low to high, got 5 to 1"):
        load_interactions(path, scale=(5, 1))
    with pytest.raises(UsageError, match="a scale with ratings, got one with clicks"):
        load_interactions(path, scale=(1, 5), clicks=True)
