import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import generated, memory
from quickstudy.apps.recommend.bases import base, similarities
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.bases.clicks import EASE, ClickKNN, ImplicitALS, MarkovChain
from quickstudy.apps.recommend.bases.ratings import ItemKNN, MatrixFactorization

DATA = generated(n_users=90, n_items=30, seed=4)
CLICKS = DATA.as_clicks().matrix()
USERS, ITEMS = np.ones((90, 1)), np.ones((30, 1))


@pytest.mark.parametrize("make", [BayesianMF, MatrixFactorization, ImplicitALS])
def test_users_in_blocks_teach_what_all_teach_at_once(make, monkeypatch):
    whole = make().fit(DATA.matrix(), USERS, ITEMS)
    monkeypatch.setattr(base, "ROWS_PER_BLOCK", 7)
    parts = make().fit(DATA.matrix(), USERS, ITEMS)
    for name, value in whole.state().items():
        np.testing.assert_allclose(parts.state()[name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [ItemKNN, ClickKNN, MarkovChain])
def test_items_in_blocks_and_sparse_similarities_predict_the_same(make, monkeypatch):
    matrix = DATA.matrix() if make is ItemKNN else CLICKS
    whole = make().fit(matrix, USERS, ITEMS)
    monkeypatch.setattr(similarities, "PAIRS_PER_BLOCK", 4 * 30)
    monkeypatch.setattr(similarities, "MAX_DENSITY", 1.0)
    parts = make().fit(matrix, USERS, ITEMS)
    assert isinstance(whole.similarity, np.ndarray)
    assert sparse.issparse(parts.similarity)
    again = make().restore(parts.state())
    expected = whole.predict(matrix[:5], USERS[:5])
    np.testing.assert_allclose(again.predict(matrix[:5], USERS[:5]), expected, rtol=1e-5)
    some = np.array([3, 1, 20])
    among = similarities._among_items(parts.similarity, some, some)
    np.testing.assert_allclose(among, whole.similarity[np.ix_(some, some)], rtol=1e-5)


@pytest.mark.parametrize("make", [ItemKNN, ClickKNN, MarkovChain])
def test_of_many_items_the_nearest_of_each_are_kept(make, monkeypatch):
    matrix = DATA.matrix() if make is ItemKNN else CLICKS
    whole = make().fit(matrix, USERS, ITEMS).similarity
    monkeypatch.setattr(memory, "MAX_SIMILARITIES", 5 * 30)
    kept = make().fit(matrix, USERS, ITEMS).similarity
    kept = kept if isinstance(kept, np.ndarray) else kept.toarray()
    for item in range(30):  # without ties, the five largest of its column
        threshold = np.sort(whole[:, item])[-5]
        expected = np.where(whole[:, item] >= threshold, whole[:, item], 0)
        np.testing.assert_allclose(kept[:, item], expected, rtol=1e-6)


def test_ease_of_the_most_popular_items_is_that_of_them_alone(monkeypatch):
    counts = np.bincount(CLICKS.indices, minlength=30)
    popular = np.sort(np.argsort(-counts, kind="stable")[:12])
    alone = EASE().fit(CLICKS[:, popular], USERS, ITEMS[popular])
    monkeypatch.setattr(EASE, "MAX_ITEMS", 12)
    base = EASE().fit(CLICKS, USERS, ITEMS)
    assert base.kept.tolist() == popular.tolist()
    scores = base.predict(CLICKS[:4], USERS[:4])
    assert (np.delete(scores, popular, 2) == 0).all()
    explained = base.contributions(CLICKS[0], USERS[:1], np.arange(30))
    assert explained.shape == (CLICKS[0].nnz, 30)
    np.testing.assert_allclose(base.item_weights, alone.item_weights, rtol=1e-5)
    assert (explained[~np.isin(CLICKS[0].indices, popular)] == 0).all()
