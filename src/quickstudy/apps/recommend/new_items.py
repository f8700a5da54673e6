"""Items that came after training, in one list with those of training, without learning anew.

A new item is a mixture of known items: what a base predicts for it is a weighted sum of what the
base predicts for these. The weights come from attributes and titles, and from the first users: what
else they rated or chose. So all bases and the meta-level serve new items as they are.

Shapes: U users, I known items, J new items, D features of an item, C configurations, F first
interactions of new items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases.base import Matrix, damped_user_biases, entry_mask, residuals
from quickstudy.apps.recommend.identifiers import Catalogue, identifier
from quickstudy.apps.recommend.interactions import Columns, Interactions
from quickstudy.apps.recommend.meta_level import MetaInputs
from quickstudy.apps.recommend.meta_level.choice_level import EXCLUDED
from quickstudy.errors import DataError, unknown

if TYPE_CHECKING:
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = ["NewItems", "extended"]

ATTRIBUTE_RIDGE = 100.0
"""Penalty on the effects of features: in how many items one has to differ by 1 to count by half."""

ITEM_COUNT_DAMPING = 20.0
"""Interactions at which an item counts half as much as one with very many, for the effects of
features."""

FIRST_USERS_DAMPING = 10.0
"""First users at which what they have in common counts as much as attributes."""

POPULARITY_DAMPING = 5.0
"""Interactions that are added to those of an item before it counts less for its popularity."""

RATING_DAMPING = 5.0
"""First ratings at which their mean counts as much as what the mixture expects."""

N_TEXT_FEATURES = 16
"""Principal components of the embeddings of titles."""


@dataclass(frozen=True, eq=False)
class NewItems:
    """New items as mixtures of known ones.

    Args:
        features: Of the new items, (J, D).
        projection: Effects of the features are `projection.T @ values of known items`, (I, D).
        by_users: Mixtures of the items of the first users, sums of 1 or 0, (J, I).
        trust: How much these count, against the features, (J,).
        shifts: What is added to a predicted rating, (J,).
        counts: First interactions, (J,).
    """

    features: np.ndarray
    projection: np.ndarray
    by_users: sparse.csr_matrix
    trust: np.ndarray
    shifts: np.ndarray
    counts: np.ndarray

    def mix(self, values: np.ndarray) -> np.ndarray:
        """Values of known items mixed to those of new items, (..., I) -> (..., J)."""
        n_rows = math.prod(values.shape[:-1])
        rows = values.reshape(n_rows, values.shape[-1])
        by_features = (rows @ self.projection) @ self.features.T
        by_users = (self.by_users @ rows.T).T
        mixed = by_features + self.trust * (by_users - by_features)
        return mixed.reshape(*values.shape[:-1], len(self.features))

    def extend(self, inputs: MetaInputs, is_seen: np.ndarray, clicks: bool) -> MetaInputs:
        """Inputs of the meta-level for known and new items.

        Args:
            inputs: Of U users and I items.
            is_seen: Whether a user has chosen a new item, (U, J).
            clicks: Whether the inputs are of clicks.
        """
        known = np.moveaxis(inputs.predictions, -1, 0)  # (C, U, I)
        new = self.mix(known)
        if clicks:
            features = np.where(is_seen, EXCLUDED, 0.0)[..., None]
        else:
            new = new + self.shifts
            features = np.moveaxis(self.mix(np.moveaxis(inputs.item_features, -1, 0)), 0, -1)
            features[..., -1] = np.log1p(self.counts)
        predictions = np.concatenate([known, new.astype(np.float32)], 2)
        return MetaInputs(
            np.moveaxis(predictions, 0, -1),
            inputs.user_features,
            np.concatenate([inputs.item_features, features], 1),
            inputs.own,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        parts = {f"by_users.{p}": getattr(self.by_users, p) for p in ("data", "indices", "indptr")}
        names = ("features", "projection", "trust", "shifts", "counts")
        return {name: getattr(self, name) for name in names} | parts

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray]) -> NewItems:
        """Those whose `state` this is."""
        parts = tuple(state[f"by_users.{p}"] for p in ("data", "indices", "indptr"))
        shape = (len(state["features"]), len(state["projection"]))
        names = ("features", "projection", "trust", "shifts", "counts")
        arrays = {name: state[name] for name in names}
        return cls(**arrays, by_users=sparse.csr_matrix(parts, shape=shape))


def extended(
    recommender: Recommender,
    items: Mapping[Any, Mapping[str, Any]],
    titles: Mapping[Any, str],
    first: Interactions | None,
    text_encoder: Any,
) -> Recommender:
    """The recommender with new items (see `Recommender.with_items`)."""
    n_known = len(recommender.items_)
    if recommender.new_items_ is not None:
        n_known = len(recommender.new_items_.projection)
    known, known_titles = recommender.items_[:n_known], recommender.titles_[:n_known]
    table = {identifier(name): attributes for name, attributes in items.items()}
    if twice := sorted(table.keys() & set(known)):
        raise DataError(f"expected new items, got {twice[0]!r}, which training had: leave it out")
    names = [*known, *table]
    title_of = {identifier(name): title for name, title in titles.items()}
    new_titles = [title_of.get(name) or name for name in table]
    old_columns = {name: v[:n_known] for name, v in recommender.item_columns_.items()}
    for attribute in (name for attributes in table.values() for name in attributes):
        if attribute not in old_columns:
            raise unknown("attribute of items", attribute, old_columns)
    columns = {
        name: [*values, *(attributes.get(name) for attributes in table.values())]
        for name, values in old_columns.items()
    }
    made = copy(recommender)
    vars(made).pop("usual_scores", None)
    made.items_, made.titles_ = names, [*known_titles, *new_titles]
    made.catalogue_ = Catalogue(made.items_, made.titles_)
    made.item_columns_, made.new_items_ = columns, None
    if first is not None:
        first, _ = made.align(first, cold=False)
    features = _item_features(columns, made.titles_, n_known, text_encoder)
    made.new_items_ = _mixed_items(features, made.item_counts, first, recommender)
    return made


def _item_features(
    columns: Columns, titles: Sequence[str], n_known: int, text_encoder: Any = None
) -> np.ndarray:
    """Features of known and new items from attributes, and from titles if there is an encoder:
    (I + J, D); the first is 1.

    Args:
        columns: Attributes, a value an item.
        titles: (I + J,).
        n_known: I; what is learned of columns and texts is learned from these.
        text_encoder: Maps texts to vectors.
    """
    of_known = {name: values[:n_known] for name, values in columns.items()}
    features = AttributeEncoder().fit(of_known, n_known)(columns, len(titles))
    if text_encoder is None:
        return features
    embedded = np.asarray(text_encoder(list(titles)), float)
    embedded = embedded - embedded[:n_known].mean(0)
    _, _, axes = np.linalg.svd(embedded[:n_known], full_matrices=False)
    components = embedded @ axes[:N_TEXT_FEATURES].T
    return np.column_stack([features, components / components[:n_known, 0].std()])


def _mixed_items(
    features: np.ndarray,
    item_counts: np.ndarray,
    first: Interactions | None,
    recommender: Recommender,
) -> NewItems:
    """Mix known items to new ones.

    Args:
        features: Of known, then of new items, (I + J, D).
        item_counts: Interactions of the known items in training, (I,).
        first: All interactions of the first users, with items numbered as the features are.
        recommender: That learned the known items.
    """
    n_known = len(item_counts)
    known, new = features[:n_known], features[n_known:]
    weighted = known * (item_counts / (item_counts + ITEM_COUNT_DAMPING))[:, None]  # (I, D)
    penalty = np.diag([1e-9, *[ATTRIBUTE_RIDGE] * (features.shape[1] - 1)])
    projection = np.linalg.solve(weighted.T @ known + penalty, weighted.T).T  # (I, D)
    mixed = NewItems(
        new,
        projection,
        by_users=sparse.csr_matrix((len(new), n_known)),
        trust=np.zeros(len(new)),
        shifts=np.zeros(len(new)),
        counts=np.zeros(len(new), int),
    )
    if first is None:
        return mixed
    ratings = first.matrix()
    histories, first_users = ratings[:, :n_known], ratings[:, n_known:].T.tocsr()
    counts = np.diff(first_users.indptr)
    by_users = _in_common(entry_mask(first_users), entry_mask(histories), item_counts)
    has_items = np.asarray(by_users.sum(1)).ravel() > 0
    trust = has_items * counts / (counts + FIRST_USERS_DAMPING)
    mixed = replace(mixed, by_users=by_users, trust=trust, counts=counts)
    if recommender.clicks_:
        return mixed
    item_means = recommender.bases_["user_bias"].state()["item_means"]  # (I,)
    biases = damped_user_biases(residuals(histories, item_means), RATING_DAMPING)
    expected = mixed.mix(item_means)  # (J,)
    new_item = np.repeat(np.arange(len(new)), counts)
    unexpected = first_users.data - biases[first_users.indices] - expected[new_item]  # (F,)
    shifts = np.bincount(new_item, unexpected, len(new)) / (counts + RATING_DAMPING)
    return replace(mixed, shifts=shifts)


def _in_common(
    first_users: Matrix, histories: Matrix, item_counts: np.ndarray
) -> sparse.csr_matrix:
    """What the first users of each new item have in common: mixtures of their items, where users
    with many items and items with many users count less: (J, I)."""
    of_users = 1 / np.sqrt(np.maximum(np.diff(histories.indptr), 1))
    of_items = 1 / np.sqrt(item_counts + POPULARITY_DAMPING)
    mixtures = first_users @ sparse.diags(of_users) @ histories @ sparse.diags(of_items)
    sums = np.asarray(mixtures.sum(1)).ravel()
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(sums, 1e-12)) @ mixtures)
