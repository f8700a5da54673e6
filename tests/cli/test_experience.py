"""The commands of the experience store, and what the other commands keep in it."""

import json

import pytest
from typer.testing import CliRunner

from command import run
from quickstudy.cli import app as commands
from quickstudy.cli import experience
from quickstudy.experience import ExperienceStore
from quickstudy.experiments import data as classes

RECIPE = """
about = "nearest centroid on digits"
data = { name = "digits" }
backbone = { name = "flatten" }
learner = { name = "nearest_centroid" }
tasks = { split = "test", n_way = 5 }
train = { steps = 0 }
[[test]]
title = "one shot"
n_way = 5
n_tasks = 4
[[test]]
title = "absent"
data = { name = "omniglot" }
n_way = 5
n_tasks = 4
[[test]]
title = "five shots"
n_way = [3, 5]
n_shot = 5
n_tasks = 3
"""


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    monkeypatch.setattr(classes, "_LOADED", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixels.toml").write_text(RECIPE)
    return tmp_path


def test_training_and_testing_are_remembered_and_listed(capsys, here):
    assert run(capsys, "train", "pixels.toml")[0] == 0
    assert run(capsys, "train", "pixels.toml", "--resume")[0] == 0  # there is nothing to do
    code, out, err = run(capsys, "test", "runs/pixels", "--json")
    assert (code, err) == (0, "")
    entries = json.loads(out)["test"]["results"]["score"]
    store = ExperienceStore(create=False)
    (trained,) = (trial for trial in store.trials() if not trial.scores)
    (one,) = store.trials(task="digits test, 5-way 1-shot", metric="accuracy")
    (five,) = store.trials(task="digits test, 3 to 5-way 5-shot")
    assert (trained.scores, trained.metric) == ([], None)
    assert [one.scores, five.scores] == [entry["scores"] for entry in entries]
    assert one.strategy == five.strategy == trained.strategy
    assert [run.command.split()[1] for run in store.runs()] == ["train", "test"]
    assert "scores" not in json.dumps(store.runs()[1].report)
    features = store.show(five.task).features
    assert features == {
        "ways": 4,
        "shots": 5,
        "queries": 15,
        "classes": 10,
        "examples": 1797,
        "image_size": 28,
        "channels": 1,
    }
    rows = json.loads(run(capsys, "experience", "list", "--json")[1])
    assert {row["trial"] for row in rows} == {trained.id, one.id, five.id}
    assert rows[0]["trial"] == trained.id
    out = run(capsys, "experience", "list", "--task", "digits test, 5-way 1-shot")[1]
    assert f"accuracy {one.mean:.1%}" in out
    run(capsys, "test", "runs/pixels")
    assert len(store.trials()) == 5
    assert len(store.tasks()) == 2 + 1  # the training tasks have other queries


def test_adapting_with_unlabelled_examples_is_another_strategy_and_says_what_was_used(capsys, here):
    lines = [f"{'ab'[i % 2]},{i % 2 + i / 50},{i / 7 % 1}" for i in range(16)]
    for name, rows in (("support", lines[:4]), ("query", lines[4:6]), ("pool", lines[6:])):
        (here / f"{name}.csv").write_text("\n".join(["label,u,v", *rows]))
    words = ["adapt", "--support", here / "support.csv", "--query", here / "query.csv"]
    assert run(capsys, *words)[0] == 0
    assert run(capsys, *words, "--unlabelled", here / "pool.csv")[0] == 0
    store = ExperienceStore(create=False)
    (task,) = store.tasks()
    assert {trial.task for trial in store.trials()} == {task.fingerprint}
    assert [one.configuration for one in store.strategies()] == [{}, {"unlabelled": True}]
    without, pooled = (run.report for run in store.runs())
    assert "unlabelled" not in without
    assert pooled["unlabelled"]["n_unlabelled"] == 10
    assert sum(pooled["unlabelled"]["weights"].values()) == pytest.approx(1, abs=0.01)


def test_the_commands_show_and_move_experience(capsys, here, monkeypatch):
    run(capsys, "train", "pixels.toml")
    store = ExperienceStore()
    (trial,), (task,), (strategy,) = store.trials(), store.tasks(), store.strategies()
    for record, id in (
        (trial, trial.id),
        (task, task.fingerprint),
        (strategy, strategy.fingerprint),
    ):
        shown = json.loads(run(capsys, "experience", "show", id[:10], "--json")[1])
        assert shown["record"] == type(record).__name__.lower()
        assert id in run(capsys, "experience", "show", id[:10])[1]
        assert experience._complete_id(id[:10]) == [id]
    for what in ("tasks", "strategies", "runs", "trials"):
        assert len(json.loads(run(capsys, "experience", "list", what, "--json")[1])) == 1
        assert len(run(capsys, "experience", "list", what)[1].splitlines()) == 3
    assert run(capsys, "experience", "export", "out")[:2] == (0, "out\n")
    assert run(capsys, "experience", "export", "trials.parquet")[0] == 0
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(here / "other.db"))
    code, out, _ = run(capsys, "experience", "import", "out")
    assert (code, out) == (0, "new: 1 runs, 1 tasks, 1 strategies, 1 trials\n")
    new = json.loads(run(capsys, "experience", "merge", here / "experience.db", "--json")[1])
    assert new == {"runs": 0, "tasks": 0, "strategies": 0, "trials": 0}


