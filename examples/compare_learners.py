"""Compare learners honestly: one budget, the same unseen tasks, intervals and paired tests.

    python examples/compare_learners.py

Each learner trains for the same time. All are judged on the same tasks, so that their differences
can be tested in pairs, and the tests are corrected for their number (Holm). The same from the
command line, with a picture of accuracy against compute:

    quickstudy compare --learners maml,prototypical_networks --dataset glyphs --budget 5m
"""

import tempfile
from pathlib import Path

from quickstudy.apps.compare import compare
from quickstudy.apps.run import score_interval

LEARNERS = ["prototypical_networks", "nearest_centroid"]
SECONDS = 2  # five minutes and more for a result to rely on

with tempfile.TemporaryDirectory() as scratch:
    found = compare(
        LEARNERS, {"name": "glyphs"}, Path(scratch) / "run", seconds=SECONDS, n_tasks=40
    )

for entry in found.learners:
    score = f"{100 * entry['mean']:.1f} ± {100 * score_interval(entry):.1f} %"
    print(f"{entry['learner']:22} {score:16} after {entry['steps']} steps")
for pair in found.pairs:
    worth = "a difference" if pair.p < 0.05 else "no difference to speak of"
    points = 100 * pair.difference
    print(f"{pair.better} over {pair.worse}: {points:.1f} points, p = {pair.p:.2g}: {worth}")
