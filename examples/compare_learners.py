"""
Compare learners
================

Train each learner for the same time on tasks of the same shape, test all of them on the same unseen
tasks, and test whether their differences are real::

    pip install 'quickstudy[demo]'
    python examples/compare_learners.py

The command line does the same, and adds a picture of accuracy against compute::

    quickstudy compare --learners maml,prototypical_networks --dataset glyphs --budget 5m
"""

# %%
# Train and test
# --------------
# A learner is a name of the catalogue, or a recipe file of your own. Here a narrow prototypical
# network trains for twenty seconds; give learners five minutes or more for a result to rely on.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from quickstudy.experiments.compare import compare
from quickstudy.experiments.report import score_interval

NARROW = 'base = "prototypical_glyphs"\nbackbone = { width = 16 }\n'
DATA = {"name": "glyphs", "image_size": 16}

with tempfile.TemporaryDirectory() as scratch:
    recipe = Path(scratch) / "narrow_prototypes.toml"
    recipe.write_text(NARROW)
    comparison = compare(
        [str(recipe), "nearest_centroid"],
        DATA,
        Path(scratch) / "run",
        seconds=20,
        n_query=5,
        n_tasks=40,
    )

# %%
# Accuracy
# --------
# The intervals allow for tasks that share classes.

names = [Path(entry["learner"]).stem for entry in comparison.learners]
means = [100 * entry["mean"] for entry in comparison.learners]
halves = [100 * score_interval(entry) for entry in comparison.learners]
for name, mean, half in zip(names, means, halves, strict=True):
    print(f"{name:22} {mean:.1f} ± {half:.1f} %")

figure, axis = plt.subplots(figsize=(6.4, 1.8))
axis.errorbar(means, names, xerr=halves, fmt="o", capsize=4)
axis.set(xlabel="accuracy in per cent, with its 95 % interval", ylim=(-0.5, len(names) - 0.5))
figure.tight_layout()
plt.show()

# %%
# Differences
# -----------
# All learners answer the same tasks, so their differences are tested in pairs. The p-values are
# corrected for the number of pairs (Holm).

for pair in comparison.pairs:
    better, worse = Path(pair.better).stem, Path(pair.worse).stem
    points = f"{better} over {worse}: {100 * pair.difference:.1f} points"
    print(f"{points}, not tested" if pair.p is None else f"{points}, p = {pair.p:.2g}")
