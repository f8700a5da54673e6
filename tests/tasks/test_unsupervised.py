import numpy as np
import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks import ClusterTasks, CopyTasks, UnlabelledData, cluster_repeatedly
from quickstudy.tasks.augment import affine, chain, pixel_mask


def numbered(n=40):
    """Vectors, each of which says its row."""
    return UnlabelledData(torch.arange(float(n))[:, None].expand(n, 3).contiguous())


def halved(x, generator):
    return x + 0.5 * torch.rand(len(x), 1, generator=generator)


def test_a_query_is_a_distorted_copy_of_the_support_example_of_its_label():
    episode = CopyTasks(numbered(), n_way=7, n_query=3, augment=halved)[5]
    of_label = torch.empty(7)
    of_label[episode.support.y] = episode.support.x[:, 0]
    assert len(of_label.unique()) == 7
    assert torch.equal(of_label, episode.classes.float())  # undistorted
    moved = episode.query.x[:, 0] - of_label[episode.query.y]
    assert bool((moved > 0).all() & (moved < 0.5).all())
    assert len(moved.unique()) == 21  # each distorted on its own
    assert torch.equal(episode.query.y.bincount(), torch.full((7,), 3))


def test_more_shots_are_distorted_and_one_is_if_asked():
    for options in ({"n_shot": 2}, {"augment_support": True}):
        episode = CopyTasks(numbered(), n_way=5, n_query=1, augment=halved, **options)[0]
        moved = episode.support.x[:, 0] - episode.classes[episode.support.y]
        assert bool((moved > 0).all())


def test_a_task_depends_on_seed_and_number_alone():
    pool = UnlabelledData(torch.rand(30, 1, 14, 14))
    distort = chain(affine, pixel_mask)
    one, other, third = (
        CopyTasks(pool, n_way=(3, 9), n_shot=(1, 3), n_query=2, augment=distort, seed=seed)
        for seed in (0, 0, 1)
    )
    for i in (9, 0, 9):
        assert torch.equal(one[i].query.x, other[i].query.x)
        assert torch.equal(one[i].support.x, other[i].support.x)
    same = [one[i].n_way == third[i].n_way for i in range(20)]
    assert not all(same)


def test_fewer_examples_than_ways_are_refused():
    with pytest.raises(DataError, match=r"at least 50 examples for 50-way tasks.*got 40"):
        CopyTasks(numbered(), n_way=50, augment=halved)
    with pytest.raises(UsageError, match="n_query of 1"):
        CopyTasks(numbered(), n_way=5, n_query=0, augment=halved)


def test_examples_of_a_cluster_share_a_label_and_small_clusters_are_dropped():
    partition = torch.tensor([0] * 10 + [1] * 10 + [2] * 10 + [3] * 2 + [4] * 8)
    tasks = ClusterTasks(numbered(), partition[None], n_way=3, n_shot=1, n_query=3)
    drawn = set()
    for i in range(30):
        episode = tasks[i]
        support = partition[episode.support.x[:, 0].long()]
        query = partition[episode.query.x[:, 0].long()]
        of_label = torch.empty(3, dtype=torch.int64)
        of_label[episode.support.y] = support
        assert torch.equal(of_label[episode.query.y], query)
        assert len(of_label.unique()) == 3
        rows = torch.cat([episode.support.x, episode.query.x])[:, 0]
        assert len(rows.unique()) == 12  # no example is both
        drawn |= set(of_label.tolist())
    assert drawn == {0, 1, 2, 4}


def test_each_task_draws_a_partition():
    partitions = torch.stack([torch.arange(40) % 4, torch.arange(40) // 10])
    tasks = ClusterTasks(numbered(), partitions, n_way=4, n_shot=2, n_query=2)
    by_remainder = [
        len((episode.support.x[episode.support.y == 0][:, 0] % 4).unique()) == 1
        for episode in (tasks[i] for i in range(40))
    ]
    assert 8 < sum(by_remainder) < 36


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        (torch.zeros(1, 39, dtype=torch.int64), r"shape \(n_partitions, 40\), got \(1, 39\)"),
        (torch.arange(40)[None] // 3, "3 clusters of 4 examples or more .*, got 0 at most"),
    ],
)
def test_partitions_that_cannot_serve_are_refused(partitions, message):
    with pytest.raises(DataError, match=message):
        ClusterTasks(numbered(), partitions, n_way=3, n_shot=1, n_query=3)


def test_clusters_are_those_of_separated_points_whatever_the_scaling():
    centres = 100 * torch.eye(5)
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(60) % 5
    x = centres[truth] + torch.rand(60, 5, generator=generator)
    partitions = cluster_repeatedly(x, n_clusters=5, n_partitions=4, seed=3)
    again = cluster_repeatedly(x, n_clusters=5, n_partitions=4, seed=3)  # from the cache
    assert torch.equal(partitions, again)
    found = [len({(int(a), int(b)) for a, b in zip(p, truth, strict=True)}) for p in partitions]
    assert found.count(5) >= 3  # k-means may end in a local optimum


def test_scaling_makes_partitions_differ():
    x = torch.from_numpy(np.random.default_rng(0).random((200, 6))).float()
    partitions = cluster_repeatedly(x, n_clusters=8, n_partitions=3)
    assert not torch.equal(partitions[0], partitions[1])
    with pytest.raises(DataError, match="at least 300 examples for 300 clusters, got 200"):
        cluster_repeatedly(x, n_clusters=300)
