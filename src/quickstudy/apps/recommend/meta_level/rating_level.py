"""The meta-level of ratings: an ordinal regression on the blend of the bases.

Shapes: N examples or users, M items, C configurations, F meta-features of a user, G meta-features
of an item, S own ratings of a user, D directions of the step, V rating values, T = V - 1
thresholds, R stored ratings, B bases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases import RATING_BASES
from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    residuals,
    users_of_entries,
)
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.measures import ndcg
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level.base import (
    LevelInputs,
    MetaLevel,
    newton_step,
    tensor,
)
from quickstudy.apps.recommend.meta_level.inputs import (
    Configuration,
    MetaExamples,
    MetaInputs,
    OwnPredictions,
    all_predictions,
    configurations_of,
    rows_of_users,
    support_query_splits,
)

__all__ = ["RatingLevel", "median"]

FEATURE_DAMPING = 3.0
"""Ratings that the average user counts as in the meta-features of a user."""

N_QUERY = 20
"""Queries of a user, at most, in the examples for each support size."""

N_OWN = 30
"""Ratings of a user, at most, that the step is taken on."""

STARS = 4.0
"""Ratings are scaled to 0 to this, so that all but the thresholds means the same on any scale."""

MIN_PROBABILITY = 1e-4
"""Lower bound of probabilities in the likelihood, so that one odd rating does not dominate it."""


class RatingLevel(MetaLevel):
    """P(rating <= value v) = sigmoid((t_v - x_v) / s): proportional odds (McCullagh, "Regression
    Models for Ordinal Data", 1980). x blends the predictions x_c of the configurations:
    x_v = m + sum_c (w_c + d_c p_v) (x_c - m) + b · φ, with m the mean of the item and p_v the
    position of the threshold, from -1 to 1.

    Weights w, thresholds t and log s are linear in the meta-features of the user, and w and log s
    also in those of the item; d is the same for all users (partial proportional odds: Peterson &
    Harrell, "Partial Proportional Odds Models for Ordinal Response Variables", 1990). So a user who
    never gives the best rating gets a high last threshold, one who rates like nobody else gets
    small weights, and a base that is good at finding favourites counts more at the last threshold.

    The step b is taken on the user's own ratings, each predicted from the others. Its directions φ
    are 1, the item's mean, and how far each base moves the rating from the item's mean: so it
    learns how far this user follows the others' opinion, and which base.
    """

    BASES: ClassVar[dict[str, type[Base]]] = RATING_BASES
    DEFAULT_CONFIGURATION = Configuration("bayes", 1.0)
    EXPLAINING_BASE = "bayes"
    LEARNED_ALWAYS = ("thresholds", "log_scale")
    LEARNED_IN_BLENDS = ("weights", "weights_by_threshold", "weights_by_item", "log_scale_by_item")
    LEARNED_BY_USER = (
        "weights_by_user",
        "thresholds_by_user",
        "log_scale_by_user",
        "log_precisions",
        "log_noise",
    )
    PENALTIES: ClassVar[Mapping[str, float]] = {
        "weights": 0.003,
        "weights_by_threshold": 0.003,
        "weights_by_item": 0.01,
        "log_scale_by_item": 0.01,
        "weights_by_user": 0.03,
        "thresholds_by_user": 0.03,
        "log_scale_by_user": 0.03,
        "log_precisions": 1e-4,
        "log_noise": 1e-4,
    }

    INITIAL_LOG_PRECISION = 3.0

    @classmethod
    def inputs(
        cls,
        bases: Mapping[str, Base],
        ratings: Matrix,
        users: np.ndarray,
        rating_values: np.ndarray,
        items: Items = ALL_ITEMS,
    ) -> MetaInputs:
        """Meta-features of a user: log(1 + number of ratings); mean and deviation of the residuals
        from the items' means; the shares of the lowest and the highest rating; mean and log mean
        square of the Bayes model's leave-one-out residuals; and how well each base predicts the
        user's ratings from each other, as the log of its error over that of the items' means. Of an
        item: the logarithms of the Bayes model's predictive variance and of the item's number of
        ratings.
        """
        bayes = bases["bayes"]
        assert isinstance(bayes, BayesianMF)
        star = (rating_values[-1] - rating_values[0]) / STARS
        n_ratings, user = np.diff(ratings.indptr), users_of_entries(ratings)

        def damped_mean(values: np.ndarray, prior: float) -> np.ndarray:
            """The mean of each user's values, (R,) -> (N,)."""
            sums = np.bincount(user, values, len(n_ratings))
            return (sums + FEATURE_DAMPING * prior) / (n_ratings + FEATURE_DAMPING)

        noise = float(bayes.noise_variance) / star**2
        item_means = bases["user_bias"].state()["item_means"]
        item_residuals = residuals(ratings, item_means).data / star  # (R,)
        mean_residual = damped_mean(item_residuals, 0.0)
        variance = damped_mean((item_residuals - mean_residual[user]) ** 2, noise)
        shares = [
            damped_mean((ratings.data == value).astype(float), 1 / len(rating_values))
            for value in rating_values[[0, -1]]
        ]
        predictions, own = all_predictions(bases, ratings, users, items)
        left_out = ratings.data - own[configurations_of(bases).index(cls.DEFAULT_CONFIGURATION)]
        left_out = left_out / star  # (R,)
        user_features = np.column_stack(
            [
                np.log1p(n_ratings),
                mean_residual,
                np.sqrt(variance),
                *shares,
                damped_mean(left_out, 0.0),
                np.log(damped_mean(left_out**2, noise)),
                *cls._log_error_ratios(bases, np.abs(own - ratings.data) / star, damped_mean),
            ]
        )  # (N, F)
        covariance = bayes.posterior(ratings, users).covariance
        variances = bayes.predictive_variance(covariance, items)  # (N, M)
        item_features = np.empty((2, *variances.shape), np.float32)
        item_features[0] = np.log(variances / np.float32(star**2) + np.float32(1e-3))
        item_features[1] = np.log1p(bayes.item_counts[items])
        return MetaInputs(
            predictions,
            user_features,
            np.moveaxis(item_features, 0, -1),  # (N, M, G)
            _own_predictions(ratings, own),
        )

    @staticmethod
    def _log_error_ratios(
        bases: Mapping[str, Base],
        errors: np.ndarray,
        damped_mean: Callable[[np.ndarray, float], np.ndarray],
    ) -> list[np.ndarray]:
        """For each base of `RATING_BASES` but the first, how its mean error over settings compares
        with the items' means, from errors (C, R); and how these compare with their usual ones."""
        usual = 0.8
        of_item_means = damped_mean(errors[0], usual)
        ratios, start = [np.log(of_item_means / usual)], 0
        for name, base in bases.items():
            stop = start + len(base.SETTINGS)
            if name in RATING_BASES and start:
                ratios.append(
                    np.log(damped_mean(errors[start:stop].mean(0), usual) / of_item_means)
                )
            start = stop
        return ratios

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
                asked, position = np.unique(data.item[rows], return_inverse=True)
                inputs = cls.inputs(bases, support[chunk], users[chunk], rating_values, asked)
                with_queries, user = np.unique(data.user[rows], return_inverse=True)  # (N,)
                column = np.arange(len(rows)) - np.searchsorted(user, user)
                items = np.zeros((len(with_queries), N_QUERY), int)
                targets = np.full(items.shape, np.nan)
                items[user, column] = position
                targets[user, column] = data.rating[rows]
                at = np.broadcast_to((with_queries - chunk.start)[:, None], items.shape)
                parts.append(MetaExamples(inputs.select(at, items), targets))
        return MetaExamples.concatenate(parts)

    def errors(self, examples: MetaExamples) -> list[np.ndarray]:
        """The mean absolute error of the medians, and -nDCG@5 when ranked by expected rating, as
        suggestions are, and by expected gain, as in evaluation."""
        p, targets = self.probabilities(examples.inputs), examples.targets
        is_query = np.isfinite(targets)
        errors = np.where(is_query, np.abs(median(p, self.rating_values) - targets), 0)
        lowest = min(0.0, float(self.rating_values[0]))  # no gain is negative
        found = [errors.sum(1) / is_query.sum(1)]
        for utility in (self.rating_values, 2 ** (self.rating_values - lowest)):
            scores = np.where(is_query, p @ utility, -np.inf)
            gains = np.where(is_query, targets - lowest, 0)
            found.append(np.where(is_query.sum(1) > 1, -ndcg(scores, gains), np.nan))
        return found

    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        inputs = examples.inputs
        n_user_features, n_configurations = inputs.user_features.shape[1], len(self.configurations)
        is_query = np.isfinite(examples.targets)  # not padding
        item_features = inputs.item_features[is_query]  # (queries, G)
        n_item_features = item_features.shape[1]
        midpoints = self._stars(tensor((self.rating_values[:-1] + self.rating_values[1:]) / 2))
        scale = 0.5 * STARS * np.nanstd(examples.targets) / np.ptp(self.rating_values) + 1e-3
        n_directions = 2 + len(self._bases_by_configuration().T)
        return {
            "item_feature_means": tensor(item_features.mean(0)),
            "item_feature_stds": tensor(item_features.std(0)) + 1e-6,
            "usual_mean": self._stars(tensor(inputs.predictions[is_query][:, 0])).mean(),
            "weights_by_threshold": torch.zeros(n_configurations),
            "weights_by_item": torch.zeros(n_item_features, n_configurations + 1),
            "thresholds": midpoints,
            "thresholds_by_user": torch.zeros(n_user_features, 2),
            "log_scale": torch.full((), float(np.log(scale))),
            "log_scale_by_item": torch.zeros(n_item_features),
            "log_scale_by_user": torch.zeros(n_user_features),
            "log_precisions": torch.full((n_directions,), self.INITIAL_LOG_PRECISION),
            "log_noise": torch.zeros(()),
        }

    def _probabilities(self, inputs: LevelInputs) -> Tensor:
        p = self.parameters
        users = self._standardised(inputs.user_features)  # (N, F)
        items = (inputs.item_features - p["item_feature_means"]) / p["item_feature_stds"]
        items = items.unbind(-1)  # G of (N, M)
        weights = self._weights(users)
        step = self._step(weights, inputs) if self.kind == "meta" else None
        if step is not None:
            weights = weights + step[:, 2:] @ self._bases_by_configuration().T
        mean = self._stars(inputs.predictions[..., 0])  # m, (N, M)
        unusual = mean - p["usual_mean"]
        by_item, of_mean = p["weights_by_item"].split([len(self.configurations), 1], 1)
        moves = self._moves(inputs.predictions, weights, [*by_item, p["weights_by_threshold"]])
        blend = mean + moves[0]
        for feature, move, weight in zip(items, moves[1:], of_mean, strict=False):
            blend = blend + feature * (move + weight * unusual)
        if step is not None:
            blend = blend + step[:, :1] + step[:, 1:2] * unusual
        log_scale = p["log_scale"] + (users @ p["log_scale_by_user"])[:, None]
        for feature, weight in zip(items, p["log_scale_by_item"], strict=True):
            log_scale = log_scale + weight * feature  # log s, (N, M)
        by_threshold = moves[-1][:, None] * self._threshold_positions()[:, None]  # (N, T, M)
        logits = self._thresholds(users)[:, :, None] - blend[:, None] - by_threshold  # t - x
        cumulative = torch.sigmoid(logits * torch.exp(-log_scale)[:, None])  # P(rating <= v)
        # Thresholds of an unusual user may cross.
        cumulative = torch.stack(list(accumulate(cumulative.unbind(1), torch.maximum)), 1)
        zero = torch.zeros_like(mean)[:, None]
        return torch.diff(cumulative, dim=1, prepend=zero, append=zero + 1).transpose(1, 2)

    def _moves(
        self, predictions: Tensor, weights: Tensor, shared: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """How far weights of the user (N, C), and others that are the same for all users (C,),
        move the stars from the mean of the item: (N, M) each."""
        combined = torch.stack([weights, *(row.expand_as(weights) for row in shared)], 1)
        moved = combined @ predictions.transpose(1, 2)  # (N, n, M)
        moved = moved - combined.sum(2, keepdim=True) * predictions[..., 0][:, None]
        return (moved * (STARS / float(np.ptp(self.rating_values)))).unbind(1)

    def _step(self, weights: Tensor, inputs: LevelInputs) -> Tensor:
        """b, (N, D): the posterior mean given the residuals of the user's own ratings."""
        own, mask = self._stars(inputs.own_predictions), inputs.own_mask
        mean = own[..., 0]  # (N, S)
        residual = self._stars(inputs.own_targets) - mean
        residual = residual - ((own - mean[..., None]) @ weights[:, :, None])[..., 0]
        directions = self._directions(own) * mask[..., None]  # φ, (N, S, D)
        precision = torch.exp(-self.parameters["log_noise"])
        gradient = precision * (directions * residual[..., None]).sum(1)
        information = precision * directions.transpose(1, 2) @ directions
        return newton_step(gradient, information, self.parameters["log_precisions"])

    def _directions(self, stars: Tensor) -> Tensor:
        """φ of predictions (N, M, C): (N, M, D)."""
        mean = stars[..., :1]
        of_bases = (stars - mean) @ self._bases_by_configuration()
        return torch.cat(
            [torch.ones_like(mean), mean - self.parameters["usual_mean"], of_bases], -1
        )

    def _bases_by_configuration(self) -> Tensor:
        """What takes the mean over the settings of each base but the first, (C, B - 1)."""
        names = list(dict.fromkeys(c.base for c in self.configurations))
        belongs = np.array([[c.base == name for name in names[1:]] for c in self.configurations])
        belongs = belongs.reshape(len(self.configurations), -1)
        return tensor(belongs / np.maximum(belongs.sum(0), 1))

    def _thresholds(self, standardised: Tensor) -> Tensor:
        """t, (N, T)."""
        p = self.parameters
        shift, spread = (standardised @ p["thresholds_by_user"])[:, :, None].unbind(1)  # (N, 1)
        return p["thresholds"] + shift + spread * self._threshold_positions()

    def _threshold_positions(self) -> Tensor:
        """p_v, (T,): where each threshold lies, from -1 to 1."""
        n = len(self.rating_values) - 1
        return torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)

    def evidence(self, inputs: MetaInputs) -> dict[str, float]:
        standardised = self._standardised(tensor(inputs.user_features))[0]
        names = list(RATING_BASES)[1:]  # as in `_log_error_ratios`, which come last
        log_error_ratios = standardised[len(standardised) - len(names) :]
        return {name: -float(z) for name, z in zip(names, log_error_ratios, strict=True)}

    def _decide(self, user_features: Tensor, inputs: LevelInputs | None) -> dict[str, Tensor]:
        users = self._standardised(user_features)
        weights, thresholds = self._weights(users), self._thresholds(users)
        if inputs is not None and self.kind == "meta":
            step = self._step(weights, inputs)
            weights = weights + step[:, 2:] @ self._bases_by_configuration().T
            thresholds = thresholds - step[:, :1]  # the first direction moves all ratings
        low, high = self.rating_values[0], self.rating_values[-1]
        return {"weights": weights, "thresholds": low + thresholds * (high - low) / STARS}

    def _stars(self, ratings: Tensor) -> Tensor:
        low, high = float(self.rating_values[0]), float(self.rating_values[-1])
        return STARS * (ratings - low) / (high - low)

    def _loss(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        is_query = torch.isfinite(targets)
        ratings = torch.where(is_query, targets, torch.full((), float(self.rating_values[0])))
        index = torch.searchsorted(tensor(self.rating_values), ratings)  # (N, M)
        likelihood = probabilities.gather(2, index[..., None])[..., 0]
        return -likelihood[is_query].clamp_min(MIN_PROBABILITY).log().mean()


def _own_predictions(ratings: Matrix, predicted: np.ndarray) -> OwnPredictions:
    """Predictions (C, R) of each stored rating by user; of users with more than `N_OWN`, evenly
    spread ones."""
    n_ratings, user = np.diff(ratings.indptr), users_of_entries(ratings)
    rank = np.arange(ratings.nnz) - ratings.indptr[user]
    n_kept = np.minimum(n_ratings, N_OWN)[user]
    column = rank * n_kept // np.maximum(n_ratings[user], 1)
    is_first = (rank == 0) | (column != (rank - 1) * n_kept // np.maximum(n_ratings[user], 1))
    user, column = user[is_first], column[is_first]
    predictions = np.zeros((len(n_ratings), N_OWN, len(predicted)))
    targets = np.full(predictions.shape[:2], np.nan)
    predictions[user, column] = predicted[:, is_first].T
    targets[user, column] = ratings.data[is_first]
    return OwnPredictions(predictions, targets, np.zeros(targets.shape))


def median(probabilities: np.ndarray, rating_values: np.ndarray) -> np.ndarray:
    """The median rating under probabilities of the rating values, (..., V) -> (...)."""
    return rating_values[(probabilities.cumsum(-1)[..., :-1] < 0.5).sum(-1)]
