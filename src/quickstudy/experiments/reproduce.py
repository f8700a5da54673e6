"""Published results beside ours: what the recipes name, and what was measured and saved."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from scipy import special

from quickstudy.experiments.report import score_interval
from quickstudy.files import write_atomically
from quickstudy.recipes import recipe_names
from quickstudy.recipes.loading import load_recipe
from quickstudy.recipes.schema import Recipe

__all__ = ["gaps", "keep_over_seeds", "reproductions", "saved_results"]


def saved_results(name: str) -> dict[str, Any] | None:
    """The saved report of a recipe, as `quickstudy test` wrote it; None if there is none."""
    packaged = Path(__file__).parents[1] / "recipes" / "results"
    checkout = Path(__file__).parents[3] / "benchmarks" / "results"
    for folder in (packaged, checkout):
        path = folder / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_bytes())
    return None


def reproductions() -> list[dict[str, Any]]:
    """A row for each test of each recipe that comes with quickstudy.

    `published` and `measured` are None where there is no such score; `gap` is measured less
    published; scores are in per cent, errors as they are.
    """
    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        saved = saved_results(name)
        entries = next(iter(saved["test"]["results"].values())) if saved else []
        minutes = saved["train"]["seconds"] / 60 if saved else None
        for row in gaps(recipe, entries):
            rows.append({"recipe": name, **row, "minutes": minutes, "why": recipe.gap})
    return rows


def gaps(recipe: Recipe, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each test of a recipe: its title, published and measured score, interval and gap."""
    measured = {entry["title"]: entry for entry in entries}
    rows = []
    for test in recipe.test:
        entry = measured.get(test.title)
        scale = 100 if entry and entry["metric"] == "accuracy" else 1
        score = scale * entry["mean"] if entry else None
        interval = scale * score_interval(entry) if entry else None
        rows.append(
            {
                "test": test.title,
                "published": test.published,
                "measured": score,
                "interval": interval,
                "gap": None if score is None or test.published is None else score - test.published,
            }
        )
    return rows


def keep_over_seeds(folder: Path, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the reports of runs that differ in their seed alone, in a report of their own.

    The score of a test is the mean over the runs; "scores" holds that of each, "spread" their
    standard deviation, and "interval" the half-width of the 95 % t-interval of the mean. All runs
    are tested on the same classes, so "clustered_interval" is the mean of theirs. Seconds are those
    of a run.

    Args:
        folder: Where `report.json` goes.
        reports: Of two runs or more, as `quickstudy test` writes them.
    """
    first, n = reports[0], len(reports)
    entries = []
    for same in zip(*(report["test"]["results"]["score"] for report in reports), strict=True):
        means = [entry["mean"] for entry in same]
        spread = statistics.stdev(means)
        half = float(special.stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
        by_class = [entry["clustered_interval"] for entry in same]
        over = {
            "mean": statistics.fmean(means),
            "spread": spread,
            "interval": half,
            "clustered_interval": None if None in by_class else statistics.fmean(by_class),
        }
        entries.append({**same[0], **over, "scores": means})
    seconds = statistics.fmean(report["train"]["seconds"] for report in reports)
    seeds = [report["train"]["seed"] for report in reports]
    report = {
        "about": first["about"],
        "train": {**first["train"], "seed": seeds, "seconds": seconds},
        "test": {**first["test"], "seed": seeds, "results": {"score": entries}},
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1).encode())
    return report
