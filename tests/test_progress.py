import io
import os
import pty
import re
import subprocess
import sys

import pytest

from quickstudy import progress
from quickstudy.progress import Progress, duration, track


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still but for what a test adds to it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_about_every_ten_seconds_and_one_at_the_end(clock, capsys):
    with Progress("training", total=60) as job:
        for _ in range(60):
            clock[0] += 0.5
            job.advance(note="loss 0.5")
    assert capsys.readouterr().err.splitlines() == [
        "training: 4 of 60, loss 0.5, 28 s left",
        "training: 24 of 60, loss 0.5, 18 s left",
        "training: 44 of 60, loss 0.5, 8 s left",
        "training: 60 of 60, loss 0.5, took 30 s",
    ]


def test_what_is_fast_shows_nothing(clock, capsys):
    with Progress("training", total=3) as job:
        for _ in range(3):
            clock[0] += 0.6
            job.advance()
    assert capsys.readouterr().err == ""


def test_only_the_outermost_of_nested_jobs_is_shown(clock, capsys):
    for _ in track([1], "outer"):
        for _ in track([1, 2], "inner"):
            clock[0] += 20
    shown = capsys.readouterr().err
    assert "outer: 1 of 1" in shown
    assert "inner" not in shown


def test_an_error_ends_the_job_so_that_the_next_one_is_shown(clock, capsys):
    with pytest.raises(ZeroDivisionError), Progress("first", total=2):
        raise ZeroDivisionError
    with Progress("second", total=2) as job:
        clock[0] += 5
        job.advance()
    assert "second: 1 of 2, 5 s left" in capsys.readouterr().err


def test_time_left_counts_only_what_was_done_here(clock):
    with Progress("training", total=100, done=90) as job:
        clock[0] += 10
        job.advance(5)
        assert job.left == pytest.approx(10.0)


def test_it_can_be_turned_off(clock, capsys, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_PROGRESS", "0")
    for _ in track([1, 2], "adding"):
        clock[0] += 20
    assert capsys.readouterr().err == ""


def test_a_process_without_standard_error_goes_on(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    for _ in track([1, 2], "adding"):
        clock[0] += 20


def test_a_notebook_gets_one_line_that_changes(clock, monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    class IPython:
        @staticmethod
        def display(data, raw, display_id):
            shown.append(data["text/plain"])
            return Handle()

        @staticmethod
        def get_ipython():
            return type("Shell", (), {"kernel": None})()

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    monkeypatch.setitem(sys.modules, "IPython.display", IPython)
    for _ in track([1, 2], "adding"):
        clock[0] += 20
    assert shown[0] == "adding: 1 of 2, 20 s left"
    assert shown[-1] == "adding: 2 of 2, took 40 s"


@pytest.mark.parametrize("columns", [40, 100])
def test_a_terminal_gets_a_bar_with_a_name_and_time_left(columns):
    code = """
from quickstudy import progress
import time
progress.SECONDS_BEFORE_DISPLAY = 0.0
with progress.Progress("training", total=4) as job:
    for _ in range(4):
        time.sleep(0.15)
        job.advance(note="loss 0.5")
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    written = io.BytesIO()
    try:
        while part := os.read(ours, 4096):
            written.write(part)
    except OSError:  # the end of a terminal
        pass
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue().decode())
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert all(len(line) <= columns for line in lines)
    assert any("training" in line and "2/4" in line and "s left" in line for line in lines)
    assert any("loss 0.5" in line for line in lines) == (columns == 100)


def test_durations_are_read_easily():
    assert [duration(s) for s in (0.4, 59.4, 61, 3600)] == ["0 s", "59 s", "1 min 1 s", "1 h 0 min"]
