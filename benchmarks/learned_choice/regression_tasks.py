"""Few-shot tasks of regression from a bank of domains, and how every candidate does on each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from quickstudy.learners.transfer.blend.candidates import RAW, View
from quickstudy.learners.transfer.regression.candidates import (
    RegressionCandidates,
    fit_regression_candidates,
)

SIZES = (5, 10, 20, 50)
"""Examples of the tasks that are judged."""

OTHER_SIZES = (3, 4, 5, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 80)
"""Of further tasks, to train on, as often as they stand here."""

N_QUERIES = 60

EMBEDDED_SHARE, EMBEDDING_SIZES = 0.1, (64, 128, 256)
"""How often the examples of a further task are embedded by a random layer, and in how many numbers.
"""


UNRELATED_SHARE = 0.4
"""How often the targets of a further task are shuffled, so that its features say nothing of them.
"""


@dataclass
class RegressionDomain:
    """Examples and their targets.

    Args:
        name, group: Of the domain.
        x, y: Numbers (functions, N, d) and targets (functions, N); a table is one function.
    """

    name: str
    group: str
    x: np.ndarray
    y: np.ndarray


@dataclass
class RegressionTask:
    """A task whose candidates have been fitted.

    Args:
        candidates: Their names, predictions of examples left out, and features.
        n: Number of examples.
        predictions: Of the candidates on the queries, shape (k, m).
        query_y: Targets of the queries, (m,), standardised as the candidates see them.
        unit: What is 1 in these targets, in standard deviations of the domain's.
        group, domain: What it was drawn from.
        is_judged: Whether it is of a size that is judged, and neither embedded nor shuffled.
        baselines: Mean squared errors of others on the queries, by name.
    """

    candidates: RegressionCandidates
    n: int
    predictions: Tensor
    query_y: Tensor
    unit: float
    group: str
    domain: str
    is_judged: bool
    baselines: dict[str, float]


def read_domain(path: Path) -> RegressionDomain | None:
    """The domain in a file of the bank; None if it has labels."""
    with np.load(path) as file:
        if str(file["kind"]) != "regression_numbers":
            return None
        x, y = file["view_raw"].astype(np.float64), file["y"].astype(np.float64)
        if y.ndim == 1:
            x, y = x[None], y[None]
        return RegressionDomain(path.stem, str(file["group"]), x, y)


def draw_round(domain: RegressionDomain, number: int, *, with_forest: bool) -> list[RegressionTask]:
    """A task of each size that is judged, and one of another size.

    Args:
        number: Of the round, which the random numbers depend on.
        with_forest: Whether a random forest is a baseline, which takes the most time.
    """
    rng = np.random.default_rng([zlib.crc32(domain.name.encode()), number])
    tasks = [_draw(domain, n, rng, with_forest=with_forest) for n in SIZES]
    embeds, shuffles = (bool(rng.random() < p) for p in (EMBEDDED_SHARE, UNRELATED_SHARE))
    n = int(rng.choice(OTHER_SIZES))
    tasks.append(_draw(domain, n, rng, is_other=True, embeds=embeds, shuffles=shuffles))
    return [task for task in tasks if task is not None]


def _draw(
    domain: RegressionDomain,
    n: int,
    rng: np.random.Generator,
    *,
    with_forest: bool = False,
    is_other: bool = False,
    embeds: bool = False,
    shuffles: bool = False,
) -> RegressionTask | None:
    function = int(rng.integers(len(domain.y)))
    x, y = domain.x[function], domain.y[function]
    if shuffles:
        y = rng.permutation(y)
    rows = rng.permutation(len(y))
    support, query = rows[:n], rows[n : n + N_QUERIES]
    if len(query) < 10 or (scale := y[support].std()) < 1e-9 * (1 + abs(y[support].mean())):
        return None
    view = View.of(RAW, x.shape[1])
    if embeds:
        x = _embedded(x, rng)
        view = View("other", x.shape[1])
    targets = (y - y[support].mean()) / scale
    s = support[np.argsort(y[support], kind="stable")]
    fitted = fit_regression_candidates(
        [view], torch.from_numpy(x[s]), torch.from_numpy(targets[s]).float()
    )
    predictions = fitted.predict(torch.from_numpy(x[query]))
    baselines = {}
    if not is_other:
        models = _baselines(with_forest)
        for name, model in models.items():
            errors = model.fit(x[s], targets[s]).predict(x[query]) - targets[query]
            baselines[name] = float(np.mean(errors**2))
    return RegressionTask(
        fitted,
        n,
        predictions,
        torch.from_numpy(targets[query]).float(),
        float(scale / y.std()),
        domain.group,
        domain.name,
        not is_other,
        baselines,
    )


def _embedded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    weights = rng.normal(size=(x.shape[1], int(rng.choice(EMBEDDING_SIZES))))
    return np.tanh(z @ weights / x.shape[1] ** 0.5 + 0.5 * rng.normal(size=weights.shape[1]))


def _baselines(with_forest: bool) -> dict[str, Any]:
    """What a person would write in a line of scikit-learn."""
    models: dict[str, Any] = {
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    }
    if with_forest:
        models["random forest"] = RandomForestRegressor(100, random_state=0)
    return models


def write_tasks(path: Path, tasks: Sequence[RegressionTask]) -> None:
    """Write tasks: all but how their candidates predict."""
    rows = [
        {**vars(task), "candidates": {**vars(task.candidates), "predict": None}} for task in tasks
    ]
    unfinished = path.with_suffix(".part")
    torch.save(rows, unfinished)
    unfinished.rename(path)


def read_tasks(folder: Path) -> list[RegressionTask]:
    """The tasks in a folder of files of `write_tasks`."""
    tasks = []
    for path in sorted(folder.glob("*.pt")):
        for row in torch.load(path, weights_only=True):
            candidates = RegressionCandidates(**row["candidates"])
            tasks.append(RegressionTask(**{**row, "candidates": candidates}))
    return tasks
