"""A recommender of invented films, for demonstrations."""

from __future__ import annotations

from dataclasses import replace

from quickstudy.apps.recommend import Interactions, Recommender, generated

__all__ = ["demo"]

NOUNS = {
    "comedy": ("Wedding", "Umbrella", "Neighbour", "Butler", "Holiday", "Piano", "Goose", "Aunt"),
    "drama": ("Harbour", "Letter", "Winter", "Daughter", "Orchard", "Verdict", "Shore", "Promise"),
    "history": ("Throne", "Siege", "Legion", "Duchess", "Galleon", "Treaty", "Tower", "Crown"),
    "space": ("Comet", "Orbit", "Nebula", "Station", "Eclipse", "Signal", "Colony", "Voyage"),
}
ADJECTIVES = ("Last", "Quiet", "Borrowed", "Burning", "Second", "Hidden", "Golden", "Broken")


def demo() -> Recommender:
    """Train a recommender of invented films, in seconds.

    Example:
        >>> films = demo()
        >>> films.titles_[0], len(set(films.titles_))
        ('The Last Harbour (drama)', 150)
    """
    data = generated(n_users=150)
    return Recommender().fit(replace(data, titles=_invented_titles(data)))


def _invented_titles(data: Interactions) -> list[str]:
    """A title for each item that fits its genre; no title comes twice."""
    titles = {
        genre: iter([f"The {a} {n} ({genre})" for i in range(8) for a, n in _paired(nouns, i)])
        for genre, nouns in NOUNS.items()
    }
    return [next(titles[genre]) for (genre,) in data.item_columns["genres"]]


def _paired(nouns: tuple[str, ...], shift: int) -> list[tuple[str, str]]:
    """Each adjective, from the one at `shift` on, with a noun."""
    return list(zip(ADJECTIVES[shift:] + ADJECTIVES[:shift], nouns, strict=True))
