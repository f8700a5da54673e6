"""The level above bases of ratings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.implicit_feedback import BayesChooser, BayesGains
from quickstudy.apps.recommend.bases.ratings import BASES, Base, BayesUser, Matrix
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.measures import ndcg
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level.base import (
    Drawn,
    MetaLevel,
    Seen,
    predictions,
    tasks,
    tensor,
)

__all__ = ["RatingLevel", "median"]

PRIOR = 3.0
"""Ratings that the average user counts as in the description of one."""

N_QUERY = 20
"""Ratings of a user, at most, that the meta-level is trained on, for each support set."""


class RatingLevel(MetaLevel):
    """P(rating <= level l) = sigmoid((t_l - x) / s): proportional odds (McCullagh, "Regression
    models for ordinal data", 1980), where x blends what the actions expect:
    x = m + sum_a (w_a + d_al) (x_a - m), with m the mean of the item.

    Weights w, thresholds t and log s are linear in the description of the user, and log s also in
    the doubts about the item; d is the same for all users (partial proportional odds: Peterson &
    Harrell, "Partial Proportional Odds Models for Ordinal Response Variables", 1990). So a user who
    never gives the best rating has a high last threshold, one who rates like nobody else has small
    weights, and a base that knows what will be loved counts more at the last threshold.

    The likelihood does not see the order of items. So for users of whom no rating is known, x - m
    and the doubts are multiplied by a trust: the largest of `TRUSTS` whose order of the training
    users' held-out ratings is not worse than that of m, by a mean nDCG@5 that is lower by more than
    its standard error. At 0 the order is that of m. With ratings known the trust is 1: there
    it would take away from the predictions what they gain from these.
    """

    BASES: ClassVar[dict[str, type[Base]]] = {
        **BASES,
        "chooser": BayesChooser,
        "gains": BayesGains,
    }
    START = ("bayes", 1.0)
    REASONS = "bayes"
    LEARNED = ("thresholds", "spread")
    BLENDED = ("weights", "weights_at")
    TRUSTS = (1.0, 0.5, 0.0)
    RIDGE = 0.03

    @classmethod
    def see(
        cls, bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray, levels: np.ndarray
    ) -> Seen:
        """The users are described by the number of ratings; how far and how widely these are from
        the items' means; how often each level was given; how wrong the Bayes model is on a rating
        when it knows the others. Of items there are doubts: the logarithms of the Bayes model's
        variance and of the item's ratings.
        """
        bayes = bases["bayes"]
        assert isinstance(bayes, BayesUser)
        n = np.diff(ratings.indptr)
        of = np.repeat(np.arange(len(n)), n)

        def mean(values: np.ndarray, usual: float) -> np.ndarray:
            return (np.bincount(of, values, len(n)) + PRIOR * usual) / (n + PRIOR)

        noise = float(bayes.noise)
        left = ratings.data - bases["user_bias"].state()["means"][ratings.indices]
        shift = mean(left, 0.0)
        spread = mean((left - shift[of]) ** 2, noise)
        shares = [mean((ratings.data == level).astype(float), 1 / len(levels)) for level in levels]
        z, doubt = bayes.posterior(ratings, users)
        missed = bayes.left_out(ratings, z, doubt)
        wrong = np.log(mean(missed**2, noise))
        described = np.column_stack(
            [np.log1p(n), shift, np.sqrt(spread), *shares, mean(missed, 0.0), wrong]
        )
        variance = np.log(bayes.variance(doubt) + 1e-3)
        popular = np.broadcast_to(np.log1p(bayes.counts), variance.shape)
        doubts = np.stack([variance, popular], -1)
        return Seen(predictions(bases, ratings, users), described, doubts)

    @classmethod
    def draw(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        levels: np.ndarray,
        rng: np.random.Generator,
    ) -> Drawn:
        parts = []
        for ratings, asked in tasks(data, lambda: rng.random(len(data.rating)), N_QUERY):
            for part in chunks(len(users), len(data.items)):
                rows = asked[(data.user[asked] >= part.start) & (data.user[asked] < part.stop)]
                seen = cls.see(bases, ratings[part], users[part], levels)
                user = data.user[rows] - part.start
                seen = seen.at(user[:, None], data.item[rows][:, None])
                parts.append(Drawn(seen, data.rating[rows][:, None], user))
        return Drawn.of(parts)

    def fit(self, drawn: Drawn) -> Self:
        super().fit(drawn)
        self._set_trust(drawn)
        return self

    def error(self, drawn: Drawn) -> float:
        """Mean absolute error of the medians."""
        return float(np.abs(self.median(drawn.seen) - drawn.target).mean())

    def median(self, seen: Seen) -> np.ndarray:
        """The rating of the least expected absolute error, (n, n_items)."""
        return median(self.distribution(seen), self.levels)

    def _start(self, drawn: Drawn) -> dict[str, Tensor]:
        n_users, doubts = drawn.seen.users.shape[1], drawn.seen.items[:, 0]
        gaps = (self.levels[:-1] + self.levels[1:]) / 2
        return {
            "items_middle": tensor(doubts.mean(0)),
            "items_scale": tensor(doubts.std(0)) + 1e-6,
            "weights_at": torch.zeros(drawn.seen.expected.shape[-1], len(gaps)),
            "thresholds": tensor(gaps),
            "thresholds_by_user": torch.zeros(n_users, len(gaps)),
            "spread": torch.full((), float(np.log(0.5 * drawn.target.std() + 1e-3))),
            "spread_by": torch.zeros(n_users + doubts.shape[1]),
            "trust": torch.ones(()),
        }

    def _set_trust(self, drawn: Drawn) -> None:
        rows = np.flatnonzero(drawn.seen.users[:, 0] == 0)
        groups = _rows_by_group(drawn.group[rows])
        cases = drawn.seen.at(rows[:, None], np.zeros((len(rows), 1), int))
        least = min(0.0, float(self.levels[0]))  # no gain is negative
        target = drawn.target[rows, 0] - least

        def gains(scores: np.ndarray) -> np.ndarray:
            return np.concatenate([[], *(ndcg(scores[g], target[g]) for g in groups)])

        usual = gains(cases.expected[:, 0, 0])
        orders = self.levels, 2 ** (self.levels - least)  # of suggestions, of evaluation
        for trust in self.TRUSTS:
            self.parameters["trust"] = torch.tensor(trust)
            p = self.distribution(cases)[:, 0]
            if not any(_is_negative(gains(p @ order) - usual) for order in orders):
                break

    def _decide(self, users: Tensor) -> dict[str, Tensor]:
        weights = super()._decide(users)["weights"] * self._trust(users)[:, None]
        return {"weights": weights, "thresholds": self._thresholds(self._standard(users))}

    def _trust(self, users: Tensor) -> Tensor:
        """How far to go from the item's mean, (n,)."""
        trust = self.parameters.get("trust", torch.ones(()))  # not in older files
        return torch.where(users[:, 0] == 0, trust, torch.ones(()))

    def _thresholds(self, users: Tensor) -> Tensor:
        p = self.parameters
        return p["thresholds"] + users @ p["thresholds_by_user"]

    def _distribution(self, expected: Tensor, users: Tensor, items: Tensor) -> Tensor:
        p, trust = self.parameters, self._trust(users)[:, None, None]
        users = self._standard(users)
        doubt = trust * (items - p["items_middle"]) / p["items_scale"]
        mean = expected[..., :1]
        weights = self._weights(users)[:, :, None] + p["weights_at"]  # (n, n_actions, n_levels - 1)
        weights = trust * weights
        blended = mean + (expected - mean) @ weights  # (n, n_items, n_levels - 1)
        by_user, by_item = p["spread_by"].split([users.shape[1], doubt.shape[2]])
        spread = p["spread"] + (users @ by_user)[:, None] + doubt @ by_item  # (n, n_items)
        distance = self._thresholds(users)[:, None] - blended  # (n, n_items, n_levels - 1)
        below = torch.sigmoid(distance * torch.exp(-spread)[..., None])
        below = torch.cummax(below, 2).values  # thresholds of an odd user may cross
        edge = torch.zeros_like(mean)
        return torch.cat([below, edge + 1], 2) - torch.cat([edge, below], 2)

    def _loss(self, probabilities: Tensor, target: Tensor) -> Tensor:
        at = torch.searchsorted(tensor(self.levels), target)
        return -probabilities.gather(2, at[..., None]).clamp_min(1e-4).log().mean()


def _rows_by_group(group: np.ndarray) -> list[np.ndarray]:
    """Positions of the cases of each group of two or more, those of equal size together: arrays of
    shape (n_groups, size)."""
    order = np.argsort(group, kind="stable")
    _, start, counts = np.unique(group[order], return_index=True, return_counts=True)
    return [
        order[start[counts == size][:, None] + np.arange(size)]
        for size in np.unique(counts)
        if size > 1
    ]


def _is_negative(values: np.ndarray) -> bool:
    """Whether a mean is below 0 by more than its standard error."""
    n = len(values)
    return n > 1 and bool(values.mean() < -values.std(ddof=1) / np.sqrt(n))


def median(probabilities: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Of ratings with some probabilities of levels, (..., n_levels)."""
    return levels[(probabilities.cumsum(-1)[..., :-1] < 0.5).sum(-1)]
