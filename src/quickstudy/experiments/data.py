"""The classes that a recipe's tasks are drawn from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.errors import DataError, unknown
from quickstudy.recipes.schema import Data
from quickstudy.tasks import ClassData, EpisodeSampler, InstanceTasks, Tasks, split_by_share
from quickstudy.tasks.datasets import DATASETS, load_dataset
from quickstudy.tasks.families import FAMILIES
from quickstudy.tasks.images import load_image_folder

__all__ = ["classes_of", "load_classes"]

_LOADED: dict[tuple[Any, ...], ClassData] = {}


def load_classes(data: Data, split: str, seed: int) -> ClassData:
    """Load a split once per process; a recipe reads the same one for several families."""
    key = (data, split, seed)
    if key not in _LOADED:
        if data.folder:
            loaded = _load_folder(data, data.folder, split)
        else:
            if data.name not in DATASETS.names() and ":" not in data.name:
                known = {*DATASETS.names(), *FAMILIES.names(), "folder"}
                raise unknown("data set or family of tasks", data.name, known)
            texts = _encoder(data.encoder) if data.encoder and data.of_texts else None
            loaded = load_dataset(
                data.name, split, image_size=data.image_size, seed=seed, encoder=texts
            )
        loaded = loaded.with_mirrors() if data.mirrors else loaded
        loaded = loaded.with_rotations() if data.rotations else loaded
        if data.encoder and not data.of_texts:
            loaded = loaded.embed(_encoder(data.encoder))
        _LOADED[key] = loaded
    return _LOADED[key]


@cache
def _encoder(name: str) -> Encoder:
    """Load an encoder once per process."""
    return ENCODERS.find(name).load()


def _load_folder(data: Data, folder: Path, split: str) -> ClassData:
    splits = ("train", "validation", "test", "all")
    if split not in splits:
        raise unknown("split of a folder", split, splits)
    side = ENCODERS.find(data.encoder).side if data.encoder else None
    if side:
        everything = load_image_folder(folder, size=side, channels=3, fit="grey")
    else:
        everything = load_image_folder(
            folder, size=data.image_size, channels=data.channels, ink=data.ink
        )
    if split == "all":
        return everything
    classes = split_by_share(everything.names, (0.64, 0.16, 0.2))[splits.index(split)]
    if not classes:
        raise DataError(
            f"none of the {everything.n_classes} classes in {folder} falls into the {split} "
            "split: add classes"
        )
    return everything.select(classes)


def classes_of(tasks: Tasks) -> ClassData | None:
    """The classes that tasks are drawn from, where it is known."""
    sampler = tasks.sequences if isinstance(tasks, InstanceTasks) else tasks
    return sampler.data if isinstance(sampler, EpisodeSampler) else None
