"""The commands."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quickstudy import __version__
from quickstudy.cli.automl import automl_app
from quickstudy.cli.experience import Forget, experience_app, keep
from quickstudy.cli.output import MOST_SEED, Json, json_text, seconds_in
from quickstudy.cli.output import say as _say
from quickstudy.cli.output import table as _table
from quickstudy.cli.recommend import recommend_app
from quickstudy.cli.serve import serve
from quickstudy.memory import tuned_malloc

if TYPE_CHECKING:
    from quickstudy.recipes.schema import Recipe

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Example: quickstudy adapt --support letters/ --query unknown/",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"quickstudy {__version__}")
        raise typer.Exit


@app.callback()
def quickstudy(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learn from a few examples: adapt to your data, or meta-train a learner of your own."""
    if context.invoked_subcommand != "serve":  # which lives long, and idles
        context.with_resource(tuned_malloc())


data_app = typer.Typer(
    no_args_is_help=True,
    help="List, download and locate data sets.",
    epilog="Example: quickstudy data get omniglot",
)
app.add_typer(data_app, name="data")
app.add_typer(experience_app, name="experience")
app.add_typer(recommend_app, name="recommend")
app.add_typer(automl_app, name="automl")

Ink = Literal["dark", "bright"]
Seed = Annotated[int | None, typer.Option(help="Use this seed instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key of the recipe, such as train.steps=100. May be repeated."
    ),
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]


def _changes(overrides: list[str] | None, seed: int | None) -> list[str]:
    return [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]


def _complete_recipe(incomplete: str) -> list[str]:
    from quickstudy.recipes import recipe_names

    files = [str(path) for path in Path().glob(f"{incomplete}*.toml")]
    return [name for name in recipe_names() if name.startswith(incomplete)] + files


def _complete_data_set(incomplete: str) -> list[str]:
    from quickstudy.tasks.datasets import data_files

    return [name for name in data_files() if name.startswith(incomplete)]


DATA_SET: Any = typer.Argument(
    help="Name of a data set, see `quickstudy data list`.", autocompletion=_complete_data_set
)
DataSet = Annotated[str, DATA_SET]


@app.command(epilog="Example: quickstudy recipes")
def recipes(as_json: Json = False) -> None:
    """List the recipes: the experiments that come with quickstudy."""
    from quickstudy.recipes import about

    found = about()
    _say(found, as_json, _table(["recipe", "about"], *map(list, found.items())))


@app.command(epilog="Example: quickstudy train prototypical_glyphs --set train.steps=300")
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a recipe, or a TOML file of your own.", autocompletion=_complete_recipe
        ),
    ],
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/RECIPE.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write a log for TensorBoard too.")
    ] = False,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Meta-train a learner by a recipe.

    The weights, checkpoints and log are written to the run folder.

    Ctrl-C and SIGTERM stop after the current step, with a checkpoint and exit
    code 130. Continue with --resume.
    """
    from quickstudy.engine import Callback, TensorBoard
    from quickstudy.experiments.remember import remember
    from quickstudy.experiments.run import train_run
    from quickstudy.files import read_json
    from quickstudy.recipes.loading import load_recipe

    began = datetime.now(UTC)
    parsed = load_recipe(recipe, _changes(overrides, seed))
    folder = run or Path("runs") / Path(recipe).stem
    callbacks: list[Callback] = [TensorBoard(folder / "tensorboard")] if tensorboard else []
    _, report = train_run(parsed, folder, resume=resume, callbacks=callbacks)
    place = shlex.quote(str(folder))
    if report.stopped == "interrupted":
        text = f"stopped after step {report.steps}; continue with --resume --run {place}"
    else:
        text = f"{report.steps} steps in {report.seconds:.0f} s; test with: quickstudy test {place}"
    _say({"run": str(folder), **vars(report)}, as_json, text)
    if report.stopped == "interrupted":
        raise typer.Exit(130)
    kept = read_json(folder / "report.json")
    keep(forget, lambda store: remember(parsed, kept, "train", store, began=began))


@app.command(
    epilog="Example: quickstudy reproduce prototypical_omniglot; quickstudy reproduce --list"
)
def reproduce(
    recipe: Annotated[
        str | None, typer.Argument(help="Name of a recipe.", autocompletion=_complete_recipe)
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List the published and measured scores of all recipes.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2, max=1000, help="Repeat with this many seeds, from 0, and report the mean."
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/RECIPE.")] = None,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Train and test a recipe, and compare its scores with the published ones.

    If interrupted, the same command continues.

    With --seeds, each seed has its own run folder, and scores are the mean over
    seeds with its 95 % interval.
    """
    from quickstudy.errors import UsageError
    from quickstudy.experiments.evaluate import check_has_tests
    from quickstudy.experiments.reproduce import gaps, keep_over_seeds, reproductions
    from quickstudy.recipes.loading import load_recipe

    if listing == bool(recipe):
        raise UsageError("expected a recipe, or --list")
    if not recipe:
        rows = reproductions()
        head = ["recipe", "test", "published", "measured", "gap", "trained in", "why"]
        lines = [[row["recipe"], *_gap(row), _minutes(row["minutes"]), row["why"]] for row in rows]
        _say(rows, as_json, _table(head, *lines))
        return
    folder = run or Path("runs") / Path(recipe).stem
    parsed = load_recipe(recipe)
    check_has_tests(parsed)
    if seeds is None:
        report, absent = _reproduce(parsed, folder, forget)
    else:
        reports = []
        for seed in range(seeds):
            seeded = load_recipe(recipe, [f"seed={seed}"])
            one, absent = _reproduce(seeded, folder / f"seed-{seed}", forget)
            reports.append(one)
        report = keep_over_seeds(folder, reports)
    rows = gaps(parsed, report["test"]["results"]["score"])
    text = _table(["test", "published", "measured", "gap"], *map(_gap, rows))
    text += "".join(f"\nLeft out, as its data is not here: {title}" for title in absent)
    _say({**report, "gaps": rows}, as_json, text)


