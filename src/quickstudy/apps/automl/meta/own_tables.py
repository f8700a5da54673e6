"""Results on the user's own tables, from the experience store, beside those on public ones.

Needs the packages of quickstudy's extras `automl` and `experience`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

from quickstudy.apps.automl.meta.history import History, impute_regret
from quickstudy.apps.automl.meta.knowledge import WORST_QUANTILE
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.meta.mixture import MixtureAdvisor
from quickstudy.apps.automl.pipelines.budget import OUT_OF_TIME
from quickstudy.apps.automl.pipelines.build import PREPARATION, can_make
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.experience import ExperienceStore, Strategy, Task, Trial, experience_place
from quickstudy.experience.schema import RECORDS

__all__ = ["join_histories", "own_history", "own_store", "with_experience"]

MAX_TABLES, MAX_TRIALS = 10, 100
"""The nearest of the user's tables, and the newest trials on each, that are read."""

N_OWN_CONFIGS = 3
"""The best pipelines of an own table that no public table has, which are advised too."""

OPTIMISM_PENALTY = 0.05
"""A pipeline that was not tried on a table is taken to be worse by such a share of its range."""


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
    """A meta-learner for one new table whose history has the user's own tables too.

    The advisor and the distance stay as they were learned. Of the store, only the tables nearest to
    the new one are read, so that a large store takes no longer. `join_histories` says how results
    are put together.

    Args:
        meta: Of public tables.
        store: It is only read.
        goal, metric: Of the search.
        features: Meta-features of the new table.
        serves: Whether the search may use a family of models.

    Raises:
        QuickstudyError: If the store cannot be read.
    """
    public = meta.history_
    if len(public.datasets) < 2:
        return meta
    own_tables = _stored_tables(store, goal)
    near = _nearest(meta, own_tables, features)
    own = own_history(
        store,
        near,
        metric,
        public.configs,
        lambda config: serves(config.family) and can_make(*config, goal),
    )
    if not own.datasets:
        return meta
    return MetaLearner.restore(meta.learned(), join_histories(meta, own), own.datasets)


@dataclass(frozen=True)
class StoredTable:
    """A table of the experience store.

    Args:
        id: Its fingerprint.
        features: Its meta-features.
    """

    id: str
    features: Mapping[str, float]


def _stored_tables(store: ExperienceStore, goal: Goal) -> dict[str, StoredTable]:
    """The store's tables with this goal, by a name for people."""
    task = RECORDS[Task].c
    rows = store.rows(
        sa.select(task.fingerprint, task.name, task.features).where(
            task.kind == "table", task.provenance["goal"].as_string() == goal
        )
    )
    n_of_name = Counter(name for _, name, _ in rows)
    tables = {}
    for id, name, features in rows:
        title = f"your {name}" if n_of_name[name] == 1 else f"your {name}, {id[:6]}"
        tables[title] = StoredTable(id, features)
    return tables


def _nearest(
    meta: MetaLearner, tables: Mapping[str, StoredTable], features: Mapping[str, float]
) -> dict[str, StoredTable]:
    """The own tables nearest to one with these meta-features, the nearest first."""
    public = meta.history_
    names = [*public.datasets, *tables]
    all_features = {**public.features, **{name: t.features for name, t in tables.items()}}
    together = History(names, ["-"], np.zeros((len(names), 1)), all_features)
    order = MetaLearner.restore(meta.learned(), together, tables.keys()).nearest(features)
    near = itertools.islice((name for name in order if name in tables), MAX_TABLES)
    return {name: tables[name] for name in near}


