"""Invented interactions, for tests and examples."""

from __future__ import annotations

import numpy as np

from quickstudy.apps.recommend.interactions import Interactions

__all__ = ["generated"]


def generated(n_users: int = 400, n_items: int = 150, seed: int = 0) -> Interactions:
    """Invented ratings of 1 to 5, for tests and examples.

    A rating is a user bias plus an item bias plus two taste factors times two factors of the genre,
    plus noise. Age and trade explain a part of the tastes. Some items are much more popular than
    others.

    Example:
        >>> data = generated(n_users=50)
        >>> len(data.users), data.rating_values.tolist()
        (50, [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    rng = np.random.default_rng(seed)
    genre = rng.integers(4, size=n_items)
    genre_factors = np.array([[1.0, 0.0], [-1.0, 0.2], [0.1, 1.0], [0.0, -1.0]])
    item_factors = genre_factors[genre] + 0.3 * rng.normal(size=(n_items, 2))
    trade = rng.integers(3, size=n_users)
    age = rng.uniform(15, 70, size=n_users)
    user_factors = 0.5 * rng.normal(size=(n_users, 2))
    user_factors[:, 0] += 0.7 * (trade - 1)
    user_factors[:, 1] += 0.5 * (age - 42) / 16
    expected = 3.5 + 0.4 * rng.normal(size=n_items) + 0.4 * rng.normal(size=(n_users, 1))
    ratings = expected + user_factors @ item_factors.T + 0.5 * rng.normal(size=(n_users, n_items))
    popularity = 1 / np.arange(2, n_items + 2) ** 0.7
    rows = []
    for user in range(n_users):
        n_rated = min(n_items, int(rng.integers(12, 60)))
        rated = rng.choice(n_items, n_rated, replace=False, p=popularity / popularity.sum())
        for time, item in enumerate(rated):
            rating = float(np.clip(np.round(ratings[user, item]), 1, 5))
            rows.append((f"user {user}", f"item {item}", rating, time))
    trades, genres = ("baker", "smith", "tailor"), ("drama", "comedy", "space", "history")
    return Interactions.from_rows(
        rows,
        users={
            f"user {u}": {"age": float(age[u]), "trade": trades[trade[u]]} for u in range(n_users)
        },
        items={f"item {i}": {"genres": [genres[genre[i]]]} for i in range(n_items)},
    )
