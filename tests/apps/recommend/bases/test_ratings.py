import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import ColdUsers, generated
from quickstudy.apps.recommend.bases.ratings import (
    BASES,
    BayesUser,
    FactorModel,
    ItemNeighbours,
    UserBias,
)

DATA = generated(n_users=150, n_items=40, seed=1)
USERS, ITEMS = np.ones((150, 1)), np.ones((40, 1))


@pytest.fixture(scope="module")
def bayes():
    return BayesUser(n_factors=4).fit(DATA.matrix(), USERS, ITEMS)


def history(pairs):
    items, ratings = zip(*sorted(pairs.items()), strict=True)
    return sparse.csr_matrix((ratings, (np.zeros(len(items), int), items)), shape=(1, 40))


@pytest.mark.parametrize("name", BASES)
def test_many_users_at_once_are_predicted_as_each_alone(name):
    base = BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    ratings = ColdUsers(DATA, n_query=2, most=5).support(5)[:7]
    together = base.predict(ratings, USERS[:7])
    assert together.shape == (len(base.SETTINGS), 7, 40)
    for u in range(7):
        alone = base.predict(ratings[u], USERS[:1])
        np.testing.assert_allclose(alone[:, 0], together[:, u], rtol=1e-5)


@pytest.mark.parametrize("name", BASES)
def test_a_base_comes_back_from_its_state(name):
    base = BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    again = BASES[name]().restore(base.state())
    ratings = history({3: 5.0, 7: 1.0})
    assert np.array_equal(again.predict(ratings, USERS[:1]), base.predict(ratings, USERS[:1]))


@pytest.mark.parametrize("name", ["factors", "neighbours", "bayes"])
def test_personal_bases_beat_the_mean_of_the_item_on_cold_users(name):
    old, new = DATA.of_users(np.arange(100)), DATA.of_users(np.arange(100, 150))
    cold = ColdUsers(new, n_query=5, most=7)

    def error(name, setting):
        base = BASES[name]().fit(old.matrix(), USERS[:100], ITEMS)
        expected = base.predict(cold.support(7), USERS[: len(cold)])[setting]
        return np.abs(np.take_along_axis(expected, cold.query, 1) - cold.rating).mean()

    assert error(name, 1) < 0.95 * error("user_bias", 0)


def test_an_unlimited_shrinkage_leaves_the_mean_of_the_item():
    base = UserBias().fit(DATA.matrix(), USERS, ITEMS)
    assert np.array_equal(base.predict(history({3: 5.0}), USERS[:1])[0, 0], base.means)


def test_the_factors_of_a_new_user_are_a_ridge_regression():
    base = FactorModel().fit(DATA.matrix(), USERS, ITEMS)
    rated = [2, 5, 11]
    v, left = base.factors[rated], np.array([5.0, 4.0, 1.0]) - base.means[rated]
    for setting, found in zip(
        base.SETTINGS, base.predict(history({2: 5.0, 5: 4.0, 11: 1.0}), USERS[:1]), strict=True
    ):
        z = np.linalg.lstsq(
            np.vstack([v, np.sqrt(setting) * np.eye(v.shape[1])]),
            np.concatenate([left, np.zeros(v.shape[1])]),
            rcond=None,
        )[0]
        np.testing.assert_allclose(found[0], base.means + base.factors @ z, rtol=1e-8)


def test_neighbours_of_nothing_similar_leave_bias_and_mean():
    base = ItemNeighbours().fit(DATA.matrix(), USERS, ITEMS)
    base.similarity[:] = 0
    bias = (5 - base.means[3]) / (1 + base.BIAS)
    np.testing.assert_allclose(base.predict(history({3: 5.0}), USERS[:1])[0, 0], base.means + bias)


