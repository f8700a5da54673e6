"""Digits: 1,797 real handwritten digits of 43 writers, 8x8, from scikit-learn (UCI).

A domain no learner here is trained on. Needs no download.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from quickstudy.tasks.sources import ClassData

SPLITS = ("test",)
TITLE = "real handwritten digits (scikit-learn), 10 classes, 1,797 images"


def load(split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Load the digits, enlarged to `image_size`, ink bright; there is one split and no seed."""
    del split, seed
    from sklearn.datasets import load_digits

    raw: Any = load_digits()
    small = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(
            Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC)
        )
        for image in small
    ]
    x = torch.from_numpy(np.stack(large))[:, None]
    return ClassData(x, torch.as_tensor(raw.target, dtype=torch.int64), [str(d) for d in range(10)])
