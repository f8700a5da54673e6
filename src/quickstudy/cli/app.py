"""The commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Learn to learn: meta-train over many tasks, adapt to a new one from a few examples.",
)
data_app = typer.Typer(no_args_is_help=True, help="List, fetch and find data sets.")
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Seed = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a recipe key, as in train.steps=100.")
]


def _say(result: Any, as_json: bool, text: str) -> None:
    print(json.dumps(result, indent=1) if as_json else text)


def _table(rows: list[list[str]], head: list[str]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines
    )


@app.command(epilog="Example: quickstudy recipes")
def recipes(as_json: Json = False) -> None:
    """List the recipes that come with quickstudy."""
    from quickstudy.recipes.recipe import load_recipe, recipe_names

    found = {name: load_recipe(name)[0].about for name in recipe_names()}
    _say(found, as_json, _table([list(item) for item in found.items()], ["recipe", "about"]))


@app.command(epilog="Example: quickstudy train prototypical_glyphs --set train.steps=300")
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    tensorboard: Annotated[bool, typer.Option(help="Also log for TensorBoard.")] = False,
    as_json: Json = False,
) -> None:
    """Meta-train a recipe into a run folder. Ctrl-C stops with a checkpoint."""
    from quickstudy.apps.run import train_run
    from quickstudy.engine import ProgressBar, TensorBoard
    from quickstudy.recipes.recipe import load_recipe

    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    parsed, plain = load_recipe(recipe, changes)
    folder = run or Path("runs") / Path(recipe).stem
    callbacks = [ProgressBar(), *([TensorBoard(folder / "tensorboard")] if tensorboard else [])]
    _, report = train_run(parsed, plain, folder, resume=resume, callbacks=callbacks)
    if report.stopped == "interrupted":
        text = f"stopped after step {report.steps}; continue with --resume --run {folder}"
    else:
        text = (
            f"{report.steps} steps in {report.seconds:.0f} s; test with: quickstudy test {folder}"
        )
    _say({"run": str(folder), **vars(report)}, as_json, text)
    if report.stopped == "interrupted":
        raise typer.Exit(130)


@app.command("test", epilog="Example: quickstudy test runs/prototypical_glyphs")
def meta_test_run(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    as_json: Json = False,
) -> None:
    """Meta-test a run on every test of its recipe, and keep report.json."""
    from quickstudy.apps.run import load_run, write_report

    recipe, learner = load_run(run)
    results = run_tests(recipe, {"": learner})
    report = {"seed": recipe.seed, "tests": results[""]}
    write_report(run, report)
    _say(report, as_json, results_table({"score": results[""]}))


def run_tests(recipe: Any, learners: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Meta-test learners on a recipe's tests, with a progress bar; absent data sets are named."""
    from rich.console import Console
    from rich.progress import track

    from quickstudy.errors import MissingError

    console = Console(stderr=True)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in learners}
    jobs = [(name, t) for t in recipe.test for name in learners]
    for name, spec in track(jobs, "meta-testing", console=console, transient=True):
        try:
            report = recipe.run_test(learners[name], spec)
        except MissingError:
            console.print(f"left out, as its data is not here: {spec.title}")
            continue
        results[name].append({"title": spec.title, **report.as_dict()})
    return results


def results_table(columns: dict[str, list[dict[str, Any]]]) -> str:
    """Lay out meta-test results: a row a test, a column a learner."""
    rows = []
    for entries in zip(*columns.values(), strict=True):
        cells = [entries[0]["title"], str(entries[0]["n_tasks"])]
        for e in entries:
            scale = 100 if e["metric"] == "accuracy" else 1
            cell = f"{scale * e['mean']:.2f} ± {scale * e['interval']:.2f}"
            if e["clustered_interval"] is not None:
                cell += f" ({scale * e['clustered_interval']:.2f})"
            cells.append(cell)
        rows.append(cells)
    note = "± 95 % interval over tasks, in brackets clustered by class"
    return _table(rows, ["test", "tasks", *columns]) + "\n" + note


