"""Adapt a run to class folders of images, and predict new images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from quickstudy.errors import UsageError
from quickstudy.learners import Learner
from quickstudy.progress import track
from quickstudy.recipes.recipe import SINUSOID, Recipe
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images, Ink, decode_image, list_images, load_image_folder

__all__ = ["Prediction", "adapt_to_folder", "images_of"]


@dataclass(frozen=True)
class Prediction:
    """The class predicted for one image, and the probability of each class."""

    image: str
    label: str
    probabilities: dict[str, float]


def images_of(recipe: Recipe, ink: Ink | None = None) -> Images:
    """How a recipe's learner takes images: in the size, colours and ink it is trained with.

    Args:
        ink: Of the images to come. By default as the images of the recipe's folder; else dark, or
            bright in colour.

    Raises:
        UsageError: If the recipe is not of images.
    """
    if recipe.data.name == SINUSOID:
        raise UsageError("expected a run trained on images, got one on sinusoids")
    photographs = recipe.data.colours == 3 and recipe.data.folder is None
    ink = ink or ("bright" if photographs else recipe.data.ink)
    return Images(recipe.data.image_size, recipe.data.colours, ink)


def adapt_to_folder(
    recipe: Recipe, learner: Learner, support: Path, query: Path, *, ink: Ink | None = None
) -> list[Prediction]:
    """Learn the classes of the folders in `support`, and predict every image in `query`.

    The learner is not changed. Images are brought to the size, colours and bright ink that the
    learner was trained with.

    Args:
        ink: "dark" for dark strokes on light paper, which are inverted; "bright" leaves as is;
            by default as `images_of` says.

    Raises:
        MissingError, DataError: If a folder is missing or cannot serve.
    """
    how = vars(images_of(recipe, ink))
    shots = load_image_folder(support, **how)
    named = list_images(query)
    pixels = np.stack(
        [
            decode_image(read(), f"{query}/{name}", **how)
            for name, read in track(named, "decoding images")
        ]
    )
    with torch.no_grad():
        known = Support(shots.rows(torch.arange(len(shots.y))), shots.y, shots.n_classes)
        scores = learner.adapt(known)(torch.from_numpy(pixels).float() / 255)
    return [
        Prediction(
            name,
            shots.names[int(row.argmax())],
            dict(zip(shots.names, [round(p, 6) for p in row.tolist()], strict=True)),
        )
        for (name, _), row in zip(named, scores.softmax(1), strict=True)
    ]
