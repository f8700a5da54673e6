import pytest
import torch

from quickstudy.learners.transfer import coverage
from quickstudy.learners.transfer.coverage import choose_to_cover


def clusters(sizes, *, seed=0):
    """Points near 0, 10, 20, ..., as many as the sizes say."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(n, 2, generator=generator) + torch.tensor([10.0 * i, 0.0])
        for i, n in enumerate(sizes)
    ]
    return torch.cat(parts), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def test_each_choice_is_the_best_next_one():
    pool, _ = clusters([6, 4, 2])
    labelled = pool[:1] + 0.1
    found = choose_to_cover(pool, 4, labelled=labelled, importance=torch.arange(12.0))
    squared = torch.cdist(pool, pool) ** 2
    share = len(pool) // (4 + 1)
    width = squared.sort(1).values[:, share].mean()
    chosen: list[int] = []
    for _ in range(4):

        def covered(row, chosen=chosen):
            with_row = torch.cat([labelled, pool[[*chosen, row]]])
            cover = torch.exp(-((torch.cdist(pool, with_row).amin(1)) ** 2) / width)
            return float((torch.arange(12.0) * cover).sum())

        chosen.append(max((row for row in range(12) if row not in chosen), key=covered))
    assert found.tolist() == chosen


def test_choices_come_from_all_clusters_before_a_second_of_one():
    pool, cluster = clusters([30, 30, 30, 30])
    assert sorted(cluster[choose_to_cover(pool, 4)].tolist()) == [0, 1, 2, 3]


def test_what_is_near_a_labelled_example_comes_last():
    pool, cluster = clusters([30, 30])
    assert cluster[choose_to_cover(pool, 1, labelled=pool[:1])].tolist() == [1]


def test_what_is_important_comes_first():
    pool, cluster = clusters([40, 20])
    importance = torch.where(cluster == 1, 1.0, 0.1)
    assert cluster[choose_to_cover(pool, 1, importance=importance)].tolist() == [1]


@pytest.mark.parametrize("n", [1, 5, 12])
def test_choices_differ_even_if_examples_are_alike(n):
    assert len(choose_to_cover(torch.ones(12, 3), n).unique()) == n


def test_a_large_pool_is_sampled_alike_each_time(monkeypatch):
    monkeypatch.setattr(coverage, "MAX_CANDIDATES", 20)
    monkeypatch.setattr(coverage, "MAX_COVERED", 30)
    pool, cluster = clusters([50, 50])
    found = choose_to_cover(pool, 2)
    assert torch.equal(found, choose_to_cover(pool, 2))
    assert sorted(cluster[found].tolist()) == [0, 1]
    assert len(choose_to_cover(pool, 40).unique()) == 40
