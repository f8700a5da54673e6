"""Run folders: one experiment on disk, and a learner that can be brought back from it."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import quickstudy
from quickstudy.engine import TrainReport, checkpoints, meta_train
from quickstudy.engine.callbacks import Callback
from quickstudy.engine.cost import Cost, peak_memory, training_cost
from quickstudy.engine.precision import instruction_set
from quickstudy.errors import MissingError, RunError, UsageError, hide_passwords
from quickstudy.files import check_writable, readable, write_atomically
from quickstudy.learners import Learner
from quickstudy.nn import ENCODERS
from quickstudy.progress import track
from quickstudy.recipes.recipe import Recipe, override, parse_recipe
from quickstudy.tasks import Episode

__all__ = [
    "SHIPPED",
    "check_has_tests",
    "keep_results",
    "load_run",
    "meta_test_all",
    "provenance",
    "read_json",
    "result_rows",
    "score_interval",
    "train_run",
    "with_interval",
]

SHIPPED = {
    "handwriting": "omniglot_challenge_30",
    "glyphs": "prototypical_glyphs",
    "tables": "tabular_transformer",
}
"""Runs that come with quickstudy, in `shipped/`: by name, the recipe by which `quickstudy
reproduce` makes each. Two are for drawn characters; `tables`, rounded to float16, is for tables."""

MOST_NAMED = 20
"""Held-out classes that a model card names; the report has more."""

MOST_JSON_BYTES = 100_000_000
"""Of a JSON file that is read: reports with the scores of all tasks have some megabytes."""

Results = list[dict[str, Any]]
"""One entry a test: title, mean, intervals, scores, as `TestReport.as_dict` has them."""


def train_run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    seconds: float | None = None,
    callbacks: list[Callback] | None = None,
) -> tuple[Learner, TrainReport]:
    """Meta-train a recipe into a folder.

    All that can be made or tried without training is, before anything is written, so a recipe
    that cannot run leaves nothing behind.

    Args:
        resume: Continue a run. Its recipe may have had fewer steps or other tests.
        seconds: Stop when these are spent, as of `meta_train`.

    Raises:
        RunError: If the folder holds a run and `resume` is false, or a different recipe.
        DiskError: If the folder cannot be written.
    """
    if os.environ.get("RANK", "0") == "0":  # of several processes the first writes
        check_writable(folder)
    kept = folder / "recipe.json"
    if kept.exists():
        if not resume:
            raise RunError(f"{folder} holds a run already: add --resume, or name another folder")
        if changes := recipe.changes_training(parse_recipe(read_json(kept))):
            more = f"; and {len(changes) - 3} more keys" if len(changes) > 3 else ""
            raise RunError(
                f"{folder} was made by another recipe ({'; '.join(changes[:3])}{more}): name "
                "another folder"
            )
    elif folder.exists() and not (folder.is_dir() and all(map(_is_rest, folder.iterdir()))):
        raise RunError(f"{folder} is there already, and no run: name another folder")
    tasks = recipe.train_tasks()
    learner = recipe.make_learner().to(recipe.device())
    if recipe.train.start and not any((folder / "state").glob("step-*")):
        _take_backbone(learner, recipe.train.start)
    recipe.check_tests(learner)
    cost = None
    if recipe.train.steps:
        for start in tasks.starts:
            cost = _rehearse(learner, tasks[start])
    report = meta_train(
        learner,
        tasks,
        run=folder,
        resume=resume,
        seconds=seconds,
        callbacks=[_KeepRecipe(recipe, kept), *(callbacks or [])],
        **recipe.train_options(),
    )
    trained = read_json(folder / "report.json").get("train", {})
    if trained.get("steps") != report.steps and os.environ.get("RANK", "0") == "0":
        told = {
            **vars(report),
            "cost": {**(vars(cost) if cost else {}), "peak_memory": peak_memory()},
            **provenance(recipe.seed),
        }
        _keep(folder, recipe, {"train": told})
    return learner, report


def _take_backbone(learner: Learner, folder: Path) -> None:
    """Give a learner the weights of a run's backbone."""
    kept = {
        name.rpartition("backbone.")[2]: tensor
        for name, tensor in checkpoints.load_tensors(folder / "weights.safetensors").items()
        if "backbone." in name
    }
    own = {n: t for n, t in learner.state_dict().items() if "backbone." in n}
    parameters = dict(learner.named_parameters())
    for name, tensor in own.items():
        given = kept.get(name.rpartition("backbone.")[2])
        if given is None and name not in parameters:
            continue  # running statistics, which not every learner keeps
        alike = given is not None and given.is_floating_point() == tensor.is_floating_point()
        if given is None or not alike or given.shape != tensor.shape:
            found = "none" if given is None else f"{given.dtype} of {tuple(given.shape)}"
            raise UsageError(
                f"expected a backbone in {folder} like the learner's own, with {name} as "
                f"{tensor.dtype} of shape {tuple(tensor.shape)}, got {found}: give both recipes "
                "the same backbone"
            )
        tensor.copy_(given)
    if not own:
        raise UsageError(f"expected a learner with a backbone to start from {folder}")


