from quickstudy.apps.recommend.explanation import sentences

USUAL = {"weights": {"user_bias inf": 0.0, "bayes 1": 0.8, "neighbours 1": 0.2}}
THRESHOLDS = [1.5, 2.5, 3.5, 4.5]


def of_ratings(weights, thresholds, **options):
    decided = {"weights": {**USUAL["weights"], **weights}, "thresholds": thresholds}
    usual = {**USUAL, "thresholds": THRESHOLDS}
    arguments = {"n_known": 5, "evidence": {}, "level": "by user", "kind": "meta", **options}
    return sentences(decided=decided, usual=usual, **arguments)


def test_a_base_that_counts_more_than_usual_is_named():
    first, second = of_ratings({"neighbours 1": 0.6}, THRESHOLDS)
    assert first.startswith("With 5 ratings of this user, weights by user did best")
    assert "known of the user counts more than usual (weight 0.60, usually 0.20)" in second
    *_, second = of_ratings({"neighbours 1": 0.6}, THRESHOLDS, evidence={"neighbours": 1.0})
    assert second.endswith("it predicts this user's own ratings from others better than usual.")


def test_a_user_who_rates_lower_is_read_lower():
    *_, last = of_ratings({}, [2.0, 3.0, 4.0, 5.0])
    assert last == "Ratings are read 0.5 steps of the scale lower than usual."


def test_a_user_like_the_average_one_is_said_to_be():
    assert of_ratings({}, THRESHOLDS)[-1] == "This user is treated like the average one."


def test_what_is_the_same_for_all_users_is_said_to_be():
    (sentence,) = of_ratings({}, THRESHOLDS, kind="blend", level="one blend for all", n_known=1)
    assert sentence.startswith("With 1 rating of this user, one blend for all users did best")
    (sentence,) = of_ratings({}, THRESHOLDS, kind="single", level="bayes 1")
    assert "the base bayes 1 for all users did best" in sentence


def test_clicks_that_are_forgotten_faster_are_named():
    usual = {"weights": {"neighbours inf": 1.0, "neighbours 5": 0.0}}
    decided = {"weights": {"neighbours inf": 0.2, "neighbours 5": 0.8}}
    found = sentences(5, decided, usual, {}, "by user", "meta")
    assert any(s.startswith("The last few clicks count more than usual") for s in found)
