"""How much memory a recommender takes, and how much there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quickstudy.errors import DataError

__all__ = ["available", "check_memory", "chunks", "needed"]

AT_ONCE = 2_000_000
"""Pairs of a user and an item that are predicted at once: by 20 actions some 1 GB."""

PAIR_OF_ITEMS, PAIR_KEPT = 72, 8
"""Bytes that the similarities of items take for each pair of items, while they are computed and
afterwards."""

PAIR_AT_ONCE = 320
"""Bytes that predictions take for each pair of a user and an item: by each action, and as they are
stacked and read as ratings."""

RATING = 400
"""Bytes for each rating: of the interactions, their parts in folds, and the cases to learn from."""

USER = 12_000
"""Bytes for each user: covariances of several models' vectors."""

CGROUP = Path("/sys/fs/cgroup")


def chunks(n_users: int, n_items: int) -> Iterator[slice]:
    """Users in parts whose predictions for all items fit into memory.

    Example:
        >>> list(chunks(5, 1_000_000))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, AT_ONCE // n_items)
    return (slice(start, min(start + size, n_users)) for start in range(0, n_users, size))


def needed(n_users: int, n_items: int, n_ratings: int) -> int:
    """Bytes that `Recommender.fit` takes at most, roughly."""
    at_once = min(n_users * n_items, max(AT_ONCE, n_items))
    pairs = max(PAIR_OF_ITEMS * n_items**2, PAIR_KEPT * n_items**2 + PAIR_AT_ONCE * at_once)
    return pairs + RATING * n_ratings + USER * (n_users + n_items)


def available() -> int | None:
    """Bytes that this process may still take: what the machine has free, or its control group if
    that is less. None where this is not known."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(free))
    except (OSError, ValueError):
        return None
    try:
        most = int((CGROUP / "memory.max").read_text())  # "max" if there is no limit
        found.append(max(0, most - int((CGROUP / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    return min(found)


def check_memory(n_users: int, n_items: int, n_ratings: int) -> None:
    """Refuse data that a recommender cannot learn from in the memory that is there.

    Raises:
        DataError: If it is too little; says how much it would take.
    """
    there, takes = available(), needed(n_users, n_items, n_ratings)
    if there is not None and takes > there:
        raise DataError(
            f"expected about {takes / 1e9:.1f} GB of free memory for {n_users} users, {n_items} "
            f"items and {n_ratings} ratings, got {there / 1e9:.1f} GB: leave out items with few "
            "ratings, or take a larger machine"
        )
