"""The recommender in LensKit, and LensKit's recommenders as bases. Needs the extra `lenskit`.

Example, in a pipeline of LensKit:

    pipeline = topn_pipeline(RecommenderScorer(), n=10)
    pipeline.train(dataset)
    pipeline.run("recommender", query=RecQuery(history_items=history))

Shapes: U users, I items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel

from quickstudy.apps.recommend.bases.base import Matrix
from quickstudy.apps.recommend.bases.external import Scorer
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.errors import DataError, require

require("lenskit", "lenskit")

from lenskit.data import Dataset, ItemList, RecQuery  # noqa: E402
from lenskit.pipeline import Component  # noqa: E402
from lenskit.training import Trainable, TrainingOptions  # noqa: E402

__all__ = ["RecommenderScorer", "ScorerConfig", "scorer_of"]


class ScorerConfig(BaseModel, extra="forbid"):
    """Configuration of `RecommenderScorer`.

    Args:
        clicks: Learn from interactions what is chosen next, also where they have ratings.
        meta: As in `Recommender`.
        seed: As in `Recommender`.
    """

    clicks: bool = False
    meta: bool = True
    seed: int = 0


class RecommenderScorer(Component[ItemList], Trainable):
    """A `Recommender` as a LensKit component that scores items: by expected rating, or for clicks
    by the probability of being chosen next.

    A user is known by the history of the query alone, so users whom training has not seen are
    scored too. Items that training has not seen have the score NaN.
    """

    config: ScorerConfig
    recommender_: Recommender

    def train(self, data: Dataset, options: TrainingOptions = TrainingOptions()) -> None:  # noqa: B008
        """Fit the recommender, unless it is fitted and `options.retrain` is false."""
        if hasattr(self, "recommender_") and not options.retrain:
            return
        recommender = Recommender(meta=self.config.meta, seed=self.config.seed)
        self.recommender_ = recommender.fit(interactions_of(data, clicks=self.config.clicks))

    def __call__(self, query: RecQuery, items: ItemList) -> ItemList:
        """The items with scores."""
        history, recommender = query.history_items, self.recommender_
        known: Any = []
        if history is not None and recommender.clicks_:
            known = list(history.ids())
        elif history is not None:
            known = dict(zip(history.ids(), map(float, _ratings(history)), strict=True))
        user = recommender.adapt(known, unknown="ignore")
        return ItemList(items, scores=user.predict(list(items.ids()), unknown="ignore"))


def interactions_of(data: Dataset, *, clicks: bool = False) -> Interactions:
    """The interactions of a LensKit data set; clicks if they have no ratings, or if asked for."""
    table = data.interaction_table(format="pandas", original_ids=True)
    no_ratings = [None] * len(table)
    ratings = table["rating"].tolist() if "rating" in table and not clicks else no_ratings
    times = [table["timestamp"].tolist()] if "timestamp" in table else []
    rows = zip(table["user_id"].tolist(), table["item_id"].tolist(), ratings, *times, strict=True)
    return Interactions.from_rows(rows)


def scorer_of(component: Any, items: list[str]) -> Scorer:
    """A trained LensKit component that scores items, as a further base of `Recommender(scorers=)`.

    Args:
        component: Takes a query with a history and no user, as `EASEScorer` or `ItemKNNScorer` do.
        items: Of the recommender's training data, in their order: `Interactions.items`.
    """
    as_lenskit = {str(item): item for item in component.items.ids()}
    candidates = ItemList(item_ids=[as_lenskit.get(item, item) for item in items])

    def scores(histories: Matrix) -> np.ndarray:
        ids = candidates.ids()
        found = np.full(histories.shape, np.nan)
        for row in range(histories.shape[0]):
            entries = slice(histories.indptr[row], histories.indptr[row + 1])
            history = ItemList(
                item_ids=ids[histories.indices[entries]], rating=histories.data[entries]
            )
            scored = component(query=RecQuery(history_items=history), items=candidates)
            found[row] = scored.scores()
        return found

    return scores


def _ratings(history: ItemList) -> np.ndarray:
    ratings = history.field("rating")
    if ratings is None:
        raise DataError("expected ratings in the history of the query, got items alone")
    return np.asarray(ratings)
