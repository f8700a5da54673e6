"""Lists: filtered, with seen items, diverse, calibrated, of all users and in files; new items."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from quickstudy.apps.recommend import Recommender, generated, memory
from quickstudy.apps.recommend.filters import matching_items
from quickstudy.apps.recommend.ranking import ranked
from quickstudy.apps.recommend.reranking import reranked
from quickstudy.errors import DataError, UsageError

N_OLD = 24


def of_items(data, items):
    """The interactions with some items, which come in the given order."""
    position = np.full(len(data.items), -1)
    position[items] = np.arange(len(items))
    rows = position[data.item] >= 0
    return replace(
        data,
        items=[data.items[i] for i in items],
        titles=[f"Film {data.items[i]}" for i in items],
        item_columns={n: [v[i] for i in items] for n, v in data.item_columns.items()},
        user=data.user[rows],
        item=position[data.item[rows]],
        rating=data.rating[rows],
        time=data.time[rows],
    )


DATA = generated(n_users=50, n_items=30, seed=5)
TRAINING = of_items(DATA, np.arange(N_OLD))
NEW = {DATA.items[i]: {"genres": DATA.item_columns["genres"][i]} for i in range(N_OLD, 30)}


@pytest.fixture(scope="module", params=["ratings", "clicks"])
def recommender(request):
    data = TRAINING if request.param == "ratings" else TRAINING.as_clicks()
    return Recommender(meta=False).fit(data)


def genre_of(item):
    return DATA.item_columns["genres"][DATA.items.index(item)][0]


def adapted(recommender):
    history = ["item 3", "item 8"] if recommender.clicks_ else {"item 3": 5, "item 8": 4}
    return recommender.adapt(history)


def test_lists_are_limited_to_attributes_and_may_have_what_was_seen(recommender):
    user = adapted(recommender)
    genre = genre_of("item 3")
    found = user.top_n(24, where={"genres": genre})
    assert found
    assert {genre_of(s.item) for s in found} == {genre}
    assert "item 3" not in [s.item for s in found]
    seen = user.top_n(24, where={"genres": [genre]}, include_seen=True)
    assert {s.item for s in found} | {"item 3"} <= {s.item for s in seen}
    with pytest.raises(UsageError, match="unknown attribute of items 'genre'; did you mean"):
        user.top_n(where={"genre": "x"})
    with pytest.raises(DataError, match="a value of 'genres' that an item has, got 'opera'"):
        user.top_n(where={"genres": "opera"})


def test_numbers_are_matched_by_range():
    columns = {"year": [1990.0, None, 2001.0], "genres": [["War"], ["Drama", "War"], None]}
    assert matching_items(columns, {"year": (1989, 1999)}).tolist() == [True, False, False]
    assert matching_items(columns, {"year": 2001}).tolist() == [False, False, True]
    assert matching_items(columns, {"genres": ["drama", "WAR"]}).tolist() == [True, True, False]


def test_the_highest_scores_come_first_and_ties_in_order():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 50, size=(40, 200)).astype(float)  # with many ties
    scores[0] = -np.inf
    expected = np.argsort(-scores, 1, kind="stable")
    for n in (1, 7, 60):
        np.testing.assert_array_equal(ranked(scores, n), expected[:, :n])


def test_diverse_lists_have_less_similar_items(recommender):
    user = adapted(recommender)
    vectors = recommender.item_vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def similarity(suggestions):
        rows = unit[[recommender.items_.index(s.item) for s in suggestions]]
        return (rows @ rows.T)[np.triu_indices(len(rows), 1)].mean()

    plain, diverse = user.top_n(6), user.top_n(6, diversity=0.8)
    assert similarity(diverse) < similarity(plain)
    assert [s.item for s in user.top_n(6, diversity=0.0)] == [s.item for s in plain]
    for wrong in ({"diversity": 1.0}, {"diversity": -0.1}, {"calibrate": {"genres": 1.5}}):
        with pytest.raises(UsageError, match="diversity and calibration of 0 or more and below 1"):
            user.top_n(5, **wrong)


def test_calibrated_lists_keep_to_the_users_mix():
    shares = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]], float)
    scores = np.array([5.0, 4.9, 4.8, 3.0, 2.9])
    wanted = np.array([0.5, 0.5])
    assert reranked(scores, 4, mixes=[(shares, wanted, 0.0)]) == [0, 1, 2, 3]
    assert sorted(reranked(scores, 4, mixes=[(shares, wanted, 0.9)])) == [0, 1, 3, 4]


def test_calibration_by_an_unknown_attribute_is_refused(recommender):
    user = adapted(recommender)
    assert len(user.top_n(5, calibrate={"genres": 0.5})) == 5
    with pytest.raises(UsageError, match="unknown attribute of items 'genre'"):
        user.top_n(5, calibrate={"genre": 0.5})


def test_titles_are_searched_and_limited_to_attributes(recommender):
    assert recommender.search("ITEM 3 film")[0] == "item 3"
    genre = genre_of("item 3")
    among = recommender.search(n=30, where={"genres": genre})
    assert set(map(genre_of, among)) == {genre}


def test_lists_of_all_users_are_written_and_read(recommender, tmp_path):
    data = TRAINING.as_clicks() if recommender.clicks_ else TRAINING
    some = data.of_users(np.arange(7))
    positions = recommender.top_all(some, 3, include_seen=True, to=tmp_path / "lists.csv")
    with (tmp_path / "lists.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows[:3]] == [recommender.items_[i] for i in positions[0]]
    assert rows[0].keys() == {"user", "rank", "item", "title", "score"}
    assert rows[0]["title"].startswith("Film ")
    scores = np.array([float(row["score"]) for row in rows]).reshape(7, 3)
    assert (np.diff(scores, axis=1) <= 0).all()
    pyarrow = pytest.importorskip("pyarrow.parquet")
    recommender.top_all(some, 3, include_seen=True, to=tmp_path / "lists.parquet")
    assert pyarrow.read_table(tmp_path / "lists.parquet")["item"].to_pylist() == [
        row["item"] for row in rows
    ]
    with pytest.raises(UsageError, match=r"ends in .csv or .parquet, got"):
        recommender.top_all(some, 3, to=tmp_path / "lists.txt")


def test_users_that_are_divided_among_workers_get_what_they_get_in_one(recommender, monkeypatch):
    joblib = pytest.importorskip("joblib")
    data = TRAINING.as_clicks() if recommender.clicks_ else TRAINING
    positions = recommender.top_all(data, 3)
    monkeypatch.setattr(memory, "PAIRS_PER_CHUNK", 4 * N_OLD)
    with joblib.parallel_config("threading"):
        np.testing.assert_array_equal(recommender.top_all(data, 3, n_jobs=2), positions)


def test_new_items_come_into_the_one_list_and_training_stays_as_it_is(recommender, tmp_path):
    before = adapted(recommender).probabilities
    whole = DATA.as_clicks() if recommender.clicks_ else DATA
    more = recommender.with_items(NEW, titles={"item 25": "Alien"}, first=whole)
    assert np.array_equal(adapted(recommender).probabilities, before)
    assert len(more.items_) == len(more.item_counts) == len(more.item_vectors) == 30
    user = adapted(more)
    listed = [s.item for s in user.top_n(30)]
    assert set(listed) == set(DATA.items) - {"item 3", "item 8"}
    if not recommender.clicks_:
        np.testing.assert_allclose(user.probabilities[:N_OLD], before, atol=1e-6)
        assert user.probabilities[N_OLD:].sum(1) == pytest.approx(1, abs=1e-5)
    assert more.search("alien") == ["item 25"]
    (alien,) = user.top_n(1, among=["Alien"])
    assert alien.item == "item 25"
    more.save(tmp_path / "it")
    again = adapted(Recommender.load(tmp_path / "it"))
    np.testing.assert_allclose(again.probabilities, user.probabilities, rtol=1e-6)
    seen = more.adapt(["Alien"] if more.clicks_ else {"Alien": 5})
    assert "item 25" not in [s.item for s in seen.top_n(30)]
    assert more.top_all(whole.of_users(np.arange(4)), 3).shape == (4, 3)


def test_new_items_are_predicted_from_attributes_and_better_from_first_ratings():
    recommender = Recommender(meta=False).fit(TRAINING)
    true = np.array([DATA.rating[DATA.item == i].mean() for i in range(N_OLD, 30)])
    errors = {}
    for name, first in (("none", None), ("some", DATA)):
        more = recommender.with_items(NEW, first=first)
        predicted = more.usual_scores[N_OLD:]
        errors[name] = np.abs(predicted - true).mean()
    assert errors["some"] < 0.6 * errors["none"]
    without = recommender.with_items({"x": {}, "y": {"genres": ["space"]}}).usual_scores[N_OLD:]
    assert np.isfinite(without).all()


def test_items_that_training_had_and_unknown_attributes_are_refused(recommender):
    with pytest.raises(DataError, match="expected new items, got 'item 3', which training had"):
        recommender.with_items({"item 3": {}})
    with pytest.raises(UsageError, match="unknown attribute of items 'colour'"):
        recommender.with_items({"new": {"colour": "red"}})


def test_titles_count_where_there_is_a_text_encoder():
    titles = {name: "space war" for name in NEW}
    known = replace(TRAINING, titles=["space" if i % 2 else "love" for i in range(N_OLD)])
    recommender = Recommender(meta=False).fit(known)

    def encoder(texts):
        return np.array([[float("space" in t), len(t) / 10] for t in texts])

    plain = recommender.with_items(NEW, titles=titles)
    encoded = recommender.with_items(NEW, titles=titles, text_encoder=encoder)
    assert not np.allclose(plain.usual_scores[N_OLD:], encoded.usual_scores[N_OLD:])
