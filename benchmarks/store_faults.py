"""Kill writers of the experience store at random moments, and let many write at once.

    python benchmarks/store_faults.py [--url URL]

First, writers are killed with SIGKILL again and again; afterwards the store must be sound, and
hold each transaction that was acknowledged, and none in part. Then processes contend: none of
their transactions may fail or be lost. Writes benchmarks/results/store_faults_DATABASE.json, or
what --out names, and exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from quickstudy.experience import ExperienceStore
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

RESULTS = Path(__file__).parent / "results"
TRIALS = 3
"""Trials of a transaction, which also holds a run."""

WRITER = f"""
import sys
from datetime import UTC, datetime
from quickstudy.experience import ExperienceStore, Run, Strategy, Task, Trial
store = ExperienceStore(sys.argv[1])
strategy, task = Strategy("learner", "maml"), Task("0" * 64, "few-shot", "glyphs")
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    now = datetime.now(UTC)
    run = Run("store_faults", now, now)
    trials = [
        Trial(task.fingerprint, strategy.fingerprint, run.id, "accuracy", [0.5] * 100)
        for _ in range({TRIALS})
    ]
    store.record(run=run, tasks=[task], strategies=[strategy], trials=trials)
    print(run.id, flush=True)
"""


class Writer:
    """A process that writes, and prints into a file, which never makes it wait, what it wrote."""

    def __init__(self, place: str, transactions: int) -> None:
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        words = [sys.executable, "-c", WRITER, place, str(transactions)]
        self.process = subprocess.Popen(words, stdout=self._printed, stderr=self._errors)

    def wait_until_ready(self) -> None:
        while not self._lines():
            assert self.process.poll() is None, self.errors()
            time.sleep(0.01)

    def acknowledged(self) -> list[str]:
        """The ids of the runs that it printed whole."""
        self.process.wait()
        return self._lines()[1:]

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def _lines(self) -> list[str]:
        self._printed.seek(0)
        return self._printed.read().split("\n")[:-1]


def verdict(place: str, promised: list[str], seconds: float) -> dict[str, Any]:
    """What the store holds of what was promised."""
    store = ExperienceStore(place, create=False)
    if "://" not in place:
        (sound,) = store._read(lambda conn: conn.exec_driver_sql("PRAGMA integrity_check").one())
    else:
        sound = "ok"
    runs = [run.id for run in store.runs()]
    whole = Counter(trial.run for trial in store.trials())
    lost = set(promised) - set(runs)
    partial = [run for run in runs if whole[run] != TRIALS]
    return {
        "acknowledged": len(promised),
        "found": len(runs),
        "lost": len(lost) + len(partial) + (sound != "ok"),
        "duplicates": len(promised) - len(set(promised)),
        "seconds": round(seconds, 1),
    }


def kill(place: str, processes: int, kills: int, moments: random.Random) -> dict[str, Any]:
    """Kill one of some writers at a random moment after it was ready, and start another."""
    began, promised = time.perf_counter(), []
    writers = [Writer(place, 10**9) for _ in range(processes)]
    for _ in track(range(kills), "killing"):
        for writer in writers:
            writer.wait_until_ready()
        time.sleep(moments.uniform(0, 0.3))
        victim = writers.pop(moments.randrange(len(writers)))
        victim.process.kill()
        promised += victim.acknowledged()
        writers.append(Writer(place, 10**9))
    for writer in writers:
        writer.process.kill()
        promised += writer.acknowledged()
    return {
        "kills": kills,
        "processes": processes,
        **verdict(place, promised, time.perf_counter() - began),
    }


def contend(place: str, processes: int, transactions: int) -> dict[str, Any]:
    """Let processes write at once, and count what failed."""
    began, promised, errors = time.perf_counter(), [], 0
    before = {run.id for run in ExperienceStore(place).runs()}
    writers = [Writer(place, transactions) for _ in range(processes)]
    for writer in track(writers, "contending"):
        promised += writer.acknowledged()
        errors += bool(writer.errors() or writer.process.returncode)
        sys.stderr.write(writer.errors())
    seconds = time.perf_counter() - began
    found = verdict(place, promised, seconds)
    found["found"] -= len(before)
    missing = processes * transactions - len(promised)
    return {
        "processes": processes,
        "transactions": transactions,
        "errors": errors + missing,
        "transactions_per_second": round(len(promised) / seconds, 1),
        **found,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--writers", type=int, default=4, help="at once, that are killed")
    parser.add_argument("--processes", type=int, default=8, help="at once, that contend")
    parser.add_argument("--transactions", type=int, default=1000, help="of each process")
    parser.add_argument("--url", "--store", help="an empty store; by default a new SQLite file")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.url or str(Path(scratch) / "experience.db")
        ExperienceStore(place)
        killed = kill(place, options.writers, options.kills, random.Random(options.seed))
        contended = contend(place, options.processes, options.transactions)
    database = "postgresql" if place.startswith("postgres") else "sqlite"
    result = {
        **provenance(options.seed),
        "database": database,
        "killed": killed,
        "contended": contended,
    }
    print(json.dumps({"killed": killed, "contended": contended}, indent=1))
    out = options.out or RESULTS / f"store_faults_{database}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    bad = killed["lost"] + contended["lost"] + contended["errors"] + contended["duplicates"]
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
