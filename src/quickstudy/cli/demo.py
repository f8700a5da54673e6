"""The command that shows the whole way in minutes: demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.options import Overrides, Seed, with_seed
from quickstudy.cli.output import Json, results_text, say

commands = typer.Typer()


@commands.command(epilog="Example: quickstudy demo --run runs/demo")
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

    recipe = load_recipe("prototypical_glyphs", with_seed(overrides, seed))
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
    say(report, as_json, f"{results_text(results, absent)}\nPicture: {picture}")
