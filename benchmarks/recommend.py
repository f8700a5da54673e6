"""Cold users of MovieLens 100K: a level above base recommenders, beside these.

    python benchmarks/recommend.py

Needs the data set ml-100k. Five folds over users for each of three seeds; users with 30 ratings or
more are judged on ten of them, drawn at random, and learned from by 0 to 20 others. Intervals are
bootstraps over users, paired, of the mean over seeds. Of each base the setting is the one best for
training users. "Oracle" takes for each user and support the action that is best on the queries.
The metric of RecBole-MetaRec: users with 13 to 100 ratings, one in ten is held out, all ratings but
ten are learned from, and the best five of the ten by prediction are compared with the best five by
rating, ties in random order. Writes benchmarks/results/recommend.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import Interactions, Recommender, load_ml_100k, user_folds
from quickstudy.apps.recommend.evaluate import SUPPORT_SIZES, evaluate
from quickstudy.apps.recommend.measures import interval
from quickstudy.apps.recommend.meta_level import Configuration, RatingLevel
from quickstudy.apps.recommend.meta_level.inputs import base_predictions
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS, SEEDS, SPLITS = 5, (0, 1, 2), 10
MIN_RATINGS = 30
"""Ratings of a user: 20 to learn from at most, 10 to be judged on."""

ITEM_MEAN = "user_bias inf"

Errors = dict[tuple[str, int], dict[str, list[np.ndarray]]]


def others(data: Interactions, fold: np.ndarray) -> Interactions:
    return data.of_users(np.setdiff1d(np.arange(len(data.users)), fold))


def best_setting(recommender: Recommender, base: str) -> str:
    """The configuration of a base, or of all if it is "", that predicts best for training users."""
    examples, values = recommender.examples_, recommender.rating_values_
    errors = {
        str(configuration): np.nanmean(
            np.abs(
                examples.inputs.predictions[..., i].clip(values[0], values[-1]) - examples.targets
            )
        )
        for i, configuration in enumerate(recommender.configurations_)
        if base in ("", configuration.base) and str(configuration) != ITEM_MEAN
    }
    return min(errors, key=lambda name: errors[name])


def one_fold(data: Interactions, fold: np.ndarray, seed: int) -> tuple[list[Any], dict[str, float]]:
    """(system, support, errors, nDCG) of each, and seconds of one core."""
    began = time.process_time()
    recommender = Recommender(seed=seed).fit(others(data, fold))
    seconds = {"fit": time.process_time() - began}
    cold = data.of_users(fold)
    meta_levels = {f"read {c}": level for c, level in recommender.single_levels_.items()}
    meta_levels["one blend"] = recommender.fit_meta_level(recommender.examples_, "blend")
    scores = evaluate(recommender, cold, seed=seed, meta_levels=meta_levels)
    by = {(s.system, s.support): s for s in scores}
    rows = []
    systems = {"item mean": ITEM_MEAN}
    systems |= {name: best_setting(recommender, name) for name in RatingLevel.BASES}
    systems["best single setting"] = best_setting(recommender, "")
    systems["best single setting, read"] = f"read {recommender.best_configuration_}"
    systems |= {"one blend for all, read": "one blend", "meta-level": "recommender"}
    for size in SUPPORT_SIZES:
        for name, system in systems.items():
            rows.append((name, size, *by[system, size].measures.values()))
        for name, prefix in (("oracle", ""), ("oracle, read", "read ")):
            each = [by[f"{prefix}{c}", size].measures for c in recommender.configurations_]
            best = np.min([m["mae"] for m in each], 0), np.max([m["ndcg@5"] for m in each], 0)
            rows.append((name, size, *best))
    began = time.process_time()
    recommender.top_all(cold)
    seconds["top 10 of a user in all"] = (time.process_time() - began) / len(cold.users)
    history = {recommender.items_[i]: 4.0 for i in range(20)}
    began = time.process_time()
    for _ in range(20):
        recommender.adapt(history)
    seconds["adapt to a user"] = (time.process_time() - began) / 20
    return rows, seconds


def cold_users(data: Interactions) -> dict[str, Any]:
    errors: Errors = {}
    times = []
    for seed in SEEDS:
        parts: Errors = {}
        folds = user_folds(len(data.users), N_FOLDS, seed)
        for fold in track(folds, f"seed {seed}"):
            rows, seconds = one_fold(data, fold, seed)
            times.append(seconds)
            for name, size, mae, ndcg in rows:
                entry = parts.setdefault((name, size), {"mae": [], "ndcg": []})
                entry["mae"].append(mae)
                entry["ndcg"].append(ndcg)
        users = np.concatenate(folds)
        order = np.argsort(users[data.user_counts[users] >= MIN_RATINGS])
        for key, entry in parts.items():
            for metric, arrays in entry.items():
                of_system = errors.setdefault(key, {"mae": [], "ndcg": []})
                of_system[metric].append(np.concatenate(arrays)[order])
    mean = {key: {m: np.mean(a, 0) for m, a in entry.items()} for key, entry in errors.items()}
    n_users = len(mean["item mean", 0]["mae"])
    table = [
        {
            "system": name,
            "support": size,
            "mae": float(entry["mae"].mean()),
            "mae_interval": interval(entry["mae"]),
            "ndcg@5": float(entry["ndcg"].mean()),
            "ndcg@5_interval": interval(entry["ndcg"]),
        }
        for (name, size), entry in mean.items()
    ]
    pairs = []
    for size in SUPPORT_SIZES:
        meta = mean["meta-level", size]["mae"]
        for name, oracle in (
            ("best single setting", "oracle"),
            ("best single setting, read", "oracle, read"),
            ("one blend for all, read", "oracle, read"),
        ):
            single = mean[name, size]["mae"]
            gain = single - meta
            pairs.append(
                {
                    "over": name,
                    "support": size,
                    "lower_by": float(gain.mean() / single.mean()),
                    "interval": [v / float(single.mean()) for v in interval(gain)],
                    "gap_to_oracle_closed": float(
                        gain.mean() / (single - mean[oracle, size]["mae"]).mean()
                    ),
                }
            )
    everywhere = {}
    for name in ("best single setting", "best single setting, read", "one blend for all, read"):
        single, meta = (
            np.mean([mean[n, size]["mae"] for size in SUPPORT_SIZES], 0)
            for n in (name, "meta-level")
        )
        everywhere[name] = {
            "lower_by": float((single - meta).mean() / single.mean()),
            "interval": [v / float(single.mean()) for v in interval(single - meta)],
        }
    seconds = {what: float(np.median([t[what] for t in times])) for what in times[0]}
    return {
        "users": n_users,
        "folds": N_FOLDS,
        "seeds": len(SEEDS),
        "table": table,
        "meta_level": pairs,
        "meta_level_over_all_supports": everywhere,
        "cpu_seconds": seconds,
    }


def metarec(data: Interactions) -> dict[str, Any]:
    able = data.of_users(np.flatnonzero((data.user_counts >= 13) & (data.user_counts <= 100)))
    results: dict[str, list[tuple[float, float]]] = {}
    for split in track(range(SPLITS), "MetaRec's metric"):
        rng = np.random.default_rng(split)
        held = user_folds(len(able.users), 10, split)[0]
        recommender = Recommender(seed=split).fit(others(able, held))
        known, attributes = recommender.align(able.of_users(held))
        order = np.lexsort((rng.random(len(known.rating)), known.user))
        end = known.user_counts.cumsum()
        query_rows = order[np.stack([np.arange(e - 10, e) for e in end])]  # (n, 10)
        rest = np.setdiff1d(np.arange(len(order)), query_rows)
        support = Interactions(
            known.users, known.items, known.user[rest], known.item[rest], known.rating[rest]
        )
        ratings = support.matrix()
        at = np.arange(len(held))[:, None], known.item[query_rows]
        rated = known.rating[query_rows]
        scores = {
            "meta-level": recommender.probabilities(ratings, attributes)
            @ recommender.rating_values_
        }
        predictions = base_predictions(recommender.bases_, ratings, attributes)
        scores["item mean"] = predictions[..., 0]
        for name in ("bayes", "implicit_feedback"):
            scores[name] = predictions[
                ..., recommender.configurations_.index(Configuration(name, 1.0))
            ]
        scores["random"] = rng.random(predictions.shape[:2])
        best = np.argsort(-rated, 1, kind="stable")[:, :5]
        relevant = np.zeros(rated.shape)
        np.put_along_axis(relevant, best, np.ones(best.shape), axis=1)
        discount = 1 / np.log2(np.arange(2, 7))
        for name, score in scores.items():
            top = np.argsort(-score[at], 1, kind="stable")[:, :5]
            hits = np.take_along_axis(relevant, top, 1)
            ndcg = (hits * discount).sum(1) / discount.sum()
            results.setdefault(name, []).append((float(hits.mean()), float(ndcg.mean())))
    return {
        "splits": SPLITS,
        "table": {
            name: {
                "precision@5": float(np.mean([p for p, _ in pairs])),
                "ndcg@5": float(np.mean([g for _, g in pairs])),
                "deviation": [float(x) for x in np.std(pairs, 0, ddof=1)],
            }
            for name, pairs in results.items()
        },
    }


if __name__ == "__main__":
    movielens = load_ml_100k()
    result = {**provenance(0), "cold_users": cold_users(movielens), "metarec": metarec(movielens)}
    text = json.dumps(result, indent=1)
    (ROOT / "benchmarks" / "results" / "recommend.json").write_text(text + "\n")
    print(text)