def _reproduce(recipe: Recipe, folder: Path, forget: bool) -> tuple[dict[str, Any], list[str]]:
    """Train and test a recipe; its report, and the titles of tests whose data is not here."""
    from quickstudy.experiments.evaluate import meta_test_all
    from quickstudy.experiments.remember import remember
    from quickstudy.experiments.report import keep_results
    from quickstudy.experiments.run import train_run

    began = datetime.now(UTC)
    learner, trained = train_run(recipe, folder, resume=True)
    if trained.stopped == "interrupted":
        print(f"stopped after step {trained.steps}; the same command continues", file=sys.stderr)
        raise typer.Exit(130)
    results, absent = meta_test_all(recipe, {"score": learner})
    report = keep_results(folder, recipe, results)
    keep(forget, lambda store: remember(recipe, report, "train", store, began=began))
    keep(forget, lambda store: remember(recipe, report, "test", store, began=began))
    return report, absent


def _gap(row: dict[str, Any]) -> list[str]:
    from quickstudy.experiments.report import with_interval

    published = "" if row["published"] is None else f"{row['published']:g}"
    measured = "" if row["measured"] is None else with_interval(row["measured"], row["interval"])
    return [row["test"], published, measured, "" if row["gap"] is None else f"{row['gap']:+.2f}"]


def _minutes(minutes: float | None) -> str:
    return "" if minutes is None else f"{minutes:.0f} min"


