"""The meta-level of clicks: a conditional logit of what is chosen next.

Shapes: U users, I items, N examples or users, M items of an example, C configurations, F
meta-features of a user, R reference items, S items of a user's own support: `N_POSITIVES` clicks,
then the reference items. An item has one meta-feature, an offset that is added to its logit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from quickstudy.apps.recommend.bases.base import ALL_ITEMS, Base, Items, Matrix, users_of_entries
from quickstudy.apps.recommend.bases.clicks import CLICK_BASES, UNORDERED_CLICK_BASES
from quickstudy.apps.recommend.interactions import Interactions
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
    base_predictions,
    rows_of_users,
    support_query_splits,
)

if TYPE_CHECKING:
    from quickstudy.apps.recommend.meta_level.prior import LevelPrior

__all__ = ["ChoiceLevel", "UnorderedChoiceLevel"]

N_POSITIVES = 10
"""Clicks after the support set, at most, that are targets of an example."""

N_NEGATIVES = 300
"""Items that are sampled into the denominator of the softmax, for each example."""

N_OWN_FEATURES = 5
"""Meta-features of a user that come before the log ranks of the user's own clicks."""

N_REFERENCES = 100
"""Items, at most, that a user's own clicks are compared with."""

RANK_DAMPING = 2.0
"""Clicks that the average user counts as in how well the bases predict a user's own."""

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

    The step is taken on the later half of the user's own clicks, predicted from the earlier half:
    from one blend for all, along the gradient of their likelihood. So the bases that have predicted
    this user well get more weight, and with a setting of theirs, how fast clicks are forgotten.
    """

    BASES = CLICK_BASES
    DEFAULT_CONFIGURATION = Configuration("neighbours", np.inf)
    EXPLAINING_BASE = "ease"
    LEARNED_ALWAYS = ("log_inverse_temperature",)
    LEARNED_BY_USER = ("weights_by_user", "log_precisions")
    PENALTIES: ClassVar[Mapping[str, float]] = {
        "weights": 0.003,
        "weights_by_user": 1e-3,
        "log_precisions": 1e-4,
    }

    INITIAL_LOG_PRECISION = 1.0

    @classmethod
    def inputs(
        cls,
        bases: Mapping[str, Base],
        ratings: Matrix,
        users: np.ndarray,
        rating_values: np.ndarray,
        items: Items = ALL_ITEMS,
    ) -> MetaInputs:
        """Meta-features of a user: the number of clicks, as logarithm and root, and whether there
        are any; mean and deviation of the log popularity of the items clicked; the mean log rank of
        the user's own later clicks by popularity, and how far each other configuration is from it;
        the user's attributes. Of an item: the logit offset, 0 or `EXCLUDED`."""
        n_clicks, user = np.diff(ratings.indptr), users_of_entries(ratings)
        log_popularity = np.log1p(bases["popularity"].state()["counts"])  # (I,)
        usual = float(np.average(log_popularity, weights=np.expm1(log_popularity)))

        def user_mean(values: np.ndarray) -> np.ndarray:
            """The mean of each user's values, one a click; 0 without clicks."""
            return np.bincount(user, values, len(n_clicks)) / np.maximum(n_clicks, 1)

        relative_popularity = log_popularity[ratings.indices] - usual
        mean = user_mean(relative_popularity)
        variance = user_mean((relative_popularity - mean[user]) ** 2)
        own = cls._own_predictions(bases, ratings, users)
        user_features = np.column_stack(
            [
                np.log1p(n_clicks),
                np.sqrt(n_clicks),
                n_clicks > 0,
                mean,
                np.sqrt(variance),
                _own_log_ranks(own),
                users[:, 1:],
            ]
        )  # (N, F)
        excluded = ratings[:, items].nonzero()
        predictions = base_predictions(bases, ratings, users, items)
        offsets = np.zeros((*predictions.shape[:2], 1), np.float32)
        offsets[excluded] = EXCLUDED
        return MetaInputs(predictions, user_features, offsets, own)

    @classmethod
    def _own_predictions(
        cls, bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray
    ) -> OwnPredictions:
        """Predict the later half of each user's clicks, `N_POSITIVES` at most, from the others."""
        n_clicks, user = np.diff(ratings.indptr), users_of_entries(ratings)
        n_later = np.minimum((n_clicks + 1) // 2, N_POSITIVES)
        rank = cls._order(ratings) - (n_clicks - n_later)[user]
        is_later = rank >= 0
        earlier = sparse.csr_matrix(
            (ratings.data[~is_later], (user[~is_later], ratings.indices[~is_later])),
            shape=ratings.shape,
        )
        references, offsets = _references(bases["popularity"].state()["counts"])
        user, item, rank = user[is_later], ratings.indices[is_later], rank[is_later]
        asked = np.union1d(references, item)
        predictions = base_predictions(bases, earlier, users, asked)
        n, n_configurations = len(n_clicks), predictions.shape[-1]
        own = np.zeros((n, N_POSITIVES + len(references), n_configurations), np.float32)
        targets, own_offsets = np.zeros(own.shape[:2]), np.full(own.shape[:2], float(EXCLUDED))
        own[user, rank] = predictions[user, np.searchsorted(asked, item)]
        targets[user, rank], own_offsets[user, rank] = 1, 0
        own[:, N_POSITIVES:] = predictions[:, np.searchsorted(asked, references)]
        is_clicked = ratings[:, references].astype(bool).toarray()
        own_offsets[:, N_POSITIVES:] = np.where(is_clicked, EXCLUDED, offsets)
        return OwnPredictions(own, targets, own_offsets)

    @classmethod
    def _order(cls, ratings: Matrix) -> np.ndarray:
        """The rank of each stored click among its user's, from 0, (R,)."""
        user = users_of_entries(ratings)
        order = np.lexsort((ratings.data, user))
        rank = np.empty(ratings.nnz, int)
        rank[order] = np.arange(ratings.nnz) - ratings.indptr[user[order]]
        return rank

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
                user, item = data.user[rows] - chunk.start, data.item[rows]
                drawn = _sampled(user, item, sampling, rng)
                asked = np.unique(drawn.items)
                inputs = cls.inputs(bases, support[chunk], users[chunk], rating_values, asked)
                parts.append(drawn.examples(inputs, asked, sampling))
        return MetaExamples.concatenate(parts)

    @classmethod
    def sort_keys(cls, data: Interactions, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        """Returns what the interactions are ordered by, for each support size: time."""
        positions = data.positions()
        return lambda: positions

    def initialise(self, examples: MetaExamples, prior: LevelPrior | None = None) -> None:
        super().initialise(examples, prior)
        if self.kind == "meta":
            blend = type(self)(self.rating_values, self.configurations, "blend")
            blend.fit(examples, prior)
            p = blend.parameters
            self.parameters["reference_weights"] = p["weights"] * p["log_inverse_temperature"].exp()
            if prior is None:
                self.parameters["weights"] = self.parameters["reference_weights"].clone()

    def errors(self, examples: MetaExamples) -> list[np.ndarray]:
        """-nDCG@10 among all items, estimated: a sampled item that is ranked above a positive
        counts for 1 / (n q) items."""
        prepared = self._prepare(examples.inputs)
        scores = self._scores(prepared)[..., 0].numpy()  # (N, M)
        importance = np.exp(examples.inputs.item_features[..., 0])  # (N, M)
        is_positive = examples.targets[:, :N_POSITIVES]
        positives = scores[:, :N_POSITIVES, None]
        # Of items with the same score, half are above: on average, as an order by chance has it.
        above = (scores[:, None] > positives) + 0.5 * (scores[:, None] == positives)
        rank = (above @ importance[:, :, None])[..., 0] - 0.5  # (N, N_POSITIVES), without itself
        gains = np.where(rank < NDCG_CUTOFF, is_positive / np.log2(rank + 2), 0).sum(1)
        ideal_gains = np.cumsum(1 / np.log2(np.arange(2, N_POSITIVES + 2)))
        return [-gains / ideal_gains[is_positive.sum(1).astype(int) - 1]]

    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        return {
            "log_inverse_temperature": torch.zeros(()),
            "log_precisions": torch.full((len(self.configurations),), self.INITIAL_LOG_PRECISION),
        }

    def evidence(self, inputs: MetaInputs) -> dict[str, float]:
        standardised = self._standardised(tensor(inputs.user_features))[0]
        log_ranks = standardised[N_OWN_FEATURES:][: len(self.configurations)]
        by_base: dict[str, list[float]] = {}
        for configuration, z in zip(self.configurations, log_ranks, strict=True):
            by_base.setdefault(configuration.base, []).append(-float(z))
        return {name: float(np.mean(values)) for name, values in by_base.items()}

    def _decide(self, user_features: Tensor, inputs: LevelInputs | None) -> dict[str, Tensor]:
        weights = self._weights(self._standardised(user_features))
        if inputs is not None and self.kind == "meta":
            weights = weights + self._step(inputs)
        return {"weights": weights * self.parameters["log_inverse_temperature"].exp()}

    def _probabilities(self, inputs: LevelInputs) -> Tensor:
        return torch.softmax(self._scores(inputs) + inputs.item_features, 1)

    def _scores(self, inputs: LevelInputs) -> Tensor:
        """x, (N, M, 1)."""
        weights = self._decide(inputs.user_features, inputs)["weights"]  # (N, C)
        return inputs.predictions @ weights[:, :, None]

    def _step(self, inputs: LevelInputs) -> Tensor:
        """The Newton step from the reference weights on the user's own clicks, each against the
        reference items: (N, C)."""
        own = inputs.own_predictions  # (N, S, C)
        logits = own @ self.parameters["reference_weights"] + inputs.own_offsets  # (N, S)
        clicks, others = logits[:, :N_POSITIVES], logits[:, N_POSITIVES:]
        is_click = inputs.own_targets[:, :N_POSITIVES]
        log_total = torch.logaddexp(clicks, torch.logsumexp(others, 1, keepdim=True))
        p_click = torch.exp(clicks - log_total) * is_click  # (N, N_POSITIVES)
        p_others = torch.exp(others[:, None] - log_total[..., None]) * is_click[..., None]
        of_clicks, of_others = own[:, :N_POSITIVES], own[:, N_POSITIVES:]
        mean = p_click[..., None] * of_clicks + p_others @ of_others  # (N, N_POSITIVES, C)
        gradient = (is_click[..., None] * of_clicks - mean).sum(1)
        second_moments = torch.einsum("np,npc,npd->ncd", p_click, of_clicks, of_clicks)
        second_moments = second_moments + torch.einsum(
            "nr,nrc,nrd->ncd", p_others.sum(1), of_others, of_others
        )
        information = second_moments - mean.transpose(1, 2) @ mean
        return newton_step(gradient, information, self.parameters["log_precisions"])

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

    @classmethod
    def _order(cls, ratings: Matrix) -> np.ndarray:
        """Every other click comes later."""
        user, n_clicks = users_of_entries(ratings), np.diff(ratings.indptr)
        rank = np.arange(ratings.nnz) - ratings.indptr[user]  # by item
        return rank // 2 + (rank % 2) * ((n_clicks + 1) // 2)[user]


def _references(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reference items and the offsets of their logits, (R,) each: a systematic sample with
    probabilities q proportional to the roots of the counts, in which items may come twice, and
    -log(n q)."""
    q = np.sqrt(counts + 1)
    q /= q.sum()
    if len(q) <= N_REFERENCES:
        return np.arange(len(q)), np.zeros(len(q))
    by_popularity = np.argsort(-q, kind="stable")
    drawn = (np.arange(N_REFERENCES) + 0.5) / N_REFERENCES * q.sum()
    items = by_popularity[np.searchsorted(q[by_popularity].cumsum(), drawn)]
    return items, -np.log(N_REFERENCES * q[items])


def _own_log_ranks(own: OwnPredictions) -> np.ndarray:
    """How well each configuration ranks the user's own clicks among the reference items, (N, C):
    the mean log rank by the first, and by each other less that; damped towards 0."""
    is_click = own.targets[:, :N_POSITIVES]  # (N, N_POSITIVES)
    importance = np.exp(own.offsets[:, N_POSITIVES:])  # (N, R)
    clicks, others = own.predictions[:, :N_POSITIVES], own.predictions[:, N_POSITIVES:]
    log_ranks = np.stack(
        [
            np.log1p(
                ((others[:, None, :, c] > clicks[..., None, c]) * importance[:, None]).sum(-1)
                + ((others[:, None, :, c] == clicks[..., None, c]) * importance[:, None]).sum(-1)
                / 2
            )
            for c in range(clicks.shape[-1])
        ],
        -1,
    )  # (N, N_POSITIVES, C)
    log_ranks[..., 1:] -= log_ranks[..., :1]
    log_ranks[..., 0] -= np.log1p(importance.sum(1, keepdims=True)) / 2
    n_clicks = is_click.sum(1, keepdims=True)
    return (log_ranks * is_click[..., None]).sum(1) / (n_clicks + RANK_DAMPING)


class _Sampled(NamedTuple):
    """The items of examples: the positives, padded to `N_POSITIVES`, then the sampled ones.

    Args:
        users: Those with queries, (N,).
        items: (N, M).
        is_positive: Whether each positive is one, and no padding, (N, N_POSITIVES).
        is_excluded: Whether each sampled item is a query of the user, (N, N_NEGATIVES).
    """

    users: np.ndarray
    items: np.ndarray
    is_positive: np.ndarray
    is_excluded: np.ndarray

    def examples(self, inputs: MetaInputs, asked: np.ndarray, sampling: np.ndarray) -> MetaExamples:
        """The examples, from the inputs of all users for the items `asked`, ascending, and q, the
        probability of each item to be sampled, (I,)."""
        columns = np.searchsorted(asked, self.items)
        selected = inputs.select(np.broadcast_to(self.users[:, None], columns.shape), columns)
        offsets = selected.item_features[..., 0]  # (N, M), of a copy
        offsets[:, :N_POSITIVES][~self.is_positive] = EXCLUDED
        offsets[:, N_POSITIVES:] -= np.log(N_NEGATIVES * sampling[self.items[:, N_POSITIVES:]])
        offsets[:, N_POSITIVES:][self.is_excluded] = EXCLUDED
        targets = np.zeros(columns.shape)
        targets[:, :N_POSITIVES] = self.is_positive
        return MetaExamples(selected, targets)


def _sampled(
    user: np.ndarray, item: np.ndarray, sampling: np.ndarray, rng: np.random.Generator
) -> _Sampled:
    """Sample items for each user with queries.

    Args:
        user, item: The queries, sorted by user.
        sampling: q, (I,).
        rng: Draws the items.
    """
    users = np.unique(user)  # (N,)
    column, row = np.arange(len(user)) - np.searchsorted(user, user), np.searchsorted(users, user)
    positives = np.zeros((len(users), N_POSITIVES), int)
    is_positive = np.zeros(positives.shape, bool)
    positives[row, column], is_positive[row, column] = item, True
    negatives = rng.choice(len(sampling), (len(users), N_NEGATIVES), p=sampling)
    is_query = np.zeros((len(users), len(sampling)), bool)
    is_query[row, item] = True
    is_excluded = np.take_along_axis(is_query, negatives, 1)
    return _Sampled(users, np.concatenate([positives, negatives], 1), is_positive, is_excluded)
