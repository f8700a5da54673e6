"""Collect meta-knowledge: run the same pipelines over many tables, and write their scores to a log.

Each table is cut in three, several times: three fifths of the rows are for training, a fifth for
the validation by which a search chooses, and a fifth for testing. Results go to a log line by line,
so a run that was killed goes on where it was, with other tables or pipelines too.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import qmc

from quickstudy.apps.automl.pipelines.build import make_model
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.metrics import CLASSIFICATION_METRICS, REGRESSION_METRICS
from quickstudy.apps.automl.pipelines.prediction import class_probabilities
from quickstudy.apps.automl.tables.meta_features import meta_features
from quickstudy.apps.automl.tables.public import PublicTable
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import RunError, UsageError
from quickstudy.files import disk_errors
from quickstudy.progress import track

__all__ = [
    "Cell",
    "Split",
    "Worker",
    "configurations",
    "learn",
    "read_log",
    "run_pipeline",
]

N_DRAWN = {
    "linear": 6,
    "lightgbm": 11,
    "random forest": 3,
    "extra trees": 3,
    "svm": 8,
    "k-nearest neighbours": 3,
    "mlp": 3,
}
"""Random draws from each family's space, beside its default; none of others."""

SLOWEST_OPTIONS = {"n_estimators": 300, "width": 100}
"""Draws with greater values of these are passed over, as they are slow."""


def configurations(seed: int = 0) -> list[PipelineConfig]:
    """The pipelines that are run on each table: each family's default, and draws from its space.

    The draws are of a scrambled Halton sequence, which leaves no part of the space out.

    Example:
        >>> len(configurations()), configurations()[0]
        (46, PipelineConfig(family='linear', options={'C': 1.0}))
    """
    configs: list[PipelineConfig] = []
    for name, family in FAMILIES.items():
        configs.append(PipelineConfig(name, dict(family.default)))
        points = qmc.Halton(len(family.space), rng=seed)
        n_configs = len(configs) + N_DRAWN.get(name, 0)
        while len(configs) < n_configs:
            options = {
                option: _value_at(float(place), allowed)
                for place, (option, allowed) in zip(
                    points.random()[0], family.space.items(), strict=True
                )
            }
            if all(options.get(option, 0) <= most for option, most in SLOWEST_OPTIONS.items()):
                configs.append(PipelineConfig(name, options))
    return configs


def _value_at(place: float, allowed: BaseDistribution) -> Any:
    """The value at a place from 0 to 1 of a range."""
    if isinstance(allowed, CategoricalDistribution):
        return allowed.choices[int(place * len(allowed.choices))]
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    low, high = (
        (math.log(allowed.low), math.log(allowed.high))
        if allowed.log
        else (allowed.low, allowed.high)
    )
    value = low + place * (high - low)
    value = math.exp(value) if allowed.log else value
    return round(value) if isinstance(allowed, IntDistribution) else float(f"{value:.4g}")


@dataclass(frozen=True)
class Cell:
    """What came of a pipeline on a split of a table.

    Args:
        table, goal: The table.
        split: Its number.
        family, options: The pipeline.
        valid, test: Scores by metric, greater is better; empty if it failed.
        seconds: Of fitting, without the encoder, and of predicting.
        failure: Why there are no scores.
    """

    table: str
    goal: Goal
    split: int
    family: str
    options: dict[str, Any]
    valid: dict[str, float]
    test: dict[str, float]
    seconds: float
    failure: str | None = None


