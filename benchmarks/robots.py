"""Robots that adapt: the error of models of dynamics after 50 transitions, and control by them.

    python benchmarks/robots.py [--families pendulum ...] [--seeds 5]

For each family of machines and each seed, trains MAML on the dynamics of machines whose parameters
are in range, and the same network on all of them at once, in runs/robots (a run that is there is
not trained again). Then measures, on machines in range and on machines whose parameters lie outside
by up to half the range:

- the mean squared error of predictions after 50 transitions, with and without adapting;
- the return of model-predictive control over each model and over the true one, in a machine's
  first episode and in its second, when 50 transitions are known from the start.

Adds what is not there yet to benchmarks/results/robots.json, one family, seed and range at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.engine import meta_test
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import train_run
from quickstudy.learners import Learner
from quickstudy.learners.reinforcement import Policy, RandomPolicy, play
from quickstudy.learners.reinforcement.model_predictive import (
    AdaptiveModel,
    ModelPredictivePolicy,
    TrueModel,
)
from quickstudy.learners.reinforcement.shooting import CrossEntropyMethod
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks.environments import (
    CartPoleSwingUp,
    DynamicsTasks,
    Environments,
    Pendulums,
    TwoLinkArms,
)
from quickstudy.tasks.environments.mechanics import Mechanics

RESULTS = Path(__file__).parent / "results" / "robots.json"
RUNS = Path("runs") / "robots"
ADAPTS = {"adapted": "maml", "unadapted": "pretrained"}
"""The first word of the recipes of a family."""
BEYOND = (0.0, 0.5)
N_SHOT = 50
N_TASKS = 1000
N_MACHINES = 8
FEW = {"candidates": 100, "elites": 10, "iterations": 3}
MACHINES: dict[str, tuple[type[Mechanics], CrossEntropyMethod]] = {
    "pendulum": (Pendulums, CrossEntropyMethod(horizon=30, action_repeat=2, **FEW)),
    "cartpole_swingup": (CartPoleSwingUp, CrossEntropyMethod(horizon=50, action_repeat=2, **FEW)),
    "two_link_arm": (TwoLinkArms, CrossEntropyMethod(horizon=15, **FEW)),
}


def trained(family: str, seed: int) -> dict[str, Learner]:
    """The learners of a family and seed, by whether they adapt; a run that is there goes on."""
    learners = {}
    for name, kind in ADAPTS.items():
        changes = [f"seed={seed}", "test=[]", "train.executor=vmap"]
        recipe = load_recipe(f"{kind}_{family}_dynamics", changes)
        folder = RUNS / f"{family}_{name}_{seed}"
        learners[name], _ = train_run(recipe, folder, resume=folder.exists())
    return learners


def measure(family: str, seed: int, beyond: float, learners: dict[str, Learner]) -> dict[str, Any]:
    """Errors of models, and returns of control by them, on machines that no training has seen."""
    kind, planner = MACHINES[family]
    start, machines = time.process_time(), kind(beyond=beyond, seed=10 * seed + 3)
    tasks = DynamicsTasks(kind, n_shot=N_SHOT, n_query=50, seed=10 * seed + 2, beyond=beyond)
    errors = {name: meta_test(learner, tasks, N_TASKS).mean for name, learner in learners.items()}
    adapted = AdaptiveModel(learners["adapted"], machines, n_shot=N_SHOT)
    unadapted = AdaptiveModel(learners["unadapted"], machines, n_shot=0)
    policies: dict[str, Callable[[Environments], Policy]] = {
        "random": RandomPolicy,
        "unadapted": lambda _: ModelPredictivePolicy(unadapted, planner, seed=seed),
        "adapted": lambda _: ModelPredictivePolicy(adapted, planner, seed=seed),
        "true": lambda those: ModelPredictivePolicy(TrueModel(those), planner, seed=seed),
    }
    errors_done = time.process_time()
    returns = {name: _returns(machines, make, seed) for name, make in policies.items()}
    first, second = (
        {name: float(found[episode].mean()) for name, found in returns.items()}
        for episode in (0, 1)
    )
    return {
        "family": family,
        "seed": seed,
        "beyond": beyond,
        "mse": errors,
        "mse ratio": errors["adapted"] / errors["unadapted"],
        "first episode": first,
        "second episode": second,
        "share of the true model's gain": _share(second),
        "cpu seconds": {
            "errors": round(errors_done - start, 1),
            "control": round(time.process_time() - errors_done, 1),
        },
    }


def _returns(machines: Mechanics, make: Callable[[Environments], Policy], seed: int) -> Tensor:
    """Returns of two episodes in each machine, (2, n)."""
    environments = machines.environments(range(N_MACHINES), seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return play(environments, make(environments), episodes=2).returns(machines.horizon)


def _share(returns: dict[str, float]) -> float:
    """How much of what the true model gains over no adaptation, adapting gains."""
    return (returns["adapted"] - returns["unadapted"]) / (returns["true"] - returns["unadapted"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--seeds", type=int, default=5)
    asked, origin = parser.parse_args(), provenance(0)  # before a result changes the tree
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(r["family"], r["seed"], r["beyond"]) for r in results}
    for seed in range(asked.seeds):
        for family in asked.families:
            for beyond in BEYOND:
                if (family, seed, beyond) in done:
                    continue
                learners = trained(family, seed)
                found = measure(family, seed, beyond, learners)
                results.append({**found, "provenance": {**origin, "seed": seed}})
                print(json.dumps(found))
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
