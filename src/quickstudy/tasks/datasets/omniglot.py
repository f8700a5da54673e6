"""Omniglot: 1,623 handwritten characters of 50 alphabets, each by 20 drawers.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 2015. MIT licence. Ink is bright here, as in the papers' code.
"""

from __future__ import annotations

import torch

from quickstudy.errors import DataError
from quickstudy.tasks.datasets import store
from quickstudy.tasks.images import load_image_folder
from quickstudy.tasks.sources import ClassData, split_classes

SPLITS = (
    *("train", "validation", "test"),
    *("background", "evaluation"),
    *("background-train", "background-validation"),
)
TITLE = "handwritten characters of 50 alphabets, 1,623 classes x 20 (MIT)"
URL = "https://github.com/brendenlake/omniglot/raw/master/python/"

# File to content hash (see `images.content_hash`), which does not depend on the container.
FILES = {
    "images_background.zip": "07356096b8076fcf915341f8715e94822249e2a4d5b999fd2d0f6cf9ebffebd5",
    "images_evaluation.zip": "f5165eb5f20d18e13c6515650b69a42a2c0507506969d410ba5e4a1c572bd542",
}

# The random split of the characters, pinned: a change of names or of code cannot move a class.
SIZES = (1028, 172, 423)
SPLIT_DIGEST = "0f53c4b4831c9b2d"


def load(split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Load a split; `seed` does not change it.

    "train", "validation" and "test" are the random split of all characters into 1028, 172 and
    423. "background" (964 characters) and "evaluation" (659) are Lake's split by alphabets.
    "background-train" and "background-validation" are 25 and 5 of the 30 background alphabets, to
    choose by without a look at the evaluation alphabets. Alphabets are groups of classes.
    """
    del seed
    if split in ("background", "evaluation"):
        return _part(split, image_size)
    if split.startswith("background-"):
        background = _part("background", image_size)
        alphabet = [name.partition("/")[0] for name in background.names]
        parts, _ = split_classes(sorted(set(alphabet)), (25, 5))
        chosen = set(parts[split == "background-validation"])
        return background.select([c for c, g in enumerate(_alphabets(background)) if g in chosen])
    both = [_part("background", image_size), _part("evaluation", image_size)]
    everything = ClassData(
        torch.cat([both[0].x, both[1].x]),
        torch.cat([both[0].y, both[1].y + both[0].n_classes]),
        [*both[0].names, *both[1].names],
        groups=torch.tensor([g + 30 * i for i, part in enumerate(both) for g in _alphabets(part)]),
    )
    parts, digest = split_classes(everything.names, SIZES)
    if digest != SPLIT_DIGEST:
        raise DataError(f"expected the Omniglot split {SPLIT_DIGEST}, got {digest}: get it anew")
    return everything.select(parts[SPLITS.index(split)])


def _part(part: str, image_size: int) -> ClassData:
    path = store.find("omniglot", f"images_{part}.zip")
    data = load_image_folder(path, size=image_size, ink="dark")
    names = [name.removeprefix(f"images_{part}/") for name in data.names]
    return ClassData(data.x, data.y, names, groups=data.groups)


def _alphabets(data: ClassData) -> list[int]:
    """The number of each character's alphabet."""
    assert data.groups is not None
    return data.groups.tolist()
