"""Kill training runs with SIGKILL at random moments, resume them, and compare the final bytes.

    python benchmarks/kill_resume.py --trials 20

The trials go round the families of learners. Each kills a run three times, resumes it to its end,
and compares weights, best weights, optimiser state and log with those of an uninterrupted run.
Prints how many trials were identical, writes benchmarks/results/kill_resume.json, and exits with 1
if any differed.
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
}
SHORT = ["train.steps=150", "train.checkpoint_every=20", "test=[]"]
KILLS = 3


def start(family: str, folder: Path) -> subprocess.Popen[bytes]:
    recipe, *changes = [*FAMILIES[family], *SHORT]
    command = [str(Path(sys.executable).with_name("quickstudy")), "train", recipe]
    command += [f"--set={change}" for change in changes]
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of all families together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    trials = []
    with tempfile.TemporaryDirectory() as scratch:
        wholes = {family: Path(scratch) / family for family in FAMILIES}
        seconds = {family: uninterrupted(family, whole) for family, whole in wholes.items()}
        for number in track(range(options.trials), "killing"):
            family = list(FAMILIES)[number % len(FAMILIES)]
            folder = Path(scratch) / f"trial{number}"
            pauses = [moments.uniform(0, seconds[family] / KILLS) for _ in range(KILLS)]
            lines = killed(family, folder, pauses)
            same = outcome(folder) == outcome(wholes[family])
            trials.append({"family": family, "lines_logged_at_kill": lines, "identical": same})
            print(
                f"trial {number + 1}, {family}: killed after {lines} lines, identical: {same}",
                flush=True,
            )
    counts = {}
    for family in FAMILIES:
        verdicts = [trial["identical"] for trial in trials if trial["family"] == family]
        counts[family] = {"tried": len(verdicts), "identical": sum(verdicts)}
        print(f"{family}: {len(verdicts)} tried, {sum(verdicts)} identical")
    identical = sum(trial["identical"] for trial in trials)
    result = {
        **provenance(options.seed),
        "identical": identical,
        "families": counts,
        "trials": trials,
    }
    path = Path(__file__).parent / "results" / "kill_resume.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return int(identical < len(trials))


if __name__ == "__main__":
    sys.exit(main())
