"""Suggested items, and how notebooks show them."""

from __future__ import annotations

from dataclasses import dataclass

from quickstudy.html import html_table

__all__ = ["Suggestion", "Suggestions"]


@dataclass(frozen=True, repr=False)
class Suggestion:
    """An item that a user may like.

    Args:
        item, title: The item's name, and how to show it; where several items have one title, it
            ends with the name.
        rating: The expected rating; None for clicks.
        likely: The probability of a rating in the upper half of the scale; for clicks, of being
            chosen next.
        because: Titles of the items that speak for it most, among those that the user rated well or
            chose.
        usual: The rating, or for clicks the probability, expected of a user of whom nothing is
            known.
    """

    item: str
    title: str
    rating: float | None
    likely: float
    because: list[str]
    usual: float

    def __repr__(self) -> str:
        rating = "" if self.rating is None else f", rating={self.rating:.2f}"
        return f"Suggestion({self.title!r}{rating}, likely={self.likely:.2f})"

    def _repr_html_(self) -> str:
        return Suggestions([self])._repr_html_()


class Suggestions(list[Suggestion]):
    """Suggestions, best first. Notebooks show them as a table."""

    def _repr_html_(self) -> str:
        has_ratings = any(s.rating is not None for s in self)
        header = ["item", *(["rating"] if has_ratings else []), "likely", "because"]
        rows = [
            [
                s.title,
                *([f"{s.rating:.2f}"] if s.rating is not None else []),
                f"{s.likely:.0%}" if has_ratings else f"{s.likely:.1%}",
                ", ".join(s.because),
            ]
            for s in self
        ]
        return html_table(header, rows)
