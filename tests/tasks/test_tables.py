"""The prior over tables: what a table is made of, and that its number alone decides it."""

import numpy as np
import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.tasks import TableTasks

EASY = TableTasks(n_way=(2, 4), n_shot=(60, 90), n_query=40, n_columns=(1, 6), seed=3)


def same(a, b) -> bool:
    pairs = [(a.support.x, b.support.x), (a.query.x, b.query.x)]
    return all(x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)


def test_a_table_depends_on_seed_and_number_alone():
    again = TableTasks(n_way=(2, 4), n_shot=(60, 90), n_query=40, n_columns=(1, 6), seed=3)
    later = [EASY[i] for i in (7, 2)]
    assert same(again[2], later[1])
    assert torch.equal(again[7].support.y, later[0].support.y)
    assert not same(EASY[2], EASY[3])
    other = TableTasks(n_way=(2, 4), n_shot=(60, 90), n_query=40, n_columns=(1, 6), seed=4)
    assert not same(EASY[2], other[2])


@pytest.mark.parametrize(
    ("n_way", "n_shot", "n_columns"),
    [((2, 10), (20, 60), (1, 20)), (2, 4, 1), ((2, 10), 5, (1, 3)), (10, 30, 20), (3, 300, 50)],
)
def test_sizes_are_as_asked_for_and_each_class_has_an_example(n_way, n_shot, n_columns):
    def within(value, bounds):
        low, high = bounds if isinstance(bounds, tuple) else (bounds, bounds)
        return low <= value <= high

    tasks = TableTasks(n_way=n_way, n_shot=n_shot, n_query=7, n_columns=n_columns)
    for i in range(40):
        episode = tasks[i]
        assert within(len(episode.support), n_shot)
        assert len(episode.query) == 7
        assert within(episode.support.x.shape[1], n_columns)
        most = n_way if isinstance(n_way, int) else n_way[1]
        assert 2 <= episode.n_way <= most
        assert len(episode.support.y.unique()) == episode.n_way
        assert not episode.support.x.isinf().any()


def test_nearest_rows_tell_more_than_the_commonest_class():
    right = plain = 0.0
    for i in range(60):
        episode = EASY[i]
        x, y = episode.support.x.nan_to_num(), episode.support.y
        mean, width = x.mean(0), x.std(0) + 1e-6
        near = torch.cdist((episode.query.x.nan_to_num() - mean) / width, (x - mean) / width)
        votes = torch.nn.functional.one_hot(y)[near.argsort(1)[:, :5]].sum(1)
        right += float((votes.argmax(1) == episode.query.y).float().mean()) / 60
        plain += float((y.mode().values == episode.query.y).float().mean()) / 60
    assert right > plain + 0.08


def test_tables_have_codes_missing_values_rare_classes_and_many_columns():
    tables = [TableTasks(n_shot=(50, 100))[i] for i in range(150)]
    x = [t.support.x for t in tables]
    assert 0.03 < np.mean([bool(v.isnan().any()) for v in x]) < 0.3
    assert 0.1 < np.mean([len(v[:, 0].unique()) <= 2 for v in x]) < 0.6
    rare = [int(torch.bincount(t.support.y).min()) <= 3 for t in tables]
    assert 0.1 < np.mean(rare) < 0.8
    assert {t.n_way for t in tables} >= {2, 3, 4, 5, 6}
    assert {v.shape[1] for v in x} >= {1, 2, 5, 10}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_way": 1}, "n_way of 2 or more"),
        ({"n_way": (3, 2)}, r"n_way.*got \(3, 2\)"),
        ({"n_way": 5, "n_shot": 9}, "n_shot of 10 or more"),
        ({"n_query": 0}, "n_query of 1 or more"),
        ({"n_columns": 0}, "n_columns of 1 or more"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        TableTasks(**sizes)
