"""Data sets, one file each, and the literal catalogue of them.

Each file makes a `Dataset`: its splits, a function that loads one, and, if it does not come with
the package, what to fetch.
"""

from __future__ import annotations

from quickstudy.errors import UsageError, unknown
from quickstudy.registry import Registry
from quickstudy.tasks.datasets import (
    caltech,
    clinc150,
    digits,
    glyphs,
    ml_100k,
    omniglot,
    sign_digits,
)
from quickstudy.tasks.datasets.dataset import DataFiles, Dataset
from quickstudy.tasks.sources import ClassData, Encode, TextData

__all__ = ["DATASETS", "DataFiles", "Dataset", "data_files", "load_dataset"]

DATASETS = Registry(
    "data set",
    "datasets",
    Dataset,
    {
        "glyphs": glyphs.DATASET,
        "omniglot": omniglot.DATASET,
        "digits": digits.DATASET,
        "caltech101_84": caltech.DATASET,
        "clinc150": clinc150.DATASET,
        "sign_digits": sign_digits.DATASET,
    },
)
"""Data sets of classes, by name."""


def data_files() -> dict[str, DataFiles]:
    """All that `quickstudy data` knows, also what is no data set of classes: ratings, which
    `quickstudy.apps.recommend` loads."""
    return {**{name: DATASETS.find(name) for name in DATASETS.names()}, "ml-100k": ml_100k.FILES}


def load_dataset(
    name: str,
    split: str,
    *,
    image_size: int = 28,
    seed: int = 0,
    encoder: Encode | None = None,
) -> ClassData:
    """Load one split of a data set.

    Args:
        image_size: Side of the images, in pixels.
        seed: Decides what is drawn, in a data set made by code.
        encoder: Embeds each example, as `quickstudy.encoders.minilm()` does texts; texts need one.

    Raises:
        UsageError: For an unknown data set or split, or texts without an encoder.
        MissingError: If the data set is not on this machine.

    Example:
        >>> load_dataset("digits", "test").n_classes
        10
    """
    dataset = DATASETS.find(name)
    if split not in dataset.splits:
        raise unknown(f"split of {name}", split, dataset.splits)
    if encoder is None and dataset.texts:
        raise UsageError(
            f"expected an encoder for the texts of {name}, got none: give load_dataset "
            "encoder=minilm() of quickstudy.encoders, or another"
        )
    data = dataset.load(split, image_size=image_size, seed=seed)
    if isinstance(data, TextData):
        assert encoder is not None
        return data.embed(encoder)
    return data.embed(encoder) if encoder else data
