"""How a recommender learns: bases on inner folds, examples of the meta-level, and its guard."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases.base import Base
from quickstudy.apps.recommend.cold_users import user_folds
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.memory import check_memory
from quickstudy.apps.recommend.meta_level import Kind, MetaExamples, MetaLevel
from quickstudy.apps.recommend.meta_level.guard import (
    GuardedLevel,
    choose_by_size,
    cross_validated_errors,
)
from quickstudy.apps.recommend.meta_level.inputs import SUPPORT_SIZES
from quickstudy.apps.recommend.scales import nearest_levels
from quickstudy.errors import DataError
from quickstudy.progress import track

if TYPE_CHECKING:
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = [
    "best_single_level",
    "check_data",
    "fit_bases",
    "guarded_level",
    "hashed",
    "inner_folds",
    "on_levels",
    "restored_level",
    "training_examples",
]

N_FOLDS = 4
"""Folds of training users. The meta-level learns from the users of a fold with bases that have not
seen them."""

MAX_META_USERS = 4000
"""Users that the meta-level learns from, drawn at random where there are more."""

MIN_USERS = 20
"""Fewest training users with two ratings or more to learn from."""

LEVELS: dict[str, tuple[Kind, bool]] = {
    "by user, from the prior": ("meta", True),
    "by user": ("meta", False),
    "one blend for all": ("blend", False),
}
"""Names of the levels of a `GuardedLevel` that are no single configuration: the kind, and whether
it is learned with the prior."""

MAX_PRIOR_USERS = 500
"""With more training users the prior is left out."""


def check_data(data: Interactions) -> None:
    """Refuse data that is too small to learn from, or too large; warn of clicks without times."""
    check_memory(len(data.users), len(data.items), len(data.rating), data.clicks)
    n_usable = int((data.user_counts >= 2).sum())
    if n_usable < MIN_USERS:
        what = "clicks" if data.clicks else "ratings"
        raise DataError(
            f"expected {MIN_USERS} users with two {what} each, got {n_usable} of "
            f"{len(data.users)} users: the meta-level learns from one what to expect of the "
            f"other, so add users who have more {what}"
        )
    if data.clicks and data.time is None:
        warnings.warn(
            "the clicks have no times, so nothing is learned from their order, and evaluation "
            "takes them in a random one: give a column of times if the order is known",
            stacklevel=5,
        )


def on_levels(data: Interactions, levels: np.ndarray) -> Interactions:
    """The same interactions with each rating as the nearest level."""
    if data.clicks:
        return data
    return replace(data, rating=nearest_levels(data.rating, levels), scale=None)


def inner_folds(n_users: int, seed: int) -> list[np.ndarray]:
    """Folds of users for the meta-level to learn from, with `MAX_META_USERS` in all, or little
    more. For each, the bases learn from all other users.

    Example:
        >>> [len(fold) for fold in inner_folds(100, seed=0)]
        [25, 25, 25, 25]
        >>> [len(fold) for fold in inner_folds(100_000, seed=0)]
        [4000]
    """
    folds = user_folds(n_users, max(N_FOLDS, n_users // MAX_META_USERS), seed)
    return folds[: math.ceil(MAX_META_USERS / len(folds[0]))]


def training_examples(recommender: Recommender, data: Interactions) -> list[MetaExamples]:
    """Examples of the users of each inner fold, in `N_FOLDS` parts or more."""
    parts, folds = [], inner_folds(len(data.users), recommender.seed)
    for fold in track(folds, "inner folds"):
        bases = fit_bases(recommender, data.of_users(np.setdiff1d(range(len(data.users)), fold)))
        for part in np.array_split(fold, math.ceil(N_FOLDS / len(folds))):
            held_out, rng = data.of_users(part), np.random.default_rng(recommender.seed)
            users = recommender.encoder_(held_out.user_columns, len(held_out.users))
            examples = recommender.level_class_.examples
            parts.append(examples(bases, held_out, users, recommender.rating_values_, rng))
        del bases  # before others are learned
    return parts


def fit_bases(recommender: Recommender, data: Interactions) -> dict[str, Base]:
    """Learn all bases: those in closed form side by side in threads, others one by one."""
    n_users, n_items = len(data.users), len(data.items)
    users = recommender.encoder_(data.user_columns, n_users)
    items = AttributeEncoder().fit(data.item_columns, n_items)(data.item_columns, n_items)
    ratings = data.matrix()

    def fitted(name: str) -> Base:
        return recommender.base_classes_[name]().fit(ratings, users, items, recommender.seed)

    others = [*recommender.extra_bases, *recommender.scorers]
    closed_forms = [name for name in recommender.base_classes_ if name not in others]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy and SciPy free the lock
        bases = dict(zip(closed_forms, pool.map(fitted, closed_forms), strict=True))
    return bases | {name: fitted(name) for name in others}


def best_single_level(recommender: Recommender) -> GuardedLevel:
    """The level of the best configuration, for all users."""
    name = str(recommender.best_configuration_)
    level = recommender.single_levels_[recommender.best_configuration_]
    return GuardedLevel({name: level}, [name] * len(SUPPORT_SIZES))


def guarded_level(recommender: Recommender, parts: Sequence[MetaExamples]) -> GuardedLevel:
    """The guard of the meta-level (see `Recommender.guarded_level`)."""
    examples = recommender.examples_
    use_prior = recommender.prior and recommender.n_users <= MAX_PRIOR_USERS
    names = [name for name, (_, prior) in LEVELS.items() if use_prior or not prior]

    def fit(part: MetaExamples, name: str) -> MetaLevel:
        kind, prior = LEVELS[name]
        return recommender.fit_meta_level(part, kind, prior=prior)

    errors = {
        name: cross_validated_errors(lambda part, n=name: fit(part, n), parts)
        for name in track(names, "guards")
    }
    singles = {str(c): level for c, level in recommender.single_levels_.items()}
    errors |= {name: level.errors(examples) for name, level in singles.items()}
    chosen = choose_by_size(errors, examples.inputs.n_known, names)
    blends = {name: fit(examples, name) for name in names if name in chosen}
    return GuardedLevel(singles | blends, chosen)


def restored_level(
    recommender: Recommender, names: Sequence[str], parameters: Mapping[str, Tensor]
) -> GuardedLevel:
    """The meta-level with these levels, whose `parameters` were saved."""
    levels = {}
    for i, name in enumerate(names):
        kind, _ = LEVELS.get(name, ("single", False))
        level = recommender.make_meta_level(kind, recommender.best_configuration_)
        prefix = f"{i}."
        level.parameters = {
            key.removeprefix(prefix): value
            for key, value in parameters.items()
            if key.startswith(prefix)
        }
        levels[name] = level
    return GuardedLevel(levels, [names[int(i)] for i in parameters["chosen"]])


def hashed(user: str) -> str:
    """A name that tells whether a user is known, but not who it is."""
    return hashlib.sha256(user.encode()).hexdigest()[:16]
