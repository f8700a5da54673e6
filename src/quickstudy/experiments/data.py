"""What a recipe's tasks are drawn from: classes, or examples without labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.errors import DataError, UsageError, unknown
from quickstudy.progress import track
from quickstudy.recipes.schema import Clusters, Data
from quickstudy.tasks import (
    ClassData,
    EpisodeSampler,
    InstanceTasks,
    Tasks,
    UnlabelledData,
    cluster_repeatedly,
    load_unlabelled_images,
    split_by_share,
)
from quickstudy.tasks.datasets import DATASETS, load_dataset
from quickstudy.tasks.environments import ENVIRONMENTS
from quickstudy.tasks.families import FAMILIES
from quickstudy.tasks.images import load_image_folder

__all__ = ["classes_of", "load_classes", "load_partitions", "load_unlabelled"]

UNLABELLED_SPLITS = ("train", "validation", "all")

EMBEDDED_TOGETHER = 512
"""Examples."""

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
    all_classes = load_image_folder(folder, **_decoding(data))
    if split == "all":
        return all_classes
    classes = split_by_share(all_classes.names, (0.64, 0.16, 0.2))[splits.index(split)]
    if not classes:
        raise DataError(
            f"none of the {all_classes.n_classes} classes in {folder} falls into the {split} "
            "split: add classes"
        )
    return all_classes.select(classes)


def _decoding(data: Data) -> dict[str, Any]:
    """How the images of a folder are decoded: as its table says, or as the encoder takes them."""
    if data.encoder:
        return {"size": ENCODERS.find(data.encoder).side, "channels": 3, "fit": "grey"}
    return {"size": data.image_size, "channels": data.channels, "ink": data.ink}


@cache
def load_unlabelled(data: Data, split: str, seed: int) -> UnlabelledData:
    """Load the examples of a split once per process. Labels are not read, but for those by which a
    data set splits its classes.

    Raises:
        UsageError: If there is no such split.
        DataError: If a folder has too few images for it.
    """
    if data.folder is None:
        plain = data.model_copy(update={"rotations": False, "mirrors": False, "labels": "given"})
        pool = UnlabelledData(load_classes(plain, split, seed).x)
    else:
        pool = _part_of_folder(data, data.folder, split)
    pool = pool.with_mirrors() if data.mirrors else pool
    return pool.with_rotations() if data.rotations else pool


def _part_of_folder(data: Data, folder: Path, split: str) -> UnlabelledData:
    if split not in UNLABELLED_SPLITS:
        raise unknown("split of a folder without labels", split, UNLABELLED_SPLITS)
    pool = _load_unlabelled_folder(data, folder)
    if split == "all":
        return pool
    try:
        return pool.split((0.9, 0.1))[UNLABELLED_SPLITS.index(split)]
    except DataError:
        raise DataError(
            f"expected images in {folder} for training and validation, got {len(pool)}, too few to "
            'split: add images, or take split = "all"'
        ) from None


@cache
def _load_unlabelled_folder(data: Data, folder: Path) -> UnlabelledData:
    """Load a folder once per process, as several splits share it."""
    pool = load_unlabelled_images(folder, **_decoding(data))
    return UnlabelledData(_encoder(data.encoder)(list(pool.x))) if data.encoder else pool


@cache
def load_partitions(data: Data, split: str, clusters: Clusters, seed: int) -> Tensor:
    """Cluster the examples of a split, as of `cluster_repeatedly`, once per process.

    Raises:
        UsageError: If the run to embed them by was trained on examples of another shape.
    """
    pool = load_unlabelled(data, split, seed)
    backbone = _backbone(clusters.embedding, data) if clusters.embedding else nn.Flatten()
    parts = torch.arange(len(pool)).split(EMBEDDED_TOGETHER)
    with torch.no_grad():
        embedded = [backbone(pool.rows(part)) for part in track(parts, "embedding")]
    return cluster_repeatedly(
        torch.cat(embedded),
        n_clusters=clusters.n_clusters,
        n_partitions=clusters.n_partitions,
        seed=seed,
    )


def _backbone(run: Path, data: Data) -> nn.Module:
    """The trained backbone of a run."""
    from quickstudy.experiments.run import load_run  # which builds recipes, and so imports this

    recipe, learner = load_run(run)
    if recipe.data.shape != data.shape:
        raise UsageError(
            f"expected a run on examples of shape {data.shape} to cluster by, got {run}, trained "
            f"on {recipe.data.shape}"
        )
    named = learner.named_modules()
    backbone = next((m for name, m in named if name.split(".")[-1] == "backbone"), None)
    if backbone is None:
        raise UsageError(f"expected a learner with a backbone to cluster by in {run}")
    return backbone


def classes_of(tasks: Tasks) -> ClassData | None:
    """The classes that tasks are drawn from; None if they are not drawn from classes."""
    sampler = tasks.sequences if isinstance(tasks, InstanceTasks) else tasks
    return sampler.data if isinstance(sampler, EpisodeSampler) else None