class Split:
    """A table cut into three parts, and the parts as encoders turn them into numbers.

    Args:
        table: Where the rows come from.
        number: Of the split; others cut otherwise.
        most_rows: Of larger tables so many rows are drawn, the same for all splits.

    Attributes:
        frame, target: All rows.
        parts: The numbers of the rows for training, validation and testing.
    """

    def __init__(self, table: PublicTable, number: int, most_rows: int | None) -> None:
        self.table = table
        self.number = number
        self.frame, self.target = table.load(most_rows)
        self.n_classes = int(self.target.max()) + 1 if table.goal == "classification" else 0
        rows = np.random.default_rng(number).permutation(len(self.target))
        rows = rows[np.argsort(self.target[rows], kind="stable")]  # parts of like targets
        fifths = np.arange(len(rows)) % 5
        self.parts = [np.sort(rows[np.isin(fifths, some)]) for some in ([0, 2, 4], [1], [3])]
        self._encoded: dict[str, list[np.ndarray]] = {}

    def serves(self, family: str) -> bool:
        """Whether a family can learn from such a table."""
        size = len(self.parts[0]), self.frame.shape[1]
        return FAMILIES[family].serves(*size, self.n_classes or None)

    def encode(self, encoder: Any) -> list[np.ndarray]:
        """The three parts by an encoder that is fitted on the first one, once."""
        if (key := repr(encoder)) not in self._encoded:
            rows = [self.frame.iloc[part] for part in self.parts]
            first = encoder.fit_transform(rows[0], self.target[self.parts[0]])
            self._encoded[key] = [first, *map(encoder.transform, rows[1:])]
        return self._encoded[key]


def run_pipeline(split: Split, family: str, options: Mapping[str, Any], seed: int = 0) -> Cell:
    """Fit a pipeline on a split's first part, and score it on the others; never raises.

    Pipelines whose steps before the model are the same share the fitted ones.
    """
    goal = split.table.goal
    metrics = CLASSIFICATION_METRICS if goal == "classification" else REGRESSION_METRICS
    began, scores, failure = time.perf_counter(), [{}, {}], None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make_model(family, options, goal, seed)
            x = split.encode(model[:-1])
            began = time.perf_counter()
            fitted = model[-1].fit(x[0], split.target[split.parts[0]])
            for i in (0, 1):
                y = split.target[split.parts[i + 1]]
                if goal == "classification":
                    predicted = class_probabilities(fitted, x[i + 1], split.n_classes)
                else:
                    predicted = np.asarray(fitted.predict(x[i + 1]), dtype=np.float64)
                scores[i] = {
                    name: round(metric(y, predicted), 6) for name, metric in metrics.items()
                }
        if not all(map(math.isfinite, [*scores[0].values(), *scores[1].values()])):
            raise ValueError("a score that is not finite")
    except Exception as error:  # whatever a library raises is this pipeline's failure
        scores, failure = [{}, {}], f"{type(error).__name__}: {error}"[:200]
    seconds = round(time.perf_counter() - began, 4)
    about = (split.table.name, goal, split.number, family, dict(options))
    return Cell(*about, scores[0], scores[1], seconds, failure)


