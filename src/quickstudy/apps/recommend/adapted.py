"""A recommender that is adapted to one user.

Shapes: I items, V rating values (1 for clicks), D attributes of a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstudy.apps.recommend.bases.base import Matrix
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.explanation import sentences
from quickstudy.apps.recommend.identifiers import Unknown
from quickstudy.apps.recommend.suggestions import Suggestion, Suggestions
from quickstudy.errors import UsageError
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
        return np.where(positions >= 0, self._expected_ratings(positions), np.nan)

    def top_n(
        self,
        n: int = 10,
        *,
        among: Sequence[Any] | None = None,
        n_because: int = 2,
        unknown: Unknown = "raise",
    ) -> Suggestions:
        """The items with the highest expected ratings, or likeliest to be chosen next, best first.
        Items that the user has already rated or chosen are left out.

        Args:
            n: How many; fewer come if fewer are left.
            among: Only these items.
            n_because: Reasons of each suggestion, at most.
            unknown: "raise" refuses items in `among` that training did not have; "ignore" leaves
                them out.

        Raises:
            UsageError: If `n` is not positive.
            DataError: For an unknown item.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        recommender = self.recommender
        candidates = np.arange(len(recommender.items_))
        if among is not None:
            candidates = recommender.positions(among, unknown)
        candidates = np.setdiff1d(candidates[candidates >= 0], self.ratings.indices)
        scores = self._expected_ratings(candidates)
        best = candidates[np.argsort(-scores, kind="stable")[:n]]
        n_values = len(recommender.rating_values_)
        upper_half = n_values - max(1, n_values // 2)
        labels, reasons = recommender.catalogue_.labels, self._reasons(best, n_because)
        return Suggestions(
            Suggestion(
                item=recommender.items_[i],
                title=labels[i],
                rating=None if recommender.clicks_ else float(self._expected_ratings(i)),
                likely=float(self.probabilities[i, upper_half:].sum()),
                because=[labels[j] for j in reasons_of_item],
            )
            for i, reasons_of_item in zip(best, reasons, strict=True)
        )

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
        """The items whose ratings would tell most about this user, best first (preference
        elicitation; see `BayesianMF.ask`). Each counts on the answers to those before.

        Args:
            n: How many.
            skip: Items that the user does not know.
            unknown: "raise" refuses items in `skip` that training did not have; "ignore" leaves
                them out.

        Raises:
            UsageError: If `n` is not positive, or the recommender is of clicks.
            DataError: For an unknown item.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        bayes = self.recommender.bases_.get("bayes")
        if not isinstance(bayes, BayesianMF):
            raise UsageError(
                "expected a recommender of ratings to ask for some, got one of clicks: ask about "
                "what most have chosen"
            )
        positions = self.recommender.positions(skip, unknown)
        known = positions[positions >= 0].tolist()
        questions = bayes.ask(self.ratings, self.attributes, n, known)
        return [self.recommender.items_[i] for i in questions]

    def _expected_ratings(self, positions: np.ndarray | int) -> np.ndarray:
        """For clicks, the probabilities of being chosen next."""
        return self.probabilities[positions] @ self.recommender.rating_values_

    def _reasons(self, items: np.ndarray, n: int) -> list[list[int]]:
        """For each item the positions of up to `n` items that the user rated well, or chose, and
        that raise its score most."""
        recommender = self.recommender
        base = recommender.explaining_base
        contributions = base.contributions(self.ratings, self.attributes, items)  # (rated, items)
        values = recommender.rating_values_
        is_liked = self.ratings.data >= values[len(values) // 2]
        reasons = []
        for of_item in contributions.T:
            order = np.argsort(-of_item, kind="stable")
            strongest = [j for j in order if is_liked[j] and of_item[j] > 0][:n]
            reasons.append([int(self.ratings.indices[j]) for j in strongest])
        return reasons
