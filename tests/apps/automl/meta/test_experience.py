"""What AutoML did becomes experience, and experience what it learns from."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
optuna = pytest.importorskip("optuna")
pytest.importorskip("lightgbm")
pytest.importorskip("sqlalchemy")

from quickstudy.apps.automl import MetaLearner  # noqa: E402
from quickstudy.apps.automl.estimators import AutoMLClassifier  # noqa: E402
from quickstudy.apps.automl.meta.experience import history_of, table_task  # noqa: E402
from quickstudy.apps.automl.meta.studies import import_studies  # noqa: E402
from quickstudy.apps.automl.remember import remember_automl  # noqa: E402
from quickstudy.errors import DataError, MissingError, UsageError  # noqa: E402
from quickstudy.experience import ExperienceStore  # noqa: E402

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=60), "b": list("xyz") * 20})
Y = np.where(X["a"] > 0, "yes", "no")
FAST = ["linear", "k-nearest neighbours"]


@pytest.fixture
def store(tmp_path):
    return ExperienceStore(tmp_path / "experience.db")


def remember(store, X, y, **options):
    model = AutoMLClassifier(time_budget=None, families=FAST, history=None, **options)
    callback = remember_automl(model, X, y, store, name="table", began=datetime.now(UTC))
    return model.fit(X, y, callback=callback), callback


def test_a_search_is_remembered_once_with_its_folds_and_failures(store):
    model, callback = remember(store, X, Y, n_trials=12)
    (task,), (run,) = store.tasks(), store.runs()
    assert (task.kind, task.features["log_rows"]) == ("table", pytest.approx(np.log(60)))
    assert run.recipe["automl"]["table"] == task.fingerprint
    trials = {trial.id: trial for trial in store.trials(metric="accuracy")}
    assert len(trials) == 12
    tried = {
        (strategy.name, str(strategy.configuration)): strategy.fingerprint
        for strategy in store.strategies()
    }
    for entry in model.leaderboard_:
        strategy = tried[entry.family, str(dict(sorted(entry.options.items())))]
        of_strategy = [t for t in trials.values() if t.strategy == strategy]
        assert any(t.scores == entry.scores and t.failure == entry.failure for t in of_strategy)
    assert any(trial.failure and "pruned" in trial.failure for trial in trials.values())
    for entry in model.leaderboard_:
        callback(entry)
    assert len(store.trials()) == 12
    remember(store, X, Y, n_trials=1)  # another run on the same table
    assert (len(store.tasks()), len(store.runs()), len(store.trials())) == (1, 2, 13)


def test_each_pipeline_is_recorded_as_it_ends(store):
    model = AutoMLClassifier(n_trials=3, families=FAST, history=None)
    callback = remember_automl(model, X, Y, store, name="table", began=datetime.now(UTC))
    n_trials = []

    def count(entry):
        callback(entry)
        n_trials.append(len(store.trials()))

    model.fit(X, Y, callback=count)
    assert n_trials == [1, 2, 3]


def test_a_table_is_its_content():
    task = table_task(X, Y, "classification", name="one")
    assert table_task(X.copy(), list(Y), "classification", name="2").fingerprint == task.fingerprint
    for changed in (X[["b", "a"]], X.rename(columns={"a": "c"}), X.assign(a=X["a"] + 1)):
        assert table_task(changed, Y, "classification", name="").fingerprint != task.fingerprint
    other = table_task(X, Y[::-1], "classification", name="")
    assert other.fingerprint != task.fingerprint


def test_past_searches_are_a_history_that_can_be_learned_from(store):
    remember(store, X, Y, n_trials=2, n_folds=2)
    remember(store, X, Y, n_trials=2, n_folds=3)  # the same defaults again
    remember(store, X.assign(a=X["a"] + 1), Y, n_trials=2, n_folds=2)
    history = history_of(store, "accuracy")
    assert len(history.datasets) == 2
    names = [json.loads(config)[0] for config in history.configs]
    assert names == ["k-nearest neighbours", "linear"]
    rows = store.table(task=history.datasets[0], strategy="linear")
    assert history.scores[0, 1] == pytest.approx(np.mean([row["mean"] for row in rows]))
    assert history.features[history.datasets[0]]["log_rows"] == pytest.approx(np.log(60))
    advisor = MetaLearner().fit(history).advise(history.features[history.datasets[0]])
    assert set(advisor.suggest(2)) == set(history.configs)
    assert history_of(store, "r2").datasets == []
    with pytest.raises(UsageError, match="unknown kind 'few-shot'"):
        history_of(store, "mse", kind="few-shot")


def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    trial.suggest_categorical("how", ["up", None, True])
    if trial.number == 1:
        raise optuna.TrialPruned
    if trial.number == 2:
        raise ValueError
    return np.inf if trial.number == 3 else x**2


def make_study(storage, name="mine", n=5, **more):
    study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, **more)
    study.optimize(objective, n, catch=ValueError)
    return study


@pytest.fixture(params=["database", "journal"])
def storage(request, tmp_path):
    if request.param == "database":
        return f"sqlite:///{tmp_path / 'studies.db'}", str(tmp_path / "studies.db")
    path = str(tmp_path / "journal.log")
    backend = optuna.storages.journal.JournalFileBackend(path)
    return optuna.storages.JournalStorage(backend), path


def test_studies_of_any_storage_become_experience_once(store, storage):
    opened, path = storage
    study = make_study(opened)
    study.enqueue_trial({"x": 0.5})  # waits
    optuna.create_study(storage=opened, study_name="empty")
    new = import_studies(path, store)
    assert new == {"runs": 0, "tasks": 1, "strategies": 5, "trials": 5}
    trials = sorted(store.trials(kind="study"), key=lambda trial: trial.at)
    assert [trial.failure for trial in trials] == [None, "pruned", "failed", "objective inf", None]
    assert trials[0].scores == [study.trials[0].value]
    history = history_of(store, "objective", kind="study")
    assert history.scores.max() == -study.best_value
    make_study(opened, n=1)
    assert import_studies(path, store, study="mine")["trials"] == 1
    assert import_studies(path, store)["trials"] == 0


def test_each_objective_is_a_trial_and_an_url_will_do(store, tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=url, directions=["minimize", "maximize"])
    study.optimize(lambda trial: (x := trial.suggest_float("x", 0, 1), 1 - x), 2)
    import_studies(url, store)
    low = history_of(store, "objective 1", kind="study").scores
    high = history_of(store, "objective 2", kind="study").scores
    np.testing.assert_allclose(low, high - 1)


def test_what_is_no_storage_is_refused_and_left_as_it_is(store, tmp_path):
    (tmp_path / "notes.txt").write_text("hello\nworld\n")
    for place in ("notes.txt", "experience.db"):
        before = (tmp_path / place).read_bytes()
        with pytest.raises(DataError, match="cannot be read as a storage of Optuna"):
            import_studies(str(tmp_path / place), store)
        assert (tmp_path / place).read_bytes() == before
    for place in (str(tmp_path / "no.db"), f"sqlite:///{tmp_path / 'no.db'}"):
        with pytest.raises(MissingError, match="found none"):
            import_studies(place, store)
    assert not (tmp_path / "no.db").exists()
    with pytest.raises(UsageError, match="URL of a database"):
        import_studies("://", store)
    with pytest.raises(UsageError, match=r"got 'postgresql://x:\*\*\*@host:z/y'"):
        import_studies("postgresql://x:secret@host:z/y", store)
    with pytest.raises(DataError, match="x:\\*\\*\\*@"):
        import_studies("postgresql://x:secret@127.0.0.1:9/y", store)
    make_study(f"sqlite:///{tmp_path / 'studies.db'}", n=1)
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        import_studies(str(tmp_path / "studies.db"), store, study="mina")


def test_a_table_of_strings_is_that_of_the_numbers_they_are():
    table = pd.DataFrame({"a": [1.5, 2.0, None], "b": ["x", "y", "x"], "c": [True, False, True]})
    labels = ["p", "q", "p"]
    texts = (
        table.astype(object).where(table.notna(), None).map(lambda v: v if v is None else str(v))
    )
    tasks = [table_task(X, labels, "classification", name="t") for X in (table, texts)]
    assert tasks[0].fingerprint == tasks[1].fingerprint
