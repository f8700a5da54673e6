"""The recommender as a service. Each request brings all that is known of a user; nothing is
stored."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Query

from quickstudy.apps.recommend import AdaptedRecommender, Recommender
from quickstudy.apps.recommend.identifiers import TitleIndex, Unknown
from quickstudy.errors import UsageError
from quickstudy.serve.schemas import (
    About,
    AskRequest,
    Item,
    ItemList,
    RecommendRequest,
    SuggestedItem,
    SuggestionList,
    UserDecision,
    UserRequest,
)

__all__ = ["recommender_routes"]


def recommender_routes(
    recommender: Recommender, name: str = "recommender", *, is_demo: bool = False
) -> APIRouter:
    """Routes that describe a recommender, search its items, suggest items, and choose questions.

    Args:
        recommender: Fitted or loaded; it is not changed.
        name: Shown to clients.
        is_demo: Whether its data is invented.
    """
    routes = APIRouter()
    about = _about(recommender, name, is_demo)
    positions = {item: i for i, item in enumerate(recommender.items_)}
    index = TitleIndex(recommender.titles_, recommender.item_counts)
    recommender.adapt().top_n(1)  # fills caches before the first request

    @routes.get("")
    def describe() -> About:
        """The recommender that is served."""
        return about

    @routes.get("/items")
    def search(
        search: Annotated[str, Query(max_length=100, description="Words of the title.")] = "",
        n: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> ItemList:
        """Items whose title has all words, the most rated first; without words, of all items."""
        return ItemList(items=[_item(recommender, i) for i in index.search(search, n)])

    @routes.post("/recommend")
    def recommend(request: RecommendRequest) -> SuggestionList:
        """Adapt to a user's ratings and attributes, and suggest items that were not rated."""
        user, ignored = _adapt(recommender, request)
        among = request.among
        if among is not None:
            among, unknown = _known_items(recommender, among, request.unknown)
            ignored += unknown
        suggestions = [
            SuggestedItem(**vars(s), probabilities=user.probabilities[positions[s.item]].tolist())
            for s in user.top_n(request.n, among=among)
        ]
        decision = UserDecision.model_validate(user.explain()) if request.explain else None
        return SuggestionList(suggestions=suggestions, ignored=ignored, decision=decision)

    @routes.post("/ask")
    def ask(request: AskRequest) -> ItemList:
        """The items whose ratings would tell most about a user, given what is known already."""
        user, ignored = _adapt(recommender, request)
        skip, unknown = _known_items(recommender, request.skip, request.unknown)
        questions = user.ask(request.n, skip=skip)
        items = [_item(recommender, positions[item]) for item in questions]
        return ItemList(items=items, ignored=ignored + unknown)

    return routes


def _about(recommender: Recommender, name: str, is_demo: bool) -> About:
    scale = recommender.rating_values_.tolist()
    content = json.dumps([recommender.items_, recommender.titles_, scale]).encode()
    return About(
        name=name,
        demo=is_demo,
        id=hashlib.sha256(content).hexdigest()[:16],
        items=len(recommender.items_),
        users=recommender.n_users,
        clicks=recommender.clicks_,
        scale=scale,
        numbers=list(recommender.encoder_.numbers),
        words=recommender.encoder_.words,
        meta=recommender.meta,
        best_for_all=str(recommender.best_configuration_),
    )


def _item(recommender: Recommender, position: int) -> Item:
    labels = recommender.catalogue_.labels
    return Item(item=recommender.items_[position], title=labels[position])


def _adapt(recommender: Recommender, request: UserRequest) -> tuple[AdaptedRecommender, list[str]]:
    """The recommender adapted to a user, and the unknown items that were left out."""
    if request.ratings and recommender.clicks_:
        raise UsageError("expected `chosen` for a recommender of clicks, got ratings")
    if request.chosen and not recommender.clicks_:
        raise UsageError("expected `ratings` for a recommender of ratings, got chosen items")
    items = request.chosen or [rating.item for rating in request.ratings]
    _, ignored = _known_items(recommender, items, request.unknown)
    left_out = set(ignored)
    history = request.chosen or [(r.item, r.rating) for r in request.ratings]
    known = [entry for entry, item in zip(history, items, strict=True) if item not in left_out]
    return recommender.adapt(known, request.attributes), ignored


def _known_items(
    recommender: Recommender, items: list[str], unknown: Unknown
) -> tuple[list[str], list[str]]:
    """The items to use, and the unknown ones to leave out; with "raise" all are used, and the
    recommender refuses unknown ones."""
    if unknown == "raise":
        return items, []
    known = {item for item in items if recommender.catalogue_.find(item) is not None}
    return [i for i in items if i in known], [i for i in items if i not in known]
