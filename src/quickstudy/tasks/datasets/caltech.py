"""Caltech 101 at 84x84: photographs in 100 classes of objects, 8,242 in all, in colour.

Fei-Fei, Fergus & Perona, "Learning generative visual models from few training examples", CVPR
workshop 2004. CC BY 4.0. Without the class Faces_easy, which is Faces again, and the background.

The photographs at this size have no place of their own on the web, so `quickstudy data get` does
not fetch them; the originals are at data.caltech.edu.
"""

from __future__ import annotations

from quickstudy.errors import DataError
from quickstudy.tasks.datasets import store
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.images import load_image_folder
from quickstudy.tasks.sources import ClassData, split_classes

SPLITS = ("train", "validation", "test")
FILES = {"caltech101_84.zip": "0514d2b46e8b724658354e7ce8891e484e3d4b0f4647abec7ab61bac40b6bdaf"}

SIZES = (64, 16, 20)
SPLIT_DIGEST = "a616caf37658a5f1"


def load(split: str, *, image_size: int = 84, seed: int = 0) -> ClassData:
    """Load a split of the classes, pinned, into 64, 16 and 20; `seed` does not change it."""
    del seed
    path = store.find("caltech101_84", "caltech101_84.zip")
    everything = load_image_folder(path, size=image_size, channels=3)
    parts, digest = split_classes(everything.names, SIZES)
    if digest != SPLIT_DIGEST:
        raise DataError(f"expected the Caltech split {SPLIT_DIGEST}, got {digest}: get it anew")
    return everything.select(parts[SPLITS.index(split)])


DATASET = Dataset(
    title="photographs of objects, 100 classes, 8,242 images, 84x84 in colour (CC BY 4.0)",
    splits=SPLITS,
    load=load,
    channels=3,
    files=FILES,
)
