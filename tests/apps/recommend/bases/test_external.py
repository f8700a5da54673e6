import numpy as np
import pytest

from quickstudy.apps.recommend import Recommender, generated, user_folds
from quickstudy.apps.recommend.bases.external import ExternalClicks, ExternalRatings
from quickstudy.apps.recommend.bases.ratings import UserBias
from quickstudy.errors import DataError, UsageError

DATA = generated(n_users=120, n_items=40, seed=1)
RATINGS = DATA.matrix()
NO_USERS, NO_ITEMS = np.ones((120, 1)), np.ones((40, 1))


def fitted(scorer):
    return ExternalRatings.of(scorer)().fit(RATINGS, NO_USERS, NO_ITEMS)


def test_scores_on_another_scale_become_ratings():
    own = UserBias().fit(RATINGS, NO_USERS, NO_ITEMS)
    base = fitted(lambda histories: 7 - 3 * own.predict(histories, NO_USERS)[1])
    predicted = base.predict(RATINGS, NO_USERS)[0]
    assert np.corrcoef(predicted.ravel(), own.predict(RATINGS, NO_USERS)[1].ravel())[0, 1] > 0.99
    assert np.abs(predicted - own.predict(RATINGS, NO_USERS)[1]).mean() < 0.1


def test_a_score_of_an_item_with_few_ratings_counts_less():
    base = fitted(lambda histories: np.tile(np.arange(40.0), (histories.shape[0], 1)))
    full, damped = base.predict(RATINGS[:1], NO_USERS[:1])[:, 0]
    share = (damped - base.item_means) / (full - base.item_means)
    assert np.allclose(share, base.item_counts / (base.item_counts + 20))


def test_without_a_score_the_mean_of_the_item_is_predicted():
    base = fitted(lambda histories: np.full(histories.shape, np.nan))
    assert np.allclose(base.predict(RATINGS[:2], NO_USERS), base.item_means)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"scores of all items .* got \(3,\)"):
        fitted(lambda histories: np.ones(3))


def test_clicks_are_ranked_by_the_scores_and_those_without_come_last():
    base = ExternalClicks.of(lambda histories: np.array([[0.1, np.nan, 0.3]]))()
    assert np.allclose(base.predict(RATINGS[:1, :3], NO_USERS)[0, 0], -np.log([2, 3, 1]))


@pytest.fixture(scope="module")
def with_scorer():
    """What a user will rate is known to the scorer, up to its scale."""
    rng = np.random.default_rng(0)
    scorers = {"other": lambda histories: rng.random(histories.shape)}
    cold, *warm = user_folds(120, 4)
    return Recommender(scorers=scorers).fit(DATA.of_users(np.concatenate(warm))), cold


def test_a_scorer_is_a_base_that_the_meta_level_weighs(with_scorer):
    recommender, _ = with_scorer
    weights = recommender.adapt({"item 3": 5}).explain()["weights"]
    assert abs(weights["other 0"]) < 0.3  # it says nothing
    assert "other 20" in weights


def test_a_recommender_with_a_scorer_is_loaded_with_it(with_scorer, tmp_path):
    recommender, _ = with_scorer
    recommender.save(tmp_path / "saved")
    with pytest.raises(UsageError, match="expected the scorers \\['other'\\]"):
        Recommender.load(tmp_path / "saved")
    again = Recommender.load(tmp_path / "saved", scorers=recommender.scorers)
    assert again.configurations_ == recommender.configurations_


def test_a_scorer_needs_a_name_of_its_own():
    with pytest.raises(UsageError, match="name of its own"):
        Recommender(scorers={"bayes": lambda histories: histories.toarray()}).fit(DATA)
