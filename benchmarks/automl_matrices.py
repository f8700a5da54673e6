"""Which configurations to try on a new data set: regret on the published matrices of OBOE.

    pip download --no-deps oboe==0.2.0 && unzip oboe-0.2.0-py3-none-any.whl
    python benchmarks/automl_matrices.py oboe/defaults [Oboe] [TensorOboe]

Each data set is left out in turn; the others are the history. Regret is the distance to its best
score, in units of its range, of the best of the configurations tried so far. The way to choose and
the distance between data sets are learned without the held-out data set and a fifth of the others,
five times a seed. What is left out tells its raw scores alone, each after it was asked for. Writes
benchmarks/results/automl_matrices.json, and prints the tables of docs/research/automl.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from quickstudy.apps.automl import (
    Advisor,
    History,
    MetaLearner,
    Portfolio,
    RandomOrder,
    read_oboe,
    regret_curve,
)
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
SEEDS, GROUPS, TRIALS = range(3), 5, (1, 3, 5, 10, 20)
N_PIPELINES, N_TESTED = 400, 120
LEARNED, GREEDY = "learned", "greedy portfolio"


class AverageRank(Advisor):
    """Configurations by their mean rank over the data sets of the history."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        ranks = stats.rankdata(-history.scores, axis=1).mean(0)
        self._order = np.argsort(ranks, kind="stable").tolist()

    def _choose(self, tried: list[int], k: int) -> list[int]:
        return [i for i in self._order if i not in tried][:k]


def without_features(history: History) -> History:
    return History(history.datasets, history.configs, history.scores)


def fit(history: History, seed: int, fits: list[dict[str, Any]], **about: Any) -> MetaLearner:
    """A meta-learner, and what it took and chose as a line of `fits`."""
    began, worked = time.perf_counter(), time.process_time()
    meta = MetaLearner(seed=seed).fit(history)
    seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - worked}
    fits.append(
        {"seed": seed, **about, "chosen": meta.chosen_, "seconds": seconds, "judged": meta.judged_}
    )
    return meta


def oboe(folder: Path) -> Iterator[dict[str, Any]]:
    """All 418 data sets, each left out in turn; what is found after each seed."""
    history = read_oboe(folder)
    bare = without_features(history)
    n = len(history.datasets)
    about = {"datasets": n, "configs": len(history.configs), "suggest_ms": suggest_ms(history)}
    fits: list[dict[str, Any]] = []
    by_seed: list[dict[str, np.ndarray]] = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        found: dict[str, np.ndarray] = {}
        for group in track(np.array_split(rng.permutation(n), GROUPS), f"OBOE, seed {seed}"):
            names = [history.datasets[i] for i in group]
            meta = fit(history.without(names), seed, fits, features=True)
            blind = fit(bare.without(names), seed, fits, features=False)
            for i, name in zip(group.tolist(), names, strict=True):
                known, unnamed = history.without([name]), bare.without([name])
                features = history.features[name]
                advisors = {
                    LEARNED: meta.update(known).advise(features),
                    "learned, without meta-features": blind.update(unnamed).advise(),
                    GREEDY: Portfolio(unnamed),
                    "average rank": AverageRank(unnamed),
                    "random": RandomOrder(unnamed, seed=seed * n + i),
                }
                same = (history.scores == history.scores[i]).all(1)
                copies = [history.datasets[j] for j in np.flatnonzero(same)]
                unlike = meta.update(history.without(copies))
                advisors["learned, copies left out"] = unlike.advise(features)
                for way, advisor in advisors.items():
                    curves = found.setdefault(way, np.empty((n, max(TRIALS))))
                    curves[i] = regret_curve(advisor, history, i, max(TRIALS))
                scores = history.scores.copy()
                scores[i] = rng.permutation(scores[i])
                upset = History(history.datasets, history.configs, scores)
                for way, advisor in (
                    ("learned, scores shuffled", meta.update(known).advise(features)),
                    ("random, scores shuffled", RandomOrder(unnamed, seed=seed * n + i)),
                ):
                    curves = found.setdefault(way, np.empty((n, max(TRIALS))))
                    curves[i] = regret_curve(advisor, upset, i, max(TRIALS))
        by_seed.append(found)
        yield {**about, **summary(by_seed), "fits": fits}


