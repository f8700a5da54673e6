import tracemalloc

import numpy as np
import pytest

from quickstudy.apps.recommend import (
    Interactions,
    Recommender,
    evaluate,
    generated,
    learning,
    memory,
    user_folds,
)
from quickstudy.errors import DataError

DATA = generated(n_users=80, n_items=30, seed=3)


def test_data_that_memory_cannot_hold_is_refused_before_anything_is_allocated(monkeypatch):
    n_users, n_items = 30_000, 60_000
    user = np.repeat(np.arange(n_users), 2)
    data = Interactions(
        list(map(str, range(n_users))),
        list(map(str, range(n_items))),
        user,
        np.arange(2 * n_users) % n_items,
        1.0 + np.arange(2 * n_users) % 5,
    )
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"about 1\.\d GB of free memory .* got 1.0 GB: leave"):
        Recommender().fit(data)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_users_in_parts_get_what_all_get_at_once(monkeypatch):
    fold, rest = user_folds(80, 2)
    for data in (DATA, DATA.as_clicks()):
        whole = Recommender().fit(data.of_users(rest))
        scores = evaluate(whole, data.of_users(fold), supports=(0, 3), n_query=4)
        best = whole.top_all(data.of_users(fold))
        monkeypatch.setattr(memory, "PAIRS_PER_CHUNK", 7 * 30)
        assert [part.stop for part in memory.chunks(16, 30)] == [7, 14, 16]
        np.testing.assert_array_equal(whole.top_all(data.of_users(fold)), best)
        again = evaluate(whole, data.of_users(fold), supports=(0, 3), n_query=4)
        for one, other in zip(scores, again, strict=True):
            for name, values in one.measures.items():
                np.testing.assert_allclose(other.measures[name], values, atol=1e-6)
        if not data.clicks:  # of clicks other items would be sampled
            parts = Recommender().fit(data.of_users(rest))
            one, other = (made.adapt({"item 3": 5}) for made in (whole, parts))
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=0.01)
        monkeypatch.undo()


def test_of_many_users_some_teach_the_meta_level_and_all_the_bases(monkeypatch):
    monkeypatch.setattr(learning, "MAX_META_USERS", 16)
    assert list(map(len, learning.inner_folds(80, 0))) == [16]
    recommender = Recommender(meta=False).fit(DATA)
    assert len(recommender.examples_.targets) <= 16 * 6
    expected = np.bincount(DATA.item, minlength=30)
    np.testing.assert_array_equal(recommender.item_counts, expected)
    parts = recommender.training_examples(DATA)
    assert len(parts) == learning.N_FOLDS  # the guard holds some of them out
    assert len(recommender.adapt({"item 3": 5}).top_n(3)) == 3


def test_a_control_group_limits_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    free = memory.free_memory()
    if free is None:
        pytest.skip("no /proc/meminfo here")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert (memory.free_memory() or 0) > 1000
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.free_memory() == 700
