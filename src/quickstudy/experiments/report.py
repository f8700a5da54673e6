"""What is saved and displayed of a run: report.json, the model card, and tables of results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from quickstudy.encoders import ENCODERS
from quickstudy.experiments.evaluate import Results, held_out_classes
from quickstudy.experiments.provenance import provenance
from quickstudy.files import read_json, readable, write_atomically
from quickstudy.recipes.schema import Recipe

__all__ = [
    "INTERVALS",
    "keep_results",
    "keep_training",
    "result_rows",
    "score_interval",
    "with_interval",
]

INTERVALS = "± 95 % interval, clustered by class where classes are known."

MAX_CLASS_NAMES = 20
"""Held-out classes that a model card names, at most; the report names more."""


def keep_training(folder: Path, recipe: Recipe, training: dict[str, Any]) -> None:
    """Keep how a run was trained in its report and model card.

    Args:
        training: Steps, seconds and costs, as JSON.
    """
    _keep(folder, recipe, {"train": {**training, **provenance(recipe.seed)}})


def keep_results(folder: Path, recipe: Recipe, columns: dict[str, Results]) -> dict[str, Any]:
    """Keep the results of meta-testing in the run's report and model card."""
    testing: dict[str, Any] = {
        **provenance(recipe.seed),
        "results": columns,
        "held_out": held_out_classes(recipe),
    }
    if name := recipe.data.encoder:
        testing["encoder"] = {"name": name, "seen": ENCODERS.find(name).load().seen}
    return _keep(folder, recipe, {"test": testing})


def result_rows(columns: dict[str, Results]) -> list[list[str]]:
    """Lay out results as a table: a header, then one row per test, with one column per learner."""
    published = any("published" in entry for entry in next(iter(columns.values()), []))
    rows = [["test", "tasks", *columns, *(["published"] if published else [])]]
    for entries in zip(*columns.values(), strict=True):
        cells = [entries[0]["title"], str(entries[0]["n_tasks"]), *map(_score, entries)]
        if published:
            cells.append(str(entries[0].get("published", "")))
        rows.append(cells)
    return rows


def with_interval(mean: float, half: float) -> str:
    """A score and the half-width of its interval, with two decimals, or more if it is small; a
    half-width that is rounding alone counts as zero.

    Example:
        >>> with_interval(98.736, 0.349), with_interval(0.00582, 0.00193)
        ('98.74 ± 0.35', '0.006 ± 0.002')
        >>> with_interval(100.0, 2e-14)
        '100.00 ± 0.00'
    """
    small = 1e-12 * abs(mean) < half < 1
    decimals = max(2, -math.floor(math.log10(half))) if small else 2
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def score_interval(entry: dict[str, Any]) -> float:
    """Half-width of the interval to print beside a score: clustered by class where the classes are
    known, since tasks that share classes are not independent; never narrower than the interval
    over tasks."""
    return max(entry["interval"], entry["clustered_interval"] or 0.0)


def _score(entry: dict[str, Any]) -> str:
    scale = 100 if entry["metric"] == "accuracy" else 1
    return with_interval(scale * entry["mean"], scale * score_interval(entry))


def _keep(folder: Path, recipe: Recipe, part: dict[str, Any]) -> dict[str, Any]:
    path = folder / "report.json"
    report = {**read_json(path), "about": recipe.about, **part}
    write_atomically(path, json.dumps(report, indent=1).encode())
    write_atomically(folder / "MODEL_CARD.md", readable(_card(recipe, report)).encode())
    return report


def _card(recipe: Recipe, report: dict[str, Any]) -> str:
    train, test = report.get("train"), report.get("test")
    data = recipe.data.folder or recipe.data.name
    if recipe.data.encoder:
        data = f"embeddings by {recipe.data.encoder} of {data}"
    if recipe.data.labels == "none":
        data = f"{data} without its labels"
    lines = [
        f"# {recipe.about}",
        "",
        f"A {recipe.learner.name} learner with a {recipe.backbone.name} backbone, meta-trained on "
        f"{data} ({recipe.tasks.split} split).",
        "",
    ]
    if train:
        lines += [
            f"- seed {train['seed']}, {train['steps']} meta-steps in {train['seconds']:.0f} s"
            + (f", networks in {train['precision']}" if "precision" in train else ""),
            *_costs(train, test),
            f"- {train['machine']}",
            f"- quickstudy {train['quickstudy']}, torch {train['torch']}"
            + (f", commit {train['commit']}" if train["commit"] else ""),
            f"- made by `{train['command']}`; every option is in `recipe.json`",
            "",
        ]
    if test:
        head, *rows = result_rows(test["results"])
        lines += ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        lines += ["", f"{INTERVALS} Made by `{test['command']}`.", ""]
        for part in test.get("held_out", []):
            lines += [_held_out_line(part), ""]
        if encoder := test.get("encoder"):
            lines += [f"The encoder {encoder['name']} is {encoder['seen']}.", ""]
    lines += [
        "It was meta-trained on the data named above alone. On data of another kind, measure it "
        "on labelled examples before relying on it.",
        "",
    ]
    return "\n".join(lines)


def _held_out_line(part: dict[str, Any]) -> str:
    """The classes of a data set that were held out for tests, as one line."""
    named = [str(name)[:80] for name in part["classes"][:MAX_CLASS_NAMES]]
    left = part["n_classes"] - len(named)
    names = ", ".join([*named, *([f"and {left} more"] if left else [])])
    return (
        f"Held out for tests: the {part['n_classes']} classes of the split {part['split']} of "
        f"{part['data']}: {names}."
    )


def _costs(train: dict[str, Any], test: dict[str, Any] | None) -> list[str]:
    """The costs of a task, as lines of a Markdown list."""
    lines, cost = [], train.get("cost", {})
    if "flops" in cost:
        lines.append(
            f"- a task of meta-training takes {cost['flops'] / 1e9:.3g} GFLOP and "
            f"{cost['activation_bytes'] / 1e6:.3g} MB of activations"
        )
    if cost.get("peak_memory"):
        lines.append(f"- meta-training took at most {cost['peak_memory'] / 1e6:.0f} MB of memory")
    entries = next(iter(test["results"].values()), []) if test else []
    if entries and (cost := entries[0].get("cost")):
        entry = entries[0]
        acting = entry["metric"] == "return"
        what = "to act in a trial" if acting else "to adapt and predict one query"
        lines.append(
            f"- {what} ({entry['title']}) takes "
            f"{1000 * cost['seconds']:.3g} ms and {cost['flops'] / 1e9:.3g} GFLOP"
        )
    return lines