def _rehearse(learner: Learner, episode: Episode) -> Cost:
    """Compute the meta-gradient of one task, to fail before anything is written."""
    try:
        learner.train().check(episode.support)
        return training_cost(learner, episode)
    except (RuntimeError, IndexError) as error:
        raise UsageError(
            f"{type(learner).__name__} cannot train on tasks of inputs "
            f"{tuple(episode.support.x.shape[1:])}: {error}"
        ) from error


class _KeepRecipe(Callback):
    """Writes the recipe when training starts, which is after all that could be refused."""

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self._recipe, self._path = recipe, path

    def on_start(self, step: int, steps: int) -> None:
        write_atomically(self._path, self._recipe.as_json().encode())


def _is_rest(path: Path) -> bool:
    """Whether a file is what a process leaves that was killed before it began."""
    return path.name == ".lock" or path.name.startswith(".tmp-")


def load_run(folder: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, Learner]:
    """Bring back a recipe and its meta-trained learner; the folder is only read.

        recipe, learner = load_run("runs/prototypical_glyphs")

    Args:
        folder: A run folder, or one of `SHIPPED`.
        overrides: Changes of the recipe, as for `load_recipe`.

    Raises:
        MissingError: If `folder` is not a run folder.
        RunError: If its recipe or weights are missing or damaged, or do not fit each other.
    """
    name, folder = str(folder), Path(folder)
    if name in SHIPPED and not folder.exists():
        folder = Path(quickstudy.__file__).parent / "shipped" / name
    if not (folder / "recipe.json").is_file():
        raise MissingError(
            f"expected a run folder at {folder}, found no recipe.json there: make one with "
            f"`quickstudy train`, or name one that comes with quickstudy ({', '.join(SHIPPED)})"
        )
    recipe = parse_recipe(override(read_json(folder / "recipe.json"), overrides))
    learner = recipe.make_learner()
    weights = checkpoints.load_tensors(folder / "weights.safetensors", like=learner)
    try:
        checkpoints.load_weights(learner, weights)
    except RuntimeError as error:
        raise RunError(
            f"{folder}/weights.safetensors does not fit the run's recipe ({error}): train the run "
            "anew"
        ) from None
    return recipe, learner.eval()


def check_has_tests(recipe: Recipe) -> None:
    """Refuse a recipe that says of no task how to test.

    Raises:
        UsageError: If it has no test.
    """
    if not recipe.test:
        raise UsageError(
            "expected a recipe with a test, got none: give it a [[test]] table with title, n_way "
            "and n_shot"
        )


