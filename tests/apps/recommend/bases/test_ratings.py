import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import ColdUsers, generated
from quickstudy.apps.recommend.bases import RATING_BASES
from quickstudy.apps.recommend.bases.ratings import ItemKNN, MatrixFactorization, UserBias

DATA = generated(n_users=150, n_items=40, seed=1)
USERS, ITEMS = np.ones((150, 1)), np.ones((40, 1))


def history(pairs):
    items, ratings = zip(*sorted(pairs.items()), strict=True)
    return sparse.csr_matrix((ratings, (np.zeros(len(items), int), items)), shape=(1, 40))


@pytest.mark.parametrize("name", RATING_BASES)
def test_many_users_at_once_are_predicted_as_each_alone(name):
    base = RATING_BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    ratings = ColdUsers(DATA, n_query=2, max_support=5).support(5)[:7]
    together = base.predict(ratings, USERS[:7])
    assert together.shape == (len(base.SETTINGS), 7, 40)
    for u in range(7):
        alone = base.predict(ratings[u], USERS[:1])
        np.testing.assert_allclose(alone[:, 0], together[:, u], rtol=1e-5)


@pytest.mark.parametrize("name", RATING_BASES)
def test_a_base_comes_back_from_its_state(name):
    base = RATING_BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    again = RATING_BASES[name]().restore(base.state())
    ratings = history({3: 5.0, 7: 1.0})
    assert np.array_equal(again.predict(ratings, USERS[:1]), base.predict(ratings, USERS[:1]))


@pytest.mark.parametrize("name", ["factors", "neighbours", "bayes"])
def test_personal_bases_beat_the_mean_of_the_item_on_cold_users(name):
    old, new = DATA.of_users(np.arange(100)), DATA.of_users(np.arange(100, 150))
    cold = ColdUsers(new, n_query=5, max_support=7)

    def error(name, setting):
        base = RATING_BASES[name]().fit(old.matrix(), USERS[:100], ITEMS)
        expected = base.predict(cold.support(7), USERS[: len(cold)])[setting]
        return np.abs(np.take_along_axis(expected, cold.query_items, 1) - cold.query_ratings).mean()

    assert error(name, 1) < 0.95 * error("user_bias", 0)


def test_an_unlimited_shrinkage_leaves_the_mean_of_the_item():
    base = UserBias().fit(DATA.matrix(), USERS, ITEMS)
    assert np.array_equal(base.predict(history({3: 5.0}), USERS[:1])[0, 0], base.item_means)


def test_the_factors_of_a_new_user_are_a_ridge_regression():
    base = MatrixFactorization().fit(DATA.matrix(), USERS, ITEMS)
    rated = [2, 5, 11]
    v, residuals = base.item_factors[rated], np.array([5.0, 4.0, 1.0]) - base.item_means[rated]
    for setting, predictions in zip(
        base.SETTINGS, base.predict(history({2: 5.0, 5: 4.0, 11: 1.0}), USERS[:1]), strict=True
    ):
        z = np.linalg.lstsq(
            np.vstack([v, np.sqrt(setting) * np.eye(v.shape[1])]),
            np.concatenate([residuals, np.zeros(v.shape[1])]),
            rcond=None,
        )[0]
        np.testing.assert_allclose(
            predictions[0], base.item_means + base.item_factors @ z, rtol=1e-8
        )


def test_neighbours_of_nothing_similar_leave_bias_and_mean():
    base = ItemKNN().fit(DATA.matrix(), USERS, ITEMS)
    base.similarity[:] = 0
    bias = (5 - base.item_means[3]) / (1 + base.USER_BIAS_DAMPING)
    np.testing.assert_allclose(
        base.predict(history({3: 5.0}), USERS[:1])[0, 0], base.item_means + bias
    )
