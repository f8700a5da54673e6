import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from quickstudy.apps.recommend import Interactions, Recommender, evaluate, generated, user_folds
from quickstudy.errors import DataError, MissingError, RunError, UsageError

DATA = generated(n_users=160, n_items=50, seed=2)
COLD, WARM = user_folds(160, 4)[0], np.setdiff1d(np.arange(160), user_folds(160, 4)[0])


@pytest.fixture(scope="module")
def recommender():
    return Recommender().fit(DATA.of_users(WARM))


@pytest.fixture(scope="module")
def scores(recommender):
    return evaluate(recommender, DATA.of_users(COLD), supports=(0, 5), n_query=5)


def mean(scores, system, support):
    (matching,) = (s for s in scores if (s.system, s.support) == (system, support))
    return matching.measures["mae"].mean()


def test_few_ratings_make_predictions_better_than_the_mean_of_the_item(scores):
    assert mean(scores, "recommender", 5) < mean(scores, "recommender", 0)
    assert mean(scores, "recommender", 5) < 0.9 * mean(scores, "user_bias inf", 5)
    assert len({len(s.measures["mae"]) for s in scores}) == 1


def test_all_actions_and_the_recommender_are_scored(recommender, scores):
    names = [s.system for s in scores if s.support == 0]
    assert len(names) == len(recommender.configurations_) + 1 == len(set(names))


def test_a_user_seen_in_training_is_refused_in_evaluation(recommender):
    seen = DATA.of_users(np.concatenate([COLD, WARM[:1]]))
    with pytest.raises(DataError, match="not seen in training, got"):
        evaluate(recommender, seen)


def test_no_rating_of_a_cold_user_changes_what_is_learned(recommender):
    """Of the data, the recommender knows the cold users' ratings only if they are given."""
    other = generated(n_users=160, n_items=50, seed=2)
    changed = np.where(np.isin(other.user, COLD), 6 - other.rating, other.rating)
    other = Interactions(
        other.users,
        other.items,
        other.user,
        other.item,
        changed,
        user_columns=other.user_columns,
        item_columns=other.item_columns,
    )
    again = Recommender().fit(other.of_users(WARM))
    history = {"item 3": 5.0}
    assert np.array_equal(
        again.adapt(history).probabilities, recommender.adapt(history).probabilities
    )


def test_probabilities_are_some_and_the_same_for_one_and_many(recommender):
    user = recommender.adapt({"item 3": 5, "item 8": 1}, {"age": 30.0, "trade": "smith"})
    assert user.probabilities.shape == (50, 5)
    np.testing.assert_allclose(user.probabilities.sum(1), 1, atol=1e-5)
    assert (user.probabilities >= 0).all()
    cold = DATA.of_users(COLD)
    together = recommender.top_all(cold, 5)
    known, _ = recommender.align(cold)
    for u in range(3):
        rows = np.flatnonzero(known.user == u)
        history = {recommender.items_[known.item[r]]: known.rating[r] for r in rows}
        attributes = {name: values[u] for name, values in cold.user_columns.items()}
        alone = recommender.adapt(history, attributes).top_n(5)
        assert [s.item for s in alone] == [recommender.items_[i] for i in together[u] if i >= 0]
        assert not {s.item for s in alone} & set(history)


def test_suggestions_leave_out_rated_items_and_give_reasons(recommender):
    user = recommender.adapt({"item 3": np.int64(5), "item 8": 1})
    suggestions = user.top_n(50)
    assert len(suggestions) == 48
    assert [s.rating for s in suggestions] == sorted((s.rating for s in suggestions), reverse=True)
    assert {title for s in suggestions for title in s.because} <= {"item 3"}
    assert any(s.because for s in suggestions)
    assert [s.item for s in user.top_n(5, among=["item 1", "item 3"])] == ["item 1"]
    assert user.predict(["item 1"])[0] == user.top_n(1, among=["item 1"])[0].rating


def test_a_user_of_no_ratings_gets_suggestions_by_attributes(recommender):
    young = recommender.adapt((), {"age": 16.0, "trade": "baker"})
    old = recommender.adapt([], {"age": 69.0, "trade": "tailor"})
    assert len(young.top_n(10)) == 10
    assert [s.item for s in young.top_n(10)] != [s.item for s in old.top_n(10)]
    assert all(not s.because for s in young.top_n(10))


