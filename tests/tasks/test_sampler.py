import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks import (
    Batch,
    ClassData,
    Curriculum,
    Episode,
    EpisodeSampler,
    GeneratedTasks,
    InstanceTasks,
    SinusoidTasks,
    Support,
    split_by_share,
    split_classes,
)
from quickstudy.tasks.augment import affine


def numbered(n_classes: int = 12, n_each: int = 9) -> ClassData:
    """Each example is its own number, so that every one can be told apart."""
    y = torch.arange(n_classes).repeat_interleave(n_each)
    return ClassData(
        torch.arange(len(y), dtype=torch.float32)[:, None], y, [str(c) for c in range(n_classes)]
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_an_episode_has_its_shape_and_shares_no_example(n_way, n_shot, n_query, seed):
    data = numbered()
    episode = EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=n_query, seed=seed)[3]
    assert torch.equal(
        torch.bincount(episode.query.y, minlength=n_way), torch.full((n_way,), n_query)
    )
    assert len(episode.support) == n_way * n_shot
    drawn = torch.cat([episode.support.x, episode.query.x]).flatten().long()
    assert len(drawn.unique()) == len(drawn)
    labels = torch.cat([episode.support.y, episode.query.y])
    assert torch.equal(data.y[drawn], episode.classes[labels])


def test_an_episode_depends_on_seed_and_index_alone():
    first, again = (EpisodeSampler(numbered(), n_way=5, n_shot=1, n_query=1) for _ in range(2))
    assert torch.equal(first[7].query.x, again[7].query.x)
    assert not torch.equal(first[7].query.x, first[8].query.x)
    other = EpisodeSampler(numbered(), n_way=5, n_shot=1, n_query=1, seed=1)
    assert not torch.equal(first[7].query.x, other[7].query.x)


def test_every_class_takes_every_label():
    tasks = EpisodeSampler(numbered(6), n_way=5, n_shot=1, n_query=1)
    seen = {(int(c), way) for i in range(300) for way, c in enumerate(tasks[i].classes)}
    assert len(seen) == 30


def test_examples_come_in_an_order_that_says_nothing_of_their_label():
    tasks = EpisodeSampler(numbered(), n_way=3, n_shot=2, n_query=2)
    first = {int(tasks[i].support.y[0]) for i in range(50)}
    asked = {tuple(tasks[i].query.y.tolist()) for i in range(50)}
    assert first == {0, 1, 2}
    assert len(asked) > 20


def test_classes_of_unequal_size_never_lend_padding():
    y = torch.tensor([0] * 2 + [1] * 9 + [2] * 3)
    data = ClassData(torch.arange(14.0)[:, None], y, ["a", "b", "c"])
    tasks = EpisodeSampler(data, n_way=3, n_shot=1, n_query=1)
    for i in range(100):
        episode = tasks[i]
        drawn = torch.cat([episode.support.x, episode.query.x]).flatten().long()
        labels = torch.cat([episode.support.y, episode.query.y])
        assert torch.equal(y[drawn], episode.classes[labels])


