import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from platformdirs import user_cache_path

from quickstudy import cache
from quickstudy.cache import BlobCache, FileCache, cache_limit
from quickstudy.errors import UsageError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    """Sets the time that the cache sees."""

    def set_to(seconds):
        monkeypatch.setattr(cache.time, "time", lambda: seconds)

    return set_to


def key(number):
    return number.to_bytes(32, "big")


def test_entries_come_back_by_their_keys():
    store = BlobCache("blobs")
    store.put({key(i): bytes([i]) * i for i in range(100)})
    store.put({key(7): b"newer"})
    assert store.get([key(3), key(7), key(500)]) == {key(3): b"\3\3\3", key(7): b"newer"}
    assert len(store.get(key(i) for i in range(2000))) == 100


def test_what_was_used_least_recently_goes_first_and_the_file_stays_bounded(monkeypatch, clock):
    monkeypatch.setenv("QUICKSTUDY_CACHE", "1")
    store = BlobCache("blobs")
    for i in range(60):
        clock(1000 * i)
        store.put({key(i): bytes(50_000)})
        assert store.get([key(0)])  # used all the time
        assert store.path.stat().st_size <= 1_060_000
    left = {i for i in range(60) if store.get([key(i)])}
    assert left == {0, *range(min(left - {0}), 60)}
    assert len(left) > 10


def test_a_smaller_bound_shrinks_the_file(monkeypatch):
    store = BlobCache("blobs")
    store.put({key(i): bytes(10_000) for i in range(500)})
    monkeypatch.setenv("QUICKSTUDY_CACHE", "1")
    store.put({key(1000): b"last"})
    assert store.path.stat().st_size <= 1_000_000
    assert store.get([key(1000)])


def test_a_lookup_reads_its_own_entries_alone():
    store = BlobCache("blobs")
    store.put({key(i): bytes(100) for i in range(20_000)})
    with sqlite3.connect(store.path) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT key, value, used FROM entries WHERE key IN (?, ?)",
            (key(1), key(2)),
        ).fetchall()
    assert "USING INDEX" in plan[0][3]
    assert len(list(user_cache_path("quickstudy").iterdir())) == 1


@pytest.mark.parametrize("store", [BlobCache("blobs"), FileCache("files")])
def test_a_cache_that_cannot_be_written_or_read_is_done_without(store, tmp_path):
    (tmp_path / "quickstudy").write_text("in the way")
    if isinstance(store, BlobCache):
        store.put({key(1): b"value"})
        assert store.get([key(1)]) == {}
    else:
        store.put("name", b"value")
        assert store.get("name") is None


def test_a_file_that_is_locked_is_done_without(monkeypatch):
    store = BlobCache("blobs")
    store.put({key(1): b"value"})
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **(k | {"timeout": 0.01})))
    other = connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store.put({key(2): b"value"})
    assert store.get([key(1)]) == {}
    other.close()
    assert store.get([key(1), key(2)]) == {key(1): b"value"}


def test_caches_are_turned_off_by_the_environment(monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_CACHE", "off")
    BlobCache("blobs").put({key(1): b"value"})
    FileCache("files").put("name", b"value")
    assert not user_cache_path("quickstudy").exists()
    monkeypatch.delenv("QUICKSTUDY_CACHE")
    assert cache_limit() == cache.DEFAULT_MEGABYTES * 1_000_000
    monkeypatch.setenv("QUICKSTUDY_CACHE", "much")
    with pytest.raises(UsageError, match=r'"off" or a number of megabytes.*\'much\''):
        cache_limit()


WRITER = """
import itertools, sys
from quickstudy.cache import BlobCache
store, start = BlobCache("blobs"), int(sys.argv[1])
for i in itertools.count(start):
    store.put({(8 * i + k).to_bytes(32, "big"): (8 * i + k).to_bytes(4, "big") * 500
               for k in range(8)})
    print(i, flush=True)
"""


def test_processes_that_write_at_once_and_are_killed_leave_whole_entries():
    store, done = BlobCache("blobs"), []
    for start in (0, 100_000):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(start + 10_000 * w)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for w in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.3)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            out, _ = writer.communicate()
            done += [int(line) for line in out.split("\n")[:-1]]
    assert done
    written = [8 * i + k for i in done for k in range(8)]
    assert store.get(map(key, written)) == {key(i): i.to_bytes(4, "big") * 500 for i in written}
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_files_used_least_recently_go_first(monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_CACHE", "1")
    store = FileCache("files")
    for i in range(3):
        store.put(str(i), bytes(300_000))
        os.utime(store.folder / str(i), (i, i))
    assert store.get("0") == bytes(300_000)
    store.put("3", bytes(300_000))
    assert sorted(path.name for path in store.folder.iterdir()) == ["0", "2", "3"]
    store.put("huge", bytes(2_000_000))
    assert store.get("huge") is None
    assert store.get("3") is not None
