"""The meta-level of ratings: an ordinal regression on the blend of the bases.

Shapes: N examples or users, M items, C configurations, F meta-features of a user, G meta-features
of an item, V rating values, T = V - 1 thresholds, R stored ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases import RATING_BASES
from quickstudy.apps.recommend.bases.base import Base, Matrix, residuals, users_of_entries
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.measures import ndcg
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level.base import MetaLevel, tensor
from quickstudy.apps.recommend.meta_level.inputs import (
    Configuration,
    MetaExamples,
    MetaInputs,
    base_predictions,
    rows_of_users,
    support_query_splits,
)

__all__ = ["RatingLevel", "median"]

FEATURE_DAMPING = 3.0
"""Ratings that the average user counts as in the meta-features of a user."""

N_QUERY = 20
"""Queries of a user, at most, in the examples for each support size."""

MIN_PROBABILITY = 1e-4
"""Lower bound of probabilities in the likelihood, so that one odd rating does not dominate it."""


class RatingLevel(MetaLevel):
    """P(rating <= value v) = sigmoid((t_v - x_v) / s): proportional odds (McCullagh, "Regression
    Models for Ordinal Data", 1980). x blends the predictions x_c of the configurations:
    x_v = m + sum_c (w_c + d_cv) (x_c - m), with m the mean of the item.

    Weights w, thresholds t and log s are linear in the meta-features of the user, and log s also in
    those of the item; d is the same for all users (partial proportional odds: Peterson & Harrell,
    "Partial Proportional Odds Models for Ordinal Response Variables", 1990). So a user who never
    gives the best rating gets a high last threshold, one who rates like nobody else gets small
    weights, and a base that is good at finding favourites counts more at the last threshold.

    The likelihood does not see the ranking of items. So for users without ratings, x - m and the
    meta-features of items are multiplied by a weight: the largest of `COLD_START_WEIGHTS` whose
    ranking of held-out items is not worse than that by m, where worse is a mean nDCG@5 that is
    lower by more than its standard error. With weight 0 the ranking is that by m. With ratings
    known the weight is 1.
    """

    BASES: ClassVar[dict[str, type[Base]]] = RATING_BASES
    DEFAULT_CONFIGURATION = Configuration("bayes", 1.0)
    EXPLAINING_BASE = "bayes"
    LEARNED_ALWAYS = ("thresholds", "log_scale")
    LEARNED_IN_BLENDS = ("weights", "weights_by_threshold")
    LEARNED_BY_USER = ("weights_by_user", "thresholds_by_user", "log_scale_by_features")
    L2_PENALTY = 0.03

    COLD_START_WEIGHTS = (1.0, 0.5, 0.0)

    @classmethod
    def inputs(
        cls,
        bases: Mapping[str, Base],
        ratings: Matrix,
        users: np.ndarray,
        rating_values: np.ndarray,
    ) -> MetaInputs:
        """Meta-features of a user: log(1 + number of ratings); mean and deviation of the residuals
        from the items' means; the share of each rating value; mean and log mean square of the Bayes
        model's leave-one-out residuals. Of an item: the logarithms of the Bayes model's predictive
        variance and of the item's number of ratings.
        """
        bayes = bases["bayes"]
        assert isinstance(bayes, BayesianMF)
        n_ratings, user = np.diff(ratings.indptr), users_of_entries(ratings)

        def damped_mean(values: np.ndarray, prior: float) -> np.ndarray:
            """The mean of each user's values, (R,) -> (N,)."""
            sums = np.bincount(user, values, len(n_ratings))
            return (sums + FEATURE_DAMPING * prior) / (n_ratings + FEATURE_DAMPING)

        noise = float(bayes.noise_variance)
        item_residuals = residuals(ratings, bases["user_bias"].state()["item_means"]).data  # (R,)
        mean_residual = damped_mean(item_residuals, 0.0)
        variance = damped_mean((item_residuals - mean_residual[user]) ** 2, noise)
        shares = [
            damped_mean((ratings.data == value).astype(float), 1 / len(rating_values))
            for value in rating_values
        ]
        posterior = bayes.posterior(ratings, users)
        left_out = bayes.leave_one_out_residuals(ratings, posterior)  # (R,)
        user_features = np.column_stack(
            [
                np.log1p(n_ratings),
                mean_residual,
                np.sqrt(variance),
                *shares,
                damped_mean(left_out, 0.0),
                np.log(damped_mean(left_out**2, noise)),
            ]
        )  # (N, F)
        log_variance = np.log(bayes.predictive_variance(posterior.covariance) + 1e-3)  # (N, M)
        log_counts = np.broadcast_to(np.log1p(bayes.item_counts), log_variance.shape)
        item_features = np.stack([log_variance, log_counts], -1)  # (N, M, G)
        return MetaInputs(base_predictions(bases, ratings, users), user_features, item_features)

    @classmethod
    def examples(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        rating_values: np.ndarray,
        rng: np.random.Generator,
    ) -> MetaExamples:
        parts = []
        splits = support_query_splits(data, lambda: rng.random(len(data.rating)), N_QUERY)
        for support, query_rows in splits:
            for chunk in chunks(len(users), len(data.items)):
                rows = rows_of_users(data, query_rows, chunk)
                inputs = cls.inputs(bases, support[chunk], users[chunk], rating_values)
                user = data.user[rows] - chunk.start
                one_item_each = inputs.select(user[:, None], data.item[rows][:, None])
                parts.append(MetaExamples(one_item_each, data.rating[rows][:, None], user))
        return MetaExamples.concatenate(parts)

    def fit(self, examples: MetaExamples) -> Self:
        super().fit(examples)
        self._set_cold_start_weight(examples)
        return self

    def selection_error(self, examples: MetaExamples) -> float:
        """The mean absolute error of the medians."""
        return float(np.abs(self.median(examples.inputs) - examples.targets).mean())

    def median(self, inputs: MetaInputs) -> np.ndarray:
        """The rating with the least expected absolute error, (N, M)."""
        return median(self.probabilities(inputs), self.rating_values)

    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        inputs = examples.inputs
        n_user_features = inputs.user_features.shape[1]
        item_features = inputs.item_features[:, 0]  # (N, G)
        midpoints = (self.rating_values[:-1] + self.rating_values[1:]) / 2  # (T,)
        initial_scale = 0.5 * examples.targets.std() + 1e-3
        return {
            "item_feature_means": tensor(item_features.mean(0)),
            "item_feature_stds": tensor(item_features.std(0)) + 1e-6,
            "weights_by_threshold": torch.zeros(inputs.predictions.shape[-1], len(midpoints)),
            "thresholds": tensor(midpoints),
            "thresholds_by_user": torch.zeros(n_user_features, len(midpoints)),
            "log_scale": torch.full((), float(np.log(initial_scale))),
            "log_scale_by_features": torch.zeros(n_user_features + item_features.shape[1]),
            "cold_start_weight": torch.ones(()),
        }

    def _set_cold_start_weight(self, examples: MetaExamples) -> None:
        without_ratings = np.flatnonzero(examples.inputs.user_features[:, 0] == 0)
        groups = _rows_by_group(examples.groups[without_ratings])
        first_item = np.zeros((len(without_ratings), 1), int)
        inputs = examples.inputs.select(without_ratings[:, None], first_item)
        lowest = min(0.0, float(self.rating_values[0]))  # no gain is negative
        gains = examples.targets[without_ratings, 0] - lowest

        def ndcg_of_groups(scores: np.ndarray) -> np.ndarray:
            return np.concatenate([[], *(ndcg(scores[rows], gains[rows]) for rows in groups)])

        by_item_mean = ndcg_of_groups(inputs.predictions[:, 0, 0])
        # suggestions are ranked by expected rating, evaluation ranks by expected gain
        utilities = self.rating_values, 2 ** (self.rating_values - lowest)
        for weight in self.COLD_START_WEIGHTS:
            self.parameters["cold_start_weight"] = torch.tensor(weight)
            p = self.probabilities(inputs)[:, 0]  # (n, V)
            differences = [ndcg_of_groups(p @ utility) - by_item_mean for utility in utilities]
            if not any(map(_is_negative, differences)):
                break

    def _decide(self, user_features: Tensor) -> dict[str, Tensor]:
        weights = super()._decide(user_features)["weights"]
        cold_start_weight = self._cold_start_weight(user_features)[:, None]
        thresholds = self._thresholds(self._standardised(user_features))
        return {"weights": weights * cold_start_weight, "thresholds": thresholds}

    def _cold_start_weight(self, user_features: Tensor) -> Tensor:
        """The learned weight for users without ratings, 1 for others, (N,)."""
        weight = self.parameters["cold_start_weight"]
        return torch.where(user_features[:, 0] == 0, weight, torch.ones(()))

    def _thresholds(self, standardised: Tensor) -> Tensor:
        """t, (N, T)."""
        p = self.parameters
        return p["thresholds"] + standardised @ p["thresholds_by_user"]

    def _probabilities(
        self, predictions: Tensor, user_features: Tensor, item_features: Tensor
    ) -> Tensor:
        p = self.parameters
        cold_start_weight = self._cold_start_weight(user_features)[:, None, None]
        users = self._standardised(user_features)  # (N, F)
        items = (
            cold_start_weight * (item_features - p["item_feature_means"]) / p["item_feature_stds"]
        )  # (N, M, G)
        weights = self._weights(users)[:, :, None] + p["weights_by_threshold"]  # w + d, (N, C, T)
        weights = cold_start_weight * weights
        item_mean = predictions[..., :1]  # m, (N, M, 1)
        blend = item_mean + (predictions - item_mean) @ weights  # x, (N, M, T)
        by_user, by_item = p["log_scale_by_features"].split([users.shape[1], items.shape[2]])
        log_scale = p["log_scale"] + (users @ by_user)[:, None] + items @ by_item  # log s, (N, M)
        logits = self._thresholds(users)[:, None] - blend  # t - x, (N, M, T)
        cumulative = torch.sigmoid(logits * torch.exp(-log_scale)[..., None])  # P(rating <= v)
        cumulative = torch.cummax(cumulative, 2).values  # thresholds of an unusual user may cross
        zero = torch.zeros_like(item_mean)
        return torch.cat([cumulative, zero + 1], 2) - torch.cat([zero, cumulative], 2)

    def _loss(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        index = torch.searchsorted(tensor(self.rating_values), targets)  # (N, M)
        likelihood = probabilities.gather(2, index[..., None])
        return -likelihood.clamp_min(MIN_PROBABILITY).log().mean()


def _rows_by_group(groups: np.ndarray) -> list[np.ndarray]:
    """Positions of the examples of each group of two or more, as arrays (n_groups, size), one for
    each size."""
    order = np.argsort(groups, kind="stable")
    _, start, counts = np.unique(groups[order], return_index=True, return_counts=True)
    return [
        order[start[counts == size][:, None] + np.arange(size)]
        for size in np.unique(counts)
        if size > 1
    ]


def _is_negative(values: np.ndarray) -> bool:
    """Whether a mean is below 0 by more than its standard error."""
    n = len(values)
    return n > 1 and bool(values.mean() < -values.std(ddof=1) / np.sqrt(n))


def median(probabilities: np.ndarray, rating_values: np.ndarray) -> np.ndarray:
    """The median rating under probabilities of the rating values, (..., V) -> (...)."""
    return rating_values[(probabilities.cumsum(-1)[..., :-1] < 0.5).sum(-1)]
