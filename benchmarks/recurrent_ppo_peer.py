"""Steps a second of RL² beside RecurrentPPO of sb3-contrib, on the same bandits.

    python benchmarks/recurrent_ppo_peer.py [--rounds 5] [--trials 200 2000]

sb3-contrib gets an environment of its own in `benchmarks/peers/.envs`, made from PyPI when first
needed, with quickstudy's PyTorch and Gymnasium. Both learn Bernoulli bandits of 5 arms and 10
pulls, by the numbers of the recipe `rl2_bandits`: as many trials in each update, passes, batches,
and hidden units. Policy and value function share the recurrent network in both, which is a GRU here
and an LSTM there. The peer gets environments of Gymnasium one by one, as its guide has them, and
one NumPy batch of them, the fastest that it takes.

They take turns, a burst of updates each, on one thread; times are of the processor, and include
acting, environments and learning. Writes benchmarks/results/recurrent_ppo_peer.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from peers.environments import Peer, python_of
from quickstudy import meta_train
from quickstudy.experiments.provenance import provenance
from quickstudy.learners import RL2
from quickstudy.nn import Flatten
from quickstudy.tasks.environments import BernoulliBandits, Trials

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "recurrent_ppo_peer.json"

PEER = Peer(
    "sb3-contrib RecurrentPPO",
    ("recurrent_ppo_.py",),
    "sb3_contrib",
    ("sb3-contrib==2.9.2", "stable-baselines3==2.9.2"),
)
PPO = {
    "discount": 0.99,
    "decay": 0.3,
    "clip": 0.1,
    "value_weight": 0.5,
    "entropy_weight": 0.01,
    "epochs": 4,
    "batches": 4,
}
BANDITS = {"n_arms": 5, "horizon": 10}
HIDDEN, LR, CLIP_NORM = 64, 1e-3, 1.0
TRIALS_OF_A_BURST = 2000


class RecurrentPPO:
    """The peer's process.

    Args:
        batched: Whether its environments are one batch.
    """

    def __init__(self, trials: int, *, batched: bool) -> None:
        self.process = subprocess.Popen(
            [str(python_of(PEER)), str(HERE / "peers" / PEER.worker[0])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        work = {**PPO, **BANDITS, "hidden": HIDDEN, "lr": LR, "clip_norm": CLIP_NORM}
        self._tell({**work, "trials": trials, "batched": batched})

    def burst(self, updates: int) -> dict[str, Any]:
        self._tell({"updates": updates})
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def _tell(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)


class Ours:
    """RL² with its optimiser, which goes on from update to update."""

    def __init__(self, trials: int) -> None:
        torch.manual_seed(0)
        family = BernoulliBandits(**BANDITS)
        self.learner = RL2(Flatten((1,)), family.actions, hidden=HIDDEN, **PPO)
        self.optimizer = torch.optim.Adam(self.learner.parameters(), LR, fused=True)
        self.n_trials, self.trials, self.seen = trials, Trials(family), 0

    def burst(self, updates: int) -> dict[str, Any]:
        tasks = Trials(self.trials.family, first=self.seen)
        self.seen += updates * self.n_trials
        began = time.process_time()
        meta_train(
            self.learner,
            tasks,
            steps=updates,
            meta_batch_size=self.n_trials,
            optimizer=lambda _: self.optimizer,
            clip_norm=CLIP_NORM,
            show_progress=False,
        )
        seconds = time.process_time() - began
        steps = updates * self.n_trials * BANDITS["horizon"]
        return {"seconds": seconds, "steps": steps}


def compare(rounds: int, trials: int) -> dict[str, Any]:
    """Speeds of all, round by round; the first burst of each is not counted."""
    one_by_one, batched = (RecurrentPPO(trials, batched=batched) for batched in (False, True))
    learners = {"quickstudy": Ours(trials), PEER.title: one_by_one, f"{PEER.title}, batch": batched}
    speeds: dict[str, list[float]] = {name: [] for name in learners}
    updates = max(1, TRIALS_OF_A_BURST // trials)
    for number in range(rounds + 1):
        found = {name: learner.burst(updates) for name, learner in learners.items()}
        for name, one in found.items():
            if number:
                speeds[name].append(one["steps"] / one["seconds"])
        print(number, {name: round(one["seconds"], 2) for name, one in found.items()}, flush=True)
    for peer in (one_by_one, batched):
        peer.process.kill()
        peer.process.communicate()
    return {
        "trials in an update": trials,
        "updates in a round": updates,
        "steps a second": {name: round(statistics.median(each)) for name, each in speeds.items()},
        "times faster": {
            name: _spread(
                [one / other for one, other in zip(speeds["quickstudy"], each, strict=True)]
            )
            for name, each in speeds.items()
            if name != "quickstudy"
        },
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 2000], help="in an update")
    given = parser.parse_args()
    torch.set_num_threads(1)
    compared = [compare(given.rounds, trials) for trials in given.trials]
    print(json.dumps(compared, indent=1))
    report = {**provenance(0), "packages": PEER.packages, "compared": compared}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