def test_the_decision_for_a_user_stands_beside_the_usual_one(recommender):
    harsh = recommender.adapt({f"item {i}": 1 for i in range(8)}).explain()
    assert set(harsh) == {"why", "weights", "thresholds", "usual"}
    assert list(harsh["weights"]) == list(harsh["usual"]["weights"])
    assert len(harsh["thresholds"]) == 4
    assert harsh["why"][0].startswith("With 8 ratings of this user")
    json.dumps(harsh)


def test_a_level_by_user_decides_for_each_user(recommender):
    level = recommender.fit_meta_level(recommender.examples_, "meta")
    user = recommender.adapt({f"item {i}": 1 for i in range(8)})
    harsh = level.decision(recommender.meta_inputs(user.ratings, user.attributes))
    assert harsh["thresholds"] != level.decision()["thresholds"]
    assert harsh["weights"] != level.decision()["weights"]


def test_without_the_meta_level_all_users_get_the_same_decision():
    plain = Recommender(meta=False).fit(DATA.of_users(WARM))
    harsh = plain.adapt({f"item {i}": 1 for i in range(8)}).explain()
    assert harsh["weights"] == harsh["usual"]["weights"]
    assert harsh["thresholds"] == harsh["usual"]["thresholds"]
    assert sorted(harsh["weights"].values()) == [0.0] * (len(plain.configurations_) - 1) + [1.0]


def test_questions_are_about_items_that_are_not_rated_yet(recommender):
    questions = recommender.adapt().ask(4)
    assert len(set(questions)) == 4
    assert questions[0] not in recommender.adapt({questions[0]: 3}).ask(10)
    assert recommender.adapt().ask(2, skip=questions[:1])[0] != questions[0]
    with pytest.raises(UsageError, match="n of 1 or more"):
        recommender.adapt().ask(0)


@pytest.mark.parametrize(
    ("history", "attributes", "says"),
    [
        ({"itm 3": 5}, {}, "got 'itm 3'; did you mean 'item 3'"),
        ({"item 3": 6}, {}, "ratings of 1 to 5, got 6"),
        ({"item 3": 0}, {}, "ratings of 1 to 5, got 0"),
        ({"item 3": float("nan")}, {}, "ratings of 1 to 5, got nan"),
        ({"item 3": "5"}, {}, "a number as the rating of 'item 3', got '5'"),
        ([("item 3", 5), ("item 3", 4)], {}, "got 'item 3' twice"),
        (["item 3"], {}, "items with ratings, got 'item 3'"),
        ({}, {"age": "old"}, "finite number as 'age', got 'old'"),
        ({}, {"agee": 3}, "unknown attribute 'agee'; did you mean 'age'"),
    ],
)
def test_a_history_that_cannot_serve_is_refused(recommender, history, attributes, says):
    with pytest.raises(ValueError, match=says):
        recommender.adapt(history, attributes)


def test_queries_that_cannot_serve_are_refused(recommender):
    user = recommender.adapt()
    with pytest.raises(UsageError, match="n of 1 or more, got 0"):
        user.top_n(0)
    with pytest.raises(DataError, match="did you mean 'item 4"):
        user.predict(["item 4x"])
    with pytest.raises(UsageError, match="expected a fitted recommender"):
        Recommender().adapt()
    unknown = Interactions.from_rows([("new", "no such item", 3.0)])
    with pytest.raises(DataError, match="no such item"):
        evaluate(recommender, unknown)
    with pytest.raises(DataError, match="ratings of 1 to 5, got 9"):
        evaluate(recommender, Interactions.from_rows([("new", "item 3", 9.0)]))


