"""What each part of the recipes of the one-shot challenge brings, on held-out alphabets.

    python benchmarks/one_shot_challenge.py

Every variant is trained for STEPS steps on 25 of the 30 background alphabets, and tested on the
same tasks from the other five; Lake's runs are not looked at. What has been measured already is
not measured again: delete benchmarks/results/one_shot_challenge.json to begin anew. Writes that
file, and the table into docs/one-shot-challenge.md.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

from quickstudy.apps.run import meta_test_all, provenance, train_run
from quickstudy.engine import ProgressBar
from quickstudy.recipes.recipe import load_recipe

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "results" / "one_shot_challenge.json"
STEPS = 1000
HELD_OUT = """[{ title = "held out", split = "background-validation", n_way = 20, n_shot = 1, \
n_query = 1, within_group = true, n_tasks = 1000, data = { name = "omniglot" } }]"""

EVENLY = "learner.weighted=false"
AS_DRAWN = "backbone.align=false"
UPRIGHT = "data.rotations=false"
PLAIN = [EVENLY, AS_DRAWN, UPRIGHT]

# What is compared with the variant named second, and the changes of `omniglot_challenge_30`.
VARIANTS: dict[str, tuple[str | None, list[str]]] = {
    "prototypes: one vector an image": (
        None,
        ['learner={ name = "prototypical_networks" }', "backbone.pools=4", AS_DRAWN, UPRIGHT],
    ),
    "local matching": ("prototypes: one vector an image", PLAIN),
    "+ learned weights of the cells": ("local matching", [AS_DRAWN, UPRIGHT]),
    "+ ink moved to the middle, nearer to one size": ("+ learned weights of the cells", [UPRIGHT]),
    "+ quarter turns of alphabets as new ones (the recipe)": (
        "+ ink moved to the middle, nearer to one size",
        [],
    ),
    "the recipe, matching within two cells": (
        "+ quarter turns of alphabets as new ones (the recipe)",
        ["learner.radius=2"],
    ),
    "the recipe, elastic distortions": (
        "+ quarter turns of alphabets as new ones (the recipe)",
        ["tasks.augment=elastic"],
    ),
    "the recipe, only the query looked for in the example": (
        "+ quarter turns of alphabets as new ones (the recipe)",
        ["learner.symmetric=false"],
    ),
}


def measure(changes: list[str]) -> dict[str, Any]:
    """Train and test one variant."""
    fixed = [
        f"train.steps={STEPS}",
        f"train.schedule.T_max={STEPS}",
        "train.executor=serial",
        "tasks.split=background-train",
        f"test={HELD_OUT}",
    ]
    recipe = load_recipe("omniglot_challenge_30", [*fixed, *changes])
    with tempfile.TemporaryDirectory() as folder:
        learner, report = train_run(recipe, Path(folder) / "run", callbacks=[ProgressBar()])
        results, _ = meta_test_all(recipe, {"score": learner})
    entry = results["score"][0]
    kept = {key: entry[key] for key in ("mean", "interval", "clustered_interval", "scores")}
    return {**provenance(recipe.seed), "steps": STEPS, "seconds": report.seconds, **kept}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Errors in per cent, and their change, task by task, against what each is compared with."""
    lines = [f"| after {STEPS:,} steps, seed 0 | error, % | change | s |", "|---|---|---|---|"]
    for name, (base, _) in VARIANTS.items():
        if name not in found:
            continue
        one, change = found[name], ""
        if base in found:
            pairs = zip(one["scores"], found[base]["scores"], strict=True)
            change = [100 * (before - after) for after, before in pairs]
            half = 1.96 * statistics.stdev(change) / math.sqrt(len(change))
            change = f"{statistics.fmean(change):+.2f} ± {half:.2f}"
        error, half = 100 * (1 - one["mean"]), 100 * one["interval"]
        lines.append(f"| {name} | {error:.2f} ± {half:.2f} | {change} | {one['seconds']:.0f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name, (_, changes) in VARIANTS.items():
        if name not in found:
            found[name] = measure(changes)
            KEPT.write_text(json.dumps(found) + "\n")
    page = ROOT / "docs" / "one-shot-challenge.md"
    marks = r"(<!-- steps -->\n).*?(<!-- end of steps -->)"
    written = table(found)
    page.write_text(re.sub(marks, lambda m: m[1] + written + m[2], page.read_text(), flags=re.S))
    print(written)
