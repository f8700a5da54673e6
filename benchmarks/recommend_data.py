"""Small data sets for the benchmarks of the recommender's meta-level.

`QUICKSTUDY_DATA` has a folder `recommend` with MovieTweetings 100K (Dooms et al., 2013), Anonymous
Microsoft Web Data (UCI) and Restaurant & consumer data (UCI), as CSV files with the columns user,
item and rating or none, and ml-100k.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quickstudy.apps.recommend import (
    Interactions,
    click_world,
    load_interactions,
    load_ml_100k,
    rating_world,
)
from quickstudy.tasks.datasets.store import data_folder

__all__ = ["loaded", "shop", "without_times", "worlds"]

FILES = {
    "movietweetings": "movietweetings_100k.csv",
    "msweb": "msweb_clicks.csv",
    "restaurants": "restaurants.csv",
}


def loaded(name: str) -> Interactions:
    """A data set by name, as it is: ratings, but of msweb clicks."""
    if name == "ml-100k":
        return load_ml_100k()
    path = data_folder() / "recommend" / FILES[name]
    items = Path(str(path).replace(".csv", "_items.csv"))
    return load_interactions(path, items=items if items.exists() else None, clicks=name == "msweb")


def shop(
    data: Interactions, n_users: int, min_interactions: int, min_of_item: int, seed: int = 0
) -> Interactions:
    """Some users with so many interactions or more, and the items with so many among all users."""
    kept = np.bincount(data.item, minlength=len(data.items)) >= min_of_item
    rows = kept[data.item]
    counts = np.bincount(data.user[rows], minlength=len(data.users))
    able = np.flatnonzero(counts >= min_interactions)
    users = np.sort(np.random.default_rng(seed).permutation(able)[:n_users])
    position = np.full(len(data.users), -1)
    position[users] = np.arange(len(users))
    rows &= position[data.user] >= 0
    number = np.cumsum(kept) - 1
    return Interactions(
        [data.users[u] for u in users],
        [name for name, keep in zip(data.items, kept, strict=True) if keep],
        position[data.user[rows]],
        number[data.item[rows]],
        data.rating[rows],
        None if data.time is None else data.time[rows],
        {},
        {
            column: [value for value, keep in zip(values, kept, strict=True) if keep]
            for column, values in data.item_columns.items()
        },
        clicks=data.clicks,
        scale=None if data.clicks else data.rating_range,
    )


def without_times(data: Interactions) -> Interactions:
    return replace(data, time=None)


def worlds(n: int, n_users: int, *, clicks: bool, seed: int) -> list[Interactions]:
    """Generated worlds of different sizes, in which users differ by different amounts."""
    rng, make, found = np.random.default_rng(seed), click_world if clicks else rating_world, []
    for i in range(n):
        world = make(n_users, int(rng.integers(60, 160)), 40, float(rng.random()), 1000 + seed + i)
        found.append(world.data)
    return found
