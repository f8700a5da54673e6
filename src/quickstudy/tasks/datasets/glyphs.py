"""Glyphs: invented alphabets of handwritten-like characters, the default data set.

Drawn in seconds from a seed, so it needs no download; see `_glyph_strokes` for how.
"""

from __future__ import annotations

import torch

from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.sources import ClassData

SPLITS = ("train", "validation", "test")

# By split: number of alphabets, and the offset that keeps the seeds of the splits apart.
_PARTS = {"train": (100, 0), "validation": (20, 1), "test": (20, 2)}


def load(split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Draw a split: 100 alphabets to train on, 20 to validate and 20 to test, none shared."""
    n_alphabets, offset = _PARTS[split]
    drawn = draw_glyphs(n_alphabets, seed=3 * seed + offset, image_size=image_size)
    images = torch.from_numpy(drawn.images)[:, None]
    return ClassData(images, torch.from_numpy(drawn.labels), drawn.class_names)


DATASET = Dataset(
    title="invented handwritten-like characters, drawn from a seed, about 3,500 classes x 20",
    splits=SPLITS,
    load=load,
)