def own_history(
    store: ExperienceStore,
    tables: Mapping[str, StoredTable],
    metric: str,
    public_configs: Sequence[str],
    can_try: Callable[[PipelineConfig], bool],
) -> History:
    """Scores of pipelines on tables of the store: of those that public tables have, and of the best
    three of each table's others.

    One that was pruned has the mean of the folds before, one that failed the least score of its
    table, one for which no time was left none. Scores below a table's lower quartile count as that,
    as in `Knowledge.history`. A table on which nothing was finished is left out.

    Args:
        store: It is only read.
        tables: By name.
        metric: Of the scores.
        public_configs: Names of pipelines.
        can_try: Whether the search can try a pipeline.
    """
    means = _mean_scores(store, [table.id for table in tables.values()], metric)
    scores = {
        name: _clip_at_quantile(means[table.id])
        for name, table in tables.items()
        if table.id in means
    }
    name_of_id = {
        Strategy("pipeline", *config).fingerprint: name
        for name in public_configs
        if (config := PipelineConfig.from_name(name))
    }
    new: dict[str, None] = {}
    for row in scores.values():
        ranked = sorted((id for id in row if id not in name_of_id), key=lambda id: -row[id])
        new |= dict.fromkeys(ranked[:N_OWN_CONFIGS])
    for id, config in _stored_configs(store, list(new)).items():
        if can_try(config):
            name_of_id[id] = config.name
    scores = {name: row for name, row in scores.items() if row.keys() & name_of_id.keys()}
    ids = [id for id in name_of_id if any(id in row for row in scores.values())]
    matrix = [[row.get(id, math.nan) for id in ids] for row in scores.values()]
    features = {name: tables[name].features for name in scores}
    return History(list(scores), [name_of_id[id] for id in ids], np.array(matrix), features)


def _stored_configs(store: ExperienceStore, ids: list[str]) -> dict[str, PipelineConfig]:
    """Pipelines by fingerprint."""
    strategy = RECORDS[Strategy].c
    query = sa.select(strategy.fingerprint, strategy.name, strategy.configuration)
    rows = store.rows(query.where(strategy.fingerprint.in_(ids)))
    return {id: PipelineConfig(family, options) for id, family, options in rows}


def _mean_scores(
    store: ExperienceStore, tasks: list[str], metric: str
) -> dict[str, dict[str, float]]:
    """The mean score of each strategy by task, both by fingerprint, of each task's newest trials;
    NaN for one that failed. Tasks on which nothing was finished are left out.
    """
    trial = RECORDS[Trial].c
    newest = sa.func.row_number().over(partition_by=trial.task, order_by=trial.at.desc())
    trials = (
        sa.select(trial.task, trial.strategy, trial.scores, trial.failure, newest.label("place"))
        .where(trial.task.in_(tasks), trial.metric == metric)
        .subquery()
    )
    means: dict[str, dict[str, list[float]]] = {}
    finished: set[str] = set()
    for task, strategy, scores, failure, _ in store.rows(
        sa.select(trials).where(trials.c.place <= MAX_TRIALS)
    ):
        if scores and failure is None:
            finished.add(task)
        if scores or not (failure or "").startswith(OUT_OF_TIME):
            mean = sum(scores) / len(scores) if scores else math.nan
            means.setdefault(task, {}).setdefault(strategy, []).append(mean)
    return {
        task: {strategy: sum(values) / len(values) for strategy, values in means[task].items()}
        for task in finished
    }


