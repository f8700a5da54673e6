"""The commands of the recommender."""

import json

import pytest

import command
from quickstudy.apps.recommend import generated


def run(capsys, *words):
    return command.run(capsys, "recommend", *words)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with ratings.csv and users.csv, and room for a recommender."""
    folder = tmp_path_factory.mktemp("recommend")
    data = generated(n_users=120, n_items=40)
    rows = zip(data.user, data.item, data.rating, strict=True)
    lines = [f"{data.users[u]},{data.items[i]},{r}" for u, i, r in rows]
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]))
    told = zip(data.users, data.user_columns["age"], data.user_columns["trade"], strict=True)
    lines = [f"{user},{age},{trade}" for user, age, trade in told]
    (folder / "users.csv").write_text("\n".join(["user,age,trade", *lines]))
    return folder


def test_ratings_in_suggestions_out(capsys, here, monkeypatch):
    monkeypatch.chdir(here)
    given = ["--data", "ratings.csv", "--users", "users.csv"]
    code, out, _ = run(capsys, "train", *given, "--run", "it", "--json")
    assert code == 0
    assert json.loads(out)["users"] == 96
    code, out, _ = run(capsys, "evaluate", "it", *given, "--support", "0,2", "--json")
    assert code == 0
    scored = json.loads(out)
    assert {row["support"] for row in scored} == {0, 2}
    assert {"user_bias inf", "bayes 1", "recommender"} <= {row["system"] for row in scored}
    table = run(capsys, "evaluate", "it", *given, "--support", "0,2")[1]
    assert "users that training left out" in table
    code, out, _ = run(capsys, "suggest", "it", "--rate", "item 3=5", "-n", "4", "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["suggestions"]) == 4
    assert "item 3" not in [s["item"] for s in found["suggestions"]]
    words = ["suggest", "it", "--rate", "item 3=5", "--rate", "item 99=1", "-n", "4", "--json"]
    assert run(capsys, *words)[0] == 2
    code, out, err = run(capsys, *words, "--unknown", "ignore")
    assert json.loads(out) == found
    assert err.startswith("warning: 1 of 2 items are not among those of training")
    (here / "mine.csv").write_text("item,rating\nitem 3,5\n")
    words = ["suggest", "it", "--history", "mine.csv", "-n", "4", "--json"]
    assert json.loads(run(capsys, *words)[1]) == found
    told = ["--attribute", "age=20", "--attribute", "trade=smith"]
    assert "because you liked" in run(capsys, "suggest", "it", *told)[1]
    assert len(json.loads(run(capsys, "suggest", "it", "--ask", "3", "--json")[1])) == 3
    for words, says in [
        (["suggest", "it", "--rate", "item 3"], "expected --rate ITEM=RATING, got 'item 3'"),
        (["suggest", "it", "--rate", "item 3=good"], "expected a number as the rating"),
        (["suggest", "it", "--rate", "item 3=7"], "ratings of 1 to 5, got 7"),
        (["suggest", "it", "--attribute", "age=old"], "a number as 'age', got 'old'"),
        (["suggest", "it", "--attribute", "size=3"], "unknown attribute 'size'"),
        (["suggest", "nowhere"], "found none: train one"),
        (["evaluate", "it", *given, "--support", "few"], "expected --support such as 0,5,10"),
        (["evaluate", "it", *given, "--hold-out", "0"], "not seen in training"),
    ]:
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert says in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hold-out", "1"], "below 1, got 1"),
        (["--data", "none.csv"], "found none"),
        (["--extra-base", "tamp"], "did you mean 'tanp'"),
        (["--extra-base", "tanp", "--clicks"], "expected ratings for tanp to learn, got clicks"),
        (["--users", "users.csv"], "--users and --items with a file, got them with generated"),
        (["--run", "ratings.csv"], "is not a saved recommender"),
        (["--scale", "1,5"], "--columns, --scale and --separator with a file, got them"),
        (["--data", "ratings.csv", "--scale", "1-5"], "expected --scale such as 1,10, got '1-5'"),
        (["--data", "ratings.csv", "--scale", "1,3"], "expected ratings of 1 to 3, got"),
        (["--data", "ratings.csv", "--columns", "item"], "--columns user=NAME,item=NAME, got"),
        (["--data", "ratings.csv", "--columns", "itm=x"], "unknown column 'itm'"),
        (["--data", "ratings.csv", "--columns", "item=x"], "expected a column 'x' in"),
    ],
)
def test_training_refuses_before_it_works(capsys, here, monkeypatch, words, says):
    monkeypatch.chdir(here)
    (here / "generated").mkdir(exist_ok=True)  # the data of that name is meant all the same
    code, _, err = run(capsys, "train", *words)
    assert code == 2
    assert says in err


def test_clicks_in_what_comes_next_out(capsys, here, monkeypatch):
    monkeypatch.chdir(here)
    given = ["--data", "ratings.csv", "--users", "users.csv"]
    code, _, err = run(capsys, "train", *given, "--clicks", "--run", "next")
    assert code == 0
    assert "warning: the clicks have no times" in err
    code, out, _ = run(capsys, "evaluate", "next", *given, "--support", "0,2", "--json")
    assert code == 0
    assert {"recall@10", "ndcg@10", "ndcg@10_interval"} <= set(json.loads(out)[0])
    words = ["suggest", "next", "--chose", "item 3", "--chose", "item 8", "-n", "4"]
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["suggestions"]) == 4
    assert "because you chose" in run(capsys, *words)[1]
    (here / "clicks.csv").write_text("item\nitem 3\nitem 8\n")
    words = ["suggest", "next", "--history", "clicks.csv", "-n", "4", "--json"]
    assert json.loads(run(capsys, *words)[1]) == found
    code, _, err = run(capsys, "suggest", "next", "--rate", "item 3=5")
    assert code == 2
    assert "names of items in order" in err


def test_items_are_searched_filtered_and_exported(capsys, here, monkeypatch):
    monkeypatch.chdir(here)
    genres = ["drama", "comedy|war", "war"]
    lines = [f"item {i},Film {i},{genres[i % 3]},{1990 + i}" for i in range(40)]
    (here / "items.csv").write_text("\n".join(["item,title,genres,year", *lines]))
    given = ["--data", "ratings.csv", "--items", "items.csv", "--no-meta", "--run", "films"]
    assert run(capsys, "train", *given)[0] == 0
    found = json.loads(run(capsys, "search", "films", "FILM 7", "--json")[1])
    assert found[0] == {"item": "item 7", "title": "Film 7"}
    where = ["--where", "genres=war", "--where", "year=1990..2004"]
    found = json.loads(run(capsys, "search", "films", *where, "-n", "50", "--json")[1])
    expected = {f"item {i}" for i in range(15) if i % 3}
    assert {row["item"] for row in found} == expected
    words = ["suggest", "films", "--rate", "Film 1=5", *where, "-n", "50", "--json"]
    listed = json.loads(run(capsys, *words)[1])["suggestions"]
    assert {row["item"] for row in listed} == expected - {"item 1"}
    listed = json.loads(run(capsys, *words, "--include-seen")[1])["suggestions"]
    assert {row["item"] for row in listed} == expected
    mixed = ["--diversity", "0.3", "--calibrate", "genres=0.3"]
    assert run(capsys, *words, *mixed)[0] == 0
    words = ["export", "films", "lists.csv", "--data", "ratings.csv", "-n", "3", "--include-seen"]
    code, out, _ = run(capsys, *words)
    assert (code, out) == (0, "120 users, 360 rows in lists.csv\n")
    assert (here / "lists.csv").read_text().startswith("user,rank,item,title,score\n")
    for words, says in [
        (["search", "films", "no such"], "expected words of a title, got 'no such'"),
        (["suggest", "films", "--where", "genre=war"], "unknown attribute of items 'genre'"),
        (["suggest", "films", "--where", "genres"], "expected --where NAME=VALUE"),
        (["suggest", "films", "--calibrate", "genres=x"], "expected --calibrate genres=0.5"),
        (["export", "films", "lists.txt", "--data", "ratings.csv"], "ends in .csv or .parquet"),
    ]:
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert says in err