@app.command("test", epilog="Example: quickstudy test runs/prototypical_glyphs")
def meta_test_run(
    run: Run,
    overrides: Overrides = None,
    seed: Annotated[
        int | None, typer.Option(help="Test on other tasks, drawn by this seed.")
    ] = None,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Meta-test a trained run on unseen classes.

    Runs every test of its recipe, and writes report.json and MODEL_CARD.md to
    the run folder.
    """
    from quickstudy.experiments.evaluate import check_has_tests, meta_test_all
    from quickstudy.experiments.remember import remember
    from quickstudy.experiments.report import keep_results
    from quickstudy.experiments.run import load_run
    from quickstudy.files import check_writable

    began = datetime.now(UTC)
    recipe, learner = load_run(run, _changes(overrides, seed))
    check_has_tests(recipe)
    check_writable(run)
    results, absent = meta_test_all(recipe, {"score": learner})
    report = keep_results(run, recipe, results)
    _say(report, as_json, _results(results, absent))
    keep(forget, lambda store: remember(recipe, report, "test", store, began=began))


def _results(results: dict[str, Any], absent: list[str]) -> str:
    from quickstudy.experiments.report import INTERVALS, result_rows

    lines = [_table(*result_rows(results)), INTERVALS]
    lines += [f"Left out, as its data is not here: {title}" for title in absent]
    return "\n".join(lines)


def _complete_learner(incomplete: str) -> list[str]:
    from quickstudy.apps.fewshot.methods import METHODS
    from quickstudy.experiments.run import SHIPPED

    folders = [str(path.parent) for path in Path().glob(f"{incomplete}*/recipe.json")]
    return [name for name in (*SHIPPED, *METHODS) if name.startswith(incomplete)] + folders


def _complete_encoder(incomplete: str) -> list[str]:
    from quickstudy.encoders import ENCODERS

    return [name for name in ENCODERS if name.startswith(incomplete)]


@app.command(
    epilog="Example: quickstudy adapt --support letters/ --query unknown/; "
    "quickstudy adapt ridge --support intents.csv --query new.csv --out answers.parquet"
)
def adapt(
    learner: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, a shipped run (handwriting, glyphs) or a method without "
            "meta-training (ridge, gaussian_classes, ...). Default: chosen to fit the examples.",
            autocompletion=_complete_learner,
        ),
    ] = None,
    support: Annotated[
        Path,
        typer.Option(
            help="The labelled examples: a folder (or zip) with a folder of images for each class, "
            "or a .csv, .tsv or .parquet table of texts or numbers with a column of labels."
        ),
    ] = ...,  # type: ignore[assignment]
    query: Annotated[Path, typer.Option(help="What to predict: images, or a table.")] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path | None,
        typer.Option(help="Write the predictions to this .csv, .json or .parquet file."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the images with their predicted classes to this .png file."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Pretrained network that embeds the examples: minilm for texts, "
            "efficientnet_lite0 for images. Default: the one that fits, or that of the run.",
            autocompletion=_complete_encoder,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the column of labels. Default: label or class.")
    ] = None,
    ink: Annotated[
        Ink | None,
        typer.Option(
            help="Whether strokes are darker or brighter than the paper. Default: as in training."
        ),
    ] = None,
    overrides: Overrides = None,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Learn classes from a few examples, and predict new images, texts or rows.

    The learner itself is not changed. Predictions are printed, or written to
    --out.
    """
    from quickstudy.apps.fewshot import adapt as adapting
    from quickstudy.apps.fewshot.remember import remember_adapting
    from quickstudy.errors import UsageError, require
    from quickstudy.files import check_output_file, write_atomically
    from quickstudy.table_files import as_csv

    if out and out.suffix not in (".csv", ".json", ".parquet"):
        raise UsageError(f"expected --out to end in .csv, .json or .parquet, got {out}")
    if picture and picture.suffix != ".png":
        raise UsageError(f"expected --picture to end in .png, got {picture}")
    for path in (out, picture):
        if path:
            check_output_file(path)
    if picture:
        require("matplotlib", "demo")
    if out and out.suffix == ".parquet":
        require("pyarrow", "experience")
    began = datetime.now(UTC)
    found = adapting.adapt(
        support,
        query,
        learner=learner,
        encoder=encoder,
        label=label,
        ink=ink,
        overrides=overrides or [],
    )
    print(f"learned {found.ways} classes by {found.learner}", file=sys.stderr)
    if found.reason:
        print(f"chosen: {found.reason}", file=sys.stderr)
    if found.seen:
        print(f"The encoder is {found.seen}.", file=sys.stderr)
    if picture:
        from quickstudy.apps.fewshot.pictures import draw_predictions

        draw_predictions(found, support, query, picture)
        print(f"picture in {picture}", file=sys.stderr)
    table = adapting.as_table(found)
    rows = [
        {found.kind: p.example, "label": p.label, "probabilities": p.probabilities}
        for p in found.predictions
    ]
    if out:
        if out.suffix == ".parquet":
            content = _parquet(table)
        elif out.suffix == ".json":
            content = f"{json_text(rows)}\n".encode()
        else:
            content = as_csv(table).encode()
        write_atomically(out, content)
        print(f"{len(rows)} predictions in {out}", file=sys.stderr)
    if as_json or not out:
        _say(rows, as_json, as_csv(table).removesuffix("\n"))
    keep(forget, lambda store: remember_adapting(found, support, store, began=began))


def _parquet(table: dict[str, list[Any]]) -> bytes:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pa.table(table), content)
    return content.getvalue()


