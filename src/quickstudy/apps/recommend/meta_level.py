"""The level above: for each user, how far to trust which base recommender, and how to read it.

An action is a base recommender with a setting. From a user's few ratings and attributes the
meta-level decides on a blend of the actions, and on what this user means by a rating: where a 4
begins, and how widely ratings scatter. Both are learned across training users, on ratings that
neither the bases nor the support had seen. What comes out is a probability for each rating.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases import BASES, Base, BayesUser, Matrix

__all__ = [
    "ACTIONS",
    "START",
    "Action",
    "Kind",
    "MetaLevel",
    "describe",
    "median",
    "predictions",
]

Action = tuple[str, float]

ACTIONS: list[Action] = [
    (name, setting) for name, base in BASES.items() for setting in base.SETTINGS
]
"""The first is the mean of the item."""

START: Action = ("bayes", 1.0)

MOST_LEVELS = 20
PRIOR = 3.0
"""Ratings that the average user counts as in the description of one."""

Kind = Literal["single", "blend", "meta"]


def predictions(bases: dict[str, Base], ratings: Matrix, users: np.ndarray) -> np.ndarray:
    """What each action expects, (n_users, n_items, n_actions)."""
    found = np.concatenate([bases[name].predict(ratings, users) for name in BASES])
    return np.moveaxis(found, 0, -1)


def describe(
    bases: dict[str, Base], ratings: Matrix, users: np.ndarray, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the meta-level decides by.

    Returns:
        The users, (n_users, d): the number of ratings; how far and how widely these are from the
        items' means; how often each level was given; how wrong the Bayes model is on a rating when
        it knows the others; attributes. And the doubts about each rating to predict, (n_users,
        n_items, 2): the logarithms of the Bayes model's variance and of the item's ratings.
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
        [np.log1p(n), shift, np.sqrt(spread), *shares, mean(missed, 0.0), wrong, users[:, 1:]]
    )
    variance = np.log(bayes.variance(doubt) + 1e-3)
    popular = np.broadcast_to(np.log1p(bayes.counts), variance.shape)
    return described, np.stack([variance, popular], -1)


def median(probabilities: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Of ratings with some probabilities of levels, (..., n_levels)."""
    return levels[(probabilities.cumsum(-1)[..., :-1] < 0.5).sum(-1)]


