"""The recommender as a service: what is known of a user comes with each request, none is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from quickstudy.apps.recommend import Adapted, Interactions, Recommender, generated
from quickstudy.apps.recommend.identifiers import Unknown, plain
from quickstudy.errors import UsageError

__all__ = ["About", "Item", "demo", "recommender_routes"]

MOST_RATINGS = 1000
"""In a request: far more than what tells anything new about a user."""

Name = Annotated[str, Field(max_length=200)]
Few = Annotated[int, Field(ge=1, le=50)]


class _Told(BaseModel):
    """What a client sends: all of it is read, or it is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Rating(_Told):
    """An item, and what the user thinks of it."""

    item: Name
    rating: FiniteFloat


class User(_Told):
    """All that is known of a user, maybe nothing."""

    ratings: Annotated[list[Rating], Field(max_length=MOST_RATINGS)] = []
    attributes: Annotated[
        dict[Name, FiniteFloat | Name | Annotated[list[Name], Field(max_length=50)]],
        Field(max_length=100, description="A number, a word, or several words, by name."),
    ] = {}
    unknown: Annotated[
        Unknown, Field(description="Whether to refuse unknown items, or leave them out.")
    ] = "raise"


class Recommend(User):
    """Whom to recommend to, and how much."""

    n: Few = 10
    among: Annotated[
        list[Name] | None, Field(max_length=MOST_RATINGS, description="Only of these items.")
    ] = None
    explain: Annotated[bool, Field(description="Also say what the level above decided.")] = False


class Ask(User):
    """Whom to ask, and how much."""

    n: Few = 5
    skip: Annotated[
        list[Name], Field(max_length=MOST_RATINGS, description="Items that the user does not know.")
    ] = []


class Item(BaseModel):
    """An item, and what to call it."""

    item: str
    title: str


class Suggested(Item):
    """An item that the user may like."""

    rating: Annotated[float, Field(description="What is expected.")]
    likely: Annotated[float, Field(description="The probability of the upper half of ratings.")]
    probabilities: Annotated[list[float], Field(description="Of each of the scale's ratings.")]
    because: Annotated[list[str], Field(description="Titles rated well that speak for it most.")]


class Decision(BaseModel):
    """How far each base recommender, with its setting, is trusted to move a rating from the item's
    mean; and above which blend of them each rating but the lowest is more likely than not."""

    weights: dict[str, float]
    thresholds: list[float]


class Decided(Decision):
    """What was decided for a user, and what is for the average user of training."""

    usual: Decision


Ignored = Annotated[list[str], Field(description="Items left out, as they are unknown.")]


class Suggestions(BaseModel):
    """Best first."""

    suggestions: list[Suggested]
    ignored: Ignored = []
    decision: Decided | None = None


class Items(BaseModel):
    """Best first."""

    items: list[Item]
    ignored: Ignored = []


class About(BaseModel):
    """What is served."""

    name: str
    demo: Annotated[bool, Field(description="Whether its data is invented.")]
    id: Annotated[str, Field(description="Changes with the items and the scale.")]
    items: Annotated[int, Field(description="How many.")]
    users: Annotated[int, Field(description="In training.")]
    scale: Annotated[list[float], Field(description="The different ratings, ascending.")]
    numbers: Annotated[list[str], Field(description="Attributes that are numbers.")]
    words: Annotated[
        dict[str, list[str]], Field(description="Attributes that are words, of these.")
    ]
    meta: Annotated[bool, Field(description="Whether the level above decides for each user.")]
    best_for_all: Annotated[str, Field(description="The base and setting best for all users.")]


