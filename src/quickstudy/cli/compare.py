"""The command that compares learners by one protocol: compare."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.experience import Forget, keep
from quickstudy.cli.options import complete_data_set, complete_encoder
from quickstudy.cli.output import MAX_SEED, Json, say, seconds_in, table

if TYPE_CHECKING:
    from quickstudy.experiments.compare import Comparison

commands = typer.Typer()


def _complete_learners(incomplete: str) -> list[str]:
    from quickstudy.learners import LEARNERS
    from quickstudy.recipes import recipe_names

    before, comma, last = incomplete.rpartition(",")
    known = (*LEARNERS, *recipe_names())
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]


@commands.command(
    "compare",
    epilog="Example: quickstudy compare --learners maml,prototypical_networks --budget 5m",
)
def compare_learners(
    learners: Annotated[
        str,
        typer.Option(
            help="Names of learners or recipes, or TOML files of your own, separated by commas.",
            autocompletion=_complete_learners,
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="Name of a data set, module:name of your own, or a folder of images.",
            autocompletion=complete_data_set,
        ),
    ] = "glyphs",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Compare on the embeddings of this pretrained encoder. Texts need one.",
            autocompletion=complete_encoder,
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
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of weights and tasks.")] = 0,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Compare learners: the same training time, the same unseen test tasks.

    Each learner has the backbone and optimiser of its recipe. Training time
    includes validation. Images of a folder keep their colours and, between 28
    and 84 pixels, their size.
    """
    from quickstudy.errors import require
    from quickstudy.experiments.compare import compare
    from quickstudy.experiments.pictures import draw_comparison
    from quickstudy.experiments.remember import remember_comparison
    from quickstudy.tasks.datasets import data_files

    began = datetime.now(UTC)
    require("matplotlib", "demo")
    seconds = seconds_in(budget)
    is_folder = dataset not in data_files() and ("/" in dataset or Path(dataset).exists())
    data = {"name": "folder", "folder": str(Path(dataset).absolute())} if is_folder else {}
    comparison = compare(
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
    picture = draw_comparison(comparison, run / "compare.png")
    text = f"{_comparison_text(comparison, seconds)}\nPicture: {picture}"
    say(comparison.as_dict(), as_json, text)
    keep(forget, lambda store: remember_comparison(run, store, began=began))


def _comparison_text(comparison: Comparison, seconds: float) -> str:
    """Learners and pairs of a comparison as tables, and what to know of them."""
    from quickstudy.experiments.budget import MIN_STEPS
    from quickstudy.experiments.report import INTERVALS, score_interval, with_interval

    rows = [
        [
            entry["learner"],
            with_interval(100 * entry["mean"], 100 * score_interval(entry)),
            _training(entry, seconds),
            _optimizer(entry["optimizer"]) if entry["steps"] else "",
            f"{1000 * entry['cost']['seconds']:.1f} ms",
            f"{entry['parameters']:,}",
        ]
        for entry in comparison.learners
    ]
    head = ["learner", "accuracy", "trained", "optimiser", "adapts in", "parameters"]
    pairs = [
        [
            f"{pair.better} over {pair.worse}",
            f"{100 * pair.difference:.2f}",
            "not tested" if pair.p is None else f"{pair.p:.2g}",
        ]
        for pair in comparison.pairs
    ]
    notes = [f"Each had {seconds:g} s. {INTERVALS}"]
    if short := [entry["learner"] for entry in comparison.learners if not entry["trained_enough"]]:
        notes.append(
            f"Not tested are pairs with {', '.join(short)}: fewer than {MIN_STEPS} steps, or "
            "more than 10 % over the budget."
        )
    parts = [
        table(head, *rows),
        table(["pair", "points", "p (clustered by class, Holm)"], *pairs),
        "\n".join(notes),
    ]
    return "\n\n".join(parts)


def _training(entry: dict[str, Any], budget: float) -> str:
    """What a learner's training was, and by how much it took more than its budget."""
    if not entry["steps"]:
        return "not trained"
    tasks, seconds = entry["tasks_per_step"], entry["train_seconds"]
    unlabelled = " without labels" if entry["labels"] == "none" else ""
    text = f"{entry['steps']} steps of {tasks} task{'s' * (tasks > 1)}{unlabelled}, {seconds:.1f} s"
    over = seconds / budget - 1
    return f"{text} ({100 * over:.0f} % over)" if over > 0.005 else text


def _optimizer(options: dict[str, Any]) -> str:
    return " ".join([options["name"], *(f"{k}={v}" for k, v in options.items() if k != "name")])
