"""Data sets, one file each, and the literal catalogue of them.

A data set is a function `load(split, *, image_size, seed) -> ClassData` with the splits it
offers, its CHANNELS if they are not 1, and, if it does not come with the package, what to fetch.
"""

from __future__ import annotations

from types import ModuleType

from quickstudy.errors import unknown
from quickstudy.tasks.datasets import caltech, digits, glyphs, omniglot
from quickstudy.tasks.sources import ClassData

__all__ = ["DATASETS", "load_dataset"]

DATASETS: dict[str, ModuleType] = {
    "glyphs": glyphs,
    "omniglot": omniglot,
    "digits": digits,
    "caltech101_84": caltech,
}


def load_dataset(name: str, split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Load one split of a data set.

    Raises:
        UsageError: For an unknown data set or split.
        MissingError: If the data set is not on this machine.

    Example:
        >>> load_dataset("digits", "test").n_classes
        10
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    dataset = DATASETS[name]
    if split not in dataset.SPLITS:
        raise unknown(f"split of {name}", split, dataset.SPLITS)
    return dataset.load(split, image_size=image_size, seed=seed)
