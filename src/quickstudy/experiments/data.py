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
from quickstudy.tasks.environments import ENVIRONMENTS
from quickstudy.tasks.families import FAMILIES
from quickstudy.tasks.images import load_image_folder

__all__ = ["classes_of", "load_classes"]

_LOADED: dict[tuple[Any, ...], ClassData] = {}


def load_classes(data: Data, split: str, seed: int) -> ClassData:
    """Load a split once per process, as several task families of a recipe share it."""
    key = (data, split, seed)
    if key not in _LOADED:
        if data.folder:
            loaded = _load_folder(data, data.folder, split)
        else:
            if data.name not in DATASETS.names() and ":" not in data.name:
                known = {*DATASETS.names(), *FAMILIES.names(), *ENVIRONMENTS.names(), "folder"}
                raise unknown("data set or family of tasks", data.name, known)
            text_encoder = _encoder(data.encoder) if data.encoder and data.of_texts else None
            loaded = load_dataset(
                data.name, split, image_size=data.image_size, seed=seed, encoder=text_encoder
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
        all_classes = load_image_folder(folder, size=side, channels=3, fit="grey")
    else:
        all_classes = load_image_folder(
            folder, size=data.image_size, channels=data.channels, ink=data.ink
        )
    if split == "all":
        return all_classes
    classes = split_by_share(all_classes.names, (0.64, 0.16, 0.2))[splits.index(split)]
    if not classes:
        raise DataError(
            f"none of the {all_classes.n_classes} classes in {folder} falls into the {split} "
            "split: add classes"
        )
    return all_classes.select(classes)


def classes_of(tasks: Tasks) -> ClassData | None:
    """The classes that tasks are drawn from; None if they are not drawn from classes."""
    sampler = tasks.sequences if isinstance(tasks, InstanceTasks) else tasks
    return sampler.data if isinstance(sampler, EpisodeSampler) else None
