"""Interactions with items numbered as in training.

Shapes: n interactions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from quickstudy.apps.recommend.checks import check_on_scale
from quickstudy.apps.recommend.identifiers import Unknown
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.errors import DataError

if TYPE_CHECKING:
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = ["aligned"]


def aligned(recommender: Recommender, data: Interactions, unknown: Unknown) -> Interactions:
    """The same interactions with the items of a recommender (see `Recommender.align`)."""
    interacted = np.unique(data.item)
    position = np.full(len(data.items), -1)
    names = [data.items[i] for i in interacted]
    position[interacted] = recommender.positions(names, unknown, "rated items")
    known = position[data.item] >= 0
    if not known.any():
        raise DataError(
            f"expected items of the training data, got none: {names[0]!r} is not among them"
        )
    if recommender.clicks_:
        data = data.as_clicks()
    elif data.clicks:
        raise DataError("expected ratings, as there were in training, got clicks")
    if recommender.clicks_ and recommender.ordered_ and data.time is None:
        raise DataError(
            "expected times, as in training, got none: the order of clicks is learned from"
        )
    check_on_scale(data.rating, recommender.scale_)
    return replace(
        data,
        items=recommender.items_,
        user=data.user[known],
        item=position[data.item[known]],
        rating=data.rating[known],
        time=None if data.time is None else data.time[known],
        item_columns={},
        titles=recommender.titles_,
        scale=None,
    )
