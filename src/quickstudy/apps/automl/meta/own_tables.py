"""What the user's own tables add to results on public ones: the experience store joins the advice.

Needs the packages of quickstudy's extras `automl` and `experience`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from quickstudy.apps.automl.meta.advisors import MixtureAdvisor, complete
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.knowledge import WORST, parse_pipeline, pipeline_name
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.pipelines.pipelines import FAMILIES, PREPARATION, can_make
from quickstudy.apps.automl.tables.meta_features import Goal
from quickstudy.experience import ExperienceStore, Strategy, Task, Trial, experience_place
from quickstudy.experience.schema import RECORDS

__all__ = ["join", "own_history", "own_store", "with_experience"]

MOST_TABLES, MOST_TRIALS = 10, 100
"""The nearest of the user's tables, and the newest trials on each, that are looked at."""

BEST = 3
"""Pipelines of a table that public tables do not have, the best ones, that are advised."""

DOUBT = 0.05
"""By how much of a table's range what was not tried there is taken to be worse than what was."""


def own_store() -> ExperienceStore | None:
    """The user's store; None if there is none yet, or it is switched off.

    Raises:
        QuickstudyError: If there is one that cannot be read.
    """
    place = experience_place()
    if place is None or ("://" not in place and not Path(place).exists()):
        return None
    return ExperienceStore(place, create=False)


def with_experience(
    meta: MetaLearner,
    store: ExperienceStore,
    goal: Goal,
    metric: str,
    features: Mapping[str, float],
    serves: Callable[[str], bool] = lambda family: True,
) -> MetaLearner:
    """A meta-learner for one new table that knows the user's own tables too.

    The way to choose and the distance stay as they were learned. Of the store, it looks at the
    tables nearest to the new one, so that a large one takes no longer. See `join` for how results
    are put together.

    Args:
        meta: Of public tables.
        store: It is read alone.
        goal, metric: Of the search.
        features: Meta-features of the new table.
        serves: Whether the search may use a family of models.

    Raises:
        QuickstudyError: If the store cannot be read.
    """
    known = meta.history_
    if len(known.datasets) < 2:
        return meta
    task = RECORDS[Task].c
    query = sa.select(task.fingerprint, task.name, task.features).where(
        task.kind == "table", task.provenance["goal"].as_string() == goal
    )
    found = store.rows(query)
    often = Counter(name for _, name, _ in found)
    ids, told = {}, {}
    for id, name, features_of in found:
        called = f"your {name}" if often[name] == 1 else f"your {name}, {id[:6]}"
        ids[called], told[called] = id, features_of
    names = [*known.datasets, *ids]
    every = History(names, ["-"], np.zeros((len(names), 1)), {**known.features, **told})
    order = MetaLearner.restore(meta.learned(), every, ids).nearest(features)
    near = list(itertools.islice((name for name in order if name in ids), MOST_TABLES))
    own = own_history(
        store,
        {name: ids[name] for name in near},
        metric,
        known.configs,
        lambda family, options: serves(family) and can_make(family, options, goal),
        told,
    )
    if not own.datasets:
        return meta
    return MetaLearner.restore(meta.learned(), join(meta, own), own.datasets)


def own_history(
    store: ExperienceStore,
    tables: Mapping[str, str],
    metric: str,
    known: Sequence[str],
    can_try: Callable[[str, dict[str, Any]], bool],
    features: Mapping[str, Mapping[str, float]],
) -> History:
    """What pipelines did on tables of the store: those that are known of other tables too, and the
    best three of each table's others.

    One that was pruned has the mean of the folds before, one that failed the least score of its
    table, one for which no time was left none. Scores below a table's lower quartile count as that,
    as in `Knowledge.history`. A table on which nothing was finished is left out.

    Args:
        store: It is read alone.
        tables: The tables' fingerprints, by name.
        metric: Of the scores.
        known: Names of pipelines.
        can_try: Whether there is a pipeline of such a family and options to try.
        features: The tables' meta-features, by name.
    """
    found = _means(store, list(tables.values()), metric)
    scores = {name: _above_worst(found[id]) for name, id in tables.items() if id in found}
    by_id = {Strategy("pipeline", *parsed).fingerprint: name for name, parsed in _parsed(known)}
    wanted: dict[str, None] = {}
    for row in scores.values():
        ranked = sorted((id for id in row if id not in by_id), key=lambda id: -row[id])
        wanted |= dict.fromkeys(ranked[:BEST])
    strategy = RECORDS[Strategy].c
    for id, family, options in store.rows(
        sa.select(strategy.fingerprint, strategy.name, strategy.configuration).where(
            strategy.fingerprint.in_(wanted)
        )
    ):
        if can_try(family, options):
            by_id[id] = pipeline_name(family, options)
    kept = {name: row for name, row in scores.items() if row.keys() & by_id.keys()}
    columns = [id for id in by_id if any(id in row for row in kept.values())]
    matrix = [[row.get(id, math.nan) for id in columns] for row in kept.values()]
    told = {name: features[name] for name in kept}
    return History(list(kept), [by_id[id] for id in columns], np.array(matrix), told)


