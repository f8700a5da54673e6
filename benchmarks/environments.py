"""Steps per second of each family of environments, without any learner.

    python benchmarks/environments.py

Environments step with actions drawn beforehand, on all cores, for a second each; checks of actions,
rewards and observations are on. Writes benchmarks/results/environments.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from quickstudy.experiments.provenance import provenance
from quickstudy.tasks.environments import ENVIRONMENTS

OUT = Path(__file__).parent / "results" / "environments.json"
SIZES = (1, 800, 16_384)
"""Environments at once: one; 40 tasks of 20 trajectories, as of MAML; many."""
MUJOCO_SIZE = 8
SECONDS = 1.0


def measure(name: str, n: int) -> dict[str, Any]:
    """Time steps of n environments, with the resets between episodes."""
    family = ENVIRONMENTS[name]()
    environments = family.environments(range(n))
    generator = torch.Generator().manual_seed(0)
    actions = [family.actions.sample(n, generator) for _ in range(10)]
    environments.reset()
    for step in range(20):
        environments.step(actions[step % 10])
    steps, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        for chosen in actions:
            environments.step(chosen)
        steps += len(actions)
    return {
        "family": name,
        "environments": n,
        "steps_per_second": round(n * steps / spent),
        "microseconds_per_call": round(1e6 * spent / steps, 1),
    }


def main() -> None:
    found = []
    for name in ENVIRONMENTS:
        for n in (MUJOCO_SIZE,) if name.startswith("half_cheetah") else SIZES:
            found.append(measure(name, n))
            print(json.dumps(found[-1]))
    threads = {"threads": torch.get_num_threads()}
    OUT.write_text(json.dumps({**provenance(0), **threads, "speed": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
