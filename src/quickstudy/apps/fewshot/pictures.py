"""Pictures of what was predicted for a user's images."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from quickstudy.apps.fewshot.adapt import Adaptation
from quickstudy.errors import UsageError
from quickstudy.experiments.pictures import draw_frame
from quickstudy.files import write_figure
from quickstudy.tasks.image_files import list_images
from quickstudy.tasks.images import decode_image

__all__ = ["draw_predictions"]

PREDICTED_COLOUR = "#2f6fb3"
"""The colour of frames: a prediction whose label is not known is neither right nor wrong."""

MOST_CLASSES, EXAMPLES_PER_CLASS, QUERIES_PER_CLASS = 30, 3, 8


def draw_predictions(adaptation: Adaptation, support: Path, query: Path, path: Path) -> Path:
    """Draw what was adapted to, and what was predicted: a row a class, up to 30 of them.

    A row has up to three examples of the class, and up to eight queries predicted as it, those of
    the highest probability first, with that probability.

    Args:
        adaptation: The predictions, of images.
        support: The images adapted to, as they were given to `adapt`.
        query: The images predicted, likewise.
        path: A .png file.

    Raises:
        UsageError: If the predictions are not of images.
        DiskError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    if adaptation.kind != "image":
        raise UsageError(
            f"expected images to draw a picture of, got predictions of {adaptation.kind}s"
        )
    classes = list(adaptation.predictions[0].probabilities)[:MOST_CLASSES]
    support_images, query_images = list_images(support), dict(list_images(query))
    examples = {
        name: [f for f in support_images if str(PurePosixPath(f[0]).parent) == name]
        for name in classes
    }
    named = {
        name: sorted(
            (p for p in adaptation.predictions if p.label == name),
            key=lambda p: -p.probabilities[name],
        )
        for name in classes
    }
    left = min(EXAMPLES_PER_CLASS, max(map(len, examples.values())))
    columns = max(5, left + min(QUERIES_PER_CLASS, max(map(len, named.values()))))
    figure = Figure((1.0 * columns + 1.2, 1.25 * len(classes) + 0.6), layout="constrained")
    figure.suptitle("Examples (black), and queries predicted as the same (blue), the surest first")
    for row, name in zip(
        figure.subplots(len(classes), columns, squeeze=False), classes, strict=True
    ):
        for axis in row:
            axis.axis("off")
        row[0].set_title(f"{name}: {len(named[name])} predicted", fontsize=9, loc="left")
        for axis, (file, read) in zip(row, examples[name][:left], strict=False):
            _image(axis, decode_image(read(), file, size=96, channels=3), "black")
        for axis, p in zip(row[left:], named[name], strict=False):
            file = decode_image(query_images[p.example](), p.example, size=96, channels=3)
            _image(axis, file, PREDICTED_COLOUR)
            axis.set_title(f"{100 * p.probabilities[name]:.0f} %", fontsize=8)
    return write_figure(path, figure)


def _image(axis, pixels, colour: str) -> None:
    axis.axis("on")
    axis.imshow(pixels.transpose(1, 2, 0))
    draw_frame(axis, colour)