class MetaLevel:
    """P(rating <= level l) = sigmoid((t_l - x) / s): proportional odds (McCullagh, "Regression
    models for ordinal data", 1980), where x blends what the actions expect:
    x = m + sum_a w_a (x_a - m), with m the mean of the item.

    Weights w, thresholds t and log s are linear in the description of the user, and log s also in
    the doubts about the item. So a user who never gives the best rating has a high last threshold,
    and one who rates like nobody else has small weights.

    Args:
        levels: The different ratings, ascending.
        kind: "meta" as told; "blend", the same weights, thresholds and scale for all users;
            "single", one action for all.
        action: Of "single", and what the weights of others begin at.
    """

    STEPS = 60
    RIDGE = 1e-3

    def __init__(self, levels: np.ndarray, kind: Kind = "meta", action: Action = START) -> None:
        self.levels = levels
        self.kind: Kind = kind
        self.action = action
        self.parameters: dict[str, Tensor] = {}

    def fit(
        self, expected: np.ndarray, users: np.ndarray, doubt: np.ndarray, rating: np.ndarray
    ) -> Self:
        """Learn from ratings of training users.

        Args:
            expected: By each action, (n, n_actions).
            users: Who each rating is of, described, (n, d).
            doubt: About each, (n, 2).
            rating: Shape (n,).
        """
        n_actions, n_users, n_doubts = expected.shape[1], users.shape[1], doubt.shape[1]
        gaps = (self.levels[:-1] + self.levels[1:]) / 2
        weights = torch.zeros(n_actions)
        weights[ACTIONS.index(self.action)] = 1.0
        self.parameters = {
            "middle": _tensor(np.concatenate([users.mean(0), doubt.mean(0)])),
            "scale": _tensor(np.concatenate([users.std(0), doubt.std(0)])) + 1e-6,
            "weights": weights,
            "weights_by_user": torch.zeros(n_users, n_actions),
            "thresholds": _tensor(gaps),
            "thresholds_by_user": torch.zeros(n_users, len(gaps)),
            "spread": torch.full((), float(np.log(0.5 * rating.std() + 1e-3))),
            "spread_by": torch.zeros(n_users + n_doubts),
        }
        learned = ["thresholds", "spread"]
        learned += ["weights"] if self.kind != "single" else []
        by_user = [name for name in self.parameters if "by" in name] if self.kind == "meta" else []
        chosen = [self.parameters[name].requires_grad_() for name in learned + by_user]
        data = [_tensor(a) for a in (expected[:, None], users, doubt[:, None])]
        at = torch.tensor(np.searchsorted(self.levels, rating))[:, None]
        optimizer = torch.optim.LBFGS(
            chosen, max_iter=self.STEPS, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            p = self._distribution(*data)[:, 0].gather(1, at)
            value = -p.clamp_min(1e-4).log().mean()
            for name in by_user:
                value = value + self.RIDGE * self.parameters[name].square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        self.parameters = {name: p.detach() for name, p in self.parameters.items()}
        return self

    @property
    def average(self) -> np.ndarray:
        """The description of the average training user, (1, d)."""
        return self.parameters["middle"][: len(self.parameters["weights_by_user"])].numpy()[None]

    def decisions(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the actions and thresholds of the levels but the last, for each user."""
        standard = self._standard(_tensor(users), 0)
        return self._weights(standard).numpy(), self._thresholds(standard).numpy()

    def median(self, expected: np.ndarray, users: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """The rating of the least expected absolute error, (n, n_items)."""
        return median(self.distribution(expected, users, doubt), self.levels)

    def distribution(
        self, expected: np.ndarray, users: np.ndarray, doubt: np.ndarray
    ) -> np.ndarray:
        """A probability for each level, (n, n_items, n_levels).

        Args:
            expected: By each action, (n, n_items, n_actions).
            users: Described, (n, d).
            doubt: About each rating, (n, n_items, 2).
        """
        return self._distribution(*(_tensor(a) for a in (expected, users, doubt))).numpy()

    def _weights(self, users: Tensor) -> Tensor:
        p = self.parameters
        return p["weights"] + users @ p["weights_by_user"]

    def _thresholds(self, users: Tensor) -> Tensor:
        p = self.parameters
        return p["thresholds"] + users @ p["thresholds_by_user"]

    def _distribution(self, expected: Tensor, users: Tensor, doubt: Tensor) -> Tensor:
        p = self.parameters
        users, doubt = self._standard(users, 0), self._standard(doubt, users.shape[1])
        mean, weights = expected[..., :1], self._weights(users)[:, :, None]
        blended = mean + (expected - mean) @ weights  # (n, n_items, 1)
        by_user, by_item = p["spread_by"].split([users.shape[1], doubt.shape[2]])
        spread = p["spread"] + (users @ by_user)[:, None] + doubt @ by_item  # (n, n_items)
        distance = self._thresholds(users)[:, None] - blended  # (n, n_items, n_levels - 1)
        below = torch.sigmoid(distance * torch.exp(-spread)[..., None])
        below = torch.cummax(below, 2).values  # thresholds of an odd user may cross
        edge = torch.zeros_like(blended)
        return torch.cat([below, edge + 1], 2) - torch.cat([edge, below], 2)

    def _standard(self, values: Tensor, start: int) -> Tensor:
        part = slice(start, start + values.shape[-1])
        return (values - self.parameters["middle"][part]) / self.parameters["scale"][part]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
