"""Runs survive kills, full disks and damaged files: every test really does what it names.

A failure is put before every system call that changes a file or folder, and into the middle of
every write, in a forked process: kills end it there, and a full disk makes the call fail. A kill
takes nothing from what the system was given to write, so only one test looks at flushes to disk.
"""

import ctypes
import errno
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import pytest
import torch
import torch._dynamo  # optimisers import it when first made: once here, not in every fork

from quickstudy import FewShotClassifier
from quickstudy.cli import main
from quickstudy.engine import Callback, checkpoints, meta_train
from quickstudy.engine.callbacks import JsonLines
from quickstudy.engine.checkpoints import latest_checkpoint, save_checkpoint, save_version
from quickstudy.errors import DiskError, RunError
from quickstudy.files import locked, remove_leftovers, write_atomically
from quickstudy.learners import LEARNERS, MAML
from quickstudy.nn import MLP
from quickstudy.tasks import EpisodeSampler, SinusoidTasks
from quickstudy.tasks.environments import BernoulliBandits, Trials
from quickstudy.testing import blob_classes

KILLED = -signal.SIGKILL
FAILED = 3
NOTHING_HAPPENED = 4


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def forked(work, *args):
    """Call `work` in a forked process; returns its exit code, below 0 if a signal ended it."""
    child = os.fork()
    if not child:
        try:
            os._exit(work(*args) or 0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def before_every_change(act):
    """From now on, call `act` before each system call that changes files; for forked processes."""
    real_open = io.open
    changes = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}

    def audit(event, args):
        if event in changes or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
            act(event)

    def halving_open(*args, **kwargs):
        file = real_open(*args, **kwargs)
        if file.writable():
            whole = file.write

            def write(content):
                for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                    act("write")
                    whole(part)
                    file.flush()
                return len(content)

            file.write = write
        return file

    sys.addaudithook(audit)
    io.open, os.fsync = halving_open, lambda handle: act("fsync")


def die_at(k):
    """Be killed at the k-th change, counted from 0."""
    count = itertools.count()

    def act(_event):
        if next(count) == k:
            os.kill(os.getpid(), signal.SIGKILL)

    before_every_change(act)


def fail_at(k, number, lasting):
    """Let the k-th change that takes space fail, and with `lasting` all after it.

    Returns:
        A list that is empty until then.
    """
    count, failures = itertools.count(), []

    def act(event):
        if event in ("open", "os.mkdir", "os.rename", "write", "fsync"):
            n = next(count)
            if n == k or (lasting and n > k):
                failures.append(event)
                raise OSError(number, os.strerror(number))

    before_every_change(act)
    return failures


def save(folder, step):
    weights = {"w": torch.full((3,), float(step)), "v": torch.zeros(2)}
    return save_checkpoint(folder, step, {"weights": weights}, {"step": step})


