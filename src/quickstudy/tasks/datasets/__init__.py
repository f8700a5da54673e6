"""Data sets, one file each, and the literal catalogue of them.

A data set is a function `load(split, *, image_size, seed)` that makes a `ClassData`, or of texts a
`TextData`, with the splits it offers, its CHANNELS if they are not 1, TEXTS if examples are
texts, and, if it does not come with the package, what to fetch.
"""

from __future__ import annotations

from types import ModuleType

from quickstudy.errors import UsageError, unknown
from quickstudy.tasks.datasets import (
    caltech,
    clinc150,
    digits,
    glyphs,
    ml_100k,
    omniglot,
    sign_digits,
)
from quickstudy.tasks.sources import ClassData, Encode

__all__ = ["CATALOGUE", "DATASETS", "load_dataset"]

DATASETS: dict[str, ModuleType] = {
    "glyphs": glyphs,
    "omniglot": omniglot,
    "digits": digits,
    "caltech101_84": caltech,
    "clinc150": clinc150,
    "sign_digits": sign_digits,
}

CATALOGUE: dict[str, ModuleType] = {**DATASETS, "ml-100k": ml_100k}
"""All that can be fetched and found, also what is no `ClassData`: ratings, which
`quickstudy.apps.recommend` loads."""


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
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    dataset = DATASETS[name]
    if split not in dataset.SPLITS:
        raise unknown(f"split of {name}", split, dataset.SPLITS)
    if encoder is None and getattr(dataset, "TEXTS", False):
        raise UsageError(
            f"expected an encoder for the texts of {name}, got none: give load_dataset "
            "encoder=minilm() of quickstudy.nn, or another"
        )
    data = dataset.load(split, image_size=image_size, seed=seed)
    return data.embed(encoder) if encoder else data
