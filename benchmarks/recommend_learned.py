"""Networks that are meta-learned beside closed forms, on new users and films of MovieLens 100K.

    python benchmarks/recommend_learned.py

Needs the data set ml-100k. Five folds over users, or over films, for each of three seeds; those
with 30 ratings or more are judged on ten ratings drawn at random, and learned from by 0 to 20
others: the users and queries of benchmarks/recommend.py. Each base is judged on what it expects, by
each of its settings. "Also" is the level above with networks among its bases, and without them, on
the first fold of each seed. Intervals are bootstraps over users, or films, of the mean over seeds.
Writes benchmarks/results/recommend_learned.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import (
    ColdUsers,
    Interactions,
    Recommender,
    load_ml_100k,
    user_folds,
)
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases import RATING_BASES, Base
from quickstudy.apps.recommend.bases.meta_learned import META_LEARNED_BASES
from quickstudy.apps.recommend.evaluate import SUPPORT_SIZES
from quickstudy.apps.recommend.measures import interval, ndcg
from quickstudy.apps.recommend.meta_level import RatingLevel
from quickstudy.apps.recommend.meta_level.rating_level import median
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS, SEEDS = 5, (0, 1, 2)
EXTRA_BASES = ("melu", "metaemb", "tanp")
MIN_RATINGS = 30
"""Ratings: 20 to learn from at most, 10 to be judged on."""

CLOSED_FORMS = ("user_bias", "factors", "neighbours", "bayes")
USERS: dict[str, type[Base]] = {
    **{name: RATING_BASES[name] for name in CLOSED_FORMS},
    **META_LEARNED_BASES,
}
ITEMS: dict[str, type[Base]] = {n: USERS[n] for n in ("user_bias", "bayes", "metaemb")}

Measures = dict[tuple[str, int], dict[str, np.ndarray]]


def one_fold(
    data: Interactions, fold: np.ndarray, bases: dict[str, type[Base]], seed: int
) -> tuple[Measures, dict[str, float]]:
    """Measures by system and support, and seconds to fit each base on one core."""
    warm = data.of_users(np.setdiff1d(np.arange(len(data.users)), fold))
    new = data.of_users(fold)
    encoder = AttributeEncoder().fit(warm.user_columns, len(warm.users))
    n_items = len(data.items)
    items = AttributeEncoder().fit(data.item_columns, n_items)(data.item_columns, n_items)
    cold = ColdUsers(new, seed=seed)
    attributes = encoder(new.user_columns, len(new.users))[cold.users]
    training = warm.matrix(), encoder(warm.user_columns, len(warm.users)), items
    queries = np.arange(len(cold))[:, None], cold.query_items
    scale = data.rating_values
    measured: Measures = {}
    seconds = {}
    for name, base in bases.items():
        began = time.process_time()
        fitted = base().fit(*training, seed)
        seconds[name] = time.process_time() - began
        for size in SUPPORT_SIZES:
            expected = fitted.predict(cold.support(size), attributes)
            for setting, x in zip(base.SETTINGS, expected, strict=True):
                x = x[queries]
                measured[f"{name} {setting:g}", size] = {
                    "mae": np.abs(x.clip(scale[0], scale[-1]) - cold.query_ratings).mean(1),
                    "ndcg@5": ndcg(x, cold.query_ratings),
                }
    return measured, seconds


def measure(data: Interactions, bases: dict[str, type[Base]]) -> dict[str, Any]:
    total: Measures = {}
    times = []
    for seed in SEEDS:
        folds = user_folds(len(data.users), N_FOLDS, seed)
        parts = []
        for fold in track(folds, f"seed {seed}"):
            measured, seconds = one_fold(data, fold, bases, seed)
            parts.append(measured)
            times.append(seconds)
        users = np.concatenate(folds)
        order = np.argsort(users[data.user_counts[users] >= MIN_RATINGS])
        for key in parts[0]:
            entry = total.setdefault(key, {})
            for m in parts[0][key]:
                values = np.concatenate([part[key][m] for part in parts])[order]
                entry[m] = entry.get(m, 0) + values / len(SEEDS)
    table = []
    for (system, size), values in total.items():
        entry = {"system": system, "support": size}
        for m, v in values.items():
            entry |= {m: float(v.mean()), f"{m}_interval": interval(v)}
        table.append(entry)
    n = len(next(iter(total.values()))["mae"])
    seconds = {name: float(np.median([t[name] for t in times])) for name in bases}
    return {"n": n, "seeds": len(SEEDS), "table": table, "cpu_seconds": seconds}


def also(data: Interactions) -> dict[str, Any]:
    """Measures with networks less those without."""
    more: Measures = {}
    for seed in track(SEEDS, "also"):
        fold = user_folds(len(data.users), N_FOLDS, seed)[0]
        warm = data.of_users(np.setdiff1d(np.arange(len(data.users)), fold))
        recommender = Recommender(extra_bases=EXTRA_BASES, seed=seed).fit(warm)
        closed_forms = [
            i for i, c in enumerate(recommender.configurations_) if c.base not in EXTRA_BASES
        ]

        examples = recommender.examples_
        configurations = [recommender.configurations_[i] for i in closed_forms]
        complete = RatingLevel(recommender.rating_values_, recommender.configurations_)
        complete.fit(examples)
        plain = RatingLevel(recommender.rating_values_, configurations)
        plain.fit(examples.of_configurations(closed_forms))
        aligned, attributes = recommender.align(data.of_users(fold))
        cold = ColdUsers(aligned, seed=seed)
        rows = np.broadcast_to(np.arange(len(cold))[:, None], cold.query_items.shape)
        for size in SUPPORT_SIZES:
            inputs = recommender.meta_inputs(cold.support(size), attributes[cold.users])
            inputs = inputs.select(rows, cold.query_items)
            for system, level, given in (
                ("with", complete, inputs),
                ("without", plain, inputs.of_configurations(closed_forms)),
            ):
                p = level.probabilities(given)
                measured = {
                    "mae": np.abs(median(p, recommender.rating_values_) - cold.query_ratings).mean(
                        1
                    ),
                    "ndcg@5": ndcg(p @ 2**recommender.rating_values_, cold.query_ratings),
                }
                entry = more.setdefault((system, size), {})
                for m, values in measured.items():
                    entry[m] = np.concatenate([entry.get(m, values[:0]), values])
    table = []
    for size in (*SUPPORT_SIZES, "all"):
        entry: dict[str, Any] = {"support": size}
        for m in ("mae", "ndcg@5"):
            sizes = SUPPORT_SIZES if size == "all" else (size,)
            own, other = (
                np.mean([more[name, s][m] for s in sizes], 0) for name in ("with", "without")
            )
            entry |= {
                m: float(own.mean()),
                f"{m}_without": float(other.mean()),
                f"{m}_more_by": float((own - other).mean()),
                f"{m}_more_by_interval": interval(own - other),
            }
        table.append(entry)
    return {"networks": EXTRA_BASES, "n": len(more["with", 0]["mae"]), "table": table}


if __name__ == "__main__":
    movielens = load_ml_100k()
    result = {
        **provenance(0),
        "new_users": measure(movielens, USERS),
        "new_items": measure(movielens.transpose(), ITEMS),
        "also": also(movielens),
    }
    text = json.dumps(result, indent=1)
    (ROOT / "benchmarks" / "results" / "recommend_learned.json").write_text(text + "\n")
    print(text)
