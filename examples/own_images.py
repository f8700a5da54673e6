"""
Classify your own images
========================

Train a classifier on a folder of images with a folder for each class, and find out how good it is
before you rely on it::

    pip install 'quickstudy[demo,fewshot]'
    python examples/own_images.py

Colour images need the extra ``images`` as well.
"""

# %%
# Data
# ----
# ``FOLDER`` is a folder with a folder of images for each class, five or more in each. Here it is
# made up: five classes of eight drawings, dark ink on white paper as from a scanner. To use your
# own, leave the loop out and set ``FOLDER = Path("photos")``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from quickstudy import FewShotClassifier
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.image_files import list_images

scratch = tempfile.TemporaryDirectory()
FOLDER = Path(scratch.name) / "symbols"

drawings = load_dataset("glyphs", "test")
for c in range(5):
    (FOLDER / f"symbol {c}").mkdir(parents=True)
    for i, row in enumerate((drawings.y == c).nonzero().flatten()[:8].tolist()):
        paper = 255 - drawings.x[row, 0].numpy()
        Image.fromarray(paper.astype(np.uint8)).save(FOLDER / f"symbol {c}" / f"{i}.png")

paths = [FOLDER / name for name, _ in list_images(FOLDER)]
labels = np.array([path.parent.name for path in paths])
print(f"{len(paths)} images of {len(set(labels))} classes")

# %%
# Fit
# ---
# The first three images of each class are the support set, the others are queries. Nothing is
# trained: a learner that was meta-trained on many other classes adapts to these at once. A query
# that resembles none of the classes gets the label of ``unknown``.

N_SHOT = 3
is_support = np.array([np.sum(labels[:i] == label) < N_SHOT for i, label in enumerate(labels)])
support = [path for path, taken in zip(paths, is_support, strict=True) if taken]
query = [path for path, taken in zip(paths, is_support, strict=True) if not taken]

classifier = FewShotClassifier(unknown="none of them").fit(support, labels[is_support])
classifier

# %%
# Test
# ----
# The calibration error is the mean difference between the predicted probability and the accuracy.

predicted, y = classifier.predict(query), labels[~is_support]
print(f"accuracy          {np.mean(predicted == y):5.0%} of {len(query)} queries")
print(f"unknown           {np.mean(predicted == 'none of them'):5.0%}")
print(f"calibration error {classifier.calibration_error(query, y):5.0%}")

# %%
# The first three queries of each class, with the label that was predicted; mistakes are red.

figure, axes = plt.subplots(3, 5, figsize=(7.5, 5.2))
for c, column in enumerate(axes.T):
    for axis, i in zip(column, np.flatnonzero(y == f"symbol {c}"), strict=False):
        axis.imshow(Image.open(query[i]).convert("L"), cmap="gray", vmin=0, vmax=255)
        axis.set_title(predicted[i], color="black" if predicted[i] == y[i] else "crimson", size=10)
        axis.set(xticks=[], yticks=[])
figure.tight_layout()
plt.show()

# %%
# Save
# ----
# The folder holds weights, examples and options, and no pickle.

classifier.save(Path(scratch.name) / "classifier")
again = FewShotClassifier.load(Path(scratch.name) / "classifier")
assert (again.predict(query) == predicted).all()
scratch.cleanup()
