"""Omniglot: 1,623 handwritten characters of 50 alphabets, each by 20 drawers.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 2015. MIT licence. Ink is bright here, as in the papers' code.
"""

from __future__ import annotations

import torch

from quickstudy.errors import DataError
from quickstudy.tasks.datasets import store
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.datasets.omniglot_runs import OneShotRuns
from quickstudy.tasks.images import load_image_folder
from quickstudy.tasks.sources import ClassData, split_classes

SPLITS = (
    *("train", "validation", "test"),
    *("background", "evaluation"),
    *("background-train", "background-validation"),
    *("background-small1", "background-small1-train", "background-small1-validation"),
    *("background-small2", "background-small2-train", "background-small2-validation"),
)

# File to content hash (see `images.content_hash`), which does not depend on the container.
FILES = {
    "images_background.zip": "07356096b8076fcf915341f8715e94822249e2a4d5b999fd2d0f6cf9ebffebd5",
    "images_evaluation.zip": "f5165eb5f20d18e13c6515650b69a42a2c0507506969d410ba5e4a1c572bd542",
}

# The random split of the characters, pinned: a change of names or of code cannot move a class.
SIZES = (1028, 172, 423)
SPLIT_DIGEST = "0f53c4b4831c9b2d"

# The alphabets of Lake's two smaller background sets, whose images are those of the large one.
SMALL = {
    "small1": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "small2": ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
}


def load(split: str, *, image_size: int = 28, seed: int = 0) -> ClassData:
    """Load a split; `seed` does not change it.

    "train", "validation" and "test" are the random split of all characters into 1028, 172 and
    423. "background" (964 characters) and "evaluation" (659) are Lake's split by alphabets.
    "background-small1" (136) and "background-small2" (156) are Lake's sets of five background
    alphabets each. "-train" and "-validation" behind a background are its alphabets but for a few,
    and these few, 5 of 30 or 1 of five, to choose by without a look at the evaluation alphabets.
    Alphabets are groups of classes.
    """
    del seed
    if split == "evaluation":
        return _part(split, image_size)
    if split.startswith("background"):
        return _background(split.split("-")[1:], image_size)
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


def _background(which: list[str], image_size: int) -> ClassData:
    """The background alphabets: all, one of `SMALL`, and of either the "train" or "validation"
    part."""
    data = _part("background", image_size)
    alphabet = [name.partition("/")[0] for name in data.names]
    chosen = set(alphabet)
    if which and which[0] in SMALL:
        chosen = set(SMALL[which.pop(0)])
    if which:
        held_out = max(1, len(chosen) // 6)
        parts, _ = split_classes(sorted(chosen), (len(chosen) - held_out, held_out))
        chosen = {sorted(chosen)[a] for a in parts[which[0] == "validation"]}
    return data.select([c for c, a in enumerate(alphabet) if a in chosen])


def _alphabets(data: ClassData) -> list[int]:
    """The number of each character's alphabet."""
    assert data.groups is not None
    return data.groups.tolist()


DATASET = Dataset(
    title="handwritten characters of 50 alphabets, 1,623 classes x 20 (MIT)",
    splits=SPLITS,
    load=load,
    fixed_tasks={"runs": OneShotRuns},
    files=FILES,
    url="https://github.com/brendenlake/omniglot/raw/master/python/",
)
