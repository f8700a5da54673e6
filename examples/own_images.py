"""Your own images in five minutes: a classifier from a folder per class, honest about itself.

    pip install 'quickstudy[fewshot]'
    python examples/own_images.py [FOLDER]

FOLDER holds a folder of images per class, five or more in each. Without one, drawings are made up.
Images in colour need the extra "images" as well.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from quickstudy import FewShotClassifier
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.image_files import list_images

SHOWN = 3


def make_up(folder: Path) -> Path:
    """Five classes of eight drawings: dark ink on white paper, as from a scanner."""
    data = load_dataset("glyphs", "test")
    for c in range(5):
        (folder / f"symbol {c}").mkdir(parents=True)
        for i, row in enumerate((data.y == c).nonzero().flatten()[:8].tolist()):
            ink = 255 - data.x[row, 0].numpy()
            Image.fromarray(ink.astype(np.uint8)).save(folder / f"symbol {c}" / f"{i}.png")
    return folder


with tempfile.TemporaryDirectory() as scratch:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else make_up(Path(scratch) / "symbols")
    paths = [folder / name for name, _ in list_images(folder)]
    labels = np.array([path.parent.name for path in paths])

    # Learn from the first few of each class. Nothing is trained: a learner that was meta-trained
    # on many other classes adapts to these at once.
    turn = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    shown = [path for path, i in zip(paths, turn, strict=True) if i < SHOWN]
    classifier = FewShotClassifier(unknown="none of them").fit(shown, labels[turn < SHOWN])

    # Judge it on the others, before you rely on it.
    asked = [path for path, i in zip(paths, turn, strict=True) if i >= SHOWN]
    named, right = classifier.predict(asked), labels[turn >= SHOWN]
    print(f"{SHOWN} shown of each of {len(classifier.classes_)} classes, {len(asked)} asked about:")
    print(f"{np.mean(named == right):5.0%} named right")
    print(f"{np.mean(named == 'none of them'):5.0%} refused as like none of them")
    print(f"{classifier.calibration_error(asked, right):5.0%} between confidence and accuracy")

    # Keep it: weights, examples and options, and no pickle.
    classifier.save(Path(scratch) / "kept")
    again = FewShotClassifier.load(Path(scratch) / "kept")
    assert (again.predict(asked) == named).all()
