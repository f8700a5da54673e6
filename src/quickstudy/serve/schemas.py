"""Requests and responses of the recommender."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from quickstudy.apps.recommend.identifiers import Unknown

__all__ = [
    "About",
    "AskRequest",
    "Item",
    "ItemList",
    "RecommendRequest",
    "SuggestedItem",
    "SuggestionList",
    "UserDecision",
    "UserRequest",
]

MAX_RATINGS = 1000
"""In a request: far more than is needed to know a user."""

Name = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=1, le=50)]


class _Request(BaseModel):
    """What a client sends. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Rating(_Request):
    """An item, and the user's rating of it."""

    item: Name
    rating: FiniteFloat


class UserRequest(_Request):
    """All that is known of a user, maybe nothing."""

    ratings: Annotated[list[Rating], Field(max_length=MAX_RATINGS)] = []
    chosen: Annotated[
        list[Name],
        Field(max_length=MAX_RATINGS, description="For a recommender of clicks: items in order."),
    ] = []
    attributes: Annotated[
        dict[Name, FiniteFloat | Name | Annotated[list[Name], Field(max_length=50)]],
        Field(max_length=100, description="A number, a word, or several words, by name."),
    ] = {}
    unknown: Annotated[
        Unknown, Field(description="Whether to refuse unknown items, or leave them out.")
    ] = "raise"


class RecommendRequest(UserRequest):
    """The user to recommend to, and how many items."""

    n: Count = 10
    among: Annotated[
        list[Name] | None, Field(max_length=MAX_RATINGS, description="Only these items.")
    ] = None
    explain: Annotated[
        bool, Field(description="Also return what the meta-level decided for the user.")
    ] = False


class AskRequest(UserRequest):
    """The user to ask, and about how many items."""

    n: Count = 5
    skip: Annotated[
        list[Name], Field(max_length=MAX_RATINGS, description="Items that the user does not know.")
    ] = []


class Item(BaseModel):
    """An item, and how to show it."""

    item: str
    title: str


class SuggestedItem(Item):
    """An item that the user may like."""

    rating: Annotated[float | None, Field(description="The expected rating; null for clicks.")]
    likely: Annotated[
        float,
        Field(description="The probability of the upper half of ratings, or of being chosen next."),
    ]
    usual: Annotated[
        float,
        Field(
            description="The rating, or for clicks the probability, that is expected of a user of "
            "whom nothing is known."
        ),
    ]
    probabilities: Annotated[
        list[float], Field(description="Of each of the scale's ratings; for clicks, one.")
    ]
    because: Annotated[
        list[str], Field(description="Titles of items rated well that speak for it most.")
    ]


class Decision(BaseModel):
    """The weight of each base recommender with its setting, which multiplies the difference between
    its prediction and the item's mean; and the blend above which each rating but the lowest is more
    likely than not to be reached, empty for clicks."""

    weights: dict[str, float]
    thresholds: list[float] = []


class UserDecision(Decision):
    """What was decided for a user, and for the average training user."""

    usual: Decision
    why: Annotated[
        list[str], Field(description="What is done for this user unlike for others, and why.")
    ] = []


IgnoredItems = Annotated[list[str], Field(description="Unknown items that were left out.")]


class SuggestionList(BaseModel):
    """Suggested items, best first."""

    suggestions: list[SuggestedItem]
    ignored: IgnoredItems = []
    decision: UserDecision | None = None


class ItemList(BaseModel):
    """Items, best first."""

    items: list[Item]
    ignored: IgnoredItems = []


class About(BaseModel):
    """The recommender that is served."""

    name: str
    demo: Annotated[bool, Field(description="Whether its data is invented.")]
    id: Annotated[str, Field(description="Changes with the items and the scale.")]
    items: Annotated[int, Field(description="How many items.")]
    users: Annotated[int, Field(description="How many training users.")]
    clicks: Annotated[bool, Field(description="Whether it learned from clicks, not ratings.")]
    scale: Annotated[
        list[float], Field(description="The different ratings, ascending; for clicks [1].")
    ]
    numbers: Annotated[list[str], Field(description="Attributes that are numbers.")]
    words: Annotated[
        dict[str, list[str]], Field(description="Attributes that are words, with their values.")
    ]
    meta: Annotated[bool, Field(description="Whether the meta-level decides for each user.")]
    best_for_all: Annotated[str, Field(description="The base and setting best for all users.")]
