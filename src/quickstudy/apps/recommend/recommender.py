"""A recommender of two levels: base recommenders, and a meta-level that blends them for each user.

Shapes: U users, I items, V rating values (1 for clicks), D attributes of a user.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch

from quickstudy.apps.recommend.adapted import AdaptedRecommender
from quickstudy.apps.recommend.aligning import aligned
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases.base import Base, Matrix, entry_mask, shape_of
from quickstudy.apps.recommend.bases.external import ExternalClicks, ExternalRatings, Scorer
from quickstudy.apps.recommend.bases.meta_learned import META_LEARNED_BASES
from quickstudy.apps.recommend.filters import matching_items
from quickstudy.apps.recommend.history import clicks_of, ratings_of, row_of
from quickstudy.apps.recommend.identifiers import Catalogue, TitleIndex, Unknown, identifier
from quickstudy.apps.recommend.interactions import Columns, Interactions
from quickstudy.apps.recommend.learning import (
    best_single_level,
    check_data,
    fit_bases,
    guarded_level,
    hashed,
    on_levels,
    training_examples,
)
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
from quickstudy.apps.recommend.meta_level.guard import GuardedLevel
from quickstudy.apps.recommend.meta_level.inputs import configurations_of
from quickstudy.apps.recommend.meta_level.prior import shipped_prior
from quickstudy.apps.recommend.new_items import NewItems, extended
from quickstudy.apps.recommend.ranking import best_items, expected_values, write_lists
from quickstudy.apps.recommend.saving import load_recommender, save_recommender
from quickstudy.apps.recommend.scales import nearest_levels, rating_levels
from quickstudy.errors import DataError, UsageError, check_option
from quickstudy.html import html_table
from quickstudy.learners.base import check_finite
from quickstudy.progress import track

__all__ = ["Recommender"]

TYPICAL_SUPPORT = 5
"""Known ratings or clicks of the average user that notebooks show."""


class Recommender:
    """Learn from users with many ratings, or clicks, how to recommend to users with few.

    From ratings it learns what users like; from clicks, what they choose next.

    Args:
        meta: Whether the meta-level decides for each user; otherwise the configuration that is best
            for the training users is used for all.
        prior: Whether the meta-level may start from what it learned over other data sets, and be
            drawn towards it, where that is better for training users; with 500 of them at most.
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
        items_, titles_, item_columns_: Of the training data: names, titles and attributes.
        rating_values_: The different ratings, with the ends of the scale, (V,), or the levels that
            a scale of more than 20 is divided into; for clicks [1].
        scale_: The lowest and highest possible rating.
        catalogue_: Looks up items by name or title.
        new_items_: Items that `with_items` added, or None.
        level_class_, base_classes_: What is learned from data of this kind.
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
        self.new_items_: NewItems | None = None
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
        return training_examples(self, on_levels(data, self.rating_values_))

    def guarded_level(self, parts: Sequence[MetaExamples]) -> GuardedLevel:
        """For each support size the level that is best for users it has not learned from. Where it
        is close, a single configuration is not taken: the others are judged by what they learn from
        half of the users."""
        return guarded_level(self, parts)

    def fit(self, data: Interactions) -> Self:
        """Learn the bases and the meta-level.

        Args:
            data: Ratings or clicks of training users.

        Raises:
            DataError: If there are too few users or ratings, or more data than memory can hold.
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
        self.meta_level_ = self.guarded_level(parts) if self.meta else best_single_level(self)
        self.bases_ = fit_bases(self, on_levels(data, self.rating_values_))
        return self

    def _prepare(self, data: Interactions) -> None:
        """Set what is known of the data before anything is learned."""
        self.set_data_kind(data.clicks, ordered=data.time is not None)
        self.scale_ = data.rating_range
        self.rating_values_ = np.ones(1) if data.clicks else rating_levels(data.rating, self.scale_)
        check_data(data)
        vars(self).pop("usual_scores", None)  # cached after an earlier fit
        self.items_, self.titles_ = data.items, data.titles or data.items
        self.catalogue_ = Catalogue(self.items_, self.titles_)
        self.item_columns_: Columns = dict(data.item_columns)
        self.new_items_ = None
        self.training_users_ = set(map(hashed, data.users))
        self.encoder_ = AttributeEncoder().fit(data.user_columns, len(data.users))

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
        entries = clicks_of(history) if self.clicks_ else ratings_of(history, self.scale_)
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
        known = self.known_part(ratings)
        if not self.clicks_:
            levels = nearest_levels(known.data, self.rating_values_)
            known = Matrix((levels, known.indices, known.indptr), shape=known.shape)
        inputs = self.level_class_.inputs(self.bases_, known, users, self.rating_values_)
        if self.new_items_ is None:
            return inputs
        is_seen = entry_mask(ratings)[:, shape_of(known)[1] :].toarray() > 0
        return self.new_items_.extend(inputs, is_seen, self.clicks_)

    def known_part(self, ratings: Matrix) -> Matrix:
        """The columns of the items of training, (U, I)."""
        if self.new_items_ is None:
            return ratings
        return ratings[:, : len(self.new_items_.projection)]

    def probabilities(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """The probability of each rating value for all items, (U, I, V); for clicks, of being
        chosen next, (U, I, 1). Takes what `meta_inputs` does.

        Raises:
            DataError: If one is not finite.
        """
        probabilities = self.meta_level_.probabilities(self.meta_inputs(ratings, users))
        sums = probabilities.sum((1, 2))  # not finite if one of them is not
        check_finite(torch.from_numpy(sums), "the recommender")
        return probabilities

    def with_items(
        self,
        items: Mapping[Any, Mapping[str, Any]],
        *,
        titles: Mapping[Any, str] | None = None,
        first: Interactions | None = None,
        text_encoder: Callable[[list[str]], Any] | None = None,
    ) -> Recommender:
        """The same recommender with new items beside those of training, in one list. Nothing is
        learned anew; items that were added before are replaced.

        Args:
            items: Attributes of each new item, named as the columns of the items in training; maybe
                none.
            titles: How to show them, by item.
            first: The first interactions with them, and all others of these users.
            text_encoder: Maps titles to vectors, such as one of `quickstudy.encoders`: then titles
                count as attributes do.

        Raises:
            DataError: If an item is known from training, or interactions are not as in training.
            UsageError: For an attribute that training did not have.

        Example:
            >>> from quickstudy.apps.recommend import Recommender, generated
            >>> recommender = Recommender().fit(generated(n_users=60, n_items=30))
            >>> more = recommender.with_items({"film 31": {"genres": ["space"]}})
            >>> more.adapt({"item 3": 5}).predict(["film 31"]).shape
            (1,)
        """
        self._check_fitted()
        return extended(self, items, titles or {}, first, text_encoder)

    def top_all(
        self,
        data: Interactions,
        n: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        include_seen: bool = False,
        unknown: Unknown = "ignore",
        n_jobs: int = 1,
        to: str | Path | None = None,
    ) -> np.ndarray:
        """The best items for each user of some data, given all their interactions there.

        Args:
            data: Ratings or clicks, also of training users.
            n: How many items.
            where: Only items with these attributes (see `AdaptedRecommender.top_n`).
            include_seen: Also items that the user has already rated or chosen.
            unknown: "ignore" leaves out items that training did not have, with a warning; "raise"
                refuses them.
            n_jobs: Processes to divide the users among; -1 is one a core. Needs joblib, whose
                back ends of Dask or Ray divide them among machines.
            to: A CSV or Parquet file to write, with the columns user, rank, item, title and score.

        Returns:
            Positions in `items_`, (U, n), best first; -1 where fewer items are left.
        """
        aligned, users = self.align(data, cold=False, unknown=unknown)
        if not 1 <= n <= len(self.items_):
            raise UsageError(f"expected n of 1 to {len(self.items_)}, the items, got {n}")
        allowed = matching_items(self.item_columns_, where) if where else None
        options = {"allowed": allowed, "include_seen": include_seen, "n_jobs": n_jobs}
        positions, scores = best_items(self, aligned.matrix(), users, n, **options)
        if to is not None:
            labels = self.catalogue_.labels
            write_lists(Path(to), data.users, positions, scores, self.items_, labels)
        return positions

    def fit_meta_level(
        self,
        examples: MetaExamples,
        kind: Kind,
        configuration: Configuration | None = None,
        *,
        prior: bool = False,
    ) -> MetaLevel:
        """Learn a meta-level from examples that the bases have not seen, from the shipped prior if
        asked for."""
        level = self.make_meta_level(kind, configuration)
        return level.fit(examples, shipped_prior(type(level).__name__) if prior else None)

    @property
    def explaining_base(self) -> Base:
        """The base whose contributions explain suggestions."""
        return self.bases_[self.level_class_.EXPLAINING_BASE]

    def make_meta_level(self, kind: Kind, configuration: Configuration | None = None) -> MetaLevel:
        """Make a meta-level that has not learned yet."""
        return self.level_class_(self.rating_values_, self.configurations_, kind, configuration)

    def align(
        self, data: Interactions, *, cold: bool = True, unknown: Unknown = "ignore"
    ) -> tuple[Interactions, np.ndarray]:
        """The same interactions with items numbered as in training, and the users' attributes, (U,
        D).

        Args:
            data: Ratings or clicks.
            cold: Refuse users that training has seen.
            unknown: "ignore" leaves out items that training did not have, with a warning; "raise"
                refuses them.

        Raises:
            DataError: For a rating off the scale of training, an item that training did not have if
                none may be left out, or a user that it had if all are to be cold.
        """
        self._check_fitted()
        if cold:
            self._check_cold(data)
        return aligned(self, data, unknown), self.encoder_(data.user_columns, len(data.users))

    @property
    def n_users(self) -> int:
        """Number of training users."""
        return len(self.training_users_)

    @property
    def item_counts(self) -> np.ndarray:
        """Interactions of each item in training, (I,)."""
        base, name = ("popularity", "counts") if self.clicks_ else ("bayes", "item_counts")
        counts = self.bases_[base].state()[name]
        return counts if self.new_items_ is None else np.append(counts, self.new_items_.counts)

    def search(
        self, text: str = "", n: int = 10, *, where: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Items whose title has all words, those with most interactions first.

        Args:
            text: Words, in any order; capitals and accents need not match.
            n: How many items at most.
            where: Only items with these attributes (see `AdaptedRecommender.top_n`).
        """
        self._check_fitted()
        found = TitleIndex(self.titles_, self.item_counts).search(text, len(self.items_))
        if where:
            allowed = matching_items(self.item_columns_, where)
            found = [i for i in found if allowed[i]]
        return [self.items_[i] for i in found[:n]]

    @cached_property
    def usual_scores(self) -> np.ndarray:
        """The rating of each item, or for clicks the probability, that is expected of a user of
        whom nothing is known, (I,)."""
        return expected_values(self.adapt().probabilities, self.rating_values_)

    @property
    def item_vectors(self) -> np.ndarray:
        """Factors of each item less those of the average one, (I, K). Their cosine tells how
        similar two items are."""
        factors = self.bases_["factors"].state()["item_factors"]
        factors = factors if self.clicks_ else factors[:, 1:]  # without the user's bias
        factors = factors - factors.mean(0)
        if self.new_items_ is None:
            return factors
        return np.concatenate([factors, self.new_items_.mix(factors.T).T])

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
            self.level_class_: type[MetaLevel] = ChoiceLevel if ordered else UnorderedChoiceLevel
        else:
            self.level_class_ = RatingLevel
        external = ExternalClicks if clicks else ExternalRatings
        self.base_classes_: dict[str, type[Base]] = {
            **self.level_class_.BASES,
            **{name: META_LEARNED_BASES[name] for name in self.extra_bases},
        }
        for name, scorer in self.scorers.items():
            if name in self.base_classes_:
                raise UsageError(f"expected a name of its own for the scorer {name!r}: rename it")
            self.base_classes_[name] = external.of(scorer)
        self.configurations_ = configurations_of(self.base_classes_)

    def _check_cold(self, data: Interactions) -> None:
        seen = [name for name in data.users if hashed(name) in self.training_users_]
        if seen:
            more = f" and {len(seen) - 1} others" if len(seen) > 1 else ""
            raise DataError(
                f"expected users that were not seen in training, got {seen[0]!r}{more}: "
                "leave them out, as training knows their ratings"
            )

    def _check_fitted(self) -> None:
        if not hasattr(self, "bases_"):
            raise UsageError("expected a fitted recommender: call fit, or load a saved one")
