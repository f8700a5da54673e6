"""The commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Learn to learn: meta-train over many tasks, adapt to a new one from a few examples.",
)
data_app = typer.Typer(no_args_is_help=True, help="List, fetch and find data sets.")
app.add_typer(data_app, name="data")

Ink = Literal["dark", "bright"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Seed = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a recipe key, as in train.steps=100.")
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]


def _changes(overrides: list[str] | None, seed: int | None) -> list[str]:
    return [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]


def _complete_recipe(incomplete: str) -> list[str]:
    from quickstudy.recipes import recipe_names

    files = [str(path) for path in Path().glob(f"{incomplete}*.toml")]
    return [name for name in recipe_names() if name.startswith(incomplete)] + files


def _say(result: Any, as_json: bool, text: str) -> None:
    print(json.dumps(result, indent=1) if as_json else text)


def _table(head: list[str], *rows: list[str]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines
    )


@app.command(epilog="Example: quickstudy recipes")
def recipes(as_json: Json = False) -> None:
    """List the recipes that come with quickstudy."""
    from quickstudy.recipes import about

    found = about()
    _say(found, as_json, _table(["recipe", "about"], *map(list, found.items())))


@app.command(epilog="Example: quickstudy train prototypical_glyphs --set train.steps=300")
def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A recipe's name, or a TOML file.", autocompletion=_complete_recipe),
    ],
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

    parsed = load_recipe(recipe, _changes(overrides, seed))
    folder = run or Path("runs") / Path(recipe).stem
    callbacks = [ProgressBar(), *([TensorBoard(folder / "tensorboard")] if tensorboard else [])]
    _, report = train_run(parsed, folder, resume=resume, callbacks=callbacks)
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
    run: Run,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Draws other test tasks.")] = None,
    as_json: Json = False,
) -> None:
    """Meta-test a run on every test of its recipe, and keep report.json and MODEL_CARD.md."""
    from quickstudy.apps.run import keep_results, load_run, meta_test_all

    recipe, learner = load_run(run, _changes(overrides, seed))
    results, absent = meta_test_all(recipe, {"score": learner})
    report = keep_results(run, recipe, results)
    _say(report, as_json, _results(results, absent))


def _results(results: dict[str, Any], absent: list[str]) -> str:
    from quickstudy.apps.run import INTERVALS, result_rows

    lines = [_table(*result_rows(results)), INTERVALS]
    lines += [f"Left out, as its data is not here: {title}" for title in absent]
    return "\n".join(lines)


@app.command(epilog="Example: quickstudy adapt runs/demo --support letters/ --query unknown/")
def adapt(
    run: Run,
    support: Annotated[Path, typer.Option(help="A folder (or zip) with a folder per class.")],
    query: Annotated[Path, typer.Option(help="Images to predict.")],
    out: Annotated[Path | None, typer.Option(help="Write to this .csv or .json file.")] = None,
    ink: Annotated[
        Ink | None,
        typer.Option(help="Strokes are darker or brighter than the paper; default as in training."),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Learn classes from a few images each, and predict new images. The run is not changed."""
    from quickstudy.apps.adapt import adapt_to_folder
    from quickstudy.apps.run import load_run
    from quickstudy.errors import UsageError
    from quickstudy.files import write_atomically

    if out and out.suffix not in (".csv", ".json"):
        raise UsageError(f"expected --out to end in .csv or .json, got {out}")
    if out and not out.parent.is_dir():
        raise UsageError(f"expected a folder at {out.parent} to write {out.name} into, found none")
    recipe, learner = load_run(run, overrides or [])
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
    run: Annotated[Path, typer.Option(help="Run folder; one begun is continued.")] = Path(
        "runs/demo"
    ),
    overrides: Overrides = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Meta-train on invented glyphs, meta-test on unseen ones and on real data, draw a picture."""
    from quickstudy.apps.demo import draw_episode
    from quickstudy.apps.run import keep_results, meta_test_all, train_run
    from quickstudy.engine import ProgressBar
    from quickstudy.errors import require
    from quickstudy.learners import NearestCentroid
    from quickstudy.recipes.recipe import load_recipe

    recipe = load_recipe("prototypical_glyphs", _changes(overrides, seed))
    require("matplotlib", "demo")
    learner, trained = train_run(recipe, run, resume=True, callbacks=[ProgressBar()])
    if trained.stopped == "interrupted":
        print(f"stopped after step {trained.steps}; the same command continues", file=sys.stderr)
        raise typer.Exit(130)
    columns = {
        "meta-trained": learner,
        "untrained": recipe.make_learner(),
        "raw pixels": NearestCentroid(),
    }
    results, absent = meta_test_all(recipe, columns)
    report = keep_results(run, recipe, results)
    picture = draw_episode(recipe, learner, run / "demo.png")
    _say(report, as_json, f"{_results(results, absent)}\nPicture: {picture}")


@data_app.command("list", epilog="Example: quickstudy data list")
def data_list(as_json: Json = False) -> None:
    """List the data sets, and whether they are here."""
    from quickstudy.tasks.datasets import DATASETS
    from quickstudy.tasks.datasets.store import is_here

    rows = {n: {"about": d.TITLE, "here": is_here(n, d)} for n, d in DATASETS.items()}
    lines = [[n, "yes" if r["here"] else "no", r["about"]] for n, r in rows.items()]
    _say(rows, as_json, _table(["data set", "here", "about"], *lines))


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
