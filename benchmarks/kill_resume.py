"""Kill a training run with SIGKILL at random moments, resume it, and compare the final bytes.

    python benchmarks/kill_resume.py --trials 20

Each trial kills the run three times, resumes it to its end, and compares weights, best weights
and optimiser state with those of one uninterrupted run. Prints how many trials were identical,
writes benchmarks/results/kill_resume.json, and exits with 1 if any differed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quickstudy.apps.run import provenance
from quickstudy.progress import track

RECIPE = ["maml_sinusoid", "--set", "train.steps=400", "--set", "train.validate_every=60"]
RECIPE += ["--set", "train.checkpoint_every=25", "--set", "validation.n_tasks=5"]
KILLS = 3


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = ["quickstudy", "train", *RECIPE, "--run", str(folder), "--resume"]
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def final_bytes(folder: Path) -> dict[str, bytes]:
    newest = max((folder / "state").glob("step-*"))
    files = [folder / "weights.safetensors", *newest.glob("*.safetensors")]
    return {file.name: file.read_bytes() for file in files}


def steps_done(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    trials = []
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        process = start(whole)
        while not steps_done(whole) and process.poll() is None:
            time.sleep(0.002)
        began = time.perf_counter()
        if process.wait() != 0:
            raise SystemExit("the uninterrupted run failed")
        seconds = time.perf_counter() - began  # of training alone
        for number in track(range(options.trials), "killing"):
            folder = Path(scratch) / f"trial{number}"
            killed_at = []
            for _ in range(KILLS):
                before = steps_done(folder)
                process = start(folder)
                while steps_done(folder) == before and process.poll() is None:
                    time.sleep(0.002)  # until it trains
                time.sleep(moments.uniform(0, seconds / KILLS))
                process.kill()
                process.wait()
                killed_at.append(steps_done(folder))
            ended = start(folder).wait() == 0
            same = ended and final_bytes(folder) == final_bytes(whole)
            trials.append({"lines_logged_at_kill": killed_at, "identical": same})
            print(f"trial {number + 1}: killed after {killed_at} lines, identical: {same}")
    identical = sum(trial["identical"] for trial in trials)
    print(f"{len(trials)} tried, {identical} identical")
    result = {**provenance(options.seed), "identical": identical, "trials": trials}
    path = Path(__file__).parent / "results" / "kill_resume.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return int(identical < len(trials))


if __name__ == "__main__":
    sys.exit(main())