@app.command(epilog="Example: quickstudy adapt runs/demo --support letters/ --query unknown/")
def adapt(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    support: Annotated[Path, typer.Option(help="A folder (or zip) with a folder per class.")],
    query: Annotated[Path, typer.Option(help="Images to predict.")],
    out: Annotated[Path | None, typer.Option(help="Write to this .csv or .json file.")] = None,
    bright_ink: Annotated[
        bool, typer.Option("--bright-ink", help="Strokes are brighter than the paper.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Learn classes from a few images each, and predict new images. The run is not changed."""
    from quickstudy.apps.adapt import adapt_to_folder
    from quickstudy.apps.run import load_run
    from quickstudy.errors import UsageError
    from quickstudy.files import write_atomically

    if out and out.suffix not in (".csv", ".json"):
        raise UsageError(f"expected --out to end in .csv or .json, got {out}")
    recipe, learner = load_run(run)
    ink = "bright" if bright_ink else "dark"
    predictions = adapt_to_folder(recipe, learner, support, query, ink=ink)
    plain = [vars(p) for p in predictions]
    as_json = as_json or bool(out and out.suffix == ".json")
    text = json.dumps(plain, indent=1) + "\n" if as_json else _csv(plain)
    if out:
        write_atomically(out, text.encode())
        print(f"{len(plain)} predictions in {out}", file=sys.stderr)
    else:
        print(text, end="")


def _csv(predictions: list[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predictions[0]["probabilities"])
    writer.writerow(["image", "label", *(f"p({c})" for c in classes)])
    for p in predictions:
        writer.writerow([p["image"], p["label"], *p["probabilities"].values()])
    return text.getvalue()


@app.command(epilog="Example: quickstudy demo --run runs/demo")
def demo(
    run: Annotated[Path, typer.Option(help="Run folder; made anew.")] = Path("runs/demo"),
    overrides: Overrides = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Meta-train on invented glyphs, meta-test on unseen ones and on real data, draw a picture."""
    import shutil

    from quickstudy.apps.demo import draw_episode
    from quickstudy.apps.run import train_run, write_report
    from quickstudy.engine import ProgressBar
    from quickstudy.learners import NearestCentroid
    from quickstudy.recipes.recipe import load_recipe

    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    recipe, plain = load_recipe("prototypical_glyphs", changes)
    if (run / "recipe.json").exists():
        shutil.rmtree(run)
    learner, trained = train_run(recipe, plain, run, callbacks=[ProgressBar()])
    if trained.stopped == "interrupted":
        print("stopped before the demo was done", file=sys.stderr)
        raise typer.Exit(130)
    untrained = recipe.make_learner()
    columns = {"meta-trained": learner, "untrained": untrained, "raw pixels": NearestCentroid()}
    results = run_tests(recipe, columns)
    report = {"seed": recipe.seed, "train": vars(trained), "tests": results}
    write_report(run, report)
    picture = draw_episode(recipe, learner, run / "demo.png")
    _say(report, as_json, results_table(results) + f"\npicture: {picture}")


@data_app.command("list", epilog="Example: quickstudy data list")
def data_list(as_json: Json = False) -> None:
    """List the data sets, and whether they are here."""
    from quickstudy.tasks.datasets import DATASETS
    from quickstudy.tasks.datasets.store import is_here

    rows = {n: {"about": d.TITLE, "here": is_here(n, d)} for n, d in DATASETS.items()}
    lines = [[n, "yes" if r["here"] else "no", r["about"]] for n, r in rows.items()]
    _say(rows, as_json, _table(lines, ["data set", "here", "about"]))


@data_app.command("get", epilog="Example: quickstudy data get omniglot")
def data_get(name: str, as_json: Json = False) -> None:
    """Fetch a data set from its canonical place, and check its content."""
    from quickstudy.tasks.datasets.store import get

    path = get(name)
    _say({"path": str(path)}, as_json, str(path))


@data_app.command("add", epilog="Example: quickstudy data add omniglot --from ~/Downloads")
def data_add(
    name: str,
    source: Annotated[Path, typer.Option("--from", help="Folder that holds the files.")],
    as_json: Json = False,
) -> None:
    """Take a local copy of a data set, and check its content."""
    from quickstudy.tasks.datasets.store import add

    path = add(name, source)
    _say({"path": str(path)}, as_json, str(path))


@data_app.command("path", epilog="Example: quickstudy data path omniglot")
def data_path(name: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """Print where data sets lie, or where one of them does."""
    from quickstudy.errors import unknown
    from quickstudy.tasks.datasets import DATASETS
    from quickstudy.tasks.datasets.store import data_folder

    if name and name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    path = data_folder() / name if name else data_folder()
    _say({"path": str(path)}, as_json, str(path))
