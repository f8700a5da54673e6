import numpy as np
import torch

from quickstudy.apps.recommend import generated
from quickstudy.apps.recommend.bases.user_tasks import UserTasks

DATA = generated(n_users=90, n_items=30, seed=1)
USERS = np.ones((90, 1))


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
        assert len(set(x[:, 0].tolist())) == len(x)  # support and query are disjoint


def test_tasks_of_one_size_come_in_groups_and_again():
    some = tasks(sizes=(0, 3, 5), group=2, seed=3)
    assert [len(some[i].support) for i in range(8)] == [0, 0, 3, 3, 5, 5, 0, 0]
    assert torch.equal(some[4].query.x, tasks(sizes=(0, 3, 5), group=2, seed=3)[4].query.x)
    assert not torch.equal(some[4].query.x, some[5].query.x)


def test_users_of_too_few_ratings_are_no_tasks_of_that_size():
    assert tasks(sizes=(1, 100)).sizes == [1]
