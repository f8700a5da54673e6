"""A support set as a run's learner takes it, with what to show of each example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.apps.fewshot.adapt import (
    is_number,
    label_column,
    numbers,
    read_table,
)
from quickstudy.apps.fewshot.methods import EncodedImages, images_of, named_encoder
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.recipes.schema import Recipe
from quickstudy.table_files import TABLE_FORMATS, format_of
from quickstudy.tasks import ClassData, Support
from quickstudy.tasks.images import load_image_folder

__all__ = ["LoadedSupport", "load_support"]


@dataclass(frozen=True)
class LoadedSupport:
    """A support set.

    Args:
        task: As the learner takes it.
        classes: Names of the labels.
        columns: Names of the numbers of an example; empty for images and texts.
        pixels: Images as bytes (n, channels, height, width), to show; None for others.
        words: What to show of examples that are no images.
    """

    task: Support
    classes: list[str]
    columns: list[str]
    pixels: Tensor | None
    words: list[str]


def load_support(path: Path, recipe: Recipe, label: str | None = None) -> LoadedSupport:
    """Load a folder (or zip) with a folder of images a class, or a table with a column of labels.

    Args:
        path: Of the examples.
        recipe: Of the run, whose learner takes them.
        label: The column of labels of a table; by default "label" or "class".

    Raises:
        MissingError, DataError: If it is not there, or cannot serve this run.
        UsageError: If the run does not take such examples.
    """
    if not path.exists():
        raise MissingError(f"expected examples at {path}, found nothing")
    if recipe.data.is_regression or recipe.data.is_environment:
        raise UsageError(f"expected no support set of classes for a run on {recipe.data.name}")
    if format_of(path) in TABLE_FORMATS:
        return _table(path, recipe, label)
    if label:
        raise UsageError("expected --label only with tables: folders name the classes of images")
    if recipe.data.encoder:
        known = named_encoder(recipe.data.encoder)
        if not isinstance(known, EncodedImages):
            raise UsageError(f"expected a table of texts for a run on {recipe.data.encoder}")
        data = load_image_folder(path, **vars(known.images))
        return _of_images(data, known.encoder(data.x))
    data = load_image_folder(path, **vars(images_of(recipe)))
    return _of_images(data, data.x.float() / 255)


def _of_images(data: ClassData, x: Tensor) -> LoadedSupport:
    return LoadedSupport(Support(x, data.y, data.n_classes), list(data.names), [], data.x, [])


def _table(path: Path, recipe: Recipe, label: str | None) -> LoadedSupport:
    table = read_table(path)
    label = label_column(table, label, path)
    columns = [name for name in table if name != label]
    classes = sorted(set(table[label]))
    if len(classes) < 2:
        raise DataError(f"expected at least two classes in {path}, got {classes[0]!r} alone")
    y = torch.tensor([classes.index(name) for name in table[label]])
    texts = table[columns[0]]
    if len(columns) == 1 and not all(map(is_number, texts)):
        known = named_encoder(recipe.data.encoder or "") if recipe.data.of_texts else None
        if known is None or isinstance(known, EncodedImages):
            raise UsageError(f"expected examples like {recipe.data.name}, got texts in {path}")
        return LoadedSupport(Support(known(texts), y, len(classes)), classes, [], None, texts)
    x = numbers(table, columns, path).float()
    shape = recipe.data.shape
    if recipe.data.of_images or recipe.data.of_texts or x.shape[1] != torch.Size(shape).numel():
        raise DataError(
            f"expected examples of shape {tuple(shape)} as in training, got {x.shape[1]} numbers "
            f"in {path}"
        )
    words = [", ".join(f"{v:g}" for v in row[:6]) for row in x.tolist()]
    task = Support(x.view(-1, *shape), y, len(classes))
    return LoadedSupport(task, classes, columns, None, words)
