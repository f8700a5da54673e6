"""How much memory learning a recommender takes, and how much is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quickstudy.errors import DataError

__all__ = ["check_memory", "chunks", "free_memory", "memory_for_training"]

PAIRS_PER_CHUNK = 500_000
"""(user, item) pairs that are predicted at once: more take longer, as they leave the caches."""

BYTES_PER_SIMILARITY, MAX_SIMILARITIES = 24, 40_000_000
"""Bytes of a similarity while those of all items are computed, and how many are kept: all up to
6,300 items, then the largest of each item."""

BYTES_PER_EASE_PAIR, MAX_EASE_ITEMS = 16, 10_000
"""Bytes per pair of items that the base `ease` of clicks takes, and of how many items."""

BYTES_PER_PREDICTED_PAIR = 320
"""Bytes that a chunk takes per (user, item) pair: the predictions of each configuration, stacked
and converted to ratings."""

BYTES_PER_RATING = 250
"""Bytes per rating that the interactions and their folds take."""

BYTES_PER_USER, BYTES_PER_ITEM = 2_000, 12_000
"""Bytes per user for factors and names, and per item for the covariances of the Bayes models."""

CGROUP = Path("/sys/fs/cgroup")


def chunks(n_users: int, n_items: int) -> Iterator[slice]:
    """Split users into chunks whose predictions for all items fit into memory.

    Example:
        >>> list(chunks(5, 250_000))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, PAIRS_PER_CHUNK // n_items)
    return (slice(start, min(start + size, n_users)) for start in range(0, n_users, size))


def memory_for_training(n_users: int, n_items: int, n_ratings: int, clicks: bool = False) -> int:
    """Bytes that `Recommender.fit` takes at most, roughly."""
    pairs_of_chunk = min(n_users * n_items, max(PAIRS_PER_CHUNK, n_items))
    learning = BYTES_PER_SIMILARITY * min(n_items**2, MAX_SIMILARITIES)
    if clicks:
        learning += BYTES_PER_EASE_PAIR * min(n_items, MAX_EASE_ITEMS) ** 2
    return (
        max(learning, BYTES_PER_PREDICTED_PAIR * pairs_of_chunk)
        + BYTES_PER_RATING * n_ratings
        + BYTES_PER_USER * n_users
        + BYTES_PER_ITEM * n_items
    )


def free_memory() -> int | None:
    """Bytes that this process may still take: what the machine has free, or what its control group
    leaves if that is less. None if it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        of_machine = 1024 * int(available)
    except (OSError, ValueError):
        return None
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" if there is no limit
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return of_machine
    return min(of_machine, max(0, limit - used))


def check_memory(n_users: int, n_items: int, n_ratings: int, clicks: bool = False) -> None:
    """Refuse data that is too large for the free memory.

    Raises:
        DataError: If it is; says how much it would take.
    """
    free = free_memory()
    needed = memory_for_training(n_users, n_items, n_ratings, clicks)
    if free is not None and needed > free:
        raise DataError(
            f"expected about {needed / 1e9:.1f} GB of free memory for {n_users} users, {n_items} "
            f"items and {n_ratings} ratings, got {free / 1e9:.1f} GB: leave out items with few "
            "ratings, or take a larger machine"
        )