def test_data_that_cannot_serve_is_refused():
    rows = [(f"u{u}", f"x{i}", 3.0) for u in range(30) for i in range(4)]
    with pytest.raises(DataError, match="2 different ratings or more, got 1: take clicks"):
        Recommender().fit(Interactions.from_rows(rows))
    with pytest.raises(DataError, match=r"20 users with two ratings each, got 2 of .*add users"):
        Recommender().fit(
            Interactions.from_rows([("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("b", "y", 1)])
        )


def test_any_scale_will_do():
    data = generated(n_users=80, n_items=30)
    scaled = Interactions(data.users, data.items, data.user, data.item, 10 * (data.rating - 3))
    user = Recommender().fit(scaled).adapt({"item 3": -20, "item 5": 0})
    assert -20 <= user.predict(["item 7"])[0] <= 20


def test_a_recommender_is_saved_without_pickle_and_recommends_the_same(recommender, tmp_path):
    recommender.save(tmp_path / "saved")
    recommender.save(tmp_path / "saved")
    (step,) = (tmp_path / "saved").glob("step-*")
    assert {path.suffix for path in step.iterdir()} == {".safetensors", ".json"}
    again = Recommender.load(tmp_path / "saved")
    history = {"item 3": 5, "item 8": 1}
    assert again.adapt(history).top_n(10) == recommender.adapt(history).top_n(10)
    assert again.adapt(history).ask(3) == recommender.adapt(history).ask(3)
    with pytest.raises(DataError, match="not seen in training"):
        evaluate(again, DATA)
    assert DATA.users[WARM[0]] not in (step / "state.json").read_text()


def test_folders_that_hold_no_recommender_are_refused(recommender, tmp_path):
    with pytest.raises(MissingError, match="found none: train one"):
        Recommender.load(tmp_path / "none")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="is not a saved recommender"):
        recommender.save(tmp_path / "taken")
    recommender.save(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*/bayes.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="no undamaged checkpoint"):
        Recommender.load(tmp_path / "saved")


def test_saved_numbers_that_are_not_finite_are_refused(recommender, tmp_path):
    recommender.save(tmp_path / "saved")
    spoiled = Recommender.load(tmp_path / "saved")
    level = next(iter(spoiled.meta_level_.levels.values()))
    name, values = next(iter(level.parameters.items()))
    level.parameters = {**level.parameters, name: values * torch.nan}
    spoiled.save(tmp_path / "spoiled")
    with pytest.raises(RunError, match=f"NaN or infinity in '0.{name}' of .*level"):
        Recommender.load(tmp_path / "spoiled")


CLICKS = DATA.as_clicks()


@pytest.fixture(scope="module")
def of_clicks():
    return Recommender().fit(CLICKS.of_users(WARM))


def test_what_is_chosen_next_is_ranked_better_than_by_popularity(of_clicks):
    scores = evaluate(of_clicks, CLICKS.of_users(COLD), supports=(0, 5), n_query=5)
    by = {(s.system, s.support): s.measures for s in scores}
    assert set(by["recommender", 0]) == {"recall@10", "ndcg@10"}
    for size in (0, 5):
        popular = by["popularity inf", size]["ndcg@10"].mean()
        assert by["recommender", size]["ndcg@10"].mean() > popular


def test_ratings_that_are_given_to_a_recommender_of_clicks_are_left_out(of_clicks):
    plain, rated = (
        evaluate(of_clicks, data.of_users(COLD), supports=(3,)) for data in (CLICKS, DATA)
    )
    for a, b in zip(plain, rated, strict=True):
        assert np.array_equal(a.measures["ndcg@10"], b.measures["ndcg@10"])


def test_chances_of_being_chosen_next_add_up_and_leave_out_what_was_chosen(of_clicks):
    user = of_clicks.adapt(["item 8", "item 3"], {"age": 30.0})
    assert user.probabilities.shape == (50, 1)
    assert user.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert user.predict(["item 3", "item 8"]).tolist() == [0, 0]
    suggestions = user.top_n(50)
    assert len(suggestions) == 48
    assert all(s.rating is None for s in suggestions)
    assert [s.likely for s in suggestions] == sorted((s.likely for s in suggestions), reverse=True)
    assert {title for s in suggestions for title in s.because} == {"item 3", "item 8"}
    assert set(user.explain()) == {"why", "weights", "usual"}


def test_the_order_of_choices_counts(of_clicks):
    level = of_clicks.fit_meta_level(of_clicks.examples_, "meta")
    users = [of_clicks.adapt(h) for h in (["item 8", "item 3"], ["item 3", "item 8"])]
    inputs = [of_clicks.meta_inputs(user.ratings, user.attributes) for user in users]
    one, other = map(level.probabilities, inputs)
    assert not np.array_equal(one, other)


def test_many_users_at_once_get_what_each_gets_alone(of_clicks):
    cold = CLICKS.of_users(COLD)
    together = of_clicks.top_all(cold, 5)
    known, _ = of_clicks.align(cold)
    for u in range(3):
        rows = np.flatnonzero(known.user == u)
        rows = rows[np.argsort(known.positions()[rows])]
        attributes = {name: values[u] for name, values in cold.user_columns.items()}
        alone = of_clicks.adapt([of_clicks.items_[i] for i in known.item[rows]], attributes).top_n(
            5
        )
        assert [s.item for s in alone] == [of_clicks.items_[i] for i in together[u] if i >= 0]


def test_a_recommender_of_clicks_is_saved_and_refuses_ratings(of_clicks, tmp_path):
    of_clicks.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert again.clicks_
    assert again.adapt(["item 8"]).top_n(5) == of_clicks.adapt(["item 8"]).top_n(5)
    with pytest.raises(DataError, match="names of items in order"):
        again.adapt({"item 8": 5})
    most = again.items_[int(again.item_counts.argmax())]
    assert again.adapt().ask() == [most]
    assert most not in again.adapt([most]).ask(5)
    with pytest.raises(DataError, match="got 'item 8' twice"):
        again.adapt(["item 8", "item 8"])


def test_clicks_that_are_given_to_a_recommender_of_ratings_are_refused(recommender):
    with pytest.raises(DataError, match="expected ratings, as there were in training, got clicks"):
        evaluate(recommender, CLICKS.of_users(COLD))


def test_a_user_who_rates_all_the_same_has_rated(recommender):
    data = Interactions.from_rows([("new", "item 3", 5), ("new", "item 8", 5)])
    (best,) = recommender.top_all(data, 1)[0]
    (alone,) = recommender.adapt({"item 3": 5, "item 8": 5}).top_n(1)
    assert recommender.items_[best] == alone.item


def test_likes_and_dislikes_are_ratings_of_two_levels():
    data = generated(n_users=80, n_items=30)
    liked = replace(data, rating=(data.rating > 3).astype(float))
    made = Recommender().fit(liked)
    (best,) = made.adapt({"item 3": 1}).top_n(1)
    assert best.likely == pytest.approx(best.rating, abs=1e-6)
    for user, best in enumerate(made.top_all(liked.of_users(np.arange(5)), 5)):
        assert not set(best) & set(liked.item[liked.user == user])  # what is rated 0 is rated


def test_items_are_named_by_title_too_and_by_id_where_titles_are_shared():
    data = generated(n_users=60, n_items=30)
    titles = [f"Film {item}" for item in data.items]
    titles[4] = titles[5] = "Emma"
    made = Recommender(meta=False).fit(replace(data, titles=titles))
    first, fourth = data.items[0], data.items[4]
    by_id, by_title = made.adapt({first: 5}), made.adapt({titles[0]: 5})
    assert by_title.top_n(30) == by_id.top_n(30)
    assert by_title.predict([titles[1].upper()]) == by_id.predict([data.items[1]])
    called = {s.item: s.title for s in by_id.top_n(30)}
    assert called[fourth] == f"Emma ({fourth})"
    assert called[data.items[1]] == titles[1]
    with pytest.raises(DataError, match=f"title 'Emma' of 2: name one by its id, '{fourth}'"):
        made.adapt({"Emma": 5})


def test_unknown_items_are_left_out_with_a_warning_where_that_is_asked_for(recommender):
    known = recommender.adapt({"item 3": 5})
    with pytest.warns(UserWarning, match="1 of 2 items are not among .* left out, 'x' for one"):
        some = recommender.adapt({"item 3": 5, "x": 1}, unknown="ignore")
    assert some.top_n(5) == known.top_n(5)
    with pytest.warns(UserWarning, match="1 of 2 items"):
        predicted = known.predict(["x", "item 1"], unknown="ignore")
    assert np.isnan(predicted[0])
    assert predicted[1] == known.predict(["item 1"])[0]
    with pytest.warns(UserWarning, match="left out"):
        assert [s.item for s in known.top_n(among=["x", "item 1"], unknown="ignore")] == ["item 1"]
    with pytest.warns(UserWarning, match="left out"):
        assert known.ask(3, skip=["x"], unknown="ignore") == known.ask(3)
    with pytest.raises(UsageError, match="unknown unknown 'skip'"):
        recommender.adapt({"x": 1}, unknown="skip")


def test_data_with_unknown_items_is_scored_without_them_unless_asked_otherwise(recommender):
    cold = DATA.of_users(COLD)
    more = Interactions.from_rows(
        [
            *(
                (cold.users[u], cold.items[i], r)
                for u, i, r in zip(cold.user, cold.item, cold.rating, strict=True)
            ),
            *((cold.users[0], f"new {i}", 3.0) for i in range(2)),
        ]
    )
    with pytest.raises(DataError, match="an item of the training data, got 'new 0'"):
        recommender.top_all(more, unknown="raise")
    with pytest.warns(UserWarning, match="2 of .* rated items .* 'new 0' for one"):
        best = recommender.top_all(more)
    same = replace(cold, user_columns={})
    order = [same.users.index(user) for user in more.users]
    assert np.array_equal(best, recommender.top_all(same.of_users(np.array(order))))
    with pytest.warns(UserWarning, match="left out"):
        evaluate(recommender, more, supports=(0,), n_query=5)
    nothing = Interactions.from_rows([("new", "no such item", 3.0)])
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(DataError, match="items of the training data, got none"),
    ):
        evaluate(recommender, nothing)


@pytest.mark.parametrize(
    ("history", "says"), [("item 3", "a list of items"), ([3], "items with ratings, got 3")]
)
def test_a_history_of_the_wrong_shape_is_refused(recommender, history, says):
    with pytest.raises(DataError, match=says):
        recommender.adapt(history)


def test_a_rating_of_the_scale_that_no_training_user_gave_can_be_given():
    data = generated(n_users=60, n_items=30)
    data = Interactions(  # one user alone gives a 10, and is left out of training
        data.users, data.items, data.user, data.item, np.where(data.user == 0, 10, data.rating)
    )
    made = Recommender(meta=False).fit(data.of_users(np.arange(1, 60)))
    assert made.rating_values_.tolist() == [1, 2, 3, 4, 5, 10]
    assert np.isfinite(made.adapt({"item 3": 10}).probabilities).all()
    evaluate(made, data.of_users(np.array([0])), supports=(0, 1), n_query=5)
    with pytest.raises(DataError, match=r"ratings of 1 to 10, got 11.*--scale"):
        made.adapt({"item 3": 11})


@pytest.fixture(scope="module")
def unordered():
    """Clicks sorted by how often each item was chosen, without times."""
    popular = np.argsort(-np.bincount(CLICKS.item)[CLICKS.item], kind="stable")
    data = replace(CLICKS, user=CLICKS.user[popular], item=CLICKS.item[popular], time=None)
    with pytest.warns(UserWarning, match="clicks have no times, so nothing is learned from their"):
        return data, Recommender().fit(data.of_users(WARM))


def test_without_times_the_order_of_rows_and_of_choices_tells_nothing(unordered):
    data, made = unordered
    assert not made.ordered_
    assert "markov_chain" not in made.bases_
    assert {setting for _, setting in made.configurations_} == {np.inf}
    one, other = (made.adapt(h).probabilities for h in (["item 8", "item 3"], ["item 3", "item 8"]))
    np.testing.assert_array_equal(one, other)
    scores = evaluate(made, data.of_users(COLD), supports=(0, 5), n_query=5)
    by = {(s.system, s.support): s.measures["ndcg@10"].mean() for s in scores}
    assert by["recommender", 5] > 0.95 * by["neighbours inf", 5]


def test_a_recommender_without_order_comes_back_as_one(unordered, tmp_path):
    _, made = unordered
    made.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert not again.ordered_
    assert again.adapt(["item 8", "item 3"]).top_n(5) == made.adapt(["item 8", "item 3"]).top_n(5)


def test_a_recommender_of_ordered_clicks_refuses_clicks_without_times(of_clicks):
    cold = replace(CLICKS.of_users(COLD), time=None)
    with pytest.raises(DataError, match="expected times, as in training, got none"):
        evaluate(of_clicks, cold)


def test_the_same_number_of_threads_gives_the_same_bits_and_another_nearly_the_same():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    data = DATA.of_users(np.arange(60))
    before = torch.get_num_threads()

    def probabilities(n_threads):
        with threadpoolctl.threadpool_limits(n_threads):
            torch.set_num_threads(n_threads)
            return Recommender().fit(data).adapt({"item 3": 5, "item 8": 1}).probabilities

    try:
        one, again, two = probabilities(1), probabilities(1), probabilities(2)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(one, again)
    np.testing.assert_allclose(one, two, atol=0.02)