@app.command(epilog="Example: quickstudy demo --run runs/demo")
def demo(
    run: Annotated[
        Path, typer.Option(help="Run folder. An interrupted demo in it is continued.")
    ] = Path("runs/demo"),
    overrides: Overrides = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Run the demo: meta-train on invented characters, test on real ones.

    Prints a table of scores and draws a picture into the run folder.
    """
    from quickstudy.errors import require
    from quickstudy.experiments.build import make_learner
    from quickstudy.experiments.evaluate import check_has_tests, meta_test_all
    from quickstudy.experiments.pictures import draw_episodes, episodes_to_draw
    from quickstudy.experiments.report import keep_results
    from quickstudy.experiments.run import train_run
    from quickstudy.files import check_writable
    from quickstudy.learners import NearestCentroid
    from quickstudy.recipes.loading import load_recipe

    recipe = load_recipe("prototypical_glyphs", _changes(overrides, seed))
    require("matplotlib", "demo")
    check_has_tests(recipe)
    check_writable(run)
    episodes = episodes_to_draw(recipe)
    learner, trained = train_run(recipe, run, resume=True)
    if trained.stopped == "interrupted":
        print(f"stopped after step {trained.steps}; the same command continues", file=sys.stderr)
        raise typer.Exit(130)
    columns = {
        "meta-trained": learner,
        "untrained": make_learner(recipe),
        "raw pixels": NearestCentroid(),
    }
    results, absent = meta_test_all(recipe, columns)
    report = keep_results(run, recipe, results)
    picture = draw_episodes(episodes, learner, run / "demo.png")
    _say(report, as_json, f"{_results(results, absent)}\nPicture: {picture}")


def _complete_learners(incomplete: str) -> list[str]:
    from quickstudy.learners import LEARNERS
    from quickstudy.recipes import recipe_names

    before, comma, last = incomplete.rpartition(",")
    known = (*LEARNERS, *recipe_names())
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]


@app.command(
    "compare",
    epilog="Example: quickstudy compare --learners maml,prototypical_networks --budget 5m",
)
def compare_learners(
    learners: Annotated[
        str,
        typer.Option(
            help="Names of learners or recipes, separated by commas.",
            autocompletion=_complete_learners,
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="Name of a data set, or a folder of images.", autocompletion=_complete_data_set
        ),
    ] = "glyphs",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Compare on the embeddings of this pretrained encoder. Texts need one.",
            autocompletion=_complete_encoder,
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Training time of each learner, such as 90s, 10m or 1h.")
    ] = "5m",
    n_way: Annotated[int, typer.Option(help="Classes in a test task.")] = 5,
    n_shot: Annotated[int, typer.Option(help="Examples of each class in a test task.")] = 1,
    n_query: Annotated[int, typer.Option(help="Queries of each class in a test task.")] = 15,
    tasks: Annotated[
        int, typer.Option(help="Number of test tasks, the same for all learners.")
    ] = 600,
    run: Annotated[
        Path, typer.Option(help="Folder. An interrupted comparison in it is continued.")
    ] = Path("runs/compare"),
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of weights and tasks.")] = 0,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Compare learners: the same training time, the same unseen test tasks.

    Each learner has the backbone and optimiser of its recipe. Training time
    includes validation. Images of a folder keep their colours and, between 28
    and 84 pixels, their size.
    """
    from quickstudy.errors import require
    from quickstudy.experiments.compare import FEWEST_STEPS, compare, draw
    from quickstudy.experiments.remember import remember_comparison
    from quickstudy.experiments.report import INTERVALS, score_interval, with_interval
    from quickstudy.tasks.datasets import data_files

    began = datetime.now(UTC)
    require("matplotlib", "demo")
    seconds = seconds_in(budget)
    is_folder = dataset not in data_files() and ("/" in dataset or Path(dataset).exists())
    data = {"name": "folder", "folder": str(Path(dataset).absolute())} if is_folder else {}
    found = compare(
        [name.strip() for name in learners.split(",")],
        {"name": dataset, **data, **({"encoder": encoder} if encoder else {})},
        run,
        seconds=seconds,
        n_way=n_way,
        n_shot=n_shot,
        n_query=n_query,
        n_tasks=tasks,
        seed=seed,
    )
    picture = draw(found, run / "compare.png")
    rows = [
        [
            entry["learner"],
            with_interval(100 * entry["mean"], 100 * score_interval(entry)),
            _training(entry, seconds),
            _optimizer(entry["optimizer"]) if entry["steps"] else "",
            f"{1000 * entry['cost']['seconds']:.1f} ms",
            f"{entry['parameters']:,}",
        ]
        for entry in found.learners
    ]
    head = ["learner", "accuracy", "trained", "optimiser", "adapts in", "parameters"]
    pairs = [
        [
            f"{pair.better} over {pair.worse}",
            f"{100 * pair.difference:.2f}",
            "not tested" if pair.p is None else f"{pair.p:.2g}",
        ]
        for pair in found.pairs
    ]
    notes = [f"Each had {seconds:g} s. {INTERVALS}"]
    if short := [entry["learner"] for entry in found.learners if not entry["trained_enough"]]:
        notes.append(
            f"Not tested are pairs with {', '.join(short)}: fewer than {FEWEST_STEPS} steps, or "
            "more than 10 % over the budget."
        )
    parts = [
        _table(head, *rows),
        _table(["pair", "points", "p (clustered by class, Holm)"], *pairs),
        "\n".join([*notes, f"Picture: {picture}"]),
    ]
    _say(found.as_dict(), as_json, "\n\n".join(parts))
    keep(forget, lambda store: remember_comparison(run, store, began=began))


def _training(entry: dict[str, Any], budget: float) -> str:
    """What a learner's training was, and by how much it took more than its budget."""
    if not entry["steps"]:
        return "not trained"
    tasks, seconds = entry["tasks_per_step"], entry["train_seconds"]
    text = f"{entry['steps']} steps of {tasks} task{'s' * (tasks > 1)}, {seconds:.1f} s"
    over = seconds / budget - 1
    return f"{text} ({100 * over:.0f} % over)" if over > 0.005 else text


def _optimizer(options: dict[str, Any]) -> str:
    return " ".join([options["name"], *(f"{k}={v}" for k, v in options.items() if k != "name")])


app.command(epilog="Example: quickstudy serve --recommender runs/recommender")(serve)


@data_app.command("list", epilog="Example: quickstudy data list")
def data_list(as_json: Json = False) -> None:
    """List the data sets, and which of them are on this machine."""
    from quickstudy.tasks.datasets import data_files
    from quickstudy.tasks.datasets.store import is_here

    rows = {n: {"about": d.title, "here": is_here(n, d)} for n, d in data_files().items()}
    lines = [[n, "yes" if r["here"] else "no", r["about"]] for n, r in rows.items()]
    _say(rows, as_json, _table(["data set", "here", "about"], *lines))


@data_app.command("get", epilog="Example: quickstudy data get omniglot")
def data_get(name: DataSet, as_json: Json = False) -> None:
    """Download a data set from its authors, and check its content."""
    from quickstudy.tasks.datasets.store import get

    path = get(name)
    _say({"path": str(path)}, as_json, str(path))


@data_app.command("add", epilog="Example: quickstudy data add omniglot --from ~/Downloads")
def data_add(
    name: DataSet,
    source: Annotated[Path, typer.Option("--from", help="Folder with the files.")],
    as_json: Json = False,
) -> None:
    """Add a data set from files that you have, and check their content."""
    from quickstudy.tasks.datasets.store import add

    path = add(name, source)
    _say({"path": str(path)}, as_json, str(path))


@data_app.command("path", epilog="Example: quickstudy data path omniglot")
def data_path(
    name: Annotated[str | None, DATA_SET] = None,
    as_json: Json = False,
) -> None:
    """Print the folder of all data sets, or of one."""
    from quickstudy.errors import unknown
    from quickstudy.tasks.datasets import data_files
    from quickstudy.tasks.datasets.store import data_folder

    if name and name not in data_files():
        raise unknown("data set", name, data_files())
    path = data_folder() / name if name else data_folder()
    _say({"path": str(path)}, as_json, str(path))
