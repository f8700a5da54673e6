"""Compare learners honestly: one protocol, the same unseen tasks, intervals and paired tests.

    python examples/compare_learners.py

Each learner trains on tasks of the same shape for the same time. All are judged on the same tasks,
so that their differences can be tested in pairs; the tests allow for tasks that share classes, and
are corrected for their number (Holm). The same from the command line, with a picture of accuracy
against compute:

    quickstudy compare --learners maml,prototypical_networks --dataset glyphs --budget 5m
"""

import tempfile
from pathlib import Path

from quickstudy.experiments.compare import compare
from quickstudy.experiments.report import score_interval

DATA = {"name": "glyphs", "image_size": 16}
NARROW = 'base = "prototypical_glyphs"\nbackbone = { width = 16 }\n'  # a recipe of one's own
SECONDS = 8  # five minutes and more for a result to rely on

with tempfile.TemporaryDirectory() as scratch:
    recipe = Path(scratch) / "narrow_prototypes.toml"
    recipe.write_text(NARROW)
    learners = [str(recipe), "nearest_centroid"]
    found = compare(learners, DATA, Path(scratch) / "run", seconds=SECONDS, n_query=5, n_tasks=40)

for entry in found.learners:
    score = f"{100 * entry['mean']:.1f} ± {100 * score_interval(entry):.1f} %"
    print(f"{Path(entry['learner']).stem:22} {score:16} after {entry['steps']} steps")
for pair in found.pairs:
    better, worse = Path(pair.better).stem, Path(pair.worse).stem
    points = f"{better} over {worse}: {100 * pair.difference:.1f} points"
    if pair.p is None:  # on a slow machine
        print(f"{points}, not tested, as one hardly trained")
    else:
        known = "a difference" if pair.p < 0.05 else "no difference to speak of"
        print(f"{points}, p = {pair.p:.2g}: {known}")
