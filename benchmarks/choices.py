"""What cold users of MovieLens 100K choose next, out of all films: a level above base recommenders,
beside these.

    python benchmarks/choices.py --seeds 3

Needs the data set ml-100k, whose ratings are taken as clicks. Users with 30 or more count; 0 to 20,
the first in time, are known of each, and all films but these are ranked. "Next" is the ten after
that; "last" the ten that the user chose last. Five folds over users for each of some seeds, and a
split in time: the fifth of the users who came last, after a moment up to which all is learned from.
Intervals are bootstraps over users, paired, of the mean over seeds. Of each base the setting is the
one that is best for training users. "Oracle" takes for each user and support the action that is
best on the queries. Writes benchmarks/results/choices.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
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
from quickstudy.apps.recommend.bases.clicks import CLICK_BASES
from quickstudy.apps.recommend.evaluate import SUPPORT_SIZES
from quickstudy.apps.recommend.measures import interval, ranking
from quickstudy.apps.recommend.meta_level import Configuration
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS = 5

Measures = dict[tuple[str, str, int], dict[str, np.ndarray]]
"""By protocol, system and support: measures of users."""


def one_split(
    train: Interactions, cold: Interactions, seed: int
) -> tuple[Measures, dict[str, float]]:
    """Measures, and seconds of one core."""
    began = time.process_time()
    recommender = Recommender(seed=seed).fit(train)
    seconds = {"fit": time.process_time() - began}
    configurations, examples = recommender.configurations_, recommender.examples_
    errors = {c: level.selection_error(examples) for c, level in recommender.single_levels_.items()}
    systems = {"popularity of all time": Configuration("popularity", np.inf)}
    for name in CLICK_BASES:
        systems[name] = min((c for c in configurations if c.base == name), key=lambda c: errors[c])
    blend = recommender.fit_meta_level(examples, "blend")
    aligned, attributes = recommender.align(cold)
    users = ColdUsers(aligned, order="chronological")
    measured: Measures = {}
    for size in SUPPORT_SIZES:
        support = users.support(size)
        inputs = recommender.meta_inputs(support, attributes[users.users])
        predictions = inputs.predictions
        scores = {name: predictions[..., configurations.index(c)] for name, c in systems.items()}
        scores["one blend for all"] = blend.probabilities(inputs)[..., 0]
        scores["meta-level"] = recommender.meta_level_.probabilities(inputs)[..., 0]
        for protocol, relevant in (("next", users.next_items(size)), ("last", users.query_items)):
            for name, values in scores.items():
                measured[protocol, name, size] = ranking(values, support, relevant)
            each = [
                ranking(predictions[..., i], support, relevant) for i in range(len(configurations))
            ]
            measured[protocol, "oracle", size] = {
                m: np.max([e[m] for e in each], 0) for m in each[0]
            }
    began = time.process_time()
    recommender.top_all(cold)
    seconds["top 10 of a user in all"] = (time.process_time() - began) / len(cold.users)
    history = recommender.items_[:20]
    began = time.process_time()
    for _ in range(20):
        recommender.adapt(history)
    seconds["adapt to a user"] = (time.process_time() - began) / 20
    return measured, seconds


def by_users(data: Interactions, n_seeds: int) -> tuple[Measures, list[dict[str, float]]]:
    """Each user's mean over seeds."""
    total: Measures = {}
    times = []
    for seed in range(n_seeds):
        folds = user_folds(len(data.users), N_FOLDS, seed)
        parts = []
        for fold in track(folds, f"seed {seed}"):
            others = np.setdiff1d(np.arange(len(data.users)), fold)
            measured, seconds = one_split(data.of_users(others), data.of_users(fold), seed)
            parts.append(measured)
            times.append(seconds)
        users = np.concatenate(folds)
        order = np.argsort(users[data.user_counts[users] >= 30])
        for key in parts[0]:
            entry = total.setdefault(key, {})
            for m in parts[0][key]:
                values = np.concatenate([part[key][m] for part in parts])[order]
                entry[m] = entry.get(m, 0) + values / n_seeds
    return total, times


def by_time(data: Interactions, n_seeds: int) -> Measures:
    """Learned from all before a moment, judged on those who came later."""
    assert data.time is not None
    came = np.full(len(data.users), np.inf)
    np.minimum.at(came, data.user, data.time)
    moment = np.quantile(came, 0.8)
    before = data.time < moment
    early = replace(
        data,
        user=data.user[before],
        item=data.item[before],
        rating=data.rating[before],
        time=data.time[before],
    ).of_users(np.flatnonzero(came < moment))
    total: Measures = {}
    for seed in track(range(n_seeds), "split in time"):
        measured, _ = one_split(early, data.of_users(np.flatnonzero(came >= moment)), seed)
        for key, measures in measured.items():
            entry = total.setdefault(key, {})
            for m, values in measures.items():
                entry[m] = entry.get(m, 0) + values / n_seeds
    return total


def summary(measured: Measures) -> dict[str, Any]:
    """Means with intervals, and how much more the meta-level has than each other."""
    protocols = list(dict.fromkeys(protocol for protocol, _, _ in measured))
    systems = list(dict.fromkeys(system for _, system, _ in measured))
    table, over = [], []
    for protocol in protocols:
        for system in systems:
            for size in SUPPORT_SIZES:
                entry: dict[str, Any] = {"judged": protocol, "system": system, "support": size}
                for m, values in measured[protocol, system, size].items():
                    entry |= {m: float(values.mean()), f"{m}_interval": interval(values)}
                table.append(entry)
            if system == "meta-level":
                continue
            for size in (*SUPPORT_SIZES, "all"):
                sizes = SUPPORT_SIZES if size == "all" else (size,)
                entry = {"judged": protocol, "over": system, "support": size}
                for m in measured[protocol, system, 0]:
                    own, other = (
                        np.mean([measured[protocol, name, s][m] for s in sizes], 0)
                        for name in ("meta-level", system)
                    )
                    entry |= {
                        m: float((own - other).mean()),
                        f"{m}_interval": interval(own - other),
                    }
                over.append(entry)
    users = len(next(iter(next(iter(measured.values())).values())))
    return {"users": users, "table": table, "meta_level_more_by": over}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    n_seeds = parser.parse_args().seeds
    clicks = load_ml_100k().as_clicks()
    split_by_users, times = by_users(clicks, n_seeds)
    result = {
        **provenance(0),
        "folds": N_FOLDS,
        "seeds": n_seeds,
        "by_users": summary(split_by_users),
        "by_time": summary(by_time(clicks, n_seeds)),
        "cpu_seconds": {what: float(np.median([t[what] for t in times])) for what in times[0]},
    }
    text = json.dumps(result, indent=1)
    (ROOT / "benchmarks" / "results" / "choices.json").write_text(text + "\n")
    print(text)