def recommender_routes(
    recommender: Recommender, name: str = "recommender", *, is_demo: bool = False
) -> APIRouter:
    """Routes that tell of a recommender, search its items, recommend, and say what to ask.

    Args:
        recommender: Fitted or loaded; it is not changed.
        name: What to call it.
        is_demo: Whether its data is invented.

    Raises:
        UsageError: If it learned from clicks.
    """
    if recommender.clicks_:
        raise UsageError("expected a recommender of ratings to serve, got one of clicks")
    routes = APIRouter()
    about = _about(recommender, name, is_demo)
    places = {item: i for i, item in enumerate(recommender.items_)}
    catalogue = _Catalogue(recommender)
    recommender.adapt().top_n(1)  # what is computed once, is before the first request

    @routes.get("")
    def tell() -> About:
        """What is served."""
        return about

    @routes.get("/items")
    def search(
        search: Annotated[str, Query(max_length=100, description="Words of the title.")] = "",
        n: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Items:
        """Items whose title has all words, the most rated first; without words, of all items."""
        return Items(items=[_item(recommender, i) for i in catalogue.find(search, n)])

    @routes.post("/recommend")
    def recommend(request: Recommend) -> Suggestions:
        """Learn a user from ratings and attributes, and suggest what was not rated."""
        user, ignored = _adapt(recommender, request)
        among = request.among
        if among is not None:
            among, more = _known(recommender, among, request.unknown)
            ignored += more
        best = user.top_n(request.n, among=among)
        suggestions = [
            Suggested(**vars(s), probabilities=user.probabilities[places[s.item]].tolist())
            for s in best
        ]
        decision = Decided.model_validate(user.explain()) if request.explain else None
        return Suggestions(suggestions=suggestions, ignored=ignored, decision=decision)

    @routes.post("/ask")
    def ask(request: Ask) -> Items:
        """The items whose ratings would tell most about a user, given what is known already."""
        user, ignored = _adapt(recommender, request)
        skip, more = _known(recommender, request.skip, request.unknown)
        asked = user.ask(request.n, skip=skip)
        items = [_item(recommender, places[item]) for item in asked]
        return Items(items=items, ignored=ignored + more)

    return routes


def demo() -> Recommender:
    """A recommender of invented films, learned in seconds.

    Example:
        >>> films = demo()
        >>> films.titles_[0], len(set(films.titles_))
        ('The Last Harbour (drama)', 150)
    """
    data = generated(n_users=150)
    return Recommender().fit(replace(data, titles=_invented_titles(data)))


NOUNS = {
    "comedy": ("Wedding", "Umbrella", "Neighbour", "Butler", "Holiday", "Piano", "Goose", "Aunt"),
    "drama": ("Harbour", "Letter", "Winter", "Daughter", "Orchard", "Verdict", "Shore", "Promise"),
    "history": ("Throne", "Siege", "Legion", "Duchess", "Galleon", "Treaty", "Tower", "Crown"),
    "space": ("Comet", "Orbit", "Nebula", "Station", "Eclipse", "Signal", "Colony", "Voyage"),
}
ADJECTIVES = ("Last", "Quiet", "Borrowed", "Burning", "Second", "Hidden", "Golden", "Broken")


def _invented_titles(data: Interactions) -> list[str]:
    """A title for each item, of its genre; none twice."""
    made = {
        genre: iter([f"The {a} {n} ({genre})" for i in range(8) for a, n in _shifted(nouns, i)])
        for genre, nouns in NOUNS.items()
    }
    return [next(made[genre]) for (genre,) in data.item_columns["genres"]]


def _shifted(nouns: tuple[str, ...], by: int) -> list[tuple[str, str]]:
    return list(zip(ADJECTIVES[by:] + ADJECTIVES[:by], nouns, strict=True))


class _Catalogue:
    """Items by the words of their titles, whatever their capitals and accents."""

    def __init__(self, recommender: Recommender) -> None:
        popular = np.argsort(-recommender.counts, kind="stable").tolist()
        self.titles = [(i, plain(recommender.titles_[i])) for i in popular]

    def find(self, text: str, n: int) -> list[int]:
        """Positions of `n` items at most; those whose title begins with the text come first."""
        text = plain(text)
        words = text.split()
        found = [(i, title) for i, title in self.titles if all(word in title for word in words)]
        found.sort(key=lambda entry: not entry[1].startswith(text))
        return [i for i, _ in found[:n]]


def _about(recommender: Recommender, name: str, is_demo: bool) -> About:
    scale = recommender.levels_.tolist()
    told = json.dumps([recommender.items_, recommender.titles_, scale]).encode()
    base, setting = recommender.single_
    return About(
        name=name,
        demo=is_demo,
        id=hashlib.sha256(told).hexdigest()[:16],
        items=len(recommender.items_),
        users=recommender.n_users,
        scale=scale,
        numbers=list(recommender.encoder_.numbers),
        words=recommender.encoder_.words,
        meta=recommender.meta,
        best_for_all=f"{base} {setting:g}",
    )


def _item(recommender: Recommender, place: int) -> Item:
    return Item(item=recommender.items_[place], title=recommender.catalogue_.labels[place])


def _adapt(recommender: Recommender, user: User) -> tuple[Adapted, list[str]]:
    """The user, and what was left out as it is unknown."""
    _, ignored = _known(recommender, [told.item for told in user.ratings], user.unknown)
    left_out = set(ignored)
    pairs = [(told.item, told.rating) for told in user.ratings if told.item not in left_out]
    return recommender.adapt(pairs, user.attributes), ignored


def _known(
    recommender: Recommender, items: list[str], unknown: Unknown
) -> tuple[list[str], list[str]]:
    """Of some items those that the recommender knows, or all if the others are to be refused; and
    those left out."""
    if unknown == "raise":
        return items, []
    known = {item for item in items if recommender.catalogue_.find(item) is not None}
    return [i for i in items if i in known], [i for i in items if i not in known]
