import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import Interactions, Recommender
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.bases.implicit_feedback import ExpectedGainMF, ImplicitFeedbackMF

rng = np.random.default_rng(0)
ITEMS = np.ones((40, 1))


def users_of_two_tastes(n):
    """Each rates mostly one half of the items, and likes the first half if that is it."""
    taste = rng.integers(0, 2, n)
    half = np.arange(40) < 20
    own = half == taste[:, None].astype(bool)
    rated = rng.random((n, 40)) < np.where(own, 0.5, 0.1)
    noise = rng.normal(0, 1.5, (n, 40))
    ratings = 3 + np.where(half, 1, -1) * (2 * taste[:, None] - 1) + noise
    return taste, sparse.csr_matrix(np.where(rated, ratings, 0.0))


TASTE, TRAIN = users_of_two_tastes(300)


@pytest.fixture(scope="module")
def implicit():
    return ImplicitFeedbackMF(n_factors=3).fit(TRAIN, np.ones((300, 1)), ITEMS)


def test_which_items_were_rated_predicts_taste_where_the_ratings_do_not(implicit):
    """Whoever chose three of the first half is expected to like that half, whatever the ratings."""
    own = sparse.csr_matrix(([3.0] * 3, ([0] * 3, [1, 5, 9])), shape=(1, 40))
    other = sparse.csr_matrix(([3.0] * 3, ([0] * 3, [21, 25, 29])), shape=(1, 40))
    usual = np.ones((1, 1))
    plain = BayesianMF(n_factors=3).fit(TRAIN, np.ones((300, 1)), ITEMS)

    def prefers_first(base, ratings):
        x = base.predict(ratings, usual)[1, 0]
        return x[:20].mean() - x[20:].mean()

    apart = prefers_first(implicit, own) - prefers_first(implicit, other)
    assert apart > 0.5
    assert apart > prefers_first(plain, own) - prefers_first(plain, other) + 0.5


def test_few_ratings_move_the_implicit_vector_less_and_leave_more_variance(implicit):
    many = TRAIN[:50]
    few = sparse.csr_matrix(many.toarray() * (np.arange(40) % 5 == 0))
    (w_few, variance_few), (w_many, variance_many) = (
        implicit._implicit_posterior(ratings, np.ones((50, 1))) for ratings in (few, many)
    )
    assert np.abs(w_few).mean() < np.abs(w_many).mean()
    assert (variance_few > variance_many).all()


def test_expected_gains_become_ratings_on_the_scale(implicit):
    """Of a spread of ratings the expected gain is that of a rating above their mean."""
    cold = users_of_two_tastes(100)[1]
    expected_gain = ExpectedGainMF(n_factors=3).fit(TRAIN, np.ones((300, 1)), ITEMS)
    predicted, plain = (
        expected_gain.predict(cold, np.ones((100, 1)))[0],
        implicit.predict(cold, np.ones((100, 1))),
    )
    assert np.corrcoef(predicted.ravel(), plain[1].ravel())[0, 1] > 0.9
    assert predicted.min() > TRAIN.data.min() - 1.5
    assert predicted.max() < TRAIN.data.max() + 1.5


def test_state_brings_both_back(implicit):
    cold, usual = users_of_two_tastes(20)[1], np.ones((20, 1))
    expected_gain = ExpectedGainMF(n_factors=3).fit(TRAIN, np.ones((300, 1)), ITEMS)
    for base, again in ((implicit, ImplicitFeedbackMF()), (expected_gain, ExpectedGainMF())):
        assert np.array_equal(
            again.restore(base.state()).predict(cold, usual), base.predict(cold, usual)
        )


def test_items_that_everyone_rated_carry_no_implicit_feedback():
    rows = [(f"user {u}", f"item {i}", (u + i) % 3) for u in range(24) for i in range(3)]
    recommender = Recommender().fit(Interactions.from_rows(rows))
    assert np.isfinite(recommender.adapt({"item 0": 1}).probabilities).all()