def test_studies_of_optuna_are_imported(capsys, here):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("pandas")
    study = optuna.create_study(storage=f"sqlite:///{here / 'studies.db'}", study_name="mine")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), 2)
    code, out, _ = run(capsys, "experience", "import", "studies.db", "--study", "mine")
    assert (code, out) == (0, "new: 0 runs, 1 tasks, 2 strategies, 2 trials\n")
    assert f"objective {study.best_value:.4g}" in run(capsys, "experience", "list")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list"], "expected an experience store at"),
        (["show", "a"], "expected an experience store at"),
        (["merge", "nowhere.db"], "expected an experience store at"),
        (["import", "nowhere"], "expected a folder"),
        (["import", "."], "expected runs.parquet"),
        (["import", ".", "--study", "mine"], "expected --study with a storage of Optuna"),
        (["merge", "mysql://a/b"], "sqlite:///FILE or postgresql"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, words, message):
    code, out, err = run(capsys, "experience", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_filters_are_for_trials_alone(capsys):
    ExperienceStore()
    code, _, err = run(capsys, "experience", "list", "runs", "--task", "a")
    assert code == 2
    assert "with trials, not runs" in err


def test_nothing_is_kept_when_it_is_not_to_be(capsys, here, monkeypatch):
    assert run(capsys, "train", "pixels.toml", "--no-experience")[0] == 0
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", "off")
    assert run(capsys, "test", "runs/pixels")[::2] == (0, "")
    code, _, err = run(capsys, "experience", "list")
    assert code == 2
    assert 'is "off"' in err
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(here / "experience.db"))
    monkeypatch.setattr(experience, "PACKAGES", ("sqlalchemy", "no_such_package"))
    assert run(capsys, "test", "runs/pixels")[::2] == (0, "")
    code, _, err = run(capsys, "experience", "list")
    assert code == 2
    assert "pip install 'quickstudy[experience]'" in err
    assert not (here / "experience.db").exists()


def test_a_store_that_cannot_be_written_costs_a_warning_alone(capsys, here):
    (here / "experience.db").write_text("no database " * 100)
    code, out, err = run(capsys, "train", "pixels.toml", "--json")
    assert code == 0
    assert json.loads(out)["stopped"] == "done"
    *_bar, warning = err.splitlines()
    assert warning.startswith("warning: not recorded in the experience store: ")
    assert run(capsys, "test", "runs/pixels")[0] == 0
    assert "test" in json.loads((here / "runs" / "pixels" / "report.json").read_text())


def test_every_command_has_help_with_an_example():
    for command in commands.experience_app.registered_commands:
        result = CliRunner().invoke(commands.app, ["experience", command.name, "--help"])
        assert result.exit_code == 0
        assert "Example: quickstudy experience" in result.output
        assert "--json" in result.output
