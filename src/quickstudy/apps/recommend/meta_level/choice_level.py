"""The level above bases of what is chosen next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.clicks import CLICK_BASES, UNORDERED_CLICK_BASES
from quickstudy.apps.recommend.bases.ratings import Base, Matrix
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level.base import (
    Drawn,
    MetaLevel,
    Seen,
    predictions,
    tasks,
    tensor,
)

__all__ = ["ChoiceLevel", "UnorderedChoiceLevel"]

N_NEXT = 10
"""Choices of a user, at most, that the meta-level is trained on, for each support set."""

N_OTHERS = 300
"""Items that these are told from."""

NEVER = -1e9
"""Log-odds of what was chosen already."""


class ChoiceLevel(MetaLevel):
    """P(item i is next) = exp(x_i) / sum_j exp(x_j) over what was not chosen yet: a conditional
    logit (McFadden, "Conditional logit analysis of qualitative choice behavior", 1974), where
    x = sum_a w_a x_a blends the scores of the actions with weights linear in the description of the
    user.

    It learns from a sample of items, drawn the more often the more popular they are, whose
    exponentials count accordingly more.
    """

    BASES = CLICK_BASES
    START = ("neighbours", np.inf)
    REASONS = "linear"
    LEARNED = ("sharpness",)

    @classmethod
    def see(
        cls, bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray, levels: np.ndarray
    ) -> Seen:
        """The users are described by the number of choices, and whether there are any; how popular
        these are, and how differently so; attributes. Of items there is the log-odds to add."""
        n = np.diff(ratings.indptr)
        of = np.repeat(np.arange(len(n)), n)
        popular = np.log1p(bases["popularity"].state()["counts"])
        usual = float(np.average(popular, weights=np.expm1(popular)))

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(of, values, len(n)) / np.maximum(n, 1)

        middle = mean(popular[ratings.indices] - usual)
        spread = mean((popular[ratings.indices] - usual - middle[of]) ** 2)
        described = np.column_stack(
            [np.log1p(n), np.sqrt(n), n > 0, middle, np.sqrt(spread), users[:, 1:]]
        )
        odds = np.zeros((len(users), len(popular), 1))
        odds[ratings.nonzero()] = NEVER
        return Seen(predictions(bases, ratings, users), described, odds)

    @classmethod
    def draw(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        levels: np.ndarray,
        rng: np.random.Generator,
    ) -> Drawn:
        order = cls.order(data, rng)
        share = np.sqrt(bases["popularity"].state()["counts"] + 1)
        share /= share.sum()
        parts = []
        for ratings, asked in tasks(data, order, N_NEXT):
            for users_at in chunks(len(users), len(share)):
                of = data.user[asked] - users_at.start
                rows = asked[(of >= 0) & (of < users_at.stop - users_at.start)]
                user, item = data.user[rows] - users_at.start, data.item[rows]
                who = np.unique(user)
                seen = cls.see(bases, ratings[users_at], users[users_at], levels)
                chosen = np.zeros((len(seen.users), len(share)), bool)
                chosen[user, item] = True
                others = rng.choice(len(share), (len(who), N_OTHERS), p=share)
                found = np.full((len(who), N_NEXT), -1)
                place = np.arange(len(rows)) - np.searchsorted(user, user)
                found[np.searchsorted(who, user), place] = item
                items = np.concatenate([found, others], 1)
                part = seen.at(np.broadcast_to(who[:, None], items.shape), items)
                target = np.zeros(items.shape)
                target[:, :N_NEXT] = found >= 0
                part.items[:, :N_NEXT][found < 0] = NEVER
                part.items[:, N_NEXT:, 0] -= np.log(N_OTHERS * share[others])
                part.items[:, N_NEXT:][chosen[who[:, None], others]] = NEVER
                parts.append(Drawn(part, target, np.arange(len(who))))
        return Drawn.of(parts)

    @classmethod
    def order(cls, data: Interactions, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        """Gives what interactions are ordered by for each size of support set."""
        places = data.places()
        return lambda: places

    def error(self, drawn: Drawn) -> float:
        """What nDCG@10 of all items is short of 1. Of those ahead of a choice, each that is sampled
        stands for as many as it counts for."""
        seen = drawn.seen
        scores = self._scores(tensor(seen.expected), tensor(seen.users))[..., 0].numpy()
        counts, chosen = np.exp(seen.items[..., 0]), drawn.target[:, :N_NEXT]
        ahead = scores[:, None] > scores[:, :N_NEXT, None]  # (n, N_NEXT, n_items)
        rank = (ahead @ counts[:, :, None])[..., 0]
        gain = np.where(rank < 10, chosen / np.log2(rank + 2), 0).sum(1)
        most = np.cumsum(1 / np.log2(np.arange(2, N_NEXT + 2)))
        return 1 - float((gain / most[chosen.sum(1).astype(int) - 1]).mean())

    def _start(self, drawn: Drawn) -> dict[str, Tensor]:
        return {"sharpness": torch.zeros(())}

    def _distribution(self, expected: Tensor, users: Tensor, items: Tensor) -> Tensor:
        return torch.softmax(self._scores(expected, users) + items, 1)

    def _scores(self, expected: Tensor, users: Tensor) -> Tensor:
        weights = self._weights(self._standard(users)) * self.parameters["sharpness"].exp()
        return expected @ weights[:, :, None]

    def _loss(self, probabilities: Tensor, target: Tensor) -> Tensor:
        return -(target * probabilities[..., 0].clamp_min(1e-12).log()).sum() / target.sum()


class UnorderedChoiceLevel(ChoiceLevel):
    """The same above bases that know of no order: what is chosen else, not what is next."""

    BASES = UNORDERED_CLICK_BASES

    @classmethod
    def order(cls, data: Interactions, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        return lambda: rng.random(len(data.rating))