def _clip_at_quantile(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores with those that are missing or below the lower quartile at that."""
    finite = [score for score in scores.values() if not math.isnan(score)]
    worst = float(np.quantile(finite, WORST_QUANTILE))
    return {name: score if score > worst else worst for name, score in scores.items()}


def join_histories(meta: MetaLearner, own: History) -> History:
    """Results on public and own tables as one history, with guesses for what is missing.

    Few pipelines were tried on an own table. The score of another one is guessed to be what an
    advisor expects after it observed these few, and no better than the best of them. A pipeline
    that only own tables have is guessed to do a little worse, on a table where it was not tried,
    than the public one most like it (of its family, with the nearest options). So one trial of a
    pipeline says nothing about other tables but what results of its like do.

    Args:
        meta: Of public tables, of which there are two at least.
        own: Own tables, with meta-features.

    Returns:
        Of shape (n + m, c + d): n public and m own tables, c public pipelines and d others.

    Example:
        >>> svm = [PipelineConfig("svm", {"C": c, "gamma": 0.1}).name for c in (1.0, 10.0, 9.0)]
        >>> meta = MetaLearner().fit(History(["a", "b"], svm[:2], [[0.7, 0.8], [0.6, 0.9]]))
        >>> both = join_histories(meta, History(["mine"], svm[1:], [[0.8, 0.85]]))
        >>> both.datasets, both.scores[2].tolist(), both.guesses[:2, 2].round(3).tolist()
        (['a', 'b', 'mine'], [nan, 0.8, 0.85], [0.795, 0.885])
    """
    public = meta.history_
    n, c = public.scores.shape
    column_of = {name: j for j, name in enumerate(own.configs)}
    shared = [(j, column_of[name]) for j, name in enumerate(public.configs) if name in column_of]
    new = [j for name, j in column_of.items() if name not in set(public.configs)]
    scores = np.full((n + len(own.datasets), c + len(new)), np.nan)
    scores[:n, :c] = public.scores
    for j, own_column in [*shared, *enumerate(new, c)]:
        scores[n:, j] = own.scores[:, own_column]
    return History(
        [*public.datasets, *own.datasets],
        [*public.configs, *(own.configs[j] for j in new)],
        scores,
        {**public.features, **own.features},
        _guess_scores(meta, own, shared, [own.configs[j] for j in new]),
    )


def _guess_scores(
    meta: MetaLearner, own: History, shared: list[tuple[int, int]], new: Sequence[str]
) -> np.ndarray:
    """Guesses for all tables and pipelines, of shape (n + m, c + d).

    Args:
        shared: Numbers of the pipelines that both have, in the public and in the own history.
        new: Names of the pipelines that only own tables have.
    """
    n = len(meta.history_.datasets)
    public = _without_gaps(meta.history_)
    expected = [_expected_scores(meta, public, own, i, shared) for i in range(len(own.datasets))]
    guesses = np.vstack([public.scores, np.array(expected)])  # (n + m, c)
    penalties = OPTIMISM_PENALTY * np.ptp(guesses, axis=1)
    columns = [
        np.median(guesses, 1) if like is None else guesses[:, like]
        for like in _most_like(new, public.configs)
    ]
    guesses = np.column_stack([guesses, *(column - penalties for column in columns)])
    most = np.nanmax(own.scores, 1) - penalties[n:]  # (m,)
    guesses[n:] = np.minimum(guesses[n:], most[:, None])
    return guesses


def _without_gaps(history: History) -> History:
    """A history in which missing scores are what the others of the data set make likely."""
    scores = history.filled
    best, worst = np.nanmax(scores, 1, keepdims=True), np.nanmin(scores, 1, keepdims=True)
    scores = best - impute_regret(history.filled_regret) * (best - worst)
    return History(history.datasets, history.configs, scores, history.features)


def _expected_scores(
    meta: MetaLearner, public: History, own: History, i: int, shared: list[tuple[int, int]]
) -> np.ndarray:
    """The expected scores of all public pipelines on the i-th own table, of shape (c,)."""
    advisor = MixtureAdvisor(public, meta.prior(own.features.get(own.datasets[i], {})))
    for j, own_column in shared:
        if not math.isnan(score := own.scores[i, own_column]):
            advisor.observe(public.configs[j], score)
    return advisor.expected()


def _most_like(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """For each pipeline the number of the one of its family with the nearest options, if any."""
    families: dict[str, list[tuple[int, PipelineConfig]]] = {}
    for i, name in enumerate(others):
        if config := PipelineConfig.from_name(name):
            families.setdefault(config.family, []).append((i, config))
    nearest: list[int | None] = []
    for name in names:
        config = PipelineConfig.from_name(name)
        assert config is not None
        distances = [(_distance(config, other), i) for i, other in families.get(config.family, ())]
        nearest.append(min(distances)[1] if distances else None)
    return nearest


def _distance(one: PipelineConfig, other: PipelineConfig) -> float:
    """The sum of squared differences of options, each as a share of its range."""
    return sum(
        _difference(allowed, one.options.get(name), other.options.get(name)) ** 2
        for space in (FAMILIES[one.family].space, PREPARATION)
        for name, allowed in space.items()
    )


def _difference(allowed: BaseDistribution, one: Any, other: Any) -> float:
    """From 0 for equal values to 1 for the ends of the range, or where one has no value."""
    if one == other or one is None or other is None:
        return float(one != other)
    if isinstance(allowed, CategoricalDistribution):
        return 1.0
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    values = (allowed.low, allowed.high, one, other)
    low, high, a, b = map(math.log, values) if allowed.log else values
    return abs(a - b) / (high - low)
