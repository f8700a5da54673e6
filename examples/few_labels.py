"""
Many pictures, ten labels
=========================

Let the classifier say which pictures to label, label ten, and let it learn from the others too::

    pip install 'quickstudy[demo,fewshot]'
    python examples/few_labels.py
"""

# %%
# Data
# ----
# 1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn. A thousand are the pool:
# nobody has labelled them. The others show how good the classifier gets. To use your own, make
# ``pool`` a list of paths of images, or of texts.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from quickstudy import FewShotClassifier

pictures, digits = load_digits(return_X_y=True)
pool, truth = pictures[:1000], digits[:1000]
new, new_digits = pictures[1000:], digits[1000:]

# %%
# What to label
# -------------
# Without any label, ``suggest_labels`` picks pictures that are typical, as many others are like
# them, and diverse. Here the known digits stand for the person who looks at them.

chosen = FewShotClassifier().suggest_labels(pool, 10)
labels = truth[chosen]
print(f"{len(set(labels))} of the ten digits are among the ten pictures chosen")

figure, axes = plt.subplots(1, 10, figsize=(7.5, 1.1))
for axis, row in zip(axes, chosen, strict=True):
    axis.imshow(pool[row].reshape(8, 8), cmap="gray_r")
    axis.set_title(truth[row], size=10)
    axis.set(xticks=[], yticks=[])
figure.tight_layout()

# %%
# Ten at random, on average over twenty draws, for comparison:

rng = np.random.default_rng(0)
at_random = []
for _ in range(20):
    rows = rng.choice(len(pool), 10, replace=False)
    at_random.append(FewShotClassifier().fit(pool[rows], truth[rows]).score(new, new_digits))
from_chosen = FewShotClassifier().fit(pool[chosen], labels)
print(f"ten labels at random {np.mean(at_random):5.0%} correct")
print(f"ten labels chosen    {from_chosen.score(new, new_digits):5.0%} correct")

# %%
# Learn from the others too
# -------------------------
# The pictures without a label say where the classes lie. ``explain`` says what was made of them.

rest = np.setdiff1d(np.arange(len(pool)), chosen)
classifier = FewShotClassifier().fit(pool[chosen], labels, unlabelled=pool[rest])
print(f"and the other {len(rest)}    {classifier.score(new, new_digits):5.0%} correct")
print(classifier.explain().unlabelled)

# %%
# The next ten labels
# -------------------
# Once fitted, ``suggest_labels`` prefers what the classifier is unsure about.

more = rest[classifier.suggest_labels(pool[rest], 10)]
labelled = np.concatenate([chosen, more])
rest = np.setdiff1d(rest, more)
classifier.fit(pool[labelled], truth[labelled], unlabelled=pool[rest])
print(f"twenty labels        {classifier.score(new, new_digits):5.0%} correct")
