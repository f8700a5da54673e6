"""A recommender of two levels: base recommenders, and a meta-level that blends them for each user.

Shapes: U users, I items, V rating values (1 for clicks), D attributes of a user.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.adapted import AdaptedRecommender
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases.base import Base, Matrix
from quickstudy.apps.recommend.bases.external import ExternalClicks, ExternalRatings, Scorer
from quickstudy.apps.recommend.bases.meta_learned import META_LEARNED_BASES
from quickstudy.apps.recommend.checks import check_on_scale
from quickstudy.apps.recommend.cold_users import user_folds
from quickstudy.apps.recommend.history import clicks_of, ratings_of, row_of
from quickstudy.apps.recommend.identifiers import Catalogue, Unknown, identifier
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.memory import check_memory, chunks
from quickstudy.apps.recommend.meta_level import (
    ChoiceLevel,
    Configuration,
    Kind,
    MetaExamples,
    MetaInputs,
    MetaLevel,
    RatingLevel,
    UnorderedChoiceLevel,
)
from quickstudy.apps.recommend.meta_level.guard import (
    GuardedLevel,
    choose_by_size,
    cross_validated_errors,
)
from quickstudy.apps.recommend.meta_level.inputs import SUPPORT_SIZES, configurations_of
from quickstudy.apps.recommend.meta_level.prior import shipped_prior
from quickstudy.apps.recommend.saving import load_recommender, save_recommender
from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.html import html_table
from quickstudy.learners.base import check_finite
from quickstudy.progress import track

__all__ = ["Recommender"]

N_FOLDS = 4
"""Folds of training users. The meta-level learns from the users of a fold with bases that have not
seen them."""

TYPICAL_SUPPORT = 5
"""Known ratings or clicks of the average user that notebooks show."""

BY_USER, ONE_BLEND = "by user", "one blend for all"
"""Names of the meta-level and of one blend for all among the levels of a `GuardedLevel`."""

MAX_RATING_VALUES = 20
"""Most different ratings to learn from."""

MIN_USERS = 20
"""Fewest training users with two ratings or more to learn from."""


class Recommender:
    """Learn from users with many ratings, or clicks, how to recommend to users with few.

    From ratings it learns what users like; from clicks, what they choose next.

    Args:
        meta: Whether the meta-level decides for each user; otherwise the configuration that is best
            for the training users is used for all.
        prior: Whether the meta-level starts from what it learned over other data sets, and is drawn
            towards it; matters with few training users.
        extra_bases: Names in `META_LEARNED_BASES` of networks to add as bases of ratings; each
            takes minutes to train.
        scorers: Other recommenders as further bases, by name: functions from histories to scores
            (see `Scorer`). They should not have learned from the interactions of the training
            users, or they look better in training than they are for new users.
        seed: Decides the bases' initial factors, the folds, and the sampled examples.

    Attributes:
        bases_: Base recommenders by name, fitted on all training users.
        configurations_: Each base with each of its settings.
        best_configuration_: The best single configuration for the training users.
        meta_level_: The meta-level: for each support size what is best for training users whom it
            was not learned from, of weights by user, one blend for all, and the single
            configurations.
        items_, titles_: Of the training data.
        rating_values_: The different ratings, with the ends of the scale, (V,); for clicks [1].
        catalogue_: Looks up items by name or title.
        clicks_, ordered_: Whether it learned from clicks, and whether their order is known.
        encoder_: Encodes users' attributes.
        single_levels_, examples_: After `fit` alone: a meta-level of each single configuration, and
            the examples that all meta-levels were learned from.

    Example:
        >>> from quickstudy.apps.recommend import Recommender, generated
        >>> recommender = Recommender().fit(generated(n_users=60, n_items=30))
        >>> user = recommender.adapt({"item 3": 5, "item 8": 1})
        >>> len(user.top_n(10))
        10
    """

    def __init__(
        self,
        *,
        meta: bool = True,
        prior: bool = True,
        extra_bases: Sequence[str] = (),
        scorers: Mapping[str, Scorer] | None = None,
        seed: int = 0,
    ) -> None:
        for name in extra_bases:
            check_option("base", name, META_LEARNED_BASES)
        self.meta, self.prior = meta, prior
        self.extra_bases, self.seed = tuple(extra_bases), seed
        self.scorers = dict(scorers or {})

    def __repr__(self) -> str:
        options = f"meta={self.meta}, extra_bases={self.extra_bases}, seed={self.seed}"
        if not self.prior:
            options += ", prior=False"
        if self.scorers:
            options += f", scorers={list(self.scorers)}"
        return f"{type(self).__name__}({options})"

    def _repr_html_(self) -> str:
        """What was learned, and how the average training user weighs the configurations."""
        if not hasattr(self, "bases_"):
            return html_table(["recommender"], [[f"{self!r}, not fitted"]])
        values = self.rating_values_
        facts = [
            [
                "learned from",
                "clicks" if self.clicks_ else f"ratings {values[0]:g} to {values[-1]:g}",
            ],
            ["training users", self.n_users],
            ["items", len(self.items_)],
            ["best single configuration", self.best_configuration_],
        ]
        weights = self.meta_level_.level_for(TYPICAL_SUPPORT).decision()["weights"]
        rows = [[c, f"{w:.2f}"] for c, w in zip(self.configurations_, weights, strict=True)]
        return "\n".join(
            [
                html_table(["recommender", ""], facts),
                html_table(["configuration", "weight for the average user"], rows),
            ]
        )

    def training_examples(self, data: Interactions) -> list[MetaExamples]:
        """What the meta-level learns from: examples of the users of each inner fold, from bases
        that have not seen these users."""
        self._prepare(data)
        n_users, parts = len(data.users), []
        for fold in track(user_folds(n_users, N_FOLDS, self.seed), "inner folds"):
            others = np.setdiff1d(np.arange(n_users), fold)
            bases = self._fit_bases(data.of_users(others))
            parts.append(self._examples(bases, data.of_users(fold)))
        return parts

    def fit(self, data: Interactions) -> Self:
        """Learn the bases and the meta-level.

        Args:
            data: Ratings or clicks of training users.

        Raises:
            DataError: If there are too few users or ratings, too many different ratings, or more
                data than memory can hold.
        """
        parts = self.training_examples(data)
        self.examples_ = MetaExamples.concatenate(parts)
        self.single_levels_ = {
            configuration: self.fit_meta_level(self.examples_, "single", configuration)
            for configuration in track(self.configurations_, "settings")
        }
        errors = {
            c: level.selection_error(self.examples_) for c, level in self.single_levels_.items()
        }
        self.best_configuration_ = min(errors, key=lambda configuration: errors[configuration])
        self.meta_level_ = self.guarded_level(parts) if self.meta else self._best_single_level()
        self.bases_ = self._fit_bases(data)
        return self

    def _prepare(self, data: Interactions) -> None:
        """Set what is known of the data before anything is learned."""
        self._check_data(data)
        self.rating_values_ = np.union1d(data.rating_values, data.rating_range)
        self.items_, self.titles_ = data.items, data.titles or data.items
        self.catalogue_ = Catalogue(self.items_, self.titles_)
        self.training_users_ = set(map(_hash, data.users))
        self.encoder_ = AttributeEncoder().fit(data.user_columns, len(data.users))

    def _best_single_level(self) -> GuardedLevel:
        name = str(self.best_configuration_)
        level = self.single_levels_[self.best_configuration_]
        return GuardedLevel({name: level}, [name] * len(SUPPORT_SIZES))

    def guarded_level(self, parts: Sequence[MetaExamples]) -> GuardedLevel:
        """For each support size the level that is best for users it has not learned from."""
        kinds: dict[str, Kind] = {BY_USER: "meta", ONE_BLEND: "blend"}
        errors = {
            name: cross_validated_errors(lambda part, k=kind: self.fit_meta_level(part, k), parts)
            for name, kind in track(kinds.items(), "guards")
        }
        errors |= {str(c): level.errors(self.examples_) for c, level in self.single_levels_.items()}
        chosen = choose_by_size(errors, self.examples_.inputs.n_known)
        levels = {str(c): level for c, level in self.single_levels_.items()}
        levels |= {
            name: self.fit_meta_level(self.examples_, kind)
            for name, kind in kinds.items()
            if name in chosen
        }
        return GuardedLevel(levels, chosen)

    def _check_data(self, data: Interactions) -> None:
        self.set_data_kind(data.clicks, ordered=data.time is not None)
        if not data.clicks and not 2 <= len(data.rating_values) <= MAX_RATING_VALUES:
            raise DataError(
                f"expected 2 to {MAX_RATING_VALUES} different ratings, got "
                f"{len(data.rating_values)}: round them, or take them as clicks"
            )
        check_memory(len(data.users), len(data.items), len(data.rating))
        n_usable = int((data.user_counts >= 2).sum())
        if n_usable < MIN_USERS:
            raise DataError(f"expected {MIN_USERS} users with two ratings each, got {n_usable}")
        if data.clicks and data.time is None:
            warnings.warn(
                "the clicks have no times, so nothing is learned from their order, and evaluation "
                "takes them in a random one: give a column of times if the order is known",
                stacklevel=3,
            )

    def adapt(
        self,
        history: Mapping[Any, float] | Sequence[tuple[Any, float]] | Sequence[Any] = (),
        attributes: Mapping[str, Any] | None = None,
        *,
        unknown: Unknown = "raise",
    ) -> AdaptedRecommender:
        """Adapt to a user, given some ratings or clicks, or none. The recommender stays as it is.

        Args:
            history: Ratings by item, on the scale of the training data; or, if the recommender
                learned from clicks, the items chosen, in order. Items are named by id, or by title
                where no other item has the same.
            attributes: Attributes of the user, named as the columns of the training data.
            unknown: "raise" refuses items that training did not have; "ignore" leaves them out,
                with a warning.

        Raises:
            DataError: For an item that is unknown or comes twice, a rating off the scale, ratings
                where clicks were learned from or the other way round, or an attribute that cannot
                be read.
        """
        self._check_fitted()
        entries = clicks_of(history) if self.clicks_ else ratings_of(history, self._scale)
        items = [item for item, _ in entries]
        positions = self.positions(items, unknown)
        values = [value for _, value in entries]
        ratings = row_of(items, positions, values, len(self.items_))
        return AdaptedRecommender(self, ratings, self.encoder_.encode_one(attributes or {}))

    def positions(
        self, items: Sequence[Any], unknown: Unknown = "raise", what: str = "items"
    ) -> np.ndarray:
        """Positions of items in `items_`, (n,); -1 for unknown ones if these are to be ignored,
        with a warning that counts them as `what`.

        Raises:
            DataError: If one is unknown and is not to be ignored.
        """
        check_option("unknown", unknown, get_args(Unknown))
        positions = self.catalogue_.positions(items, unknown)
        absent = positions < 0
        if absent.any():
            warnings.warn(
                f"{absent.sum()} of {len(items)} {what} are not among those of training and are "
                f"left out, {identifier(items[int(absent.argmax())])!r} for one",
                stacklevel=3,
            )
        return positions

    def meta_inputs(self, ratings: Matrix, users: np.ndarray) -> MetaInputs:
        """What the meta-level decides from.

        Args:
            ratings: What is known of the users, (U, I), as `Interactions.matrix` makes it.
            users: Their attributes, (U, D), as `encoder_` makes them.
        """
        return self._level_class.inputs(self.bases_, ratings, users, self.rating_values_)

    def probabilities(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """The probability of each rating value for all items, (U, I, V); for clicks, of being
        chosen next, (U, I, 1). Takes what `meta_inputs` does.

        Raises:
            DataError: If one is not finite.
        """
        probabilities = self.meta_level_.probabilities(self.meta_inputs(ratings, users))
        check_finite(torch.from_numpy(probabilities), "the recommender")
        return probabilities

    def top_all(self, data: Interactions, n: int = 10, *, unknown: Unknown = "raise") -> np.ndarray:
        """The best unseen items for each user of some data, given all their interactions there.

        Args:
            data: Ratings or clicks, also of training users.
            n: How many items.
            unknown: "raise" refuses items that training did not have; "ignore" leaves them out.

        Returns:
            Positions in `items_`, (U, n), best first; -1 where fewer items are unseen.
        """
        aligned, users = self.align(data, cold=False, unknown=unknown)
        if not 1 <= n <= len(self.items_):
            raise UsageError(f"expected n of 1 to {len(self.items_)}, the items, got {n}")
        ratings = aligned.matrix()
        best = []
        for chunk in chunks(len(users), len(self.items_)):
            known = ratings[chunk]
            scores = self.probabilities(known, users[chunk]) @ self.rating_values_
            rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
            scores[rows, known.indices] = -np.inf  # all stored entries, also ratings of 0
            top = np.argsort(-scores, 1, kind="stable")[:, :n]
            is_unseen = np.isfinite(np.take_along_axis(scores, top, 1))
            best.append(np.where(is_unseen, top, -1))
        return np.concatenate(best)

    def fit_meta_level(
        self, examples: MetaExamples, kind: Kind, configuration: Configuration | None = None
    ) -> MetaLevel:
        """Learn a meta-level from examples that the bases have not seen."""
        level = self.make_meta_level(kind, configuration)
        use_prior = self.prior and kind != "single"
        return level.fit(examples, shipped_prior(type(level).__name__) if use_prior else None)

    def restore_meta_level(
        self, names: Sequence[str], parameters: Mapping[str, Tensor]
    ) -> GuardedLevel:
        """The meta-level with these levels, whose `parameters` were saved."""
        kinds: dict[str, Kind] = {BY_USER: "meta", ONE_BLEND: "blend"}
        levels = {}
        for i, name in enumerate(names):
            level = self.make_meta_level(kinds.get(name, "single"), self.best_configuration_)
            prefix = f"{i}."
            level.parameters = {
                key.removeprefix(prefix): value
                for key, value in parameters.items()
                if key.startswith(prefix)
            }
            levels[name] = level
        return GuardedLevel(levels, [names[int(i)] for i in parameters["chosen"]])

    @property
    def explaining_base(self) -> Base:
        """The base whose contributions explain suggestions."""
        return self.bases_[self._level_class.EXPLAINING_BASE]

    def make_meta_level(self, kind: Kind, configuration: Configuration | None = None) -> MetaLevel:
        """Make a meta-level that has not learned yet."""
        return self._level_class(self.rating_values_, self.configurations_, kind, configuration)

    def align(
        self, data: Interactions, *, cold: bool = True, unknown: Unknown = "raise"
    ) -> tuple[Interactions, np.ndarray]:
        """The same interactions with items numbered as in training, and the users' attributes, (U,
        D).

        Args:
            data: Ratings or clicks.
            cold: Refuse users that training has seen.
            unknown: "raise" refuses items that training did not have; "ignore" leaves them out.

        Raises:
            DataError: For an item or a rating that training did not have, or a user that it had if
                all are to be cold.
        """
        self._check_fitted()
        if cold:
            self._check_cold(data)
        interacted = np.unique(data.item)
        position = np.full(len(data.items), -1)
        names = [data.items[i] for i in interacted]
        position[interacted] = self.positions(names, unknown, "rated items")
        known = position[data.item] >= 0
        if not known.any():
            raise DataError("expected ratings of items of the training data, got none")
        if self.clicks_:
            data = data.as_clicks()
        elif data.clicks:
            raise DataError("expected ratings, as there were in training, got clicks")
        if self.clicks_ and self.ordered_ and data.time is None:
            raise DataError(
                "expected times, as in training, got none: the order of clicks is learned from"
            )
        check_on_scale(data.rating, self._scale)
        aligned = replace(
            data,
            items=self.items_,
            user=data.user[known],
            item=position[data.item[known]],
            rating=data.rating[known],
            time=None if data.time is None else data.time[known],
            item_columns={},
            titles=self.titles_,
            scale=None,
        )
        return aligned, self.encoder_(data.user_columns, len(data.users))

    @property
    def n_users(self) -> int:
        """Number of training users."""
        return len(self.training_users_)

    @property
    def item_counts(self) -> np.ndarray:
        """Interactions of each item in training, (I,)."""
        base, name = ("popularity", "counts") if self.clicks_ else ("bayes", "item_counts")
        return self.bases_[base].state()[name]

    def title(self, item: str) -> str:
        """How to show an item, by its name."""
        return self.catalogue_.labels[self.catalogue_.positions([item])[0]]

    def save(self, folder: str | Path) -> None:
        """Write the recommender to a folder, without pickle. Training users are saved as hashes,
        which tell whether a user is new. An earlier recommender there is replaced once the new one
        is complete; other processes may load it meanwhile.

        Raises:
            RunError: If the folder holds something else, or another process keeps saving there.
            DiskError: If it cannot be written.
        """
        self._check_fitted()
        save_recommender(self, Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, scorers: Mapping[str, Scorer] | None = None
    ) -> Recommender:
        """Read what `save` wrote; it recommends the same.

        Args:
            folder: Where it was saved.
            scorers: Those that it was made with; functions are not saved.

        Raises:
            MissingError: If nothing is saved there.
            UsageError: If the scorers have other names.
            RunError: If it is damaged, or of another kind.
        """
        return load_recommender(cls, Path(folder), scorers)

    def set_data_kind(self, clicks: bool, ordered: bool) -> None:
        """Choose the bases and the meta-level for ratings or clicks.

        Raises:
            UsageError: If meta-learned bases, which need ratings, are to learn from clicks.
        """
        self.clicks_, self.ordered_ = clicks, ordered
        if clicks and self.extra_bases:
            names = ", ".join(self.extra_bases)
            raise UsageError(f"expected ratings for {names} to learn, got clicks")
        if clicks:
            self._level_class: type[MetaLevel] = ChoiceLevel if ordered else UnorderedChoiceLevel
        else:
            self._level_class = RatingLevel
        external = ExternalClicks if clicks else ExternalRatings
        self.base_classes_: dict[str, type[Base]] = {
            **self._level_class.BASES,
            **{name: META_LEARNED_BASES[name] for name in self.extra_bases},
        }
        for name, scorer in self.scorers.items():
            if name in self.base_classes_:
                raise UsageError(f"expected a name of its own for the scorer {name!r}: rename it")
            self.base_classes_[name] = external.of(scorer)
        self.configurations_ = configurations_of(self.base_classes_)

    @property
    def _scale(self) -> tuple[float, float]:
        return self.rating_values_[0], self.rating_values_[-1]

    def _fit_bases(self, data: Interactions) -> dict[str, Base]:
        n_users, n_items = len(data.users), len(data.items)
        users = self.encoder_(data.user_columns, n_users)
        items = AttributeEncoder().fit(data.item_columns, n_items)(data.item_columns, n_items)
        ratings = data.matrix()
        return {
            name: base().fit(ratings, users, items, self.seed)
            for name, base in self.base_classes_.items()
        }

    def _examples(self, bases: dict[str, Base], data: Interactions) -> MetaExamples:
        rng = np.random.default_rng(self.seed)
        users = self.encoder_(data.user_columns, len(data.users))
        return self._level_class.examples(bases, data, users, self.rating_values_, rng)

    def _check_cold(self, data: Interactions) -> None:
        seen = [name for name in data.users if _hash(name) in self.training_users_]
        if seen:
            more = f" and {len(seen) - 1} others" if len(seen) > 1 else ""
            raise DataError(
                f"expected users that were not seen in training, got {seen[0]!r}{more}: "
                "leave them out, as training knows their ratings"
            )

    def _check_fitted(self) -> None:
        if not hasattr(self, "bases_"):
            raise UsageError("expected a fitted recommender: call fit, or load a saved one")


def _hash(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:16]