def tensor_oboe(folder: Path) -> Iterator[dict[str, Any]]:
    """Random pipelines of the 23,424, on the data sets where all ran and none failed.

    Regret is from the best of all pipelines to the 95 % quantile of their errors, worse is 1. The
    history's errors are cut off there; those of the held-out data set are not.
    """
    file = "error_tensor_imputed_20-4-2-2-8-20_f16_compressed.npz"
    ran = np.load(folder / "runtime_tensor_f16_compressed.npz")["a"]
    errors = np.load(folder / file)["a"].reshape(len(ran), -1).astype(np.float64)
    whole = ~np.isnan(ran.reshape(len(ran), -1)).any(1) & (errors >= 0).all(1)
    errors = errors[whole]
    least, most = errors.min(1), np.quantile(errors, 0.95, axis=1)
    n = len(errors)
    about = {"datasets": n, "configs": N_PIPELINES, "tested": N_TESTED}
    fits: list[dict[str, Any]] = []
    by_seed: list[dict[str, np.ndarray]] = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        drawn = errors[:, rng.choice(errors.shape[1], N_PIPELINES, replace=False)]
        names = [str(i) for i in range(n)]
        pipelines = [str(i) for i in range(N_PIPELINES)]
        history = History(names, pipelines, 1 - np.minimum(drawn, most[:, None]))
        tested = rng.choice(n, N_TESTED, replace=False).tolist()
        meta = fit(history.without(names[i] for i in tested), seed, fits)
        found: dict[str, list[np.ndarray]] = {}
        for i in track(tested, f"TensorOboe, seed {seed}"):
            known = history.without([names[i]])
            for way, advisor in {
                LEARNED: meta.update(known).advise(),
                GREEDY: Portfolio(known),
                "average rank": AverageRank(known),
                "random": RandomOrder(known, seed=seed * n + i),
            }.items():
                lowest = []
                for _ in range(max(TRIALS)):
                    (name,) = advisor.suggest()
                    advisor.observe(name, 1 - drawn[i, int(name)])
                    lowest.append(drawn[i, int(name)])
                regret = (np.minimum.accumulate(lowest) - least[i]) / (most[i] - least[i])
                found.setdefault(way, []).append(np.minimum(regret, 1))
            best = (drawn[i].min() - least[i]) / (most[i] - least[i])
            found.setdefault("best of those drawn", []).append(np.full(max(TRIALS), best))
        by_seed.append({way: np.array(curves) for way, curves in found.items()})
        yield {**about, **summary(by_seed), "fits": fits}


def summary(by_seed: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Mean regrets, and Wilcoxon's test of learned against greedy over data sets.

    Args:
        by_seed: A seed, regrets of shape (data sets, trials) by way of choosing.
    """
    columns = np.array(TRIALS) - 1
    regret: dict[str, Any] = {
        way: {
            "mean": np.mean([found[way][:, columns].mean(0) for found in by_seed], 0).tolist(),
            "by_seed": [found[way][:, columns].mean(0).tolist() for found in by_seed],
        }
        for way in by_seed[0]
    }

    def paired(way: str) -> np.ndarray:
        """A value a data set: seeds with the same data sets are averaged."""
        rows = [found[way] for found in by_seed]
        return np.mean(rows, 0) if len(rows[0]) > N_TESTED else np.concatenate(rows)

    learned, greedy = paired(LEARNED), paired(GREEDY)
    p = [
        float(stats.wilcoxon(learned[:, i], greedy[:, i])[1])  # pyright: ignore
        if (learned[:, i] != greedy[:, i]).any()
        else 1.0
        for i in columns
    ]
    return {"trials": list(TRIALS), "regret": regret, "p_learned_against_greedy": p}


def table(found: dict[str, Any], seed: int | None = None) -> str:
    """Mean regrets as Markdown, of all seeds or one."""
    lines = [f"| way | {' | '.join(map(str, TRIALS))} |", "|---" * (1 + len(TRIALS)) + "|"]
    for way, regret in found["regret"].items():
        values = regret["mean"] if seed is None else regret["by_seed"][seed]
        lines.append(f"| {way} | {' | '.join(f'{value:.4f}' for value in values)} |")
    if seed is None:
        p = " | ".join(f"{value:.1g}" for value in found["p_learned_against_greedy"])
        lines.append(f"| p, learned against greedy (Wilcoxon) | {p} |")
    return "\n".join(lines)


def suggest_ms(history: History) -> dict[str, float]:
    """Milliseconds to get ready for a new data set, and of the slowest of 20 suggestions."""
    meta = MetaLearner().fit(history.without(history.datasets[::4]))
    began = time.perf_counter()
    advisor = meta.update(history).advise(history.features[history.datasets[0]])
    ready = time.perf_counter() - began
    slowest = 0.0
    for _ in range(max(TRIALS)):
        began = time.perf_counter()
        (name,) = advisor.suggest()
        slowest = max(slowest, time.perf_counter() - began)
        advisor.observe(name, history.scores[0, history.configs.index(name)])
    return {"ready": 1000 * ready, "slowest": 1000 * slowest}


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    parts = {"Oboe": oboe, "TensorOboe": tensor_oboe}
    path = ROOT / "benchmarks" / "results" / "automl_matrices.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in names or parts:
        about = provenance(0)
        for seeds, part in enumerate(parts[name](Path(folder) / name), 1):
            found[name] = {"about": {**about, "seeds": seeds}, **part}
            path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}\n\n{table(found[name])}\n\nthe first seed\n\n{table(found[name], 0)}\n")
