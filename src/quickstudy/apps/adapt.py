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
from quickstudy.tasks.images import Ink, decode_image, list_images, load_image_folder

__all__ = ["Prediction", "adapt_to_folder"]


@dataclass(frozen=True)
class Prediction:
    """The class predicted for one image, and the probability of each class."""

    image: str
    label: str
    probabilities: dict[str, float]


def adapt_to_folder(
    recipe: Recipe, learner: Learner, support: Path, query: Path, *, ink: Ink | None = None
) -> list[Prediction]:
    """Learn the classes of the folders in `support`, and predict every image in `query`.

    The learner is not changed. Images are brought to the size, colours and bright ink that the
    learner was trained with.

    Args:
        ink: "dark" for dark strokes on light paper, which are inverted; "bright" leaves as is.
            By default as the images of the recipe's folder; else dark, or bright in colour.

    Raises:
        MissingError, DataError: If a folder is missing or cannot serve.
    """
    if recipe.data.name == SINUSOID:
        raise UsageError("expected a run trained on images, got one on sinusoids")
    size, channels = recipe.data.image_size, recipe.data.colours
    photographs = channels == 3 and recipe.data.folder is None
    ink = ink or ("bright" if photographs else recipe.data.ink)
    shots = load_image_folder(support, size=size, channels=channels, ink=ink)
    named = list_images(query)
    pixels = np.stack(
        [
            decode_image(read(), f"{query}/{name}", size=size, channels=channels, ink=ink)
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
