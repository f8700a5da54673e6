"""Judge learners that act beside policies that are not meta-trained, on common random numbers.

    python benchmarks/reinforcement.py RUN [RUN ...]

RUNs are run folders of one recipe with several seeds, as `quickstudy train rl2_bandits --seed 1
--run runs/rl2_bandits_1` makes them. Tasks are those of the recipe's first test; all policies play
the same ones and meet the same luck. Rewrites one entry of benchmarks/results/reinforcement.json,
named after the recipe.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from scipy import stats
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.experiments.build import tasks_of_test
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.learners.reinforcement import (
    PSRL,
    UCB1,
    BayesOptimal,
    EpsilonGreedy,
    GittinsIndex,
    GoalSearcher,
    Greedy,
    GreedyPlanner,
    OptimisticPSRL,
    RandomPolicy,
    ThompsonSampling,
    oracle,
)
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import Policy, play
from quickstudy.tasks.environments import (
    BernoulliBandits,
    EnvironmentFamily,
    Environments,
    GridNavi,
    TabularMDPs,
    Trials,
)
from quickstudy.tasks.environments.bandits import Bandits
from quickstudy.tasks.environments.bernoulli_optimum import BernoulliOptimum

RESULTS = Path(__file__).parent / "results" / "reinforcement.json"

Policies = dict[str, Callable[[Environments], Policy]]


def rivals(family: EnvironmentFamily) -> Policies:
    """Policies that are not meta-trained, by name."""
    policies: Policies = {"random": RandomPolicy}
    if isinstance(family, Bandits):
        policies |= {
            "greedy": lambda _: Greedy(family),
            "epsilon-greedy": lambda _: EpsilonGreedy(family),
            "Thompson sampling": lambda _: ThompsonSampling(family),
            "optimistic Thompson sampling": lambda _: ThompsonSampling(family, optimistic=True),
            "UCB1": lambda _: UCB1(family),
        }
    if isinstance(family, BernoulliBandits):
        policies["Gittins index"] = lambda _: GittinsIndex(family)
    if isinstance(family, TabularMDPs):
        policies |= {
            "greedy": lambda _: GreedyPlanner(family),
            "PSRL": lambda _: PSRL(family),
            "optimistic PSRL": lambda _: OptimisticPSRL(family),
        }
    return policies | {"oracle": oracle}


def judge(folders: list[Path]) -> dict[str, Any]:
    """Total rewards of trials by policy: means with 95 % intervals over tasks, and over seeds."""
    loaded = [load_run(folder) for folder in folders]
    recipe = loaded[0][0]
    test = recipe.test[0]
    trials = tasks_of_test(recipe, test)
    assert isinstance(trials, Trials)

    def total(make: Callable[[Environments], Policy]) -> Tensor:
        environments = trials.family.environments(trials.indices(test.n_tasks), seed=1)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return play(environments, make(environments), trials.n_query).rewards.sum(0).double()

    family, optimum = trials.family, None
    policies = rivals(family)
    if isinstance(family, BernoulliBandits):
        with contextlib.suppress(UsageError):  # too many beliefs
            optimum = BernoulliOptimum(family.n_arms, family.horizon).value
            policies["Bayes-optimal"] = lambda _: BayesOptimal(family)
    if isinstance(family, GridNavi):
        searcher = GoalSearcher(family, episodes=trials.n_query)
        policies["Bayes-optimal"] = lambda _: searcher
        optimum = searcher.search.value if searcher.search.exact else None
    totals = {name: total(make) for name, make in policies.items()}
    learners = [cast("ReinforcementLearner", learner) for _, learner in loaded]
    of_seeds = [total(lambda _, learner=learner: learner.policy()) for learner in learners]
    learned = torch.stack(of_seeds).mean(0)
    report: dict[str, Any] = {
        "recipe": folders[0].name,
        "tasks": test.n_tasks,
        "policies": {name: _interval(values) for name, values in totals.items()},
        "learner": {
            "mean": float(learned.mean()),
            "interval over tasks": _interval(learned)["interval"],
            "seeds": [float(values.mean()) for values in of_seeds],
        },
        "learner less": {name: _interval(learned - values) for name, values in totals.items()},
    }
    if len(of_seeds) > 1:
        means = report["learner"]["seeds"]
        half = stats.t.ppf(0.975, len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
        report["learner"]["interval over seeds"] = float(half)
    if isinstance(family, Bandits):
        best = totals["oracle"]
        regret = {"learner": best - learned}
        regret |= {name: best - values for name, values in totals.items() if name != "oracle"}
        report["regret"] = {name: _interval(values) for name, values in regret.items()}
    if optimum is not None:
        report["exact optimum"] = optimum
        report["learner"]["share of the optimum"] = float(learned.mean()) / optimum
        report["learner"]["interval of the share"] = _interval(learned)["interval"] / optimum
    return report


def _interval(values: Tensor) -> dict[str, float]:
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return {"mean": float(values.mean()), "interval": half}


def main() -> None:
    report = judge([Path(folder) for folder in sys.argv[1:]])
    print(json.dumps(report, indent=1))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[report["recipe"]] = {**report, "provenance": provenance(0)}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
