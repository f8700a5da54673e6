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
from quickstudy.apps.recommend.evaluate import SUPPORTS
from quickstudy.apps.recommend.measures import interval, ranking
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS = 5

Found = dict[tuple[str, str, int], dict[str, np.ndarray]]
"""By protocol, system and support: measures of users."""


def one_split(train: Interactions, cold: Interactions, seed: int) -> tuple[Found, dict[str, float]]:
    """Measures, and seconds of one core."""
    began = time.process_time()
    recommender = Recommender(seed=seed).fit(train)
    seconds = {"fit": time.process_time() - began}
    actions = recommender.actions_
    errors = {a: level.error(recommender.drawn_) for a, level in recommender.singles_.items()}
    shown = {"popularity of all time": ("popularity", np.inf)}
    for name in CLICK_BASES:
        shown[name] = min((a for a in actions if a[0] == name), key=lambda a: errors[a])
    blend = recommender.level(recommender.drawn_, "blend")
    known, attributes = recommender.known(cold)
    users = ColdUsers(known, order="chronological")
    found: Found = {}
    for size in SUPPORTS:
        chosen = users.support(size)
        seen = recommender.see(chosen, attributes[users.users])
        scores = {name: seen.expected[..., actions.index(a)] for name, a in shown.items()}
        scores["one blend for all"] = blend.distribution(seen)[..., 0]
        scores["meta-level"] = recommender.level_.distribution(seen)[..., 0]
        for protocol, asked in (("next", users.following(size)), ("last", users.query)):
            for name, values in scores.items():
                found[protocol, name, size] = ranking(values, chosen, asked)
            each = [ranking(seen.expected[..., i], chosen, asked) for i in range(len(actions))]
            found[protocol, "oracle", size] = {m: np.max([e[m] for e in each], 0) for m in each[0]}
    began = time.process_time()
    recommender.top_all(cold)
    seconds["top 10 of a user in all"] = (time.process_time() - began) / len(cold.users)
    history = recommender.items_[:20]
    began = time.process_time()
    for _ in range(20):
        recommender.adapt(history)
    seconds["adapt to a user"] = (time.process_time() - began) / 20
    return found, seconds


def by_users(data: Interactions, n_seeds: int) -> tuple[Found, list[dict[str, float]]]:
    """Each user's mean over seeds."""
    total: Found = {}
    times = []
    for seed in range(n_seeds):
        folds = user_folds(len(data.users), N_FOLDS, seed)
        parts = []
        for fold in track(folds, f"seed {seed}"):
            others = np.setdiff1d(np.arange(len(data.users)), fold)
            found, seconds = one_split(data.of_users(others), data.of_users(fold), seed)
            parts.append(found)
            times.append(seconds)
        users = np.concatenate(folds)
        order = np.argsort(users[data.counts[users] >= 30])
        for key in parts[0]:
            entry = total.setdefault(key, {})
            for m in parts[0][key]:
                values = np.concatenate([part[key][m] for part in parts])[order]
                entry[m] = entry.get(m, 0) + values / n_seeds
    return total, times


def by_time(data: Interactions, n_seeds: int) -> Found:
    """Learned from all before a moment, judged on those who came later."""
    assert data.time is not None
    came = np.full(len(data.users), np.inf)
    np.minimum.at(came, data.user, data.time)
    moment = np.quantile(came, 0.8)
    kept = data.time < moment
    early = replace(
        data,
        user=data.user[kept],
        item=data.item[kept],
        rating=data.rating[kept],
        time=data.time[kept],
    ).of_users(np.flatnonzero(came < moment))
    total: Found = {}
    for seed in track(range(n_seeds), "split in time"):
        found, _ = one_split(early, data.of_users(np.flatnonzero(came >= moment)), seed)
        for key, measures in found.items():
            entry = total.setdefault(key, {})
            for m, values in measures.items():
                entry[m] = entry.get(m, 0) + values / n_seeds
    return total


def told(found: Found) -> dict[str, Any]:
    """Means with intervals, and how much more the meta-level has than each other."""
    protocols = list(dict.fromkeys(protocol for protocol, _, _ in found))
    systems = list(dict.fromkeys(system for _, system, _ in found))
    table, over = [], []
    for protocol in protocols:
        for system in systems:
            for size in SUPPORTS:
                entry: dict[str, Any] = {"judged": protocol, "system": system, "support": size}
                for m, values in found[protocol, system, size].items():
                    entry |= {m: float(values.mean()), f"{m}_interval": interval(values)}
                table.append(entry)
            if system == "meta-level":
                continue
            for size in (*SUPPORTS, "all"):
                sizes = SUPPORTS if size == "all" else (size,)
                entry = {"judged": protocol, "over": system, "support": size}
                for m in found[protocol, system, 0]:
                    own, other = (
                        np.mean([found[protocol, name, s][m] for s in sizes], 0)
                        for name in ("meta-level", system)
                    )
                    entry |= {
                        m: float((own - other).mean()),
                        f"{m}_interval": interval(own - other),
                    }
                over.append(entry)
    users = len(next(iter(next(iter(found.values())).values())))
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
        "by_users": told(split_by_users),
        "by_time": told(by_time(clicks, n_seeds)),
        "cpu_seconds": {what: float(np.median([t[what] for t in times])) for what in times[0]},
    }
    text = json.dumps(result, indent=1)
    (ROOT / "benchmarks" / "results" / "choices.json").write_text(text + "\n")
    print(text)
