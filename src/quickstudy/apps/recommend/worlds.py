"""Invented users who differ, in known ways, in what serves them.

A meta-level that decides for each user is worth something only where users differ. Here it is known
how: each trait has two values, each user has one of them, and a *kind* of user is one combination.
So what could be decided at best can be measured, as one blend for each kind.

Shapes: U users, I items, T traits, L interactions of a user, K factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.errors import UsageError

__all__ = ["CLICK_TRAITS", "RATING_TRAITS", "World", "click_world", "rating_world"]

RATING_TRAITS = {
    "conformity": (0.1, 1.6),
    "taste by genre": (0.0, 1.0),
    "noise": (0.3, 1.2),
}
"""How far the quality of an item counts for the user; whether taste goes by genre or by latent
factors; the standard deviation of a rating. Values of both kinds of users."""

CLICK_TRAITS = {
    "popularity taste": (0.3, 1.3),
    "taste changes": (0.0, 0.2),
    "follows series": (0.0, 4.0),
}
"""The exponent of popularity; the probability at each click that taste changes; what is added to
the logit of the item that follows the last one."""

N_GENRES = 6
TASTE_STRENGTH = 4.0
"""Logit of an item that fits the taste of a user of clicks."""


@dataclass(frozen=True, eq=False, repr=False)
class World:
    """Interactions, and what is true of those who made them.

    Args:
        data: Ratings or clicks.
        traits: Their names.
        kinds: For each user and trait, whether the user has its second value, bool of shape (U, T).
    """

    data: Interactions
    traits: list[str]
    kinds: np.ndarray

    def __repr__(self) -> str:
        return f"World({self.data!r}, traits={self.traits})"

    @property
    def kind(self) -> np.ndarray:
        """The number of each user's combination of traits, 0 to 2^T - 1, (U,)."""
        return self.kinds @ (1 << np.arange(len(self.traits)))


def rating_world(
    n_users: int = 500, n_items: int = 200, n_rated: int = 60, spread: float = 1.0, seed: int = 0
) -> World:
    """Ratings of 1 to 5 by users with the traits `RATING_TRAITS`.

    The expected rating of item i by user u is 3.3 + b_u + c_u q_i + taste_ui, with the bias b, the
    quality q and the conformity c. Taste goes by genre or by three latent factors.

    Args:
        n_users, n_items: How many.
        n_rated: Ratings of each user, at most all items; popular items are likelier.
        spread: How far the two values of a trait lie apart, from 0, where all users are alike, to
            1.
        seed: Decides all draws.

    Raises:
        UsageError: If the spread is not from 0 to 1.

    Example:
        >>> world = rating_world(n_users=40, n_items=30, n_rated=20)
        >>> world.data, world.kind.max() < 8
        (Interactions(40 users, 30 items, 800 ratings), np.True_)
    """
    rng = np.random.default_rng(seed)
    kinds, values = _traits(RATING_TRAITS, n_users, spread, rng)
    conformity, by_genre, noise = values[:, :, None]  # (U, 1) each
    genre, quality = rng.integers(N_GENRES, size=n_items), 0.6 * rng.normal(size=n_items)
    of_genre = 0.8 * rng.normal(size=(n_users, N_GENRES))[:, genre]  # (U, I)
    of_factors = 0.45 * rng.normal(size=(n_users, 3)) @ rng.normal(size=(3, n_items))
    taste = np.sqrt(by_genre) * of_genre + np.sqrt(1 - by_genre) * of_factors
    bias = 0.3 * rng.normal(size=(n_users, 1))
    expected = 3.3 + bias + conformity * quality + taste
    ratings = np.clip(np.round(expected + noise * rng.normal(size=expected.shape)), 1, 5)
    log_popularity = -0.7 * np.log(np.arange(2, n_items + 2))
    keys = log_popularity + rng.gumbel(size=expected.shape)
    items = np.argsort(-keys, 1)[:, :n_rated]  # (U, L), drawn without replacement
    rated = np.take_along_axis(ratings, items, 1)
    return World(_interactions(items, rated, genre, n_items), list(RATING_TRAITS), kinds)


def click_world(
    n_users: int = 500, n_items: int = 300, n_clicks: int = 40, spread: float = 1.0, seed: int = 0
) -> World:
    """Clicks in order by users with the traits `CLICK_TRAITS`.

    The next click is drawn by a softmax over the items not clicked yet. Its logits are the log
    popularity times the user's exponent, `TASTE_STRENGTH` times the cosine of taste and item, and a
    bonus for the item that follows the last one in its series.

    Args:
        n_users, n_items: How many.
        n_clicks: Clicks of each user, fewer than items.
        spread: How far the two values of a trait lie apart, from 0, where all users are alike, to
            1.
        seed: Decides all draws.

    Raises:
        UsageError: If the spread is not from 0 to 1.

    Example:
        >>> click_world(n_users=30, n_items=40, n_clicks=12).data
        Interactions(30 users, 40 items, 360 clicks)
    """
    rng = np.random.default_rng(seed)
    kinds, values = _traits(CLICK_TRAITS, n_users, spread, rng)
    exponent, change, bonus = values  # (U,) each
    log_popularity = rng.permutation(-np.log(np.arange(3, n_items + 3)))
    genre = rng.integers(N_GENRES, size=n_items)
    factors = _unit(rng.normal(size=(N_GENRES, 4))[genre] + 0.4 * rng.normal(size=(n_items, 4)))
    series = rng.permutation(n_items)
    follower = np.empty(n_items, int)
    follower[series] = np.roll(series, -1)
    users, taste = np.arange(n_users), _unit(rng.normal(size=(n_users, 4)))
    is_free = np.ones((n_users, n_items), bool)
    items = np.empty((n_users, n_clicks), int)
    for position in range(n_clicks):
        logits = exponent[:, None] * log_popularity + TASTE_STRENGTH * taste @ factors.T
        if position:
            logits[users, follower[items[:, position - 1]]] += bonus
        keys = np.where(is_free, logits + rng.gumbel(size=logits.shape), -np.inf)
        items[:, position] = keys.argmax(1)
        is_free[users, items[:, position]] = False
        changes = rng.random((n_users, 1)) < change[:, None]
        taste = np.where(changes, _unit(rng.normal(size=taste.shape)), taste)
    return World(_interactions(items, None, genre, n_items), list(CLICK_TRAITS), kinds)


def _traits(
    traits: dict[str, tuple[float, float]],
    n_users: int,
    spread: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Which value each user has, (U, T), and the values, (T, U)."""
    if not 0 <= spread <= 1:
        raise UsageError(f"expected a spread of 0 to 1, got {spread}")
    kinds = rng.integers(2, size=(n_users, len(traits))).astype(bool)
    low, high = np.array(list(traits.values())).T  # (T,) each
    middle = (low + high) / 2
    values = middle + spread * (np.where(kinds, high, low) - middle)
    return kinds, values.T


def _interactions(
    items: np.ndarray, ratings: np.ndarray | None, genre: np.ndarray, n_items: int
) -> Interactions:
    """From the items (U, L) of each user in order, and the ratings (U, L), or none for clicks."""
    n_users, length = items.shape
    return Interactions(
        [f"user {u}" for u in range(n_users)],
        [f"item {i}" for i in range(n_items)],
        np.repeat(np.arange(n_users), length),
        items.ravel(),
        np.ones(items.size) if ratings is None else ratings.ravel(),
        np.tile(np.arange(float(length)), n_users),
        item_columns={"genres": [[f"genre {g}"] for g in genre]},
        clicks=ratings is None,
        scale=None if ratings is None else (1.0, 5.0),
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
