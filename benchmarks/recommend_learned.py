"""Networks that are meta-learned beside closed forms, on new users and films of MovieLens 100K.

    python benchmarks/recommend_learned.py

Needs the data set ml-100k. Five folds over users, or over films; those with 30 ratings or more are
judged on ten ratings drawn at random, and learned from by 0 to 20 others: the users and queries of
seed 0 of benchmarks/recommend.py. Each base is judged on what it expects, by each of its settings.
Intervals are bootstraps over users, or films. Writes benchmarks/results/recommend_learned.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import ColdUsers, Interactions, load_ml_100k, user_folds
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases import BASES, Base
from quickstudy.apps.recommend.evaluate import SUPPORTS
from quickstudy.apps.recommend.measures import interval, ndcg
from quickstudy.apps.recommend.neural import NEURAL_BASES
from quickstudy.apps.run import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS, SEED = 5, 0

USERS: dict[str, type[Base]] = {**BASES, **NEURAL_BASES}
ITEMS: dict[str, type[Base]] = {n: USERS[n] for n in ("user_bias", "bayes", "metaemb")}

Found = dict[tuple[str, int], dict[str, np.ndarray]]


def one_fold(
    data: Interactions, fold: np.ndarray, bases: dict[str, type[Base]]
) -> tuple[Found, dict[str, float]]:
    """Measures by system and support, and seconds to fit each base on one core."""
    warm = data.of_users(np.setdiff1d(np.arange(len(data.users)), fold))
    new = data.of_users(fold)
    encoder = AttributeEncoder().fit(warm.user_columns, len(warm.users))
    n_items = len(data.items)
    items = AttributeEncoder().fit(data.item_columns, n_items)(data.item_columns, n_items)
    cold = ColdUsers(new, seed=SEED)
    told = encoder(new.user_columns, len(new.users))[cold.users]
    known = warm.matrix(), encoder(warm.user_columns, len(warm.users)), items
    asked = np.arange(len(cold))[:, None], cold.query
    scale = data.levels
    found: Found = {}
    seconds = {}
    for name, base in bases.items():
        began = time.process_time()
        fitted = base().fit(*known, SEED)
        seconds[name] = time.process_time() - began
        for size in SUPPORTS:
            expected = fitted.predict(cold.support(size), told)
            for setting, x in zip(base.SETTINGS, expected, strict=True):
                x = x[asked]
                found[f"{name} {setting:g}", size] = {
                    "mae": np.abs(x.clip(scale[0], scale[-1]) - cold.rating).mean(1),
                    "ndcg@5": ndcg(x, cold.rating),
                }
    return found, seconds


def measure(data: Interactions, bases: dict[str, type[Base]]) -> dict[str, Any]:
    folds = user_folds(len(data.users), N_FOLDS, SEED)
    parts, times = zip(*(one_fold(data, f, bases) for f in track(folds, "folds")), strict=True)
    table = []
    for system, size in parts[0]:
        values = {
            m: np.concatenate([part[system, size][m] for part in parts]) for m in ("mae", "ndcg@5")
        }
        entry: dict[str, Any] = {"system": system, "support": size}
        for m, v in values.items():
            entry |= {m: float(v.mean()), f"{m}_interval": interval(v)}
        table.append(entry)
    n = sum(len(part[table[0]["system"], 0]["mae"]) for part in parts)
    seconds = {name: float(np.median([t[name] for t in times])) for name in bases}
    return {"n": n, "table": table, "cpu_seconds": seconds}


if __name__ == "__main__":
    movielens = load_ml_100k()
    result = {
        **provenance(SEED),
        "new_users": measure(movielens, USERS),
        "new_items": measure(movielens.swapped(), ITEMS),
    }
    text = json.dumps(result, indent=1)
    (ROOT / "benchmarks" / "results" / "recommend_learned.json").write_text(text + "\n")
    print(text)