def learn(
    tables: Sequence[PublicTable],
    log: Path,
    *,
    n_splits: int = 3,
    most_rows: int = 800,
    cell_limit: float = 15.0,
    time_budget: float | None = None,
    pipelines: Sequence[tuple[str, dict[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Run pipelines over tables, and give back all lines of the log.

    Args:
        tables: To learn from.
        log: A file of JSON lines; what it has already is not done again.
        n_splits: Of each table; all tables have the first before one has the second.
        most_rows: Of a table.
        cell_limit: Seconds for a pipeline on a split; then it is ended, and not tried there again.
        time_budget: Seconds for all; what is left is not run. None for no limit.
        pipelines: Families with their options; None for `configurations()`.

    Raises:
        UsageError: If an option is out of its range.
        RunError: If the log is of another number of rows.
        MissingError: If a table's package is not installed.
        DiskError: If the log cannot be written.
    """
    if n_splits < 1 or most_rows < 50 or not cell_limit > 0:
        raise UsageError(
            f"expected n_splits >= 1, most_rows >= 50 and cell_limit > 0, got {n_splits}, "
            f"{most_rows} and {cell_limit}"
        )
    ends = math.inf if time_budget is None else time.monotonic() + time_budget
    origins = {table.name: table.origin for table in tables}  # refuses what is not installed
    lines = read_log(log)
    if any(line["most_rows"] != most_rows for line in lines if "most_rows" in line):
        raise RunError(f"{log} was made with another number of rows: name another file")
    pipelines = configurations() if pipelines is None else pipelines
    cells = _cells_to_run(tables, pipelines, n_splits, lines)
    too_slow = {_key(line)[:-1] for line in lines if line.get("failure") == TOO_SLOW}
    described = {(line["table"], line["goal"]) for line in lines if "features" in line}
    with disk_errors(log), log.open("a", encoding="utf-8") as file, Worker(cell_limit) as worker:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()
            lines.append(line)

        split: Split | None = None
        for table, number, family, options in track(cells, "learning from tables"):
            if time.monotonic() > ends:
                break
            if split is None or (split.table, split.number) != (table, number):
                split = Split(table, number, most_rows)
            if (table.name, table.goal) not in described:
                described.add((table.name, table.goal))
                write(_description(split, origins[table.name], most_rows))
            place = _place(table.name, table.goal, family, options)
            if not split.serves(family) or place in too_slow:
                continue
            cell = worker.run(table, number, most_rows, family, options)
            if cell.failure == TOO_SLOW:
                too_slow.add(place)
            write(asdict(cell))
    return lines


TOO_SLOW = "took too long"
"""The failure of a pipeline that was ended for its time."""


def _cells_to_run(
    tables: Sequence[PublicTable],
    pipelines: Sequence[tuple[str, dict[str, Any]]],
    n_splits: int,
    lines: Sequence[Mapping[str, Any]],
) -> list[tuple[PublicTable, int, str, dict[str, Any]]]:
    """Tables, splits and pipelines that the log does not have, tables in random order."""
    done = {_key(line) for line in lines if "split" in line}
    order = np.random.default_rng(0).permutation(len(tables)).tolist()
    return [
        (tables[i], number, family, options)
        for number in range(n_splits)
        for i in order
        for family, options in pipelines
        if (*_place(tables[i].name, tables[i].goal, family, options), number) not in done
    ]


def _description(split: Split, origin: str, most_rows: int) -> dict[str, Any]:
    """The line of a table in the log."""
    table = split.table
    return {
        "table": table.name,
        "goal": table.goal,
        "family_of_tables": table.family,
        "origin": origin,
        "most_rows": most_rows,
        "features": meta_features(split.frame, split.target, table.goal),
    }


def _place(table: str, goal: str, family: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    return table, goal, family, json.dumps(options, sort_keys=True)


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*_place(line["table"], line["goal"], line["family"], line["options"]), line["split"])


def read_log(log: Path) -> list[dict[str, Any]]:
    """The lines of a log; what a killed process left of its last one is cut off the file.

    Raises:
        RunError: If it is damaged, or no log of `learn`.
    """
    if not log.exists():
        return []
    text = log.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with disk_errors(log), log.open("r+b") as file:
            file.truncate(whole)
    try:
        lines = [json.loads(line) for line in text[:whole].splitlines()]
        if not all("table" in line and "goal" in line for line in lines):
            raise ValueError("a line without a table")
    except (ValueError, TypeError) as error:
        raise RunError(f"{log} is no log of learning, or damaged: {error}") from None
    return lines


class Worker:
    """A process that runs pipelines, and is killed if one takes too long, since C code runs on.

    Args:
        limit: Seconds for a pipeline on a split.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(
        self, table: PublicTable, number: int, most_rows: int, family: str, options: dict[str, Any]
    ) -> Cell:
        """What came of a pipeline; a failure if it took too long or the process broke down."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, child = context.Pipe()
            self._process = context.Process(target=_serve, args=(child,), daemon=True)
            self._process.start()
            child.close()
            self._connection.recv()  # once it has imported what it needs
        began, failure = time.monotonic(), TOO_SLOW
        try:
            self._connection.send((table, number, most_rows, family, options))
            if self._connection.poll(self._limit):
                return self._connection.recv()
        except (EOFError, OSError):
            failure = "the process broke down"
        self._end()
        seconds = time.monotonic() - began
        return Cell(table.name, table.goal, number, family, options, {}, {}, seconds, failure)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Connection) -> None:
    """The loop of the process: run each pipeline that it receives, and send its `Cell` back."""
    connection.send(None)
    split: Split | None = None
    for table, number, most_rows, family, options in _received(connection):
        if split is None or (split.table, split.number) != (table, number):
            split = Split(table, number, most_rows)
        connection.send(run_pipeline(split, family, options))


def _received(connection: Connection) -> Iterable[Any]:
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return
