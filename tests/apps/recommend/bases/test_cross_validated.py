import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import generated, memory
from quickstudy.apps.recommend.bases import RATING_BASES
from quickstudy.apps.recommend.bases.base import Base, users_of_entries
from quickstudy.apps.recommend.bases.clicks import CLICK_BASES
from quickstudy.apps.recommend.bases.ratings import ItemKNN

GENERATED = generated(n_users=60, n_items=25)
RATINGS = GENERATED.matrix()
COLD = RATINGS[:10]
ONES = np.ones((60, 1))


def without(ratings, entry):
    """The ratings of the user of an entry, but this one."""
    user = users_of_entries(ratings)[entry]
    others = np.setdiff1d(np.arange(ratings.indptr[user], ratings.indptr[user + 1]), entry)
    zeros = np.zeros(len(others), int)
    shape = 1, ratings.shape[1]
    return sparse.csr_matrix((ratings.data[others], (zeros, ratings.indices[others])), shape=shape)


@pytest.mark.parametrize("name", RATING_BASES)
def test_the_closed_form_is_what_is_predicted_without_the_rating(name):
    base = RATING_BASES[name]().fit(RATINGS, ONES, np.ones((25, 1)))
    closed_form = base.cross_validated(COLD, ONES[:10])
    one_by_one = np.stack(
        [
            base.predict(without(COLD, entry), ONES[:1])[:, 0, COLD.indices[entry]]
            for entry in range(COLD.nnz)
        ],
        1,
    )
    with_all = base.predict(COLD, ONES[:10])[:, users_of_entries(COLD), COLD.indices]
    assert np.abs(closed_form - one_by_one).max() < 0.03
    assert np.abs(closed_form - one_by_one).mean() < 0.1 * np.abs(with_all - one_by_one).mean()


def test_without_a_closed_form_each_rating_is_predicted_from_the_other_half():
    base = RATING_BASES["user_bias"]().fit(RATINGS, ONES, np.ones((25, 1)))
    predicted = Base.cross_validated(base, COLD, ONES[:10])
    dense = COLD[:1].toarray()[0]
    rated = COLD.indices[: COLD.indptr[1]]
    half = np.zeros(25)
    half[rated[::2]] = dense[rated[::2]]
    expected = base.predict(sparse.csr_matrix(half), ONES[:1])[:, 0]
    assert np.allclose(predicted[:, 1 : COLD.indptr[1] : 2], expected[:, rated[1::2]])


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        *((name, RATING_BASES) for name in RATING_BASES),
        *((name, CLICK_BASES) for name in CLICK_BASES),
    ],
)
def test_some_items_are_predicted_as_among_all(name, bases, monkeypatch):
    monkeypatch.setattr(memory, "MAX_SIMILARITIES", 5 * 25)
    clicks = GENERATED.as_clicks().matrix()
    ratings = RATINGS if bases is RATING_BASES else clicks
    base = bases[name]().fit(ratings, ONES, np.ones((25, 1)))
    some, cold = np.array([20, 3, 7]), ratings[:10]
    of_all, own = base.predict_all(cold, ONES[:10])
    np.testing.assert_allclose(base.predict(cold, ONES[:10]), of_all, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(base.cross_validated(cold, ONES[:10]), own, rtol=1e-5, atol=1e-6)
    of_some, own_too = base.predict_all(cold, ONES[:10], some)
    np.testing.assert_allclose(of_some, of_all[..., some], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own_too, own, rtol=1e-5, atol=1e-6)


def test_left_out_ratings_take_the_neighbours_that_predictions_do(monkeypatch):
    monkeypatch.setattr(memory, "MAX_SIMILARITIES", 3 * 25)  # so similarities are not symmetric
    base = ItemKNN().fit(RATINGS, ONES, np.ones((25, 1)))
    left_out = base.cross_validated(COLD, ONES[:10])
    for entry in range(COLD.nnz):
        predicted = base.predict(without(COLD, entry), ONES[:1])[:, 0, COLD.indices[entry]]
        np.testing.assert_allclose(left_out[:, entry], predicted, rtol=1e-5)
