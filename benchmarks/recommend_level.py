"""What the recommender's meta-level is worth: against one blend for all, against each base, and
with the shipped prior in a small shop.

    python benchmarks/recommend_level.py

Data sets (see `recommend_data.py`): ml-100k, MovieTweetings, restaurants and Microsoft's web site,
as ratings and as clicks, and generated worlds in which users differ by known traits. Each data set
is split into folds over users; some folds are judged, and a seed decides the split. Supports of 0
to 20 ratings or clicks, as far as users have enough; ten queries, or fewer where users have few.

- "one blend": the same weights and thresholds for all users.
- "level": the meta-level as the recommender uses it, with its guard, but without the shipped prior,
  which was learned from most of these data sets (`recommend_prior.py`).
- "told" (worlds): one blend for each kind of user, learned from users of that kind, and told of
  which kind a user is. The gap that could be closed is that between it and "one blend".
- of each base the setting that is best for training users.

"shop": 200 users of ml-100k, which the prior has not seen, to learn from; the others are judged.
Intervals are bootstraps over users, paired; pooled ones give each data set the same weight. Writes
benchmarks/results/recommend_level.json; `--only world` measures some data sets beside those there.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import (
    Interactions,
    Recommender,
    click_world,
    evaluate,
    rating_world,
    user_folds,
)
from quickstudy.apps.recommend.evaluate import SUPPORT_SIZES, Scores
from quickstudy.apps.recommend.measures import interval
from quickstudy.apps.recommend.meta_level import MetaExamples, MetaLevel
from quickstudy.experiments.provenance import provenance
from recommend_data import loaded, shop

RESULTS = Path(__file__).parent / "results" / "recommend_level.json"
N_FOLDS = 5
LEVEL, BLEND, TOLD = "recommender", "one blend", "told"

Measured = dict[tuple[str, int], dict[str, np.ndarray]]
"""By system and support: measures, a value a user; higher is better (errors are negative)."""


@dataclass(frozen=True)
class Judged:
    """A data set, and how it is judged.

    Args:
        data: Interactions, or a world.
        n_query: Queries of each user.
        supports: Support sizes.
        folds: How many of the folds are judged.
        kind: Of each user in a world.
    """

    data: Interactions
    n_query: int = 10
    supports: tuple[int, ...] = SUPPORT_SIZES
    folds: int = 1
    kind: np.ndarray | None = None


def world(seed: int, *, clicks: bool) -> Judged:
    if clicks:
        made = click_world(300, 150, 35, seed=seed)
        return Judged(made.data, kind=made.kind)
    made = rating_world(300, 120, 50, seed=seed)
    return Judged(made.data, n_query=20, kind=made.kind)


def restaurants() -> Judged:
    return Judged(loaded("restaurants"), 4, (0, 1, 3, 5), N_FOLDS)


def movietweetings() -> Judged:
    data = shop(loaded("movietweetings"), 600, 20, 15)
    return Judged(data, supports=SUPPORT_SIZES[:-1], folds=2)


def as_clicks(judged: Judged) -> Judged:
    return replace(judged, data=judged.data.as_clicks())


DATA_SETS: dict[str, Callable[[], Judged]] = {
    "ratings world 0": lambda: world(0, clicks=False),
    "ratings world 1": lambda: world(1, clicks=False),
    "clicks world 0": lambda: world(0, clicks=True),
    "clicks world 1": lambda: world(1, clicks=True),
    "restaurants ratings": restaurants,
    "restaurants clicks": lambda: as_clicks(restaurants()),
    "msweb clicks": lambda: Judged(shop(loaded("msweb"), 1500, 5, 1), 2, (0, 1, 3), 2),
    "movietweetings ratings": movietweetings,
    "movietweetings clicks": lambda: as_clicks(movietweetings()),
    "ml-100k ratings": lambda: Judged(loaded("ml-100k")),
    "ml-100k clicks": lambda: as_clicks(Judged(loaded("ml-100k"))),
}


def measures(scores: Sequence[Scores]) -> Measured:
    return {
        (s.system, s.support): {
            name: -values if name == "mae" else values
            for name, values in s.measures.items()
            if name != "recall@10"
        }
        for s in scores
    }


def one_fold(judged: Judged, fold: np.ndarray, seed: int) -> tuple[Measured, dict[str, Any]]:
    """Measures of all systems, and what was chosen for each support size."""
    others = np.setdiff1d(np.arange(len(judged.data.users)), fold)
    cold = judged.data.of_users(fold)
    began = time.process_time()
    recommender = Recommender(prior=False, seed=seed).fit(judged.data.of_users(others))
    seconds = time.process_time() - began
    levels = {BLEND: recommender.fit_meta_level(recommender.examples_, "blend")}
    if judged.kind is not None:
        levels |= blends_by_kind(recommender, judged.kind[others], seed)
    scores: list[Scores] = []
    for support in judged.supports:
        scores += evaluate(
            recommender,
            cold,
            supports=(support,),
            n_query=judged.n_query,
            seed=seed,
            meta_levels=levels,
        )
    found = measures(scores)
    if judged.kind is not None:
        for size in judged.supports:
            found[TOLD, size] = {
                measure: np.choose(
                    judged.kind[fold], [found[told(k), size][measure] for k in range(8)]
                )
                for measure in found[BLEND, size]
            }
    names = best_settings(recommender) | {name: name for name in (LEVEL, BLEND, TOLD)}
    named = {(names[name], size): m for (name, size), m in found.items() if name in names}
    return named, {"chosen": recommender.meta_level_.chosen, "cpu_seconds": round(seconds)}


def told(kind: int) -> str:
    return f"{TOLD} {kind}"


def blends_by_kind(recommender: Recommender, kind: np.ndarray, seed: int) -> dict[str, MetaLevel]:
    """One blend learned from the training users of each kind. All users of a world have enough
    interactions, so the examples of an inner fold are its users for each support size."""
    folds = user_folds(len(kind), 4, seed)
    of_examples = np.concatenate([np.tile(kind[fold], len(SUPPORT_SIZES)) for fold in folds])
    examples = recommender.examples_
    assert len(of_examples) == len(examples.targets)
    found = {}
    for k in range(8):
        rows = np.flatnonzero(of_examples == k)
        part = MetaExamples(examples.inputs.of_users(rows), examples.targets[rows])
        found[told(k)] = recommender.fit_meta_level(part, "blend")
    return found


def best_settings(recommender: Recommender) -> dict[str, str]:
    """The configuration of each base that is best for training users, with its name here; and the
    item mean or popularity."""
    levels, examples = recommender.single_levels_, recommender.examples_
    errors = {str(c): level.selection_error(examples) for c, level in levels.items()}
    names = {}
    for base in recommender.base_classes_:
        settings = [str(c) for c in recommender.configurations_ if c.base == base]
        names[min(settings, key=lambda name: errors[name])] = f"base {base}"
    first = str(recommender.configurations_[0])
    names[first] = "popularity" if recommender.clicks_ else "item mean"
    return names


def judge(name: str, judged: Judged, seeds: Sequence[int]) -> tuple[Measured, list[Any]]:
    total: dict[tuple[str, int], dict[str, list[np.ndarray]]] = {}
    notes = []
    for seed in seeds:
        for fold in user_folds(len(judged.data.users), N_FOLDS, seed)[: judged.folds]:
            found, note = one_fold(judged, fold, seed)
            notes.append(note)
            print(name, note, flush=True)
            for key, entry in found.items():
                for measure, values in entry.items():
                    total.setdefault(key, {}).setdefault(measure, []).append(values)
    joined = {
        key: {measure: np.concatenate(parts) for measure, parts in entry.items()}
        for key, entry in total.items()
    }
    return joined, notes


def share(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """How much better in percent of the other's mean, with its interval."""
    scale = 100 / abs(other.mean())
    low, high = interval(own - other, n_resamples=2000)
    return {
        "better_by_percent": scale * float((own - other).mean()),
        "interval": [scale * low, scale * high],
    }