def meta_test_all(recipe: Recipe, learners: dict[str, Learner]) -> tuple[dict[str, Results], list]:
    """Meta-test learners on every test of a recipe, under a progress bar.

    Returns:
        The results by learner, and the titles of the tests whose data is not on this machine.
    """
    results: dict[str, Results] = {name: [] for name in learners}
    absent = []
    jobs = [(name, test) for test in recipe.test for name in learners]
    for learner in learners.values():
        learner.to(recipe.device())
    for name, test in track(jobs, "meta-testing"):
        try:
            report = recipe.run_test(learners[name], test)
        except MissingError:
            absent.append(test.title)
            continue
        extra = {} if test.published is None else {"published": test.published}
        cost = vars(recipe.cost(learners[name], test))
        results[name].append({"title": test.title, **extra, **report.as_dict(), "cost": cost})
    return results, sorted(set(absent), key=absent.index)


def result_rows(columns: dict[str, Results]) -> list[list[str]]:
    """Lay out results as a table: a head, then a row a test with a column a learner."""
    published = any("published" in entry for entry in next(iter(columns.values()), []))
    rows = [["test", "tasks", *columns, *(["published"] if published else [])]]
    for entries in zip(*columns.values(), strict=True):
        cells = [entries[0]["title"], str(entries[0]["n_tasks"]), *map(_score, entries)]
        if published:
            cells.append(str(entries[0].get("published", "")))
        rows.append(cells)
    return rows


def keep_results(folder: Path, recipe: Recipe, columns: dict[str, Results]) -> dict[str, Any]:
    """Keep the results of meta-testing in the run's report and model card."""
    told: dict[str, Any] = {
        **provenance(recipe.seed),
        "results": columns,
        "held_out": recipe.held_out(),
    }
    if name := recipe.data.encoder:
        told["encoder"] = {"name": name, "seen": ENCODERS[name].load().seen}
    return _keep(folder, recipe, {"test": told})


def with_interval(mean: float, half: float) -> str:
    """A score and the half-width of its interval, with two decimals, or more for a small half.

    Example:
        >>> with_interval(98.736, 0.349), with_interval(0.00582, 0.00193)
        ('98.74 ± 0.35', '0.006 ± 0.002')
    """
    decimals = max(2, -math.floor(math.log10(half))) if 0 < half < 1 else 2
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def score_interval(entry: dict[str, Any]) -> float:
    """Half-width of the interval to print beside a score: clustered by class where the classes are
    known, since tasks that share classes are not independent; never narrower than over tasks."""
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
            lines += [_held_out_words(part), ""]
        if encoder := test.get("encoder"):
            lines += [f"The encoder {encoder['name']} is {encoder['seen']}.", ""]
    lines += [
        "It was meta-trained on the data named above alone. On data of another kind, measure it "
        "on labelled examples before relying on it.",
        "",
    ]
    return "\n".join(lines)


def _held_out_words(part: dict[str, Any]) -> str:
    """Which classes of a data set were held out for the tests, in a line."""
    shown = [str(name)[:80] for name in part["classes"][:MOST_NAMED]]
    left = part["n_classes"] - len(shown)
    names = ", ".join([*shown, *([f"and {left} more"] if left else [])])
    return (
        f"Held out for tests: the {part['n_classes']} classes of the split {part['split']} of "
        f"{part['data']}: {names}."
    )


def _costs(train: dict[str, Any], test: dict[str, Any] | None) -> list[str]:
    """What a task costs, as lines of a list."""
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
        lines.append(
            f"- to adapt and name one query ({entry['title']}) takes "
            f"{1000 * cost['seconds']:.3g} ms and {cost['flops'] / 1e9:.3g} GFLOP"
        )
    return lines


INTERVALS = "± 95 % interval, clustered by class where classes are known."


def provenance(seed: int) -> dict[str, Any]:
    """What it takes to do the same again."""
    return {
        "seed": seed,
        "command": readable(
            shlex.join([Path(sys.argv[0]).name, *map(hide_passwords, sys.argv[1:])])
        ),
        "quickstudy": quickstudy.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"{instruction_set()}",
    }


def _commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    source = Path(__file__).parents[3]
    if not (source / ".git").exists() or not shutil.which("git"):
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _processor() -> str:
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one if there is no file.

    Raises:
        RunError: If it holds no object, or more than `MOST_JSON_BYTES`.
    """
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"over {MOST_JSON_BYTES} bytes")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("expected an object")
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}): train the run anew") from None
    return content
