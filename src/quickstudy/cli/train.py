"""Commands that meta-train and meta-test by recipes: recipes, train, reproduce, test."""

from __future__ import annotations

import shlex
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.experience import Forget, keep
from quickstudy.cli.options import (
    Overrides,
    Run,
    Seed,
    complete_recipe,
    complete_shipped_recipe,
    with_seed,
)
from quickstudy.cli.output import Json, results_text, say, table

if TYPE_CHECKING:
    from quickstudy.experiments.significance import InterquartileMean
    from quickstudy.recipes.schema import Recipe

commands = typer.Typer()


@commands.command(epilog="Example: quickstudy recipes; quickstudy recipes prototypical_glyphs")
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Recipe to print, as the TOML file that it is.",
            autocompletion=complete_shipped_recipe,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that come with quickstudy, or print one.

    To change a recipe, save what is printed as a TOML file of your own, and
    train by that.
    """
    from quickstudy.errors import unknown
    from quickstudy.recipes import about, recipe_names, recipe_text

    if name is None:
        by_name = about()
        say(by_name, as_json, table(["recipe", "about"], *map(list, by_name.items())))
        return
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    text = recipe_text(name)
    say(tomllib.loads(text), as_json, text.rstrip("\n"))


@commands.command(epilog="Example: quickstudy train prototypical_glyphs --set train.steps=300")
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a recipe, or a TOML file of your own.", autocompletion=complete_recipe
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
    parsed = load_recipe(recipe, with_seed(overrides, seed))
    folder = run or Path("runs") / Path(recipe).stem
    callbacks: list[Callback] = [TensorBoard(folder / "tensorboard")] if tensorboard else []
    _, report = train_run(parsed, folder, resume=resume, callbacks=callbacks)
    place = shlex.quote(str(folder))
    if report.stopped == "interrupted":
        text = f"stopped after step {report.steps}; continue with --resume --run {place}"
    else:
        text = f"{report.steps} steps in {report.seconds:.0f} s; test with: quickstudy test {place}"
    say({"run": str(folder), **vars(report)}, as_json, text)
    if report.stopped == "interrupted":
        raise typer.Exit(130)
    saved_report = read_json(folder / "report.json")
    keep(forget, lambda store: remember(parsed, saved_report, "train", store, began=began))


@commands.command(
    epilog="Example: quickstudy reproduce prototypical_omniglot; quickstudy reproduce --list"
)
def reproduce(
    recipe: Annotated[
        str | None, typer.Argument(help="Name of a recipe.", autocompletion=complete_recipe)
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
        say(rows, as_json, table(head, *lines))
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
    text = table(["test", "published", "measured", "gap"], *map(_gap, rows))
    text += "".join(f"\nLeft out, as its data is not here: {title}" for title in absent)
    say({**report, "gaps": rows}, as_json, text)


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


@commands.command("test", epilog="Example: quickstudy test runs/prototypical_glyphs")
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
    recipe, learner = load_run(run, with_seed(overrides, seed))
    check_has_tests(recipe)
    check_writable(run)
    results, absent = meta_test_all(recipe, {"score": learner})
    report = keep_results(run, recipe, results)
    say(report, as_json, results_text(results, absent))
    keep(forget, lambda store: remember(recipe, report, "test", store, began=began))


@commands.command(epilog="Example: quickstudy rollout runs/rl2_bandits --picture behaviour.png")
def rollout(
    run: Run,
    tasks: Annotated[int, typer.Option(min=1, max=20, help="Tasks to act in.")] = 6,
    picture: Annotated[
        Path | None, typer.Option(help="PNG file to draw what the learner does into.")
    ] = None,
    belief: Annotated[
        Path | None,
        typer.Option(help="PNG file to draw a belief into, of VariBAD on GridNavi: step by step."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of actions and of the environments' luck.")] = 0,
    as_json: Json = False,
) -> None:
    """Let a learner that acts play new tasks, and show how.

    Prints the return of an episode before the learner has adapted, of one
    after, and of the policy that knows the task, where there is one.
    """
    from quickstudy.experiments.behaviour import AFTER, behaviour, draw_behaviour
    from quickstudy.experiments.goal_beliefs import draw_goal_beliefs, goal_beliefs
    from quickstudy.experiments.run import load_run
    from quickstudy.files import check_writable

    for path in (picture, belief):
        if path is not None:
            check_writable(path.parent)
    recipe, learner = load_run(run)
    drawn = []
    if belief is not None:
        beliefs = goal_beliefs(recipe, learner, n_tasks=tasks, seed=seed)
        drawn.append(draw_goal_beliefs(beliefs, belief))
    found = behaviour(recipe, learner, n_tasks=tasks, seed=seed)
    if picture is not None:
        drawn.append(draw_behaviour(found, picture))
    returns = found.returns()
    rows = [[name, *(f"{value:.4g}" for value in each)] for name, each in returns.items()]
    text = table(["return", *(f"task {i + 1}" for i in range(tasks))], *rows)
    if AFTER not in returns:
        text += "\nA trial has one episode here: the learner adapts within it, so nothing is after."
    say(returns, as_json, "\n\n".join([text, *map(str, drawn)]))


@commands.command(epilog="Example: quickstudy curves runs/rl2_mdp/seed-* --picture curves.png")
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one family of environments.")],
    times: Annotated[
        int, typer.Option(min=1, max=100, help="How often learners adapt: episodes, or steps.")
    ] = 3,
    tasks: Annotated[int, typer.Option(min=2, max=1000, help="Tasks to act in.")] = 40,
    picture: Annotated[Path | None, typer.Option(help="PNG file to draw the curves into.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the tasks and of all that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Show how the return of learners that act grows as they adapt.

    Runs of a recipe with several seeds are one curve. All play the same tasks.
    Each number is the interquartile mean over runs and tasks, with the 95 %
    interval of a bootstrap over runs.
    """
    from quickstudy.experiments.adaptation import adaptation_curves, draw_curves
    from quickstudy.experiments.run import load_run
    from quickstudy.files import check_writable

    if picture is not None:
        check_writable(picture.parent)
    loaded = {str(run): load_run(run) for run in runs}
    found = adaptation_curves(loaded, n_tasks=tasks, n_times=times, seed=seed)
    rows = [[curve.name, curve.adapts_by or "", *map(_point, curve.points)] for curve in found]
    head = ["return", "adapts by", "before", *(f"after {n + 1}" for n in range(times))]
    text = table(head, *rows)
    if any(len(curve.returns) == 1 for curve in found if curve.adapts_by):
        text += "\nA curve of one run has no interval: train with more seeds."
    if picture is not None:
        text += f"\n\n{draw_curves(found, picture)}"
    say({curve.name: curve.as_dict() for curve in found}, as_json, text)


def _point(point: InterquartileMean) -> str:
    if point.interval is None:
        return f"{point.mean:.4g}"
    low, high = point.interval
    return f"{point.mean:.4g} ({low:.4g} to {high:.4g})"