def summary(measured: Measured) -> dict[str, Any]:
    """Means, and the level against each other system: for each support and for 5 and more."""
    sizes = sorted({size for _, size in measured})
    large = [size for size in sizes if size >= 5] or sizes[-1:]
    table = [
        {"system": system, "support": size, "users": len(next(iter(entry.values())))}
        | {measure: abs(float(values.mean())) for measure, values in entry.items()}
        for (system, size), entry in measured.items()
    ]
    against = []
    for system in dict.fromkeys(system for system, _ in measured):
        if system in (LEVEL, TOLD):
            continue
        for group in [*([size] for size in sizes), large]:
            for measure in measured[LEVEL, sizes[0]]:
                own, other = (
                    np.concatenate([measured[name, size][measure] for size in group])
                    if all((name, size) in measured for size in group)
                    else None
                    for name in (LEVEL, system)
                )
                if own is None or other is None:
                    continue
                entry = {"over": system, "supports": list(group), "measure": measure}
                if (TOLD, sizes[0]) in measured and system == BLEND:
                    best = np.concatenate([measured[TOLD, size][measure] for size in group])
                    entry["told_better_by_percent"] = share(best, other)["better_by_percent"]
                    entry["gap_closed"] = float((own - other).mean() / (best - other).mean())
                against.append(entry | share(own, other))
    return {"largest_supports": large, "table": table, "level_against": against}