def _means(store: ExperienceStore, tasks: list[str], metric: str) -> dict[str, dict[str, float]]:
    """The mean score of each strategy by task, both by fingerprint, of each task's newest trials;
    NaN for one that failed. Tasks on which nothing was finished are left out.
    """
    trial = RECORDS[Trial].c
    newest = sa.func.row_number().over(partition_by=trial.task, order_by=trial.at.desc())
    some = (
        sa.select(trial.task, trial.strategy, trial.scores, trial.failure, newest.label("place"))
        .where(trial.task.in_(tasks), trial.metric == metric)
        .subquery()
    )
    values: dict[str, dict[str, list[float]]] = {}
    finished: set[str] = set()
    for task, strategy, scores, failure, _ in store.rows(
        sa.select(some).where(some.c.place <= MOST_TRIALS)
    ):
        if scores and failure is None:
            finished.add(task)
        if scores or not (failure or "").startswith("out of time"):
            mean = sum(scores) / len(scores) if scores else math.nan
            values.setdefault(task, {}).setdefault(strategy, []).append(mean)
    return {
        task: {strategy: sum(means) / len(means) for strategy, means in values[task].items()}
        for task in finished
    }


def _above_worst(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores with those that are missing or below the lower quartile at that."""
    known = [score for score in scores.values() if not math.isnan(score)]
    worst = float(np.quantile(known, WORST))
    return {name: score if score > worst else worst for name, score in scores.items()}


def _parsed(names: Iterable[str]) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    return ((name, parsed) for name in names if (parsed := parse_pipeline(name)))


def join(meta: MetaLearner, own: History) -> History:
    """Results on public tables and own ones as one history, with guesses for what is missing.

    On an own table few pipelines were tried: what the others would score is what an advisor expects
    after it was told these scores, and no better than the best of them. A pipeline that only own
    tables have, on a table where it was not tried, is taken to do what the one most like it does
    (of its family, with the nearest options), and a little worse: so one tried once claims nothing
    about other tables but what is known of its like.

    Args:
        meta: Of public tables, of which there are two at least.
        own: Own tables, with meta-features.

    Example:
        >>> svm = [pipeline_name("svm", {"C": c, "gamma": 0.1}) for c in (1.0, 10.0, 9.0)]
        >>> meta = MetaLearner().fit(History(["a", "b"], svm[:2], [[0.7, 0.8], [0.6, 0.9]]))
        >>> both = join(meta, History(["mine"], svm[1:], [[0.8, 0.85]]))
        >>> both.datasets, both.scores[2].tolist(), both.guesses[:2, 2].round(3).tolist()
        (['a', 'b', 'mine'], [nan, 0.8, 0.85], [0.795, 0.885])
    """
    known = meta.history_
    n, c = known.scores.shape
    place = {name: j for j, name in enumerate(own.configs)}
    shared = [(j, place[name]) for j, name in enumerate(known.configs) if name in place]
    new = [j for name, j in place.items() if name not in set(known.configs)]
    public = _without_gaps(known)
    expected = np.array([_expected(meta, public, own, i, shared) for i in range(len(own.datasets))])
    guesses = np.vstack([public.scores, expected])
    ranges = np.ptp(guesses, axis=1)
    likes = _most_like([own.configs[j] for j in new], known.configs)
    taken = [np.median(guesses, 1) if like is None else guesses[:, like] for like in likes]
    guesses = np.column_stack([guesses, *(column - DOUBT * ranges for column in taken)])
    most = np.nanmax(own.scores, 1) - DOUBT * ranges[n:]
    guesses[n:] = np.minimum(guesses[n:], most[:, None])
    tried = np.full(guesses.shape, np.nan)
    tried[:n, :c] = known.scores
    for j, here in [*shared, *enumerate(new, c)]:
        tried[n:, j] = own.scores[:, here]
    names = [*known.configs, *(own.configs[j] for j in new)]
    features = {**known.features, **own.features}
    return History([*known.datasets, *own.datasets], names, tried, features, guesses)


def _without_gaps(history: History) -> History:
    """A history in which missing scores are what the others of the data set make likely."""
    scores = history.filled
    best, worst = np.nanmax(scores, 1, keepdims=True), np.nanmin(scores, 1, keepdims=True)
    scores = best - complete(history.filled_regret) * (best - worst)
    return History(history.datasets, history.configs, scores, history.features)


def _expected(
    meta: MetaLearner, public: History, own: History, i: int, shared: list[tuple[int, int]]
) -> np.ndarray:
    """What the i-th own table's scores of all public pipelines are expected to be, shape (c,)."""
    advisor = MixtureAdvisor(public, meta.prior(own.features.get(own.datasets[i], {})))
    for j, here in shared:
        if not math.isnan(score := own.scores[i, here]):
            advisor.observe(public.configs[j], score)
    return advisor.expected()


def _most_like(configs: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """For each pipeline the number of the one of its family with the nearest options, if any."""
    families: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for i, (_, (family, options)) in enumerate(_parsed(others)):
        families.setdefault(family, []).append((i, options))
    found: list[int | None] = []
    for _, (family, options) in _parsed(configs):
        near = [(_difference(family, options, other), i) for i, other in families.get(family, ())]
        found.append(min(near)[1] if near else None)
    return found


def _difference(family: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The sum of squared differences of options, each in shares of its range."""
    spaces = (FAMILIES[family].space, PREPARATION)
    return sum(_apart(a, one.get(n), other.get(n)) ** 2 for s in spaces for n, a in s.items())


def _apart(allowed: BaseDistribution, one: Any, other: Any) -> float:
    """How far apart two values are, from 0 to 1, which is also where one has none."""
    if one == other or one is None or other is None:
        return float(one != other)
    if isinstance(allowed, CategoricalDistribution):
        return 1.0
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    values = (allowed.low, allowed.high, one, other)
    low, high, a, b = map(math.log, values) if allowed.log else values
    return abs(a - b) / (high - low)