def loaded_step(folder):
    """The step of the newest whole checkpoint, checked to be all of that step."""
    tensors, state, _ = latest_checkpoint(folder)
    assert tensors["weights"]["w"].tolist() == [state["step"]] * 3
    return state["step"]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def spoil(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("again", [False, True])
def test_a_save_killed_at_any_point_leaves_the_old_or_the_new_checkpoint_whole(tmp_path, again):
    def work(k):
        die_at(k)
        save(folder, 15)

    found = []
    for k in itertools.count():
        folder = tmp_path / f"{k}" / "state"
        save(folder, 5)
        save(folder, 10)
        if again:  # in place of a damaged one
            spoil(save(folder, 15) / "weights.safetensors")
            save(tmp_path / "spare", 5).rename(folder / "step-00000005")
        code = forked(work, k)
        found.append(loaded_step(folder))
        for step in range(found[-1] + 5, 25, 5):  # as a resumed run goes on
            save(folder, step)
        assert loaded_step(folder) == 20
        left = [path.name for path in sorted(folder.iterdir())]
        assert left == ["step-00000015", "step-00000020"]
        if code == 0:
            break
        assert code == KILLED
    assert found == [10] * found.count(10) + [15] * found.count(15)
    assert min(found.count(10), found.count(15)) > 5  # points before the rename, and after


def test_a_first_save_killed_at_any_point_leaves_none_or_all_of_it(tmp_path):
    def work(k):
        die_at(k)
        save(folder, 5)

    for k in itertools.count():
        folder = tmp_path / f"{k}" / "run" / "state"
        code = forked(work, k)
        assert latest_checkpoint(folder) is None or loaded_step(folder) == 5
        save(folder, 10)
        assert loaded_step(folder) == 10
        if code == 0:
            break
        assert code == KILLED
    assert k > 15


class Versions:
    """A folder whose only content is saved again and again."""

    def save(self, folder, step):
        weights = {"w": torch.full((3,), float(step)), "v": torch.zeros(2)}
        save_version(folder, {"weights": weights}, {"step": step})

    def loaded(self, folder):
        return loaded_step(folder)


class Estimators:
    """The same with estimators that name the label given."""

    def save(self, folder, label):
        FewShotClassifier(temperature=1.0).fit([[0.0], [1.0]], [label, 1000]).save(folder)

    def loaded(self, folder):
        return FewShotClassifier.load(folder).predict([[0.1]])[0]


@pytest.mark.parametrize(
    ("kind", "number", "lasting"),
    [
        (Versions(), None, False),
        (Versions(), errno.ENOSPC, True),
        (Versions(), errno.EIO, False),
        (Estimators(), None, False),
    ],
)
def test_a_version_saved_over_another_is_the_old_or_the_new_whatever_fails(
    tmp_path, kind, number, lasting
):
    def work(k):
        if number is None:
            die_at(k)
        else:
            failures = fail_at(k, number, lasting)
        try:
            kind.save(folder, 15)
        except DiskError as error:
            return FAILED if f"cannot write to {folder}" in str(error) else 0
        if number is not None and not failures:
            return NOTHING_HAPPENED
        return 0

    found = []
    for k in itertools.count():
        folder = tmp_path / f"{k}"
        kind.save(folder, 10)
        code = forked(work, k)
        found.append(kind.loaded(folder))
        kind.save(folder, 20)
        assert kind.loaded(folder) == 20
        assert len(list(folder.glob("step-*"))) == 1
        assert not list(folder.glob(".tmp-*"))
        if code == (0 if number is None else NOTHING_HAPPENED):
            break
        assert code in (KILLED, FAILED) or found[-1] == 15
    assert set(found) == {10, 15}
    assert found.count(10) > 10  # points before the rename


def finish(children):
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def started(work, *args):
    """Call `work` in a forked process, and go on."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work(*args)
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)
    return child


@pytest.mark.parametrize("kind", [Versions(), Estimators()])
def test_two_writers_both_succeed_and_readers_always_find_a_whole_version(tmp_path, kind):
    folder, n_saves = tmp_path / "saved", 60
    kind.save(folder, 0)

    def write(first):
        for i in range(n_saves):
            kind.save(folder, first + i)

    def read():
        n_read = 0
        while not (tmp_path / "done").exists() or not n_read:
            assert 0 <= kind.loaded(folder) < 1000
            n_read += 1
        (tmp_path / f"read-{os.getpid()}").write_text(str(n_read))

    readers = [started(read) for _ in range(2)]
    finish([started(write, first) for first in (100, 300)])
    (tmp_path / "done").touch()
    finish(readers)
    assert kind.loaded(folder) in (100 + n_saves - 1, 300 + n_saves - 1)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", f"step-{2 * n_saves:08d}"]
    assert sum(int(file.read_text()) for file in tmp_path.glob("read-*")) > 10


def test_a_writer_waits_for_another_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "LOCK_SECONDS", 0.1)
    save_version(tmp_path, {}, {"step": 1})
    with (
        locked(tmp_path, "busy"),
        pytest.raises(RunError, match=r"has been saving to .* for 0\.1 s: wait, or stop it"),
    ):
        save_version(tmp_path, {}, {"step": 2})
    save_version(tmp_path, {}, {"step": 3})
    assert latest_checkpoint(tmp_path)[1] == {"step": 3}


def test_a_version_of_before_that_lies_in_step_zero_is_replaced(tmp_path):
    save_checkpoint(tmp_path, 0, {}, {"step": "old"}, keep=1)
    save_version(tmp_path, {}, {"step": "new"})
    assert latest_checkpoint(tmp_path)[1] == {"step": "new"}
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000001"]


@pytest.mark.parametrize("old", [None, b"old"])
def test_an_atomic_write_killed_at_any_point_leaves_the_old_or_the_new_file(tmp_path, old):
    def work(k):
        die_at(k)
        write_atomically(path, b"the new one")

    for k in itertools.count():
        (tmp_path / f"{k}").mkdir()
        path = tmp_path / f"{k}" / "file"
        if old:
            path.write_bytes(old)
        code = forked(work, k)
        assert (path.read_bytes() if path.exists() else None) in (old, b"the new one")
        remove_leftovers(path.parent)
        write_atomically(path, b"the next")
        assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [("file", b"the next")]
        if code == 0:
            break
        assert code == KILLED
    assert k > 5


def test_what_is_renamed_into_place_is_on_the_disk_and_then_its_name_is(tmp_path, monkeypatch):
    flushed, named = set(), []
    rename = os.rename

    def fsync(handle):
        flushed.add(os.fstat(handle).st_ino)
        named[:] = [place for place in named if place.parent.stat().st_ino not in flushed]

    def checked_rename(made, place):
        if ".tmp-" not in str(place):  # not one that is about to be removed
            assert {path.stat().st_ino for path in (made, *made.glob("*"))} <= flushed
            named.append(place)
        flushed.discard(place.parent.stat().st_ino)
        rename(made, place)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", checked_rename)
    train(tmp_path / "run")
    assert len(flushed) > 10
    assert named == []


def train(run, *callbacks, steps=3):
    torch.manual_seed(0)
    meta_train(
        MAML(MLP((1,), (3,)), 1, inner_lr=0.01),
        SinusoidTasks(n_shot=3, n_query=3),
        steps=steps,
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        run=run,
        checkpoint_every=2,
        keep_checkpoints=max(1, steps - 2),
        validation=SinusoidTasks(n_shot=3, n_query=3, seed=1),
        validation_tasks=2,
        validate_every=2,
        resume=True,
        callbacks=callbacks,
    )


def outcome(run):
    """All that a run leaves but for its seconds: names, weights, optimiser, log."""
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for entry in log:
        entry.pop("seconds", None)
    tensors = {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*.safetensors")}
    return names(run), tensors, log


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing happened to."""
    run = tmp_path_factory.mktemp("whole")
    train(run)
    return outcome(run)


def assert_whole(run):
    """Whatever the run got to, its newest checkpoint is whole."""
    found = latest_checkpoint(run / "state")
    assert found is None or not found[2]


def assert_same(run, whole):
    """The run came to the same end, without litter; at most it kept a whole checkpoint more."""
    left, tensors, log = outcome(run)
    assert not [name for name in left if ".tmp-" in name]
    assert len({tuple(names(place)) for place in (run / "state").iterdir()}) == 1
    assert tensors.items() >= whole[1].items()
    assert log == whole[2]


def test_training_killed_at_any_point_and_again_resumes_to_the_same_bits(tmp_path, whole):
    def work(k):
        die_at(k)
        train(run)

    moments = random.Random(0)
    for k in itertools.count():
        run = tmp_path / "runs" / f"{k}"
        code = forked(work, k)
        assert_whole(run)
        if code == 0:
            break
        assert code == KILLED
        forked(work, moments.randrange(100))  # and again while it resumes
        assert_whole(run)
        train(run)
        assert_same(run, whole)
    assert k > 80


def train_longer(run):
    torch.manual_seed(0)
    meta_train(
        MAML(MLP((1,), (16, 16)), 1, inner_lr=0.01),
        SinusoidTasks(n_shot=5, n_query=5),
        steps=300,
        meta_batch_size=4,
        schedule=partial(torch.optim.lr_scheduler.StepLR, step_size=50, gamma=0.9),
        run=run,
        validation=SinusoidTasks(n_shot=5, n_query=5, seed=1),
        validation_tasks=5,
        validate_every=40,
        checkpoint_every=15,
        resume=True,
    )


def final_bytes(folder):
    newest = sorted((folder / "state").glob("step-*"))[-1]
    files = [folder / "weights.safetensors", *sorted(newest.iterdir())]
    # state.json and so the manifest hold the seconds of training
    return {f.name: f.read_bytes() for f in files if f.suffix == ".safetensors"}


def test_killed_at_random_moments_and_resumed_it_gives_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([started(train_longer, whole)])
    for delay in (0.2, 0.7, 1.1):
        child = started(train_longer, killed)
        deadline = time.monotonic() + 60
        while not (killed / "metrics.jsonl").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    finish([started(train_longer, killed)])
    assert final_bytes(killed) == final_bytes(whole)


def refused_by_disk(run, number):
    """Whether training ends with an error of the disk, which says where, why and what to do."""
    try:
        train(run)
    except DiskError as error:
        message = str(error)
    else:
        return False
    assert all(part in message for part in (str(run), os.strerror(number), "make room"))
    return True


@pytest.mark.parametrize(("number", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_disk_that_fails_at_any_point_is_named_and_the_run_resumes(
    tmp_path, whole, number, lasting
):
    def work(k):
        failures = fail_at(k, number, lasting)
        if refused_by_disk(run, number):
            return FAILED
        return 0 if failures else NOTHING_HAPPENED

    overcome = 0
    for k in itertools.count():
        run = tmp_path / "runs" / f"{k}"
        code = forked(work, k)
        assert_whole(run)
        assert not [name for name in names(run) if ".tmp-" in name]
        train(run)
        assert_same(run, whole)
        if code == NOTHING_HAPPENED:
            break
        assert code in (FAILED, 0)
        overcome += code == 0
    assert k > 60
    assert overcome <= 1  # the lock is opened a second time


def small_disk(place, size, *, writable=True):
    """Mount a disk of `size` bytes that only this process sees, and that goes with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    own_mounts, read_only, recursive, private = 0x20000, 1, 0x4000, 0x40000
    place.mkdir(exist_ok=True)
    options = f"size={size}".encode()
    for failed in (
        libc.unshare(own_mounts),
        libc.mount(b"none", b"/", None, recursive | private, None),
        libc.mount(
            b"tmpfs", bytes(place), b"tmpfs", ctypes.c_ulong(0 if writable else read_only), options
        ),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot mount")


needs_mount = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk"
)


@needs_mount
def test_a_disk_that_is_really_full_is_named_and_the_run_resumes(tmp_path, whole):
    disk = tmp_path / "disk"

    def work(pages):
        small_disk(disk, 4096 * pages)
        run = disk / "run"
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(4096 * pages))
        failures = 0
        while refused_by_disk(run, errno.ENOSPC):
            assert_whole(run)
            assert not [name for name in names(run) if ".tmp-" in name]
            failures += 1
            os.truncate(ballast, 4096 * (pages - failures))  # a little more room
        assert failures > 3
        assert_same(run, whole)

    assert forked(work, 64) == 0


class Never(Callback):
    def on_step(self, step, metrics):
        raise AssertionError("training began")


@needs_mount
def test_a_disk_that_cannot_be_written_is_refused_before_training(tmp_path):
    def work():
        small_disk(tmp_path / "disk", 4096 * 64, writable=False)
        for run in (tmp_path / "disk", tmp_path / "disk" / "run"):
            with pytest.raises(DiskError, match=f"cannot write to {run} .Read-only file system"):
                train(run, Never())

    assert forked(work) == 0


def test_a_folder_without_permission_is_refused_before_training():
    def work():
        if os.geteuid() == 0:
            os.seteuid(65534)  # nobody; root may write anywhere
        for run in (folder, folder / "run"):
            with pytest.raises(DiskError, match=f"cannot write to {run} .Permission denied"):
                train(run, Never())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        assert forked(work) == 0


def test_a_file_in_the_place_of_the_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("precious")
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(DiskError, match="cannot write to"):
            train(run, Never())
    assert (tmp_path / "file").read_text() == "precious"


class Wait(Callback):
    """Tells through a pipe that training is under way, and waits to be killed."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_step(self, step, metrics):
        if step == 3:
            os.write(self.pipe, b"!")
            signal.pause()


def test_a_second_writer_is_refused_until_the_first_is_gone_even_by_kill(tmp_path, whole):
    ear, mouth = os.pipe()
    first = os.fork()
    if not first:
        try:
            train(tmp_path, Wait(mouth))
        finally:
            os._exit(1)
    os.close(mouth)
    try:
        assert os.read(ear, 1) == b"!"
        with pytest.raises(RunError, match="another process is training in"):
            train(tmp_path, Never())
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        os.close(ear)
    train(tmp_path)
    assert outcome(tmp_path) == whole


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint with all that one can hold: weights, best weights, optimiser, state."""
    run = tmp_path_factory.mktemp("trained")
    train(run, steps=4)
    return run / "state"


def overwrite(file, content):
    """Change a file where it lies, which is faster than to write it anew."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()


def damaged(place, file, content):
    """Whether `content` in the place of a file of the newest checkpoint is found out."""
    before = file.read_bytes()
    overwrite(file, content)
    found = latest_checkpoint(place)
    overwrite(file, before)
    assert found is not None
    return found[1]["progress"]["step"] == 2 and "step-00000004 is damaged" in found[2][0]


def test_every_other_truncation_of_every_file_is_found_out(trained):
    tried = 0
    for file in sorted((trained / "step-00000004").iterdir()):
        content = file.read_bytes()
        for n in range(0, len(content), 2):
            assert damaged(trained, file, content[:n]), (file.name, n)
            tried += 1
    assert tried > 1000


def test_a_flip_in_every_byte_of_every_file_and_of_every_bit_of_the_manifest_is_found_out(trained):
    moments = random.Random(0)
    tried = 0
    for file in sorted((trained / "step-00000004").iterdir()):
        content = file.read_bytes()
        for i in range(len(content)):
            for bit in range(8) if file.name == "manifest.json" else [moments.randrange(8)]:
                flipped = content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :]
                assert damaged(trained, file, flipped), (file.name, i, bit)
                tried += 1
    assert tried > 4000


def test_other_damage_to_every_file_is_found_out(trained):
    for file in sorted((trained / "step-00000004").iterdir()):
        content = file.read_bytes()
        older = (trained / "step-00000002" / file.name).read_bytes()
        for other in (bytes(len(content)), content + b" ", older, b"[]", b"5", b'{"format": 1}'):
            assert damaged(trained, file, other), (file.name, other)


def test_a_file_that_is_gone_or_a_folder_is_found_out(tmp_path):
    for name in ("weights.safetensors", "state.json", "manifest.json"):
        folder = tmp_path / name
        save(folder, 5)
        place = save(folder, 10)
        (place / name).unlink()
        assert loaded_step(folder) == 5
        (place / name).mkdir()
        assert loaded_step(folder) == 5


def test_a_log_cut_anywhere_has_each_step_once_after_a_resume(tmp_path):
    def log(step, until):
        lines = JsonLines(tmp_path / "log")
        lines.on_start(step, until)
        for s in range(step + 1, until + 1):
            lines.on_step(s, {"loss": 1.5})
        lines.on_end()

    log(0, 6)
    content = (tmp_path / "log").read_bytes()
    for n in range(len(content) + 1):
        (tmp_path / "log").write_bytes(content[:n])
        log(4, 6)
        steps = [json.loads(line)["step"] for line in (tmp_path / "log").open()]
        assert steps == sorted({*steps, 5, 6})
        assert len(steps) >= min(4, content[:n].count(b"\n")) + 2


def test_a_log_with_a_flipped_bit_anywhere_is_no_obstacle(tmp_path):
    path = tmp_path / "log"
    content = b'{"step": 1, "loss": 1.5}\n{"step": 2, "validation": {"mse": 1}}\n{"step": 3}\n'
    for i, bit in itertools.product(range(len(content)), range(8)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :])
        lines = JsonLines(path)
        lines.on_start(3, 4)
        lines.on_end()
        kept = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert len(kept) >= 1


class KilledAfter(Callback):
    def __init__(self, step):
        self.last = step

    def on_step(self, step, metrics):
        if step == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "name",
    [
        "prototypical_networks",
        "mann",
        "neural_process",
        "maml",
        "reptile",
        *(name for name, kind in LEARNERS.items() if kind.acts),
    ],
)
def test_every_family_of_learners_killed_and_resumed_has_the_same_bits(tmp_path, name):
    options = {
        "mann": {"controller_size": 8, "memory_shape": (6, 4), "n_reads": 1},
        "neural_process": {"width": 8, "heads": 2},
    }
    tasks, size, outputs = EpisodeSampler(blob_classes(12, 8), n_way=3, n_shot=2, n_query=2), 8, 3
    if LEARNERS[name].acts:
        family = BernoulliBandits(n_arms=3, horizon=4)
        tasks, size, outputs = Trials(family, n_shot=2), 1, family.actions

    def run(folder, *callbacks):
        torch.manual_seed(0)
        learner = LEARNERS[name].build(MLP((size,), (6,)), outputs, **options.get(name, {}))
        start = {k: v.clone() for k, v in learner.state_dict().items()}
        meta_train(
            learner,
            tasks,
            steps=9,
            meta_batch_size=2,
            schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            validation=tasks,
            validation_tasks=2,
            validate_every=4,
            run=folder,
            checkpoint_every=2,
            resume=True,
            callbacks=callbacks,
        )
        assert any(not torch.equal(v, start[k]) for k, v in learner.state_dict().items())

    for step in (1, 3, 8):
        assert forked(run, tmp_path / "killed", KilledAfter(step)) == KILLED
    run(tmp_path / "killed")
    run(tmp_path / "whole")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


