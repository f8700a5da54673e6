"""Digits: 1,797 real handwritten digits of 13 writers, 8x8, from scikit-learn.

The test part of "Optical Recognition of Handwritten Digits" (UCI, CC BY 4.0). A domain no
learner here is trained on. Needs no download.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from quickstudy.errors import require
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.sources import ClassData

SPLITS = ("test",)


def load(split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Load the digits, ink bright; there is one split and no seed.

    As in MNIST, the digit fills the middle 20/28 of the image's side.
    """
    del split, seed
    require("sklearn", "demo")
    from sklearn.datasets import load_digits

    raw: Any = load_digits()
    small = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    side = round(image_size * 20 / 28)
    start = (image_size - side) // 2
    x = np.zeros((len(small), 1, image_size, image_size), np.uint8)
    for canvas, image in zip(x[:, 0], small, strict=True):
        large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        canvas[start : start + side, start : start + side] = np.asarray(large)
    labels = torch.as_tensor(raw.target, dtype=torch.int64)
    return ClassData(torch.from_numpy(x), labels, [str(d) for d in range(10)])


DATASET = Dataset(
    title="real handwritten digits (scikit-learn), 10 classes, 1,797 images",
    splits=SPLITS,
    load=load,
)
