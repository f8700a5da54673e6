"""Kill training runs with SIGKILL at random moments, resume them, and compare the final bytes.

    python benchmarks/kill_resume.py [--families rl2 maml-trpo] [--trials 20]

A trial kills a run three times, resumes it to its end, and compares weights, best weights,
optimiser state and log with those of an uninterrupted run. Prints how many trials of each family of
learners were identical, writes these families into benchmarks/results/kill_resume.json, and exits
with 1 if any trial differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

GLYPHS = ["data.name=glyphs", "data.rotations=false", "tasks.split=validation", "backbone.width=8"]
FEW = ["train.validate_every=50", "validation.n_tasks=5"]
FAMILIES = {
    "metric": ["prototypical_glyphs", *GLYPHS, "tasks.n_way=5", *FEW],
    "model-based": ["neural_process_sinusoid", "learner.width=16", *FEW],
    "optimization-based": ["maml_sinusoid", *FEW],
    "reptile": ["reptile_omniglot", *GLYPHS, "learner.inner_steps=2", "train.meta_batch_size=2"],
    "rl2": [
        "rl2_bandits",
        'learner={name="rl2", hidden=16, epochs=2, batches=2}',
        "train.meta_batch_size=50",
        *FEW,
    ],
    "maml-trpo": [
        "maml_trpo_navigation",
        "data.options.horizon=20",
        "backbone.widths=[16]",
        "tasks={n_shot=4, n_query=4}",
        "train.meta_batch_size=4",
        "train.steps=40",
        "train.checkpoint_every=5",
    ],
}
RESULTS = Path(__file__).parent / "results" / "kill_resume.json"
SHORT = ["train.steps=150", "train.checkpoint_every=20", "test=[]"]
KILLS = 3


def start(family: str, folder: Path) -> subprocess.Popen[bytes]:
    recipe, *changes = FAMILIES[family]
    command = [str(Path(sys.executable).with_name("quickstudy")), "train", recipe]
    command += [f"--set={change}" for change in [*SHORT, *changes]]
    return subprocess.Popen(
        [*command, "--run", str(folder), "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # small networks only wait for more threads
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def outcome(folder: Path) -> dict[str, Any]:
    """All that is compared: bytes by the file's name, and the log without its seconds."""
    newest = max((folder / "state").glob("step-*"))
    files = [folder / "weights.safetensors", *newest.glob("*.safetensors")]
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return {
        "log": [{k: v for k, v in entry.items() if k != "seconds"} for entry in log],
        **{str(file.relative_to(folder)): file.read_bytes() for file in files},
    }


def lines_logged(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_until_it_trains(process: subprocess.Popen[bytes], folder: Path, before: int = 0) -> None:
    while lines_logged(folder) == before and process.poll() is None:
        time.sleep(0.002)


def uninterrupted(family: str, folder: Path) -> float:
    """Run to the end; returns the seconds of training alone."""
    process = start(family, folder)
    wait_until_it_trains(process, folder)
    began = time.perf_counter()
    if process.wait() != 0:
        raise SystemExit(f"the uninterrupted run of {family} failed")
    return time.perf_counter() - began


def killed(family: str, folder: Path, pauses: list[float]) -> list[int]:
    """Kill a run after each pause, and let it end; returns the lines logged at each kill."""
    lines = []
    for pause in pauses:
        before = lines_logged(folder)
        process = start(family, folder)
        wait_until_it_trains(process, folder, before)
        time.sleep(pause)
        process.kill()
        process.wait()
        lines.append(lines_logged(folder))
    if start(family, folder).wait() != 0:
        raise SystemExit(f"the killed run of {family} could not be resumed")
    return lines


def tried(family: str, n_trials: int, seed: int) -> dict[str, Any]:
    """Kill runs of a family at random moments; what became of each."""
    moments, trials = random.Random(seed), []
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        seconds = uninterrupted(family, whole)
        for number in track(range(n_trials), f"killing {family}"):
            folder = Path(scratch) / f"trial{number}"
            pauses = [moments.uniform(0, seconds / KILLS) for _ in range(KILLS)]
            lines = killed(family, folder, pauses)
            same = outcome(folder) == outcome(whole)
            trials.append({"lines_logged_at_kill": lines, "identical": same})
            print(
                f"{family}, trial {number + 1}: killed after {lines} lines, identical: {same}",
                flush=True,
            )
    identical = sum(trial["identical"] for trial in trials)
    counts = {"tried": n_trials, "identical": identical}
    return {**counts, "trials": trials}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--trials", type=int, default=20, help="of each family")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    origin = provenance(options.seed)  # before a result changes the tree
    differed = 0
    for family in options.families:
        found = tried(family, options.trials, options.seed)
        results[family] = {**found, "provenance": origin}
        differed += found["tried"] - found["identical"]
        print(f"{family}: {found['tried']} tried, {found['identical']} identical")
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return int(differed > 0)


if __name__ == "__main__":
    sys.exit(main())
