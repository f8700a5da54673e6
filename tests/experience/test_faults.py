"""Stores survive kills, full disks and damage: every test really does what it names."""

import contextlib
import ctypes
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from quickstudy.errors import DataError, DiskError, QuickstudyError, UsageError
from quickstudy.experience import ExperienceStore, Strategy, Task, Trial

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "store_faults.py"
KILLS = os.environ.get("QUICKSTUDY_KILLS", "3")
TASK, MAML = Task("0" * 64, "few-shot", "glyphs"), Strategy("learner", "maml")


def trial(size=2):
    return Trial(TASK.fingerprint, MAML.fingerprint, metric="accuracy", scores=[0.5] * size)


def filled(place):
    store = ExperienceStore(place)
    store.record(tasks=[TASK], strategies=[MAML], trials=[trial()])
    return store


def forked(work):
    """Call `work` in a forked process; returns its exit code."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def small_disk(place, size):
    """Mount a disk of `size` bytes that only this process sees, and that goes with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    own_mounts, recursive, private = 0x20000, 0x4000, 0x40000
    place.mkdir(exist_ok=True)
    for failed in (
        libc.unshare(own_mounts),
        libc.mount(b"none", b"/", None, recursive | private, None),
        libc.mount(b"tmpfs", bytes(place), b"tmpfs", ctypes.c_ulong(0), f"size={size}".encode()),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot mount")


def read_only(place):
    """Make the disk that `small_disk` mounted read-only."""
    remount, read_only = 0x20, 1
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.mount(
        b"tmpfs", bytes(place), b"tmpfs", ctypes.c_ulong(remount | read_only), b""
    )


needs_mount = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk"
)


def test_writers_killed_at_random_lose_nothing_they_acknowledged(place, tmp_path):
    out = tmp_path / "out.json"
    sizes = ["--kills", KILLS, "--processes", "2", "--transactions", "5"]
    words = [sys.executable, str(SCRIPT), *sizes, "--store", place, "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert (found["killed"]["kills"], found["killed"]["lost"]) == (int(KILLS), 0)
    assert found["contended"]["lost"] == found["contended"]["errors"] == 0


@needs_mount
def test_a_full_disk_is_named_and_what_was_written_before_is_kept(tmp_path):
    def work():
        small_disk(disk, 4096 * 100)
        store, kept = filled(disk / "x.db"), [1]

        def fill():
            while True:
                store.record(trials=[trial(2000)])
                kept.append(1)

        with pytest.raises(DiskError, match=f"cannot write to {disk}/x.db .*full.*make room"):
            fill()
        assert len(kept) > 3
        for opened in (store, ExperienceStore(disk / "x.db")):
            assert len(opened.trials()) == len(kept)
        with contextlib.suppress(OSError):
            (disk / "ballast").write_bytes(bytes(4096 * 100))
        with pytest.raises(DiskError, match=f"cannot write to {disk}"):
            store.export(disk / "out")
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "x.db"]

    disk = tmp_path / "disk"
    assert forked(work) == 0


@needs_mount
def test_a_read_only_disk_can_be_read_and_is_named_when_written(tmp_path):
    def work():
        small_disk(disk, 4096 * 200)
        filled(disk / "x.db")
        read_only(disk)
        store = ExperienceStore(disk / "x.db")
        assert len(store.trials()) == 1
        with pytest.raises(DiskError, match=r"cannot write to .*x.db .*readonly"):
            store.record(trials=[trial()])
        for new in (disk / "y.db", disk / "folder" / "y.db"):
            with pytest.raises(DiskError, match=f"cannot write to {new}"):
                ExperienceStore(new)

    disk = tmp_path / "disk"
    assert forked(work) == 0


def test_a_folder_without_permission_is_named():
    def work():
        if os.geteuid() == 0:
            os.seteuid(65534)  # nobody; root may write anywhere
        for new in (folder / "x.db", folder / "new" / "x.db"):
            with pytest.raises(DiskError, match=f"cannot write to {new}"):
                ExperienceStore(new)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        assert forked(work) == 0


def test_what_is_no_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "text.db").write_text("precious " * 1000)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (a)")
    other.commit()
    other.close()
    for name, kind, message in (
        ("text.db", DataError, "text.db is damaged or no experience store .file is not a database"),
        ("other.db", DataError, "other.db, got another database"),
        (".", UsageError, "got the folder"),
        ("text.db/x.db", DiskError, "cannot write to"),
    ):
        before = {p: p.read_bytes() for p in tmp_path.iterdir()}
        with pytest.raises(kind, match=message) as found:
            ExperienceStore(tmp_path / name)
        assert "\n" not in str(found.value)
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_damage_anywhere_is_an_error_of_quickstudy_or_harmless(tmp_path):
    path = tmp_path / "x.db"
    filled(path)
    whole, moments, found = path.read_bytes(), random.Random(0), []
    for _ in range(60):
        start, length = moments.randrange(len(whole)), moments.choice([1, 100, 5000])
        noise = moments.randbytes(length)
        path.write_bytes((whole[:start] + noise + whole[start + length :])[: len(whole)])
        try:
            store = ExperienceStore(path)
            store.table(), store.tasks(), store.strategies(), store.runs()
        except QuickstudyError as error:
            found.append(str(error))
    assert len(found) > 10
    assert all(str(path) in message and "\n" not in message for message in found)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged"):
        ExperienceStore(path).table()