def test_ranges_vary_ways_and_shots():
    tasks = EpisodeSampler(numbered(), n_way=(3, 5), n_shot=(1, 3), n_query=1)
    shapes = {(e.n_way, len(e.support) // e.n_way) for e in (tasks[i] for i in range(100))}
    assert shapes == {(w, k) for w in (3, 4, 5) for k in (1, 2, 3)}


def test_ways_and_shots_may_be_numbers_of_numpy():
    ways, shots = np.int64(4), np.array([1, 2])
    tasks = EpisodeSampler(numbered(), n_way=ways, n_shot=tuple(shots), n_query=1)
    assert type(tasks[0].n_way) is int
    assert tasks[0].n_way == 4


def test_rotations_are_new_classes_of_one_cluster():
    images = torch.arange(4 * 9, dtype=torch.float32).view(4, 1, 3, 3)
    turned = ClassData(images, torch.tensor([0, 0, 1, 1]), ["a", "b"]).with_rotations()
    assert turned.names[:4] == ["a@0", "b@0", "a@90", "b@90"]
    assert turned.clusters.tolist() == [0, 1] * 4
    assert torch.equal(turned.x[4 + 2, 0], torch.rot90(images[2, 0]))


def test_mirror_images_are_new_classes_of_one_cluster():
    images = torch.arange(4 * 6, dtype=torch.float32).view(4, 1, 2, 3)
    data = ClassData(images, torch.tensor([0, 0, 1, 1]), ["a", "b"], groups=torch.tensor([0, 0]))
    mirrored = data.with_mirrors()
    assert mirrored.names == ["a", "b", "a@mirror", "b@mirror"]
    assert mirrored.clusters.tolist() == [0, 1, 0, 1]
    assert mirrored.groups.tolist() == [0, 0, 1, 1]
    assert mirrored.x[4, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    with pytest.raises(DataError, match="to mirror"):
        ClassData(torch.rand(2, 3), torch.arange(2), ["a", "b"]).with_mirrors()


def grouped() -> ClassData:
    """Groups of 6, 4 and 2 classes, in mixed order."""
    data = numbered()
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 0, 1, 2, 0, 1, 0])
    return ClassData(data.x, data.y, data.names, groups=groups)


def test_within_a_group_an_episode_has_classes_of_one_and_each_group_comes_as_often():
    data = grouped()
    tasks = EpisodeSampler(data, n_way=3, n_shot=1, n_query=1, within_group=True)
    drawn = [data.groups[tasks[i].classes].unique().tolist() for i in range(400)]
    assert all(len(groups) == 1 for groups in drawn)
    share = sum(groups == [0] for groups in drawn) / 400
    assert {groups[0] for groups in drawn} == {0, 1}  # the third has too few classes
    assert share == pytest.approx(0.5, abs=0.1)
    seen = {int(c) for i in range(400) for c in tasks[i].classes}
    assert len(seen) == 10


def test_balanced_groups_come_as_often_as_each_other_however_many_classes_they_have():
    data = ClassData(
        torch.rand(60, 2),
        torch.arange(60) % 20,
        [str(i) for i in range(20)],
        groups=(torch.arange(20) >= 16).long(),
    )
    for balanced, share in ((False, 0.2), (True, 0.5)):
        tasks = EpisodeSampler(data, n_way=2, n_shot=1, n_query=1, balance_groups=balanced)
        of_second = [
            float((data.groups[tasks[i].classes] == 1).double().mean()) for i in range(400)
        ]
        assert sum(of_second) / 400 == pytest.approx(share, abs=0.06)
    with pytest.raises(DataError, match="with groups"):
        EpisodeSampler(numbered(), n_way=2, n_shot=1, n_query=1, balance_groups=True)
    with pytest.raises(UsageError, match="got both"):
        EpisodeSampler(data, n_way=2, n_shot=1, n_query=1, balance_groups=True, within_group=True)


def test_groups_follow_their_classes():
    data = grouped()
    assert data.select([3, 0, 4]).groups.tolist() == [2, 0, 1]
    images = ClassData(torch.rand(2, 1, 3, 3), torch.arange(2), ["a", "b"], groups=torch.arange(2))
    assert images.with_rotations().groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_within_a_group_needs_groups_of_enough_classes():
    with pytest.raises(DataError, match="groups of at most 6"):
        EpisodeSampler(grouped(), n_way=7, n_shot=1, n_query=1, within_group=True)
    with pytest.raises(DataError, match="with groups"):
        EpisodeSampler(numbered(), n_way=2, n_shot=1, n_query=1, within_group=True)


def test_splits_are_disjoint_and_do_not_depend_on_order():
    names = [f"c{i}" for i in range(50)]
    parts, digest = split_classes(names, [30, 10, 10])
    assert sorted(c for part in parts for c in part) == list(range(50))
    turned, same = split_classes(names[::-1], [30, 10, 10])
    assert digest == same
    assert {names[c] for c in parts[0]} == {names[::-1][c] for c in turned[0]}
    assert split_classes(names, [30, 10, 10], seed=1)[1] != digest


@given(st.sets(st.text(min_size=1), min_size=1, max_size=60), st.text(min_size=1))
def test_a_new_class_never_moves_another_to_another_part(names, new):
    names = sorted(names - {new})
    before = split_by_share(names, (0.6, 0.2, 0.2))
    after = split_by_share([*names, new], (0.6, 0.2, 0.2))
    assert sorted(c for part in before for c in part) == list(range(len(names)))
    assert [[c for c in part if c < len(names)] for part in after] == before


def test_shares_are_kept_on_the_whole():
    parts = split_by_share([f"class {i}" for i in range(5000)], (0.64, 0.16, 0.2))
    assert [len(part) / 5000 for part in parts] == pytest.approx([0.64, 0.16, 0.2], abs=0.02)


def test_too_few_classes_or_examples_are_refused():
    with pytest.raises(DataError, match="at least 13 classes"):
        EpisodeSampler(numbered(), n_way=13, n_shot=1, n_query=1)
    with pytest.raises(DataError, match="lower n_shot"):
        EpisodeSampler(numbered(), n_way=5, n_shot=9, n_query=1)


def test_nan_and_empty_classes_are_refused():
    with pytest.raises(DataError, match="finite"):
        ClassData(torch.tensor([[float("nan")]]), torch.tensor([0]), ["a"])
    with pytest.raises(DataError, match="empty class"):
        ClassData(torch.zeros(1, 1), torch.tensor([0]), ["a", "b"])


def test_labels_outside_the_ways_are_refused():
    with pytest.raises(DataError, match=r"0\.\.1"):
        Support(torch.zeros(2, 1), torch.tensor([0, 2]), n_way=2)
    support = Support(torch.zeros(2, 1), torch.tensor([0, 1]), n_way=2)
    with pytest.raises(DataError, match="query labels"):
        Episode(support, Batch(torch.zeros(1, 1), torch.tensor([5])))


def test_targets_of_support_and_query_are_of_one_size():
    one, two = (Batch(torch.zeros(3, 1), torch.zeros(3, d)) for d in (1, 2))
    with pytest.raises(DataError, match="size 1 as of the support, got 2"):
        Episode(Support(one.x, one.y), two)


def test_sinusoids_are_sines_of_the_stated_range():
    tasks = SinusoidTasks(n_shot=10, n_query=10)
    for i in range(50):
        episode = tasks[i]
        x = torch.cat([episode.support.x, episode.query.x])
        y = torch.cat([episode.support.y, episode.query.y])
        assert x.abs().max() <= 5
        assert y.abs().max() <= 5
        # y = a sin(x - p) lies in the span of sin x and cos x
        basis = torch.cat([x.sin(), x.cos()], 1)
        fit = basis @ torch.linalg.lstsq(basis, y).solution
        torch.testing.assert_close(fit, y, atol=1e-4, rtol=1e-4)


def test_labels_of_any_kind_become_classes():
    import numpy as np

    data = ClassData.from_arrays(np.eye(4), np.array(["b", "a", "b", "c"]))
    assert data.names == ["a", "b", "c"]
    assert data.y.tolist() == [1, 0, 1, 2]
    assert data.x.dtype == torch.float32
    with pytest.raises(DataError, match="class ids of shape"):
        ClassData.from_arrays(np.eye(4), [0, 1])


def test_instance_tasks_ask_for_the_kth_of_a_class_after_all_that_came_before():
    for instance in (1, 3):
        tasks = InstanceTasks(numbered(), n_way=4, n_each=5, instance=instance)
        asked = set()
        for i in range(60):
            support, query = tasks[i].support, tasks[i].query
            assert int((support.y == query.y).sum()) == instance - 1
            assert query.x.item() not in support.x.flatten().tolist()
            whole = tasks.sequences[i].query.x
            assert torch.equal(torch.cat([support.x, query.x]), whole[: len(support) + 1])
            asked.add(int(query.y))
        assert asked == set(range(4))
    with pytest.raises(UsageError, match=r"1\.\.5"):
        InstanceTasks(numbered(), n_way=4, n_each=5, instance=6)


def test_attributes_go_with_their_classes():
    data = numbered(6, 3)
    attributes = torch.arange(6.0)[:, None]
    data = ClassData(data.x, data.y, data.names, attributes=attributes).select([4, 1, 2])
    assert data.attributes.flatten().tolist() == [4, 1, 2]
    episode = EpisodeSampler(data, n_way=2, n_shot=0, n_query=1)[0]
    assert torch.equal(episode.support.attributes, data.attributes[episode.classes])
    with pytest.raises(DataError, match="attribute vector per class"):
        ClassData(data.x, data.y, data.names, attributes=attributes)


def test_augmented_examples_depend_on_the_episode_alone():
    data = ClassData(torch.rand(40, 1, 8, 8), torch.arange(40) % 8, list("abcdefgh"))
    plain, first, second = (
        EpisodeSampler(data, n_way=3, n_shot=1, n_query=2, augment=augment)
        for augment in (None, affine, affine)
    )
    assert torch.equal(first[3].query.x, second[3].query.x)
    assert not torch.equal(first[3].query.x, plain[3].query.x)
    assert torch.equal(first[3].query.y, plain[3].query.y)


def test_augmented_episodes_may_have_no_shots():
    data = ClassData(torch.rand(8, 1, 8, 8), torch.arange(8) % 4, list("abcd"))
    episode = EpisodeSampler(data, n_way=4, n_shot=0, n_query=2, augment=affine)[0]
    assert (len(episode.support), len(episode.query)) == (0, 8)


def test_generated_tasks_depend_on_seed_and_index_alone():
    def draw(generator):
        x = torch.rand(4, 1, generator=generator)
        return Episode(Support(x[:2], x[:2]), Batch(x[2:], x[2:]))

    first, again, other = (GeneratedTasks(draw, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[3].query.x, again[3].query.x)
    assert not torch.equal(first[3].query.x, first[4].query.x)
    assert not torch.equal(first[3].query.x, other[3].query.x)


def test_labels_may_be_different_random_ids():
    data = numbered()
    tasks = EpisodeSampler(data, n_way=4, n_shot=2, n_query=1, n_labels=50)
    used = set()
    for i in range(60):
        episode = tasks[i]
        labels = torch.cat([episode.support.y, episode.query.y])
        drawn = torch.cat([episode.support.x, episode.query.x]).flatten().long()
        assert torch.equal(data.y[drawn], episode.classes[labels])
        assert len(labels.unique()) == 4
        assert episode.n_way == len(episode.classes) == 50
        assert int((episode.classes >= 0).sum()) == 4
        used.update(labels.tolist())
    assert len(used) == 50
    plain = EpisodeSampler(data, n_way=4, n_shot=2, n_query=1)[7]
    assert torch.equal(plain.query.x, tasks[7].query.x)  # the same tasks but for the labels
    with pytest.raises(UsageError, match="n_labels of 4 ways or more"):
        EpisodeSampler(data, n_way=4, n_shot=2, n_query=1, n_labels=3)
    described = ClassData(data.x, data.y, data.names, attributes=torch.zeros(12, 2))
    with pytest.raises(UsageError, match="attributes"):
        EpisodeSampler(described, n_way=4, n_shot=2, n_query=1, n_labels=50)


def test_instance_tasks_with_random_labels_ask_for_every_class():
    data = numbered()
    tasks = InstanceTasks(data, n_way=3, n_each=4, instance=2, n_labels=20)
    for i in range(30):
        episode = tasks[i]
        assert int((episode.support.y == episode.query.y).sum()) == 1
        assert data.y[int(episode.query.x)] == episode.classes[episode.query.y[0]]


def test_a_curriculum_goes_from_family_to_family_at_the_given_episodes():
    families = [EpisodeSampler(numbered(), n_way=n, n_shot=1, n_query=1) for n in (2, 3, 5)]
    tasks = Curriculum([(families[0], 4), (families[1], 2)], families[2])
    assert [tasks[i].n_way for i in (0, 3, 4, 5, 6, 1000)] == [2, 2, 3, 3, 5, 5]
    assert torch.equal(tasks[5].query.x, families[1][5].query.x)


def test_a_stage_without_episodes_is_refused():
    family = SinusoidTasks(n_shot=1, n_query=1)
    with pytest.raises(UsageError, match="1 episode or more"):
        Curriculum([(family, 0)], family)
