import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import ColdUsers, generated
from quickstudy.apps.recommend.bases.clicks import (
    CLICK_BASES,
    EASE,
    ClickKNN,
    ImplicitALS,
    MarkovChain,
    Popularity,
)

DATA = generated(n_users=150, n_items=40, seed=1).as_clicks()
USERS, ITEMS = np.ones((150, 1)), np.ones((40, 1))


def history(*items):
    order = np.argsort(items)
    positions = 1.0 + np.arange(len(items))[order]
    where = (np.zeros(len(items), int), np.array(items, int)[order])
    return sparse.csr_matrix((positions, where), shape=(1, 40))


@pytest.mark.parametrize("name", CLICK_BASES)
def test_many_users_at_once_are_scored_as_each_alone_and_come_back_from_state(name):
    base = CLICK_BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    clicks = ColdUsers(DATA, n_query=2, max_support=5).support(5)[:7]
    together = base.predict(clicks, USERS[:7])
    assert together.shape == (len(base.SETTINGS), 7, 40)
    again = CLICK_BASES[name]().restore(base.state())
    for u in range(7):
        alone = again.predict(clicks[u], USERS[:1])
        np.testing.assert_allclose(alone[:, 0], together[:, u], rtol=2e-4, atol=2e-5)


def test_popularity_counts_users_and_those_about_as_far_in():
    rows = [(place, item) for place, item in [(1, 0), (2, 1), (30, 2)] for _ in range(3)]
    matrix = sparse.csr_matrix(
        ([p for p, _ in rows], (np.arange(9), [i for _, i in rows])), shape=(9, 40)
    )
    base = Popularity().fit(matrix, np.ones((9, 1)), ITEMS)
    everywhere, early = base.predict(history(), USERS[:1])[:, 0]
    assert everywhere[0] == everywhere[2] > everywhere[3]
    assert early[0] > early[1] > early[2]
    late = base.predict(history(*range(3, 32)), USERS[:1])[1, 0]
    assert late[2] > late[0]


def test_neighbours_are_chosen_by_the_same_users():
    matrix = sparse.csr_matrix([[1.0, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 2]] * 5)
    base = ClickKNN().fit(matrix, np.ones((15, 1)), np.ones((4, 1)))
    scores = base.predict(sparse.csr_matrix([[1.0, 0, 0, 0]]), np.ones((1, 1)))[0, 0]
    assert scores[1:].argmax() == 0
    assert base.similarity[0, 1] == pytest.approx(10 / (10 + base.SIMILARITY_SHRINKAGE))


def test_what_follows_is_not_what_went_before():
    matrix = sparse.csr_matrix([[1.0, 2, 3]] * 9)
    base = MarkovChain().fit(matrix, np.ones((9, 1)), np.ones((3, 1)))
    assert base.similarity[0, 1] > 0 == base.similarity[1, 0]


def test_recent_clicks_weigh_more_with_a_half_life():
    base = ClickKNN().fit(DATA.matrix(), USERS, ITEMS)
    base.similarity[:] = 0
    base.similarity[0, 20] = base.similarity[9, 30] = 0.5
    undecayed, decayed = base.predict(history(0, 1, 2, 3, 4, 9), USERS[:1])[:, 0]
    popularity = 0.02 * base.popularity
    assert np.exp(undecayed[20]) - popularity[20] == pytest.approx(
        np.exp(undecayed[30]) - popularity[30]
    )
    assert np.exp(decayed[20]) - popularity[20] < np.exp(decayed[30]) - popularity[30]


def test_ease_is_a_ridge_regression_of_each_item_on_all_others():
    base = EASE().fit(DATA.matrix(), USERS, ITEMS)
    x = np.column_stack([(DATA.matrix().toarray() > 0).astype(float), USERS])
    for item in (0, 7):
        others = np.delete(np.arange(41), item)
        squares = x[:, others].T @ x[:, others] + base.RIDGE * np.eye(40)
        by_hand = np.linalg.solve(squares, x[:, others].T @ x[:, item])
        fitted = np.append(base.item_weights[:, item], base.attribute_weights[0, item])[others]
        np.testing.assert_allclose(fitted, by_hand, atol=1e-5)
    contributions = base.contributions(history(3, 8), USERS[:1], np.array([5]))
    moved = base.predict(history(3, 8), USERS[:1])[0, 0, 5] * np.sqrt(2) / 10
    assert contributions.sum() + base.attribute_weights[0, 5] == pytest.approx(moved, rel=1e-4)


def test_attributes_predict_what_a_user_without_clicks_chooses():
    attributes = np.column_stack([np.ones(200), np.repeat([-1.0, 1.0], 100)])
    clicks = sparse.csr_matrix(np.repeat([[1.0, 0], [0, 1.0]], 100, axis=0))
    base = EASE()
    base.RIDGE = 10.0
    base.fit(clicks, attributes, np.ones((2, 1)))
    scores = base.predict(sparse.csr_matrix((2, 2)), np.array([[1.0, -1], [1, 1]]))[0]
    assert scores.argmax(1).tolist() == [0, 1]


def test_the_factors_of_a_new_user_are_of_least_squared_error():
    base = ImplicitALS().fit(DATA.matrix(), USERS, ITEMS)
    x = history(2, 5).toarray()[0] > 0
    weight = 1 + base.ALPHA * x
    v = base.item_factors
    squares = (v * weight[:, None]).T @ v + base.RIDGE * np.eye(base.N_FACTORS)
    z = np.linalg.solve(squares, v.T @ (weight * x))
    preferences = (
        np.exp(base.predict(history(2, 5), USERS[:1])[0, 0]) - 0.02 * base.popularity - 0.02
    )
    np.testing.assert_allclose(preferences, np.maximum(v @ z, 0), atol=1e-6)
