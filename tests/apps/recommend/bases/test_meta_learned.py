import numpy as np
import pytest
import torch
from scipy import sparse

from quickstudy.apps.recommend import Interactions, Recommender, generated
from quickstudy.apps.recommend.bases.meta_learned import NEURAL_BASES, LearnedBase, UserTasks
from quickstudy.errors import UsageError

DATA = generated(n_users=90, n_items=30, seed=1)
USERS, ITEMS = np.ones((90, 1)), np.column_stack([np.ones(30), np.arange(30) % 3 == 0])


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    for base in (LearnedBase, *NEURAL_BASES.values()):
        monkeypatch.setattr(base, "STEPS", 2)


def tasks(**options):
    return UserTasks(DATA.matrix(), USERS, n_query=4, **options)


def test_users_are_tasks_of_their_own_ratings():
    for episode in map(tasks(sizes=(0, 3, 5)).__getitem__, range(6)):
        x, y = (
            torch.cat([getattr(part, name) for part in (episode.support, episode.query)])
            for name in "xy"
        )
        rows = DATA.matrix().toarray()
        matching = (rows[:, x[:, 0].int().numpy()] == y[:, 0].numpy()).all(1)
        assert matching.any()
        assert len(set(x[:, 0].tolist())) == len(x)  # no rating both known and asked


def test_tasks_of_one_size_come_in_groups_and_again():
    some = tasks(sizes=(0, 3, 5), group=2, seed=3)
    assert [len(some[i].support) for i in range(8)] == [0, 0, 3, 3, 5, 5, 0, 0]
    assert torch.equal(some[4].query.x, tasks(sizes=(0, 3, 5), group=2, seed=3)[4].query.x)
    assert not torch.equal(some[4].query.x, some[5].query.x)


def test_users_of_too_few_ratings_are_no_tasks_of_that_size():
    assert tasks(sizes=(1, 100)).sizes == [1]


@pytest.mark.parametrize("name", NEURAL_BASES)
def test_many_users_at_once_are_predicted_as_each_alone_and_come_back_from_state(name):
    base = NEURAL_BASES[name]().fit(DATA.matrix(), USERS, ITEMS)
    ratings = sparse.vstack([DATA.matrix()[:3], sparse.csr_matrix((1, 30))]).tocsr()
    together = base.predict(ratings, USERS[:4])
    assert together.shape == (len(base.SETTINGS), 4, 30)
    again = NEURAL_BASES[name]().restore(base.state())
    for u in range(4):
        alone = again.predict(ratings[[u]], USERS[:1])
        np.testing.assert_allclose(alone[:, 0], together[:, u], rtol=1e-4)


def test_metaemb_changes_nothing_but_the_embedding_of_the_user():
    base = NEURAL_BASES["metaemb"]().fit(DATA.matrix(), USERS, ITEMS)
    assert base.learner.adapted == ["backbone.shift"]
    before = base.predict(sparse.csr_matrix((1, 30)), USERS[:1])
    after = base.predict(sparse.csr_matrix(([5.0], ([0], [3])), shape=(1, 30)), USERS[:1])
    assert not np.allclose(before, after)


def test_a_network_beside_the_usual_bases_is_blended_and_saved(tmp_path):
    recommender = Recommender(also=["tanp"]).fit(DATA)
    assert ("tanp", 0.0) in recommender.actions_
    recommender.save(tmp_path)
    again = Recommender.load(tmp_path)
    history = {"item 3": 5, "item 8": 1}
    assert again.adapt(history).top_n(5) == recommender.adapt(history).top_n(5)
    assert "tanp 0" in again.adapt(history).explain()["weights"]


def test_networks_that_are_unknown_or_have_no_ratings_are_refused():
    with pytest.raises(UsageError, match="unknown base 'tamp'; did you mean 'tanp'"):
        Recommender(also=["tamp"])
    with pytest.raises(UsageError, match="expected ratings for melu to learn, got clicks"):
        Recommender(also=["melu"]).fit(DATA.as_clicks())


def test_new_items_are_learned_as_new_users_are():
    turned = DATA.swapped()
    assert np.array_equal(turned.matrix().toarray(), DATA.matrix().toarray().T)
    recommender = Recommender().fit(turned)
    item = recommender.adapt({"user 3": 5.0}, {"genres": ["drama"]})
    assert item.top_n(3)[0].item in DATA.users
    assert isinstance(turned.swapped(), Interactions)
