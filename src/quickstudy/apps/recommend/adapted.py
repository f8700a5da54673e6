"""A recommender that is adapted to one user.

Shapes: I items, V rating values (1 for clicks), D attributes of a user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstudy.apps.recommend.bases.base import Matrix, shape_of
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.explanation import sentences
from quickstudy.apps.recommend.filters import matching_items, words_of
from quickstudy.apps.recommend.identifiers import Unknown
from quickstudy.apps.recommend.ranking import expected_values, ranked
from quickstudy.apps.recommend.reranking import N_CANDIDATES, Mix, reranked
from quickstudy.apps.recommend.suggestions import Suggestion, Suggestions
from quickstudy.errors import UsageError
from quickstudy.errors import unknown as unknown_name
from quickstudy.html import html_table

if TYPE_CHECKING:
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = ["AdaptedRecommender"]


class AdaptedRecommender:
    """A recommender adapted to one user, made by `Recommender.adapt`.

    Args:
        recommender: A fitted recommender.
        ratings: The user's ratings or clicks, (1, I).
        attributes: The user's attributes, (1, D).

    Attributes:
        probabilities: Of each rating value, (I, V); for clicks, of being chosen next, (I, 1).
    """

    def __init__(self, recommender: Recommender, ratings: Matrix, attributes: np.ndarray) -> None:
        self.recommender, self.ratings, self.attributes = recommender, ratings, attributes
        self.probabilities = recommender.probabilities(ratings, attributes)[0]

    def __repr__(self) -> str:
        what = "clicks" if self.recommender.clicks_ else "ratings"
        return f"{type(self).__name__}({self.ratings.nnz} {what})"

    def _repr_html_(self) -> str:
        """The user's ratings or clicks, and the first suggestions."""
        labels = self.recommender.catalogue_.labels
        entries = zip(self.ratings.indices, self.ratings.data, strict=True)
        what = "position" if self.recommender.clicks_ else "rating"
        known = html_table(["item", what], [[labels[i], f"{value:g}"] for i, value in entries])
        return f"{known}\n{self.top_n(5)._repr_html_()}"

    def predict(self, items: Sequence[Any], *, unknown: Unknown = "raise") -> np.ndarray:
        """Expected ratings of items, (n,); for clicks, probabilities of being chosen next.

        Args:
            items: By id, or by title where no other item has the same.
            unknown: "raise" refuses items that training did not have; "ignore" gives NaN for them.

        Raises:
            DataError: For an unknown item.
        """
        positions = self.recommender.positions(items, unknown)
        return np.where(positions >= 0, self._expected_ratings[positions], np.nan)

    def top_n(
        self,
        n: int = 10,
        *,
        among: Sequence[Any] | None = None,
        where: Mapping[str, Any] | None = None,
        include_seen: bool = False,
        diversity: float = 0.0,
        calibrate: Mapping[str, float] | None = None,
        n_because: int = 2,
        unknown: Unknown = "raise",
    ) -> Suggestions:
        """The items with the highest expected ratings, or likeliest to be chosen next, best first.

        Args:
            n: How many; fewer come if fewer are left.
            among: Only these items.
            where: Only items with these attributes, as in `{"genres": "Drama", "year": (1990,
                1999)}`: a word, several of which one will do, a number, or a lowest and a highest.
            include_seen: Also items that the user has already rated or chosen.
            diversity: From 0 to below 1: how much a list counts that has few similar items, against
                the highest scores (see `reranked`).
            calibrate: By attribute of words, from 0 to below 1: how much a list counts whose words
                are as frequent as among the items that the user rated well or chose.
            n_because: Reasons of each suggestion, at most.
            unknown: "raise" refuses items in `among` that training did not have; "ignore" leaves
                them out.

        Raises:
            UsageError: If `n` is not positive, an attribute is unknown, or diversity and
                calibration are negative or 1 together.
            DataError: For an unknown item, or a value that no item has.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        strengths = [diversity, *(calibrate or {}).values()]
        if min(strengths) < 0 or sum(strengths) >= 1:
            raise UsageError(
                f"expected diversity and calibration of 0 or more and below 1 together, got "
                f"{', '.join(f'{strength:g}' for strength in strengths)}"
            )
        recommender = self.recommender
        allowed = np.ones(len(recommender.items_), bool)
        if among is not None:
            positions = recommender.positions(among, unknown)
            allowed[:] = False
            allowed[positions[positions >= 0]] = True
        if where:
            allowed &= matching_items(recommender.item_columns_, where)
        if not include_seen:
            allowed[self.ratings.indices] = False
        candidates = np.flatnonzero(allowed)
        scores = self._expected_ratings[candidates]
        n_first = max(n, N_CANDIDATES) if sum(strengths) else n
        order = ranked(scores[None], n_first)[0] if len(candidates) else np.zeros(0, int)
        best = candidates[order]
        if sum(strengths):
            chosen = reranked(
                scores[order],
                n,
                diversity=diversity,
                vectors=recommender.item_vectors[best],
                mixes=[self._mix(name, best, w) for name, w in (calibrate or {}).items()],
            )
            best = best[chosen]
        return self._suggestions(best, n_because)

    def _suggestions(self, best: np.ndarray, n_because: int) -> Suggestions:
        recommender = self.recommender
        n_values = len(recommender.rating_values_)
        upper_half = n_values - max(1, n_values // 2)
        labels, reasons = recommender.catalogue_.labels, self._reasons(best, n_because)
        return Suggestions(
            Suggestion(
                item=recommender.items_[i],
                title=labels[i],
                rating=None if recommender.clicks_ else float(self._expected_ratings[i]),
                likely=float(self.probabilities[i, upper_half:].sum()),
                because=[labels[j] for j in reasons_of_item],
                usual=float(recommender.usual_scores[i]),
            )
            for i, reasons_of_item in zip(best, reasons, strict=True)
        )

    def _mix(self, name: str, items: np.ndarray, strength: float) -> Mix:
        """The shares of an attribute's words in each of some items, and in what the user likes."""
        columns = self.recommender.item_columns_
        if name not in columns:
            raise unknown_name("attribute of items", name, columns)
        liked = self.ratings.indices[self._is_liked]
        words = [words_of(columns[name][i]) for i in [*items, *liked]]
        column_of = {word: i for i, word in enumerate(sorted({w for ws in words for w in ws}))}
        shares = np.zeros((len(words), max(1, len(column_of))))
        for row, of_item in enumerate(words):
            shares[row, [column_of[word] for word in of_item]] = 1 / max(1, len(of_item))
        of_items, of_liked = shares[: len(items)], shares[len(items) :]
        wanted = of_liked.sum(0) / max(1.0, of_liked.sum())
        return of_items, wanted, strength

    def explain(self) -> dict[str, Any]:
        """What the meta-level decided for this user, and why.

        Returns:
            "why": sentences that name what is done for this user unlike for the average one, and
            what in the user's support speaks for it. "weights": the weight of each configuration,
            by its name; for ratings, it multiplies the difference between the configuration's
            prediction and the item's mean. "thresholds", for ratings: the blend above which each
            rating value but the lowest is more likely than not to be reached. "usual": the same for
            the average training user.
        """
        recommender = self.recommender
        names = list(map(str, recommender.configurations_))

        def named(decision: dict[str, list[float]]) -> dict[str, Any]:
            return {**decision, "weights": dict(zip(names, decision["weights"], strict=True))}

        inputs = recommender.meta_inputs(self.ratings, self.attributes)
        level = recommender.meta_level_.level_for(self.ratings.nnz)
        decided, usual = named(level.decision(inputs)), named(level.decision())
        name = recommender.meta_level_.name_for(self.ratings.nnz)
        evidence = level.evidence(inputs)
        why = sentences(self.ratings.nnz, decided, usual, evidence, name, level.kind)
        return {"why": why, **decided, "usual": usual}

    def ask(self, n: int = 1, *, skip: Sequence[Any] = (), unknown: Unknown = "raise") -> list[str]:
        """The items to ask about, best first. Of ratings those that would tell most about this user
        (preference elicitation; see `BayesianMF.ask`), where each counts on the answers to those
        before; of clicks those that most users have chosen.

        Args:
            n: How many.
            skip: Items that the user does not know.
            unknown: "raise" refuses items in `skip` that training did not have; "ignore" leaves
                them out.

        Raises:
            UsageError: If `n` is not positive.
            DataError: For an unknown item.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        recommender = self.recommender
        positions = recommender.positions(skip, unknown)
        known = positions[positions >= 0].tolist()
        bayes = recommender.bases_.get("bayes")
        if isinstance(bayes, BayesianMF):
            known_part = recommender.known_part(self.ratings)
            skipped = [i for i in known if i < shape_of(known_part)[1]]
            questions = bayes.ask(known_part, self.attributes, n, skipped)
        else:
            by_count = np.argsort(-recommender.item_counts, kind="stable")
            is_known = np.isin(by_count, [*known, *self.ratings.indices])
            questions = by_count[~is_known][:n].tolist()
        return [recommender.items_[i] for i in questions]

    @cached_property
    def _expected_ratings(self) -> np.ndarray:
        """Of all items, (I,); for clicks, the probabilities of being chosen next."""
        return expected_values(self.probabilities, self.recommender.rating_values_)

    @property
    def _is_liked(self) -> np.ndarray:
        """Whether each rating is in the upper half of the scale; true for clicks."""
        values = self.recommender.rating_values_
        return self.ratings.data >= values[len(values) // 2]

    def _reasons(self, items: np.ndarray, n: int) -> list[list[int]]:
        """For each item the positions of up to `n` items that the user rated well, or chose, and
        that raise its score most."""
        recommender = self.recommender
        base = recommender.explaining_base
        new_items, known = recommender.new_items_, recommender.known_part(self.ratings)
        if new_items is None:
            contributions = base.contributions(known, self.attributes, items)  # (rated, items)
        else:
            to_all = base.contributions(known, self.attributes, np.arange(shape_of(known)[1]))
            contributions = np.concatenate([to_all, new_items.mix(to_all)], 1)[:, items]
        is_liked, reasons = self._is_liked[: known.nnz], []  # new items come last
        for of_item in contributions.T:
            order = np.argsort(-of_item, kind="stable")
            strongest = [j for j in order if is_liked[j] and of_item[j] > 0][:n]
            reasons.append([int(self.ratings.indices[j]) for j in strongest])
        return reasons
