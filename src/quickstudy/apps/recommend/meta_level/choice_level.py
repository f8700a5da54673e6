"""The meta-level of clicks: a conditional logit of what is chosen next.

Shapes: U users, I items, N examples or users, M items of an example, C configurations, F
meta-features of a user. An item has one meta-feature, an offset that is added to its logit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.base import Base, Matrix, users_of_entries
from quickstudy.apps.recommend.bases.clicks import CLICK_BASES, UNORDERED_CLICK_BASES
from quickstudy.apps.recommend.interactions import Interactions
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

__all__ = ["ChoiceLevel", "UnorderedChoiceLevel"]

N_POSITIVES = 10
"""Clicks after the support set, at most, that are targets of an example."""

N_NEGATIVES = 300
"""Items that are sampled into the denominator of the softmax, for each example."""

EXCLUDED = -1e9
"""The logit offset of items that cannot be chosen, as they were before."""

NDCG_CUTOFF = 10


class ChoiceLevel(MetaLevel):
    """P(item i is next) = exp(x_i) / sum_j exp(x_j) over the items not chosen yet: a conditional
    logit (McFadden, "Conditional Logit Analysis of Qualitative Choice Behavior", 1974).
    x = sum_c w_c x_c blends the scores of the configurations with weights that are linear in the
    meta-features of the user.

    It is trained with a sampled softmax: `N_NEGATIVES` items are drawn with probability q_j, and
    -log(n q_j) is added to their logits (Bengio & Senécal, "Adaptive Importance Sampling to
    Accelerate Training of a Neural Probabilistic Language Model", 2008).
    """

    BASES = CLICK_BASES
    DEFAULT_CONFIGURATION = Configuration("neighbours", np.inf)
    EXPLAINING_BASE = "ease"
    LEARNED_ALWAYS = ("log_inverse_temperature",)

    @classmethod
    def inputs(
        cls,
        bases: Mapping[str, Base],
        ratings: Matrix,
        users: np.ndarray,
        rating_values: np.ndarray,
    ) -> MetaInputs:
        """Meta-features of a user: the number of clicks, as logarithm and root, and whether there
        are any; mean and deviation of the log popularity of the items clicked; the user's
        attributes. Of an item: the logit offset, 0 or `EXCLUDED`."""
        n_clicks, user = np.diff(ratings.indptr), users_of_entries(ratings)
        log_popularity = np.log1p(bases["popularity"].state()["counts"])  # (I,)
        usual = float(np.average(log_popularity, weights=np.expm1(log_popularity)))

        def user_mean(values: np.ndarray) -> np.ndarray:
            """The mean of each user's values, one a click; 0 without clicks."""
            return np.bincount(user, values, len(n_clicks)) / np.maximum(n_clicks, 1)

        relative_popularity = log_popularity[ratings.indices] - usual
        mean = user_mean(relative_popularity)
        variance = user_mean((relative_popularity - mean[user]) ** 2)
        user_features = np.column_stack(
            [
                np.log1p(n_clicks),
                np.sqrt(n_clicks),
                n_clicks > 0,
                mean,
                np.sqrt(variance),
                users[:, 1:],
            ]
        )  # (N, F)
        offsets = np.zeros((len(users), len(log_popularity), 1))
        offsets[ratings.nonzero()] = EXCLUDED
        return MetaInputs(base_predictions(bases, ratings, users), user_features, offsets)

    @classmethod
    def examples(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        rating_values: np.ndarray,
        rng: np.random.Generator,
    ) -> MetaExamples:
        sampling = np.sqrt(bases["popularity"].state()["counts"] + 1)
        sampling /= sampling.sum()  # q, (I,)
        parts = []
        splits = support_query_splits(data, cls.sort_keys(data, rng), N_POSITIVES)
        for support, query_rows in splits:
            for chunk in chunks(len(users), len(sampling)):
                rows = rows_of_users(data, query_rows, chunk)
                inputs = cls.inputs(bases, support[chunk], users[chunk], rating_values)
                user, item = data.user[rows] - chunk.start, data.item[rows]
                parts.append(_with_sampled_negatives(inputs, user, item, sampling, rng))
        return MetaExamples.concatenate(parts)

    @classmethod
    def sort_keys(cls, data: Interactions, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        """Returns what the interactions are ordered by, for each support size: time."""
        positions = data.positions()
        return lambda: positions

    def selection_error(self, examples: MetaExamples) -> float:
        """1 - nDCG@10 among all items, estimated: a sampled item that is ranked above a positive
        counts for 1 / (n q) items."""
        inputs = examples.inputs
        scores = self._scores(tensor(inputs.predictions), tensor(inputs.user_features))
        scores = scores[..., 0].numpy()  # (N, M)
        importance = np.exp(inputs.item_features[..., 0])  # (N, M)
        is_positive = examples.targets[:, :N_POSITIVES]
        above = scores[:, None] > scores[:, :N_POSITIVES, None]  # (N, N_POSITIVES, M)
        rank = (above @ importance[:, :, None])[..., 0]  # (N, N_POSITIVES)
        gains = np.where(rank < NDCG_CUTOFF, is_positive / np.log2(rank + 2), 0).sum(1)
        ideal_gains = np.cumsum(1 / np.log2(np.arange(2, N_POSITIVES + 2)))
        return 1 - float((gains / ideal_gains[is_positive.sum(1).astype(int) - 1]).mean())

    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        return {"log_inverse_temperature": torch.zeros(())}

    def _probabilities(
        self, predictions: Tensor, user_features: Tensor, item_features: Tensor
    ) -> Tensor:
        return torch.softmax(self._scores(predictions, user_features) + item_features, 1)

    def _scores(self, predictions: Tensor, user_features: Tensor) -> Tensor:
        """x, (N, M, 1)."""
        weights = self._weights(self._standardised(user_features))  # (N, C)
        weights = weights * self.parameters["log_inverse_temperature"].exp()
        return predictions @ weights[:, :, None]

    def _loss(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        log_likelihood = probabilities[..., 0].clamp_min(1e-12).log()
        return -(targets * log_likelihood).sum() / targets.sum()


class UnorderedChoiceLevel(ChoiceLevel):
    """`ChoiceLevel` of clicks whose order is not known: it predicts other clicks, not the next."""

    BASES = UNORDERED_CLICK_BASES

    @classmethod
    def sort_keys(cls, data: Interactions, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        """Returns a random order for each support size."""
        return lambda: rng.random(len(data.rating))


def _with_sampled_negatives(
    inputs: MetaInputs,
    user: np.ndarray,
    item: np.ndarray,
    sampling: np.ndarray,
    rng: np.random.Generator,
) -> MetaExamples:
    """An example for each user with queries: the positives, padded to `N_POSITIVES`, then the
    sampled items.

    Args:
        inputs: Of all users of the chunk and all items.
        user, item: The queries, sorted by user.
        sampling: q, (I,).
        rng: Draws the negatives.
    """
    users = np.unique(user)  # those with queries, (N,)
    positives = np.full((len(users), N_POSITIVES), -1)
    column = np.arange(len(user)) - np.searchsorted(user, user)
    positives[np.searchsorted(users, user), column] = item
    negatives = rng.choice(len(sampling), (len(users), N_NEGATIVES), p=sampling)
    is_query = np.zeros((len(inputs.user_features), len(sampling)), bool)
    is_query[user, item] = True
    items = np.concatenate([positives, negatives], 1)  # (N, M)
    selected = inputs.select(np.broadcast_to(users[:, None], items.shape), items)
    offsets = selected.item_features  # (N, M, 1), a copy
    offsets[:, :N_POSITIVES][positives < 0] = EXCLUDED
    offsets[:, N_POSITIVES:, 0] -= np.log(N_NEGATIVES * sampling[negatives])
    offsets[:, N_POSITIVES:][is_query[users[:, None], negatives]] = EXCLUDED
    targets = np.zeros(items.shape)
    targets[:, :N_POSITIVES] = positives >= 0
    return MetaExamples(selected, targets, np.arange(len(users)))