def pooled(data_sets: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The level against one blend at 5 and more, each data set that has such supports with the same
    weight: the mean of the relative differences, with an interval from their standard errors."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, entry in data_sets.items():
        large = entry["largest_supports"]
        if kind in name.split() and large[0] >= 5:
            of_large = {
                one["measure"]: one  # a single support comes twice
                for one in entry["level_against"]
                if one["over"] == BLEND and one["supports"] == large
            }
            for measure, one in of_large.items():
                found.setdefault(measure, []).append(one)
    summaries = []
    for measure, entries in found.items():
        mean = float(np.mean([one["better_by_percent"] for one in entries]))
        variances = [((one["interval"][1] - one["interval"][0]) / 3.92) ** 2 for one in entries]
        half = 1.96 * float(np.sqrt(sum(variances))) / len(entries)
        summaries.append(
            {
                "measure": measure,
                "data_sets": len(entries),
                "better_by_percent": mean,
                "interval": [mean - half, mean + half],
            }
        )
    return summaries


def shops(data: Interactions, n_users: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A shop of few users with the shipped prior against one without, judged on all other users."""
    total: dict[tuple[int, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(data.users))
        train, cold = data.of_users(order[:n_users]), data.of_users(np.sort(order[n_users:]))
        recommender = Recommender(seed=seed).fit(train)
        plain = copy.copy(recommender)
        plain.prior = False
        parts = recommender.training_examples(train)
        without = plain.guarded_level(parts)
        scores = measures(evaluate(recommender, cold, seed=seed, meta_levels={"without": without}))
        for size in SUPPORT_SIZES:
            for measure, values in scores[LEVEL, size].items():
                pair = values, scores["without", size][measure]
                total.setdefault((size, measure), []).append(pair)
    found = []
    for (size, measure), pairs in total.items():
        own, other = (np.concatenate(values) for values in zip(*pairs, strict=True))
        found.append({"support": size, "measure": measure} | share(own, other))
    return found


SHOP = "shop of 200 users of ml-100k"


def main(only: str, seeds: Sequence[int]) -> None:
    """Measure data sets whose name contains some text, beside what was measured before."""
    origin = provenance(0)  # before a result changes the tree
    for name, load in DATA_SETS.items():
        if only in name:
            measured, notes = judge(name, load(), seeds)
            keep(
                "data_sets",
                name,
                origin | {"seeds": len(seeds), **summary(measured), "folds": notes},
            )
    for kind in ("ratings", "clicks"):
        if only in f"{SHOP} {kind}":
            films = loaded("ml-100k")
            found = shops(films if kind == "ratings" else films.as_clicks(), 200, seeds)
            keep("shops", f"{SHOP} {kind}", origin | {"seeds": len(seeds), "with_prior": found})


def keep(section: str, name: str, entry: dict[str, Any]) -> None:
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    result.setdefault(section, {})[name] = entry
    data_sets = result.get("data_sets", {})
    result["pooled"] = {kind: pooled(data_sets, kind) for kind in ("ratings", "clicks")}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="data sets whose name contains this")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    main(arguments.only, range(arguments.seeds))
