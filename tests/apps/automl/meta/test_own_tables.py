"""The user's own tables join the advice, and mislead it as little as can be."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("optuna")
pytest.importorskip("lightgbm")
pytest.importorskip("sqlalchemy")
pytest.importorskip("pyarrow")

from quickstudy.apps.automl import History, MetaLearner  # noqa: E402
from quickstudy.apps.automl.estimators import AutoMLClassifier  # noqa: E402
from quickstudy.apps.automl.meta.knowledge import shipped_meta_learner  # noqa: E402
from quickstudy.apps.automl.meta.own_tables import (  # noqa: E402
    join_histories,
    own_store,
    with_experience,
)
from quickstudy.apps.automl.pipelines.config import PipelineConfig  # noqa: E402
from quickstudy.apps.automl.remember import remember_automl  # noqa: E402
from quickstudy.errors import DataError  # noqa: E402
from quickstudy.experience import (  # noqa: E402
    ExperienceStore,
    Strategy,
    Task,
    Trial,
    fingerprint_of,
)

GOAL = ("classification", "accuracy")
NEW = PipelineConfig("svm", {"C": 7.7, "gamma": 0.033})
"""A pipeline that no public table has."""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    return ExperienceStore()


def features_of(seed=0, near=None, by=0.0):
    """Those of a table unlike all public ones, or near another."""
    public = shipped_meta_learner(*GOAL).history_
    names = sorted(public.features[public.datasets[0]])
    rng = np.random.default_rng(seed)
    values = np.array([[f[name] for name in names] for f in public.features.values()])
    centre = np.array([near[n] for n in names]) if near else values.mean(0) + 2 * values.std(0)
    return dict(zip(names, centre + by * values.std(0) * rng.normal(size=len(names)), strict=True))


def tried(store, features, scores, *, name="mine (y)", metric="accuracy", failures=()):
    """Record what pipelines scored on a table."""
    about = {"goal": "classification" if metric == "accuracy" else "regression"}
    task = Task(fingerprint_of([name, sorted(features.items())]), "table", name, features, about)
    strategies = {key: Strategy("pipeline", *PipelineConfig.from_name(key)) for key in scores}
    trials = [
        Trial(
            task.fingerprint,
            strategies[key].fingerprint,
            metric=metric,
            scores=[] if key in failures else [score, score],
            failure="ValueError" if key in failures else None,
        )
        for key, score in scores.items()
    ]
    store.record(tasks=[task], strategies=strategies.values(), trials=trials)


def advised(store, features, k=3, **options):
    meta = with_experience(shipped_meta_learner(*GOAL), store, *GOAL, features, **options)
    return meta.advise(features).suggest(k), meta


def some(k=6):
    """Scores of public pipelines, of which the ones that are best elsewhere are the worst."""
    names = shipped_meta_learner(*GOAL).advise(features_of()).suggest(20)
    return {name: 0.6 + 0.01 * i for i, name in enumerate(names[:k])}


def test_what_was_best_on_the_same_table_comes_first_again(store):
    scores = some()
    best = max(scores, key=scores.__getitem__)
    tried(store, features_of(), scores)
    alone = shipped_meta_learner(*GOAL).advise(features_of()).suggest(1)
    suggested, meta = advised(store, features_of())
    assert suggested[0] == best != alone[0]
    reason = meta.advise(features_of()).reason(best)
    assert reason == "the best of 6 on the table most like this one: your mine (y)"


def test_so_does_a_pipeline_that_only_that_table_has_and_on_a_near_copy_too(store):
    tried(store, features_of(), {**some(), NEW.name: 0.9})
    for features in (features_of(), features_of(near=features_of(), by=0.2)):
        assert advised(store, features, 1)[0] == [NEW.name]


def test_tables_unlike_the_new_one_change_little(store):
    other = shipped_meta_learner(*GOAL).history_.features["keel/vehicle"]
    before = shipped_meta_learner(*GOAL).advise(other).suggest(2)
    tried(store, features_of(), {**some(), NEW.name: 0.9})
    suggested, meta = advised(store, other, 3)
    assert set(before) <= set(suggested)
    assert NEW.name not in suggested
    assert meta.prior(other)[-1] < 0.1


def test_scores_speak_against_a_table_that_misleads():
    """A copy by its meta-features whose scores are the wrong way round."""
    public = shipped_meta_learner(*GOAL).history_
    i = public.datasets.index("keel/vehicle")
    features, truth = public.features["keel/vehicle"], public.scores[i]
    names = [c for c, score in zip(public.configs, truth, strict=True) if score == score]
    low, high = np.nanmin(truth), np.nanmax(truth)
    lies = [[low + high - truth[public.configs.index(name)] for name in names]]
    liar = History(["your copy"], names, lies, {"your copy": features})
    meta = shipped_meta_learner(*GOAL)
    misled = MetaLearner.restore(meta.learned(), join_histories(meta, liar), ["your copy"])
    advisor, best = misled.advise(features), -np.inf
    assert advisor.neighbours(1)[0][0] == "your copy"
    for _ in range(8):
        (name,) = advisor.suggest()
        score = truth[public.configs.index(name)]
        advisor.observe(name, score)
        best = max(best, score)
    assert advisor.neighbours(1)[0][0] != "your copy"
    assert best > np.nanquantile(truth, 0.9)


def test_what_failed_counts_as_the_worst_and_what_was_not_tried_as_no_better_than_the_best(store):
    scores = some()
    first, *_, best = scores
    tried(store, features_of(), scores, failures=[first])
    _, meta = advised(store, features_of())
    history = meta.history_
    row = history.datasets.index("your mine (y)")
    on_own = history.scores[row]
    assert on_own[history.configs.index(first)] == np.nanmin(on_own)
    assert history.filled[row].max() == on_own[history.configs.index(best)]
    assert np.isfinite(history.filled).all()


def test_a_pipeline_tried_once_is_like_its_like_elsewhere(store):
    tried(store, features_of(), {**some(), NEW.name: 0.99})
    history = advised(store, features_of())[1].history_
    public = shipped_meta_learner(*GOAL).history_
    new = history.configs.index(NEW.name)
    n = len(public.datasets)
    assert np.isnan(history.scores[:n, new]).all()
    like = history.configs.index(PipelineConfig("svm", {"C": 34.37, "gamma": 0.02215}).name)
    assert (history.guesses[:n, new] < history.filled[:n, like]).all()


def test_only_what_can_be_tried_of_the_right_goal_and_metric_is_advised(store):
    invalid = {
        PipelineConfig("svm", {"C": 1e9, "gamma": 1.0}).name: 0.99,
        PipelineConfig("x", {}).name: 0.98,
    }
    tried(store, features_of(), {**some(), **invalid, NEW.name: 0.9})
    tried(
        store,
        features_of(),
        {PipelineConfig("svm", {"C": 3.3, "gamma": 3.0}).name: 0.9},
        metric="r2",
    )
    _, meta = advised(store, features_of())
    assert not set(invalid) & set(meta.history_.configs)
    assert NEW.name in meta.history_.configs
    assert len(meta.history_.datasets) == len(shipped_meta_learner(*GOAL).history_.datasets) + 1
    _, meta = advised(store, features_of(), serves=lambda family: family != "svm")
    assert NEW.name not in meta.history_.configs


def test_of_many_tables_the_nearest_are_read_and_the_same_name_gets_two_titles(store):
    for i in range(30):
        tried(store, features_of(i, near=features_of(), by=0.1 * i), some())
    _, meta = advised(store, features_of())
    own = meta.history_.datasets[len(shipped_meta_learner(*GOAL).history_.datasets) :]
    assert len(own) == len(set(own)) == 10
    assert all(name.startswith("your mine (y), ") for name in own)
    (nearest,) = [name for name in own if meta.history_.features[name] == features_of()]
    assert meta.advise(features_of()).neighbours(1)[0][0] == nearest


def test_an_empty_store_or_none_changes_nothing(store, tmp_path, monkeypatch):
    meta = shipped_meta_learner(*GOAL)
    assert with_experience(meta, store, *GOAL, features_of()) is meta
    tried(store, features_of(), dict.fromkeys(some(), 0.5), failures=some())
    assert with_experience(meta, store, *GOAL, features_of()) is meta
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "none.db"))
    assert own_store() is None
    assert not (tmp_path / "none.db").exists()
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", "off")
    assert own_store() is None


RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=80), "b": RNG.normal(size=80), "c": list("wxyz") * 20})
Y = np.where(X["a"] + X["b"] ** 2 + RNG.normal(size=80) > 1, "yes", "no")


def test_a_second_fit_begins_with_what_was_best_and_a_damaged_store_costs_a_warning(store):
    options = {"families": ["linear", "svm"], "time_budget": None, "history": "experience"}
    model = AutoMLClassifier(n_trials=6, seed=1, **options)
    callback = remember_automl(model, X, Y, store, name="t (y)", began=pd.Timestamp.now("UTC"))
    best, second, *_ = model.fit(X, Y, callback=callback).leaderboard_
    assert best.mean > second.mean
    again = AutoMLClassifier(n_trials=1, seed=2, **options).fit(X, Y).leaderboard_[0]
    assert (again.family, again.options) == (best.family, best.options)
    assert again.reasons == ["the best of 6 on the table most like this one: your t (y)"]
    near = X.iloc[5:].drop(columns="c"), Y[5:]
    model = AutoMLClassifier(n_trials=1, **options)
    assert model.suggest(*near, k=1) == [(best.family, best.options)]
    with open(store.place, "r+b") as file:
        file.write(b"no database at all")
    with pytest.raises(DataError):
        own_store()
    with pytest.warns(UserWarning, match="the experience store is not read: "):
        suggested = AutoMLClassifier(history="experience").suggest(X, Y)
    assert suggested == AutoMLClassifier().suggest(X, Y)


KILLED = """
from datetime import UTC, datetime
import numpy as np
from quickstudy.apps.automl.estimators import AutoMLClassifier
from quickstudy.apps.automl.remember import remember_automl
from quickstudy.experience import ExperienceStore

x = np.random.default_rng(0).normal(size=(60, 3))
y = x[:, 0] > 0
model = AutoMLClassifier(n_trials=10_000, time_budget=None, history=None, families=["linear"])
callback = remember_automl(model, x, y, ExperienceStore(), name="t (y)", began=datetime.now(UTC))
model.fit(x, y, callback=callback)
"""


def test_a_search_that_is_killed_has_recorded_what_had_ended(store):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", KILLED], env=environment)
    try:
        ends = time.monotonic() + 60
        while len(before := store.trials(metric="accuracy")) < 3:
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    after = store.trials(metric="accuracy")
    assert {trial.id for trial in before} <= {trial.id for trial in after}
    assert all(len(trial.scores) == 5 or trial.failure for trial in after)
    assert (len(store.tasks()), len(store.runs())) == (1, 1)
