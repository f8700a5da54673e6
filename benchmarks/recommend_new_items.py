"""New items in one list with old ones: a tenth of the items comes after training.

    python benchmarks/recommend_new_items.py
    python benchmarks/recommend_new_items.py "ml-100k, clicks" # one, beside those measured before

Needs the data set ml-100k, and the folder recommend/ with MovieTweetings 100K in the data folder.
For each of `SPLITS` random splits, a tenth of the items and a fifth of the users are left out of
training. Then the items come in with their genres and years, and with 0, 1 or 5 first interactions
of training users, drawn at random. Of each user left out with `MIN_INTERACTIONS` or more, the first
ten interactions with old items are known. Judged are:

- of clicks: nDCG@10 of the next ten interactions among all items in one list, and of all later
  interactions with new items among the new items;
- of ratings: nDCG@5 with gain 2^r - 1 of five rated new and five rated old items in one list, and
  of ten rated new items.

Popularity counts interactions, of new items the first ones. The attribute k-NN ranks all items by
the cosine of their attributes with those of the known items: the sum of similarities, for ratings
the mean of the known ratings weighted by them, around the item's mean. Intervals are paired
bootstraps over users. Writes benchmarks/results/recommend_new_items.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend import (
    Interactions,
    Recommender,
    load_interactions,
    load_ml_100k,
    user_folds,
)
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.measures import interval, ndcg
from quickstudy.apps.recommend.ranking import ranked
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track
from quickstudy.tasks.datasets import store

RESULTS = Path(__file__).parent / "results" / "recommend_new_items.json"
SPLITS, FIRST = 3, (0, 1, 5)
N_KNOWN, N_NEXT, MIN_INTERACTIONS = 10, 10, 25
MEAN_DAMPING = 5.0


def movietweetings() -> Interactions:
    folder = store.data_folder() / "recommend"
    name = "movietweetings_100k"
    return load_interactions(folder / f"{name}.csv", items=folder / f"{name}_items.csv")


LOADERS = {"ml-100k": load_ml_100k, "movietweetings": movietweetings}
KINDS = ("ratings", "clicks")


class Split:
    """A tenth of the items and a fifth of the users left out, and what is known of these users.

    Items are numbered with the old ones first.
    """

    def __init__(self, data: Interactions, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n_items = len(data.items)
        order = rng.permutation(n_items)
        self.n_old = n_items - n_items // 10
        order[: self.n_old].sort()
        position = np.argsort(order)
        self.data = replace(
            data,
            items=[data.items[i] for i in order],
            titles=data.titles and [data.titles[i] for i in order],
            item=position[data.item],
            item_columns={n: [v[i] for i in order] for n, v in data.item_columns.items()},
        )
        cold = user_folds(len(data.users), 5, seed)[0]
        warm = np.setdiff1d(np.arange(len(data.users)), cold)
        self.warm = self.data.of_users(warm)
        self.training = _rows(self.warm, self.warm.item < self.n_old, self.n_old)
        self.cold = self.data.of_users(cold)
        self.drawn = rng.random(len(self.warm.item))
        self._choose_users(rng)

    def _choose_users(self, rng: np.random.Generator) -> None:
        """Set the users to judge on, and for each the rows that are known and those that follow:
        in time for clicks, in random order for ratings."""
        cold = self.cold
        assert cold.time is not None
        keys = cold.time if cold.clicks else rng.random(len(cold.rating))
        by_user = np.split(np.lexsort((keys, cold.user)), cold.user_counts.cumsum()[:-1])
        self.users, self.known, self.later = [], [], []
        for user, rows in enumerate(by_user):
            old = rows[cold.item[rows] < self.n_old][:N_KNOWN]
            if len(rows) >= MIN_INTERACTIONS and len(old) == N_KNOWN:
                self.users.append(user)
                self.known.append(old)
                self.later.append(rows[~np.isin(rows, old)])

    def history(self) -> sparse.csr_matrix:
        """What is known of the users, (N, I)."""
        rows = np.concatenate(self.known)
        values = self.cold.rating[rows]
        if self.cold.clicks:
            values = np.tile(np.arange(1.0, N_KNOWN + 1), len(self.users))
        user = np.repeat(np.arange(len(self.users)), N_KNOWN)
        shape = (len(self.users), len(self.data.items))
        return sparse.csr_matrix((values, (user, self.cold.item[rows])), shape=shape)

    def first(self, n: int) -> Interactions | None:
        """The first `n` interactions of each new item, and all of these users with old items."""
        warm = self.warm
        new = np.flatnonzero(warm.item >= self.n_old)
        new = new[np.lexsort((self.drawn[new], warm.item[new]))]
        counts = np.bincount(warm.item[new] - self.n_old)
        rank = np.arange(len(new)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = np.zeros(len(warm.item), bool)
        chosen[new[rank < n]] = True
        if not chosen.any():
            return None
        users = np.unique(warm.user[chosen])
        chosen |= np.isin(warm.user, users) & (warm.item < self.n_old)
        return _rows(warm, chosen, len(warm.items)).of_users(users)


def _rows(data: Interactions, chosen: np.ndarray, n_items: int) -> Interactions:
    return replace(
        data,
        items=data.items[:n_items],
        titles=data.titles and data.titles[:n_items],
        item_columns={name: values[:n_items] for name, values in data.item_columns.items()},
        user=data.user[chosen],
        item=data.item[chosen],
        rating=data.rating[chosen],
        time=None if data.time is None else data.time[chosen],
    )


def rankings(split: Split, recommender: Recommender, n_first: int) -> dict[str, np.ndarray]:
    """Scores of all items by each system, (N, I)."""
    data, n_old, history = split.data, split.n_old, split.history()
    first = split.first(n_first)
    table = {
        data.items[i]: {name: values[i] for name, values in data.item_columns.items()}
        for i in range(n_old, len(data.items))
    }
    extended = recommender.with_items(table, first=first)
    attributes = recommender.encoder_(split.cold.user_columns, len(split.cold.users))
    p = extended.probabilities(history, attributes[split.users])
    scores = {"recommender": p @ recommender.rating_values_}
    counts = np.bincount(split.training.item, minlength=len(data.items)).astype(float)
    sums = np.bincount(split.training.item, split.training.rating, len(data.items))
    if first is not None:
        is_new = first.item >= n_old
        counts += np.bincount(first.item[is_new], minlength=len(data.items))
        sums += np.bincount(first.item[is_new], first.rating[is_new], len(data.items))
    scores["popularity"] = np.tile(counts, (len(split.users), 1))
    of_old = {name: values[:n_old] for name, values in data.item_columns.items()}
    encoded = AttributeEncoder().fit(of_old, n_old)(data.item_columns, len(data.items))[:, 1:]
    encoded /= np.maximum(np.linalg.norm(encoded, axis=1, keepdims=True), 1e-9)
    similarity = np.maximum(encoded @ encoded.T, 0)
    if data.clicks:
        scores["attribute k-NN"] = (history > 0) @ similarity
    else:
        mean = split.training.rating.mean()
        means = (sums + MEAN_DAMPING * mean) / (counts + MEAN_DAMPING)
        deviations = history.copy()
        deviations.data = history.data - means[history.indices]
        total = (history != 0) @ similarity
        scores["attribute k-NN"] = means + (deviations @ similarity) / (total + 1)
        scores["item mean"] = np.tile(means, (len(split.users), 1))
    return scores


def judged(split: Split, scores: np.ndarray) -> dict[str, np.ndarray]:
    """nDCG of each user in the one list, and among new items; NaN where nothing is to be found."""
    one_list, among_new = [], []
    items, n_old = split.cold.item, split.n_old
    for row, known, later in zip(scores, split.known, split.later, strict=True):
        new = later[items[later] >= n_old]
        if split.data.clicks:
            available = row.copy()
            available[items[known]] = -np.inf
            one_list.append(_found(available, items[later[:N_NEXT]]))
            among_new.append(_found(row[n_old:], items[new] - n_old))
        else:
            old = later[items[later] < n_old]
            both = np.concatenate([new[: N_NEXT // 2], old[: N_NEXT // 2]])
            one_list.append(_ordered(row, split, both, N_NEXT // 2 + 1))
            among_new.append(_ordered(row, split, new[:N_NEXT], 3))
    return {"one list": np.array(one_list), "new items": np.array(among_new)}


def _found(scores: np.ndarray, relevant: np.ndarray) -> float:
    """nDCG@10 of the items to be found."""
    if not len(relevant):
        return float("nan")
    discounts = 1 / np.log2(np.arange(2, 12))
    hits = np.isin(ranked(scores[None], 10)[0], relevant)
    return float(hits @ discounts[: len(hits)] / discounts[: len(relevant)].sum())


def _ordered(row: np.ndarray, split: Split, rows: np.ndarray, least: int) -> float:
    """nDCG@5 of rated items; NaN for fewer than `least`."""
    if len(rows) < least:
        return float("nan")
    ratings = split.cold.rating[rows][None]
    return float(ndcg(row[split.cold.item[rows]][None], ratings - min(0, ratings.min()))[0])


def study(data: Interactions) -> list[dict[str, Any]]:
    """Of each number of first interactions and measure, all systems and the differences."""
    found: dict[tuple[int, str, str], list[np.ndarray]] = {}
    for seed in track(range(SPLITS), "splits"):
        split = Split(data, seed)
        recommender = Recommender(seed=seed).fit(split.training)
        for n_first in FIRST:
            for system, scores in rankings(split, recommender, n_first).items():
                for measure, values in judged(split, scores).items():
                    found.setdefault((n_first, measure, system), []).append(values)
    results = []
    for (n_first, measure, system), parts in found.items():
        values = np.concatenate(parts)
        ours = np.concatenate(found[n_first, measure, "recommender"])
        is_given = np.isfinite(values)
        difference = (ours - values)[is_given]
        results.append(
            {
                "first": n_first,
                "measure": measure,
                "system": system,
                "users": int(is_given.sum()),
                "ndcg": float(values[is_given].mean()),
                "recommender_better_by": float(difference.mean()),
                "interval": interval(difference) if system != "recommender" else None,
            }
        )
    return results


if __name__ == "__main__":
    wanted = sys.argv[1:] or [f"{name}, {kind}" for name in LOADERS for kind in KINDS]
    for study_name in wanted:
        name, _, kind = study_name.partition(", ")
        data = LOADERS[name]()
        about = provenance(0) | {"splits": SPLITS, "known": N_KNOWN}
        entry = about | {"systems": study(data if kind == "ratings" else data.as_clicks())}
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**results, study_name: entry}, indent=1) + "\n")
        print(json.dumps(entry, indent=1))