RECIPE = """
about = "tiny"
data = { name = "sinusoid" }
backbone = { name = "mlp", widths = [4] }
learner = { name = "maml", inner_lr = 0.01 }
tasks = { n_shot = 3, n_query = 3 }
train = { steps = 1000000, checkpoint_every = 50 }
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_with_a_checkpoint_and_it_resumes(
    tmp_path, monkeypatch, capsys, number
):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)

    def words(run, *more):
        return ["quickstudy", "train", str(recipe), "--run", str(tmp_path / run), "--json", *more]

    command = [sys.executable, "-c", "from quickstudy.cli import main; main()"]
    with subprocess.Popen(
        [*command, *words("stopped")[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as child:
        log = tmp_path / "stopped" / "metrics.jsonl"
        while child.poll() is None and not (log.exists() and log.read_bytes()):
            time.sleep(0.01)
        child.send_signal(number)
        report = json.loads(child.communicate()[0])
    assert child.returncode == 130
    assert report["stopped"] == "interrupted"
    assert latest_checkpoint(tmp_path / "stopped/state")[1]["progress"]["step"] == report["steps"]
    steps = f"train.steps={report['steps'] + 3}"
    for run, more in (("stopped", ["--resume"]), ("whole", [])):
        monkeypatch.setattr(sys, "argv", words(run, "--set", steps, *more))
        with pytest.raises(SystemExit, match="0"):
            main()
    same = [outcome(tmp_path / run)[1:] for run in ("stopped", "whole")]
    newest = f"state/step-{report['steps'] + 3:08d}/"
    for tensors, _ in same:  # the run that was stopped has a checkpoint of that step too
        for name in list(tensors):
            if name.startswith("state/") and not name.startswith(newest):
                del tensors[name]
    assert same[0] == same[1]


def test_a_full_disk_is_one_line_on_the_command_line(tmp_path, capfd):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)

    def work(k):
        fail_at(k, errno.ENOSPC, lasting=True)
        sys.argv = ["quickstudy", "train", str(recipe), "--run", str(tmp_path / f"run{k}")]
        sys.argv += ["--set", "train.steps=4", "--set", "train.checkpoint_every=2"]
        try:
            main()
        except SystemExit as end:
            sys.stderr.flush()
            return end.code

    for k in range(0, 60, 6):
        assert forked(work, k) == 2
        lines = capfd.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1
        assert f"cannot write to {tmp_path}/run{k}" in errors[0]
        assert "No space left on device" in errors[0]
        assert not any("Traceback" in line for line in lines)
