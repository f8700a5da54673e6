import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import Interactions, Recommender, generated
from quickstudy.apps.recommend.bases.meta_learned import META_LEARNED_BASES, MetaLearnedBase
from quickstudy.errors import UsageError

DATA = generated(n_users=90, n_items=30, seed=1)
USERS, ITEMS = np.ones((90, 1)), np.column_stack([np.ones(30), np.arange(30) % 3 == 0])


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    for base in (MetaLearnedBase, *META_LEARNED_BASES.values()):
        monkeypatch.setattr(base, "STEPS", 2)


@pytest.mark.parametrize("name", META_LEARNED_BASES)
def test_many_users_at_once_are_predicted_as_each_alone_and_come_back_from_state(name):
    base = META_LEARNED_BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    ratings = sparse.vstack([DATA.matrix()[:3], sparse.csr_matrix((1, 30))]).tocsr()
    together = base.predict(ratings, USERS[:4])
    assert together.shape == (len(base.SETTINGS), 4, 30)
    again = META_LEARNED_BASES[name]().restore(base.state())
    for u in range(4):
        alone = again.predict(ratings[[u]], USERS[:1])
        np.testing.assert_allclose(alone[:, 0], together[:, u], rtol=1e-4)


def test_metaemb_changes_nothing_but_the_embedding_of_the_user():
    base = META_LEARNED_BASES["metaemb"]().fit(DATA.matrix(), USERS, ITEMS)
    assert base.learner.adapted == ["backbone.user_embedding"]
    before = base.predict(sparse.csr_matrix((1, 30)), USERS[:1])
    after = base.predict(sparse.csr_matrix(([5.0], ([0], [3])), shape=(1, 30)), USERS[:1])
    assert not np.allclose(before, after)


def test_a_network_beside_the_usual_bases_is_blended_and_saved(tmp_path):
    recommender = Recommender(extra_bases=["tanp"]).fit(DATA)
    assert ("tanp", 0.0) in recommender.configurations_
    recommender.save(tmp_path)
    again = Recommender.load(tmp_path)
    history = {"item 3": 5, "item 8": 1}
    assert again.adapt(history).top_n(5) == recommender.adapt(history).top_n(5)
    assert "tanp 0" in again.adapt(history).explain()["weights"]


def test_networks_that_are_unknown_or_have_no_ratings_are_refused():
    with pytest.raises(UsageError, match="unknown base 'tamp'; did you mean 'tanp'"):
        Recommender(extra_bases=["tamp"])
    with pytest.raises(UsageError, match="expected ratings for melu to learn, got clicks"):
        Recommender(extra_bases=["melu"]).fit(DATA.as_clicks())


def test_a_transposed_recommender_adapts_to_new_items():
    transposed = DATA.transpose()
    assert np.array_equal(transposed.matrix().toarray(), DATA.matrix().toarray().T)
    recommender = Recommender().fit(transposed)
    item = recommender.adapt({"user 3": 5.0}, {"genres": ["drama"]})
    assert item.top_n(3)[0].item in DATA.users
    assert isinstance(transposed.transpose(), Interactions)