def test_the_posterior_of_a_user_is_that_of_a_gaussian_regression(bayes):
    """Against conditioning of the joint Gaussian of vector and ratings, items known exactly."""
    exact = BayesUser().restore({**bayes.state(), "spread": np.zeros_like(bayes.spread)})
    rated, ratings = [1, 4, 9], np.array([5.0, 2.0, 3.0])
    z, doubt = exact.posterior(history(dict(zip(rated, ratings, strict=True))), USERS[:1])
    v, prior, m0 = bayes.items[rated, 1:], bayes.prior, bayes.shift[0]
    gain = prior @ v.T @ np.linalg.inv(v @ prior @ v.T + bayes.noise * np.eye(3))
    np.testing.assert_allclose(z[0], m0 + gain @ (ratings - bayes.items[rated, 0] - v @ m0))
    np.testing.assert_allclose(doubt[0], prior - gain @ v @ prior, atol=1e-10)


def test_a_rating_left_out_is_predicted_as_if_never_seen(bayes):
    exact = BayesUser().restore({**bayes.state(), "spread": np.zeros_like(bayes.spread)})
    pairs = {1: 5.0, 4: 2.0, 9: 3.0}
    ratings = history(pairs)
    missed = exact.left_out(ratings, *exact.posterior(ratings, USERS[:1]))
    for i, (item, rating) in enumerate(pairs.items()):
        rest = history({k: r for k, r in pairs.items() if k != item})
        assert missed[i] == pytest.approx(rating - exact.predict(rest, USERS[:1])[1, 0, item])


def test_the_pulls_of_all_ratings_add_up_to_what_they_change(bayes):
    exact = BayesUser().restore({**bayes.state(), "spread": np.zeros_like(bayes.spread)})
    ratings = history({1: 5.0, 4: 2.0, 9: 3.0})
    nothing = sparse.csr_matrix((1, 40))
    moved = exact.predict(ratings, USERS[:1])[1, 0] - exact.predict(nothing, USERS[:1])[1, 0]
    pulls = exact.pulls(ratings, USERS[:1], np.arange(40))
    np.testing.assert_allclose(pulls.sum(0), moved, atol=1e-10)


def test_em_finds_the_noise_and_what_attributes_tell():
    rng = np.random.default_rng(0)
    side = np.column_stack([np.ones(400), rng.normal(size=400)])
    z = 1.5 * side[:, 1:] + 0.5 * rng.normal(size=(400, 1))
    v = rng.normal(size=(60, 1))
    ratings = 3 + z @ v.T + 0.5 * rng.normal(size=(400, 60))
    seen = rng.random((400, 60)) < 0.5
    model = BayesUser(n_factors=2, n_rounds=40).fit(
        sparse.csr_matrix(ratings * seen), side, np.ones((60, 1))
    )
    assert model.noise == pytest.approx(0.25, rel=0.1)
    nothing = sparse.csr_matrix((1, 60))
    expected = model.predict(nothing, np.array([[1.0, 2.0]]))[1, 0]
    assert np.corrcoef(expected - 3, 3.0 * v[:, 0])[0, 1] > 0.98


def test_what_is_asked_first_tells_most_about_what_others_rate(bayes):
    nothing = sparse.csr_matrix((1, 40))
    asked = bayes.ask(nothing, USERS[:1], 5)
    assert len(set(asked)) == 5
    weight = bayes.counts / 150

    def doubt_left(item):
        v, prior = bayes.items[:, 1:], bayes.prior
        moved = prior @ v[item]
        left = prior - weight[item] * np.outer(moved, moved) / (v[item] @ moved + bayes.noise)
        return float(weight @ np.einsum("ij,jk,ik->i", v, left, v))

    exact = BayesUser().restore({**bayes.state(), "spread": np.zeros_like(bayes.spread)})
    first = exact.ask(nothing, USERS[:1], 1)[0]
    assert first == min(range(40), key=doubt_left)
    assert asked[0] not in bayes.ask(history({asked[0]: 5.0}), USERS[:1], 5)
    assert asked[0] not in bayes.ask(nothing, USERS[:1], 5, skip=asked[:1])
