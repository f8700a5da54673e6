"""Published results beside ours: what the recipes name, and what was measured and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quickstudy.recipes import recipe_names
from quickstudy.recipes.recipe import Recipe, load_recipe

__all__ = ["gaps", "kept_results", "reproductions"]


def kept_results(name: str) -> dict[str, Any] | None:
    """The report kept of a recipe, as `quickstudy test` wrote it; None if there is none."""
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
        kept = kept_results(name)
        entries = next(iter(kept["test"]["results"].values())) if kept else []
        minutes = kept["train"]["seconds"] / 60 if kept else None
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
        interval = scale * entry["interval"] if entry else None
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
