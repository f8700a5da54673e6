"""Sign digits: 2,062 photographs at 84x84 of the signs of one hand for ten digits, in colour.

Mavi, "A New Dataset and Proposed Convolutional Neural Network Architecture for Classification of
American Sign Language Digits", 2020, arXiv:2011.08927. Apache 2.0. A domain no learner here is
trained on.

The photographs at this size have no place of their own on the web, so `quickstudy data get` does
not fetch them; the originals are at github.com/ardamavi/Sign-Language-Digits-Dataset.
"""

from __future__ import annotations

from quickstudy.tasks.datasets import store
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.images import load_image_folder
from quickstudy.tasks.sources import ClassData

SPLITS = ("test",)
FILES = {"sign_digits.zip": "00a08074aa3e08d732631f16ff9b0b2bd0dc48938f0037b164c824c02bf0dde9"}


def load(split: str, *, image_size: int = 84, seed: int = 0) -> ClassData:
    """Load the signs; there is one split and no seed."""
    del split, seed
    path = store.find("sign_digits", "sign_digits.zip")
    return load_image_folder(path, size=image_size, channels=3)


DATASET = Dataset(
    title="photographs of signs for digits, 10 classes, 2,062 images, 84x84 in colour (Apache 2.0)",
    splits=SPLITS,
    load=load,
    channels=3,
    files=FILES,
)
