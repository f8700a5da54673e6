"""The commands of AutoML, on files as people have them."""

import importlib.util
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
optuna = pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

import command  # noqa: E402
from quickstudy.apps.automl import reports, runs  # noqa: E402
from quickstudy.apps.automl.meta import collect  # noqa: E402
from quickstudy.apps.automl.meta.knowledge import read_knowledge  # noqa: E402
from quickstudy.apps.automl.pipelines.families import FAMILIES  # noqa: E402
from quickstudy.apps.automl.tables import public  # noqa: E402
from quickstudy.apps.automl.tables.column_inference import learn_columns  # noqa: E402
from quickstudy.apps.automl.tables.columns import read_columns  # noqa: E402
from quickstudy.apps.automl.tables.files import read_frame  # noqa: E402
from quickstudy.apps.automl.tables.targets import goal_of, split_target  # noqa: E402
from quickstudy.cli import main  # noqa: E402
from quickstudy.errors import DataError, DiskError, MissingError, RunError, UsageError  # noqa: E402

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "size": RNG.normal(size=60),
        "colour": ["red", "blue", None] * 20,
        "since": pd.date_range("2020", periods=60).astype(str),
    }
)
TABLE["kind"] = np.where(TABLE["size"] > 0, "large", "small")


@pytest.fixture
def file(tmp_path):
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def call(*arguments):
    return command.output_of("automl", *arguments)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_fitted_reported_and_predicted(tmp_path, file, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        file = tmp_path / "table.parquet"
        TABLE.to_parquet(file)
    run = tmp_path / "run"
    output = call("fit", file, "--target", "kind", "--trials", "1", "--run", run)
    assert "AutoMLClassifier for 'kind'" in output
    assert "1 number, 1 category, 1 date" in output
    assert call("report", run) in output
    assert "Tried 1 pipelines" in output
    assert "most like this one" in output
    assert "lost where shuffled: size (" in output
    report = json.loads(call("report", run, "--json"))
    if importlib.util.find_spec("matplotlib"):
        assert "search.png, leaderboard.png, confusion.png" in output
        assert {*report["pictures"]} == {path.name for path in run.glob("*.png")}
    assert report["leaderboard"][0]["mean"] > 0.8
    new = tmp_path / "new.csv"
    TABLE.drop(columns="kind").head(7).to_csv(new, index=False)
    text = call("predict", run, new)
    assert max(len(cell) for line in text.splitlines()[1:] for cell in line.split(",")[1:]) <= 8
    predicted = pd.read_csv(io.StringIO(text))
    assert predicted.columns.tolist() == ["kind", "p(large)", "p(small)"]
    assert (predicted["kind"] == TABLE["kind"].head(7)).mean() > 0.8
    call("predict", run, new, "--out", tmp_path / "out.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), predicted)
    rows = json.loads(call("predict", run, new, "--out", tmp_path / "out.csv", "--json"))
    assert [row["kind"] for row in rows] == predicted["kind"].tolist()


def test_predictions_hold_no_formula_for_a_spreadsheet(tmp_path):
    table = TABLE.assign(kind=TABLE["kind"].map({"large": "=1+1", "small": "small"}))
    table.rename(columns={"kind": "@kind"}).to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    call("fit", tmp_path / "t.csv", "--target", "@kind", "--trials", "1", "--run", run)
    text = call("predict", run, tmp_path / "t.csv")
    call("predict", run, tmp_path / "t.csv", "--out", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text
    predicted = pd.read_csv(io.StringIO(text))
    assert predicted.columns.tolist() == ["'@kind", "p(=1+1)", "p(small)"]
    assert set(predicted["'@kind"]) == {"'=1+1", "small"}
    rows = json.loads(call("predict", run, tmp_path / "t.csv", "--json"))
    assert {row["@kind"] for row in rows} == {"=1+1", "small"}


def test_numbers_are_regression_and_rows_without_a_target_are_left_out(tmp_path):
    TABLE.assign(size=TABLE["size"].where(TABLE.index > 2)).to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    output = call("fit", tmp_path / "t.csv", "--target", "size", "--trials", "1", "--run", run)
    assert "AutoMLRegressor" in output
    assert "3 rows without a target are left out" in output
    numbers = call("predict", run, tmp_path / "t.csv").split()[1:]
    assert max(len(number.strip("-0.")) for number in numbers) <= 9


def test_what_a_fit_tries_is_recorded_unless_switched_off(tmp_path, file, monkeypatch):
    experience = pytest.importorskip("quickstudy.experience")
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    words = ["fit", file, "--target", "kind", "--trials", "1", "--run", tmp_path / "run"]
    call(*words, "--no-experience")
    assert not (tmp_path / "experience.db").exists()
    with pytest.raises(RunError, match="add --overwrite"):
        call(*words)
    call(*words, "--overwrite")
    (row,) = experience.ExperienceStore(create=False).table(kind="table")
    assert row["task_name"] == "table (kind)"
    assert row["strategy_name"] in FAMILIES
    assert len(row["scores"]) == 5


def test_a_password_in_the_storages_url_is_stored_nowhere(tmp_path, file, monkeypatch, capsys):
    experience = pytest.importorskip("quickstudy.experience")
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    create, run = optuna.create_study, tmp_path / "run"
    monkeypatch.setattr(
        "optuna.create_study", lambda storage, **options: create(storage=None, **options)
    )
    url = "postgresql://ann:se/cret@localhost/studies"
    words = ["fit", file, "--target", "kind", "--trials", "1", "--run", run, "--storage", url]
    code, out, err = command.run(capsys, "automl", *words, "--json")
    assert code == 0
    (recorded,) = experience.ExperienceStore().runs()
    for text in (out, err, (run / "automl.json").read_text(), repr(recorded)):
        assert "cret" not in text
    assert "postgresql://ann:***@localhost/studies" in recorded.command


def test_the_best_of_a_fit_is_suggested_for_its_table_unless_switched_off(
    tmp_path, file, monkeypatch
):
    pytest.importorskip("quickstudy.experience")
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    words = ["suggest", file, "--target", "kind"]
    before = call(*words)
    call("fit", file, "--target", "kind", "--trials", "1", "--run", tmp_path / "run")
    (tmp_path / "experience.db").chmod(0o400)  # it is read alone
    output = call(*words)
    assert "the best of 1 on the table most like this one: your table (kind)" in output
    assert call(*words, "--no-experience") == before
    (tmp_path / "experience.db").chmod(0o600)
    (tmp_path / "experience.db").write_text("no database")
    assert call(*words) == before


def test_what_comes_with_quickstudy_suggests_pipelines(file):
    pytest.importorskip("pyarrow")
    suggestions = json.loads(call("suggest", file, "--target", "kind", "--k", "3", "--json"))
    assert len(suggestions["suggested"]) == 3
    assert suggestions["datasets"] >= 50
    output = call("suggest", file, "--target", "size", "--goal", "regression")
    assert "among the best on " in output
    with pytest.raises(UsageError, match="expected --history with"):
        call("suggest", file, "--target", "kind", "--lower-is-better")


def test_what_pipelines_do_on_tables_is_learned_and_gone_on_with(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    wine = public.PublicTable("sklearn/wine", "classification", "target", "wine")
    monkeypatch.setattr(public, "PUBLIC_TABLES", (wine,))
    monkeypatch.setattr(collect, "configurations", lambda: [("linear", {"C": 1.0})])
    out = tmp_path / "knowledge.parquet"
    words = ["learn", out, "--splits", "1", "--rows", "100", "--limit", "1m", "--json"]
    assert json.loads(call(*words)) == {"tables": 1, "cells": 1, "failed": 0}
    assert json.loads(call(*words, "--budget", "1s")) == {"tables": 1, "cells": 1, "failed": 0}
    assert read_knowledge(out).about["most_rows"] == 100
    with pytest.raises(
        UsageError, match=r"expected a folder at .*no to write knowledge\.parquet into"
    ):
        call("learn", tmp_path / "no" / "knowledge.parquet")


def test_what_worked_on_other_tables_is_suggested(tmp_path, file):
    rows = [f"t{i},0.{5 + i % 4},0.9,0.1" for i in range(12)]
    (tmp_path / "results.csv").write_text("\n".join(["table,svm,tree,line", *rows]) + "\n")
    history = ["--history", tmp_path / "results.csv"]
    suggestions = json.loads(
        call("suggest", file, "--target", "kind", *history, "--k", "2", "--json")
    )
    assert (suggestions["suggested"][0], suggestions["datasets"]) == ("tree", 12)
    assert "of 12 tables" in call("suggest", file, "--target", "kind", *history)
    worst = call("suggest", file, "--target", "kind", *history, "--lower-is-better", "--json")
    assert json.loads(worst)["suggested"][0] == "line"


def test_a_folder_of_something_else_is_left_alone(tmp_path, file):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="name another"):
        call("fit", file, "--target", "kind", "--run", tmp_path / "other")
    with pytest.raises(MissingError, match="found none"):
        call("report", tmp_path / "nothing")
    with pytest.raises(MissingError, match="found none"):
        call("predict", tmp_path / "nothing", file)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The run folder of one fit to the table."""
    folder = tmp_path_factory.mktemp("fitted")
    TABLE.to_csv(folder / "table.csv", index=False)
    words = [folder / "table.csv", "--target", "kind", "--trials", "1", "--run", folder / "run"]
    call("fit", *words)
    return folder / "run"


@pytest.fixture
def searched(fitted, tmp_path):
    """A run folder, and the words that make another in its place."""
    run = shutil.copytree(fitted, tmp_path / "run")
    other = tmp_path / "other.csv"
    TABLE.assign(size=-TABLE["size"]).to_csv(other, index=False)
    return run, ["fit", other, "--target", "kind", "--trials", "2", "--run", run, "--overwrite"]


def test_rows_that_have_shifted_are_told_once(tmp_path, capsys):
    rows = pd.DataFrame({"a": np.arange(80) * 7 % 40, "y": np.arange(80) * 7 % 40 > 20})
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows.assign(a=rows["a"] + 40).to_csv(tmp_path / "new.csv", index=False)
    call("fit", tmp_path / "t.csv", "--target", "y", "--run", tmp_path / "run", "--trials", 1)
    call("predict", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "out.csv")
    assert capsys.readouterr().err.count("differ from those of training in a (1.00 of 1)") == 1


@pytest.mark.parametrize("moment", range(4))
def test_a_replaced_run_is_the_old_or_the_new_one_wherever_it_is_killed(
    searched, file, monkeypatch, moment
):
    run, words = searched
    before, table = (run / "automl.json").read_bytes(), {path.name for path in run.glob("table*")}
    writes = []
    plain = runs.write_atomically

    def killed(path, content):
        writes.append(path.name)
        if len(writes) > moment:
            (run / ".tmp-killed").write_bytes(content[:9])
            raise SystemExit(137)
        plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_atomically", killed)
        call(*words)  # which ends by SystemExit
    report = json.loads(call("report", run, "--json"))
    assert (run / report["table"]).is_file()
    assert len(call("predict", run, file).splitlines()) == 61
    if moment < 2:  # the table, then the report
        assert (run / "automl.json").read_bytes() == before
        assert report["table"] in table
    else:
        assert report["table"] not in table
    call(*words)
    assert not list(run.glob(".tmp-*"))
    assert len(list(run.glob("table*"))) == 1


def test_a_full_disk_leaves_the_run_of_before(searched, file, monkeypatch):
    run, words = searched
    before = call("predict", run, file)

    def full(path, content):
        raise DiskError(f"cannot write to {path} (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_atomically", full)
        with pytest.raises(DiskError, match="No space left"):
            call(*words)
    assert call("predict", run, file) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_is_stopped_saves_its_best_ensemble(tmp_path, file, number):
    run = tmp_path / "run"
    words = ["automl", "fit", file, "--target", "kind", "--budget", "10m", "--run", run]
    env = {**os.environ, "QUICKSTUDY_EXPERIENCE": "off"}
    process = subprocess.Popen(
        [sys.executable, "-m", "quickstudy", *map(str, words)],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # if tests ignore it
    )
    while not (run / "automl.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == f"stopped; the best ensemble so far is in {run}"
    assert len(call("predict", run, file).splitlines()) == 61


def test_a_search_that_finds_nothing_leaves_nothing(tmp_path, file, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("quickstudy.apps.automl.search.problem.fit_pipeline", stop)
    words = ["fit", file, "--target", "kind", "--run", tmp_path / "run"]
    code, _, err = command.run(capsys, "automl", *words)
    assert (code, err.splitlines()[-1]) == (130, "stopped; nothing is saved")
    assert not (tmp_path / "run").exists()


def test_two_searches_for_one_folder_do_not_mix(tmp_path, file):
    words = ["fit", file, "--target", "kind", "--run", tmp_path / "run"]
    with (
        runs.RunWriter(tmp_path / "run", file, "kind"),
        pytest.raises(RunError, match="another process searches for"),
    ):
        call(*words)


def test_a_damaged_run_is_refused(fitted, tmp_path, file):
    run = shutil.copytree(fitted, tmp_path / "run")
    report = json.loads((run / "automl.json").read_text())
    (run / "automl.json").write_text(json.dumps(report | {"table": str(file)}))
    with pytest.raises(RunError, match="damaged: expected a table of its own"):
        call("predict", run, file)
    (run / "automl.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        call("report", run)


DAMAGES = {
    "leaderboard.0.weight": [math.nan, math.inf, -1.0, 2.0, "much", None, 10**400],
    "leaderboard.0.scores": [[math.nan], "good", [[1.0]]],
    "leaderboard.0.family": [None, ["svm"], "x" * 20_000],
    "leaderboard.0.number": [-1, 10**40],
    "leaderboard": [[], None, {}],
    "ensemble": [math.nan, "best"],
    "estimator": ["TableEncoder", None],
    "options.seed": [-1, 10**40, 0.5],
    "options.n_folds": [1, 10**40],
    "rows": [0, -1, "all"],
    "kinds": [None, {"size": 1}],
    "importance": [{"size": [math.nan, 0.0]}, {"size": [0.0]}],
    "pictures": ["search.png", ["search.png"] * 99],
}


@pytest.mark.parametrize(
    ("place", "value"), [(place, value) for place, some in DAMAGES.items() for value in some]
)
def test_a_report_with_a_wrong_value_is_refused_and_named(report, tmp_path, place, value):
    *parts, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = report
    for part in parts:
        inner = inner[part]
    inner[last] = value
    (tmp_path / "automl.json").write_text(json.dumps(report))
    with pytest.raises(RunError, match=f"is damaged: {place}") as refused:
        runs.load_automl(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "key",
    [
        *("estimator", "options", "metric", "target", "table", "kinds", "notes", "leaderboard"),
        *("ensemble", "importance", "pictures", "about"),
    ],
)
def test_a_report_without_a_key_is_refused_and_named(report, tmp_path, key):
    del report[key]
    (tmp_path / "automl.json").write_text(json.dumps(report))
    with pytest.raises(RunError, match=f"is damaged: {key}: Field required"):
        reports.read_report(tmp_path)


def test_a_report_of_no_use_is_refused(report, tmp_path):
    text = json.dumps(report)
    (weight,) = {entry["weight"] for entry in report["leaderboard"] if entry["weight"]}
    for damaged, message in (
        (
            text.replace(f'"weight": {weight}', '"weight": 1e400'),
            "weight: Input should be a finite",
        ),
        (text.replace(f'"weight": {weight}', '"weight": 0.0'), "a pipeline with a weight"),
        ("[" * 200_000, "recursion limit"),
        ("[]", "automl.json: Input should be an object"),
        ("", "EOF"),
        (text.replace('"metric"', '"metric": "\\ud800", "metric"'), "damaged"),
        (f'{text[:-1]}, "more": "{"x" * reports.MAX_BYTES}"}}', "expected 67108864 bytes at most"),
    ):
        (tmp_path / "automl.json").write_text(damaged)
        with pytest.raises(RunError, match=message):
            reports.read_report(tmp_path)


@pytest.fixture
def report(fitted):
    return json.loads((fitted / "automl.json").read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"a,b\n", "rows and columns"),
        (b"a,a\n1,2\n", "'a' more often"),
        (b"a, a\n1,2\n", "'a' more often"),
        (b"a,b\n1,2\n1,2,3\n", "cannot be read"),
        (b"a,b\n1,2,\n3,4,\n", "expected 2 cells in each line of .*, as column names, got 3"),
        (b"a,b\n\n0,1,2\n1,3,4\n", "expected 2 cells in each line"),
        (bytes(range(256)), "in UTF-8"),
        ("a,b\nüber,\x81\n".encode("latin-1"), "in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_frame(tmp_path / "table.csv")


def test_after_semicolons_commas_are_decimal(tmp_path):
    (tmp_path / "table.csv").write_text("size;price\n1,5;2,25\n;3\n")
    frame = read_frame(tmp_path / "table.csv")
    assert frame["size"].dropna().tolist() == ["1.5"]
    assert split_target(frame, "price")[1].tolist() == [2.25, 3.0]


def test_files_of_another_kind_and_targets_that_are_not_there_are_refused(tmp_path, file):
    with pytest.raises(UsageError, match=r"\.csv, \.tsv or \.parquet"):
        read_frame(tmp_path / "table.xlsx")
    with pytest.raises(MissingError, match="found none"):
        read_frame(tmp_path / "no.csv")
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read"):
        read_frame(tmp_path / "no.parquet")
    with pytest.raises(UsageError, match="did you mean 'kind'"):
        split_target(TABLE, "knid")
    with pytest.raises(DataError, match="in some row"):
        split_target(TABLE.assign(kind=None), "kind")
    with pytest.raises(DataError, match="besides the target 'kind'"):
        split_target(TABLE[["kind"]], "kind")


def test_a_text_may_be_long(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    assert read_frame(tmp_path / "table.csv").shape == (1, 2)


def test_names_of_columns_are_without_blanks(tmp_path):
    (tmp_path / "table.csv").write_text("a , b\n1,2\n")
    assert read_frame(tmp_path / "table.csv").columns.tolist() == ["a", "b"]
    (tmp_path / "TABLE.CSV").write_text("a,b\n1,2\n")
    assert read_frame(tmp_path / "TABLE.CSV").columns.tolist() == ["a", "b"]


def test_labels_stay_whole_numbers_where_some_are_missing(tmp_path):
    (tmp_path / "table.csv").write_text("a,y\n1,0\n2,1\n3,\n")
    assert split_target(read_frame(tmp_path / "table.csv"), "y")[1].tolist() == [0, 1]
    (tmp_path / "table.csv").write_text("a,y\n1,0.5\n2,1\n3,\n")
    assert split_target(read_frame(tmp_path / "table.csv"), "y")[1].tolist() == [0.5, 1.0]
    assert str(split_target(read_frame(tmp_path / "table.csv"), "y")[1].dtype) == "float64"


def test_codes_that_were_strings_stay_strings(tmp_path):
    (tmp_path / "table.csv").write_text("code ,n,is\n007,1,TRUE\n12A,2,FALSE\n")
    (tmp_path / "new.csv").write_text("n,code,is\n3,007,TRUE\n4,,FALSE\n")
    columns = learn_columns(read_frame(tmp_path / "table.csv"))
    assert [column.kind for column in columns] == ["category", "number", "category"]
    new = read_columns(read_frame(tmp_path / "new.csv"), columns)
    assert new["code"].dropna().tolist() == ["007"]
    assert (new["n"].tolist(), new["is"].tolist()) == ([3, 4], ["True", "False"])


def test_a_question_mark_is_missing_among_numbers_and_a_level_among_words(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,x\n?,y\n3,?\n4,x\n5,x\n,\n")
    frame = read_frame(tmp_path / "table.csv")
    table = read_columns(frame, learn_columns(frame))
    np.testing.assert_array_equal(table["a"], [1, np.nan, 3, 4, 5, np.nan])
    assert table["b"].fillna("").tolist() == ["x", "y", "?", "x", "x", ""]


WORDS_FOR_NOTHING = ["None", "NA", "null", "n/a", "nan", "?", "N/A", "NULL", "NaN", "-"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_in_a_target_an_empty_cell_alone_is_missing(tmp_path, kind):
    table = pd.DataFrame({"a": range(12), "y": [*WORDS_FOR_NOTHING, "yes", None]})
    if kind == "parquet":
        table.to_parquet(tmp_path / "t.parquet")
    else:
        table.to_csv(tmp_path / f"t.{kind}", index=False, sep="," if kind == "csv" else "\t")
    X, y, n_without = split_target(read_frame(tmp_path / f"t.{kind}"), "y")
    assert n_without == 1
    assert y.tolist() == [*WORDS_FOR_NOTHING, "yes"]
    assert len(X) == 11


def test_classes_that_are_called_none_are_predicted(tmp_path):
    table = TABLE.assign(kind=TABLE["kind"].replace("small", "None"))
    table.to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    call("fit", tmp_path / "t.csv", "--target", "kind", "--trials", "1", "--run", run)
    text = call("predict", run, tmp_path / "t.csv")
    assert text.splitlines()[0] == "kind,p(None),p(large)"
    assert {line.split(",")[0] for line in text.splitlines()[1:]} == {"None", "large"}


def test_a_run_reads_new_tables_as_it_was_fitted(tmp_path):
    size = np.exp(np.random.default_rng(0).normal(7, 1, 60))
    german = [f"{x:,.1f}".translate(str.maketrans(",.", ".,")) for x in size]
    table = pd.DataFrame({"size": german, "y": np.log(size), "id": range(60)})
    table.to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    call("fit", tmp_path / "t.csv", "--target", "y", "--trials", "1", "--run", run)
    assert "decimal mark ','" in call("report", run)
    whole = pd.read_csv(io.StringIO(call("predict", run, tmp_path / "t.csv")))["y"]
    table[["size"]].iloc[3:4].to_csv(tmp_path / "new.csv", index=False)
    alone = pd.read_csv(io.StringIO(call("predict", run, tmp_path / "new.csv")))["y"]
    assert alone[0] == pytest.approx(whole[3])


@pytest.mark.parametrize(
    ("y", "goal"),
    [
        (["$1,234.50", "$7.25", "$8"], "regression"),
        (["5 kg", "10 kg", "5 kg"], "classification"),
        (["007", "012", "007"], "classification"),
        ([f"{i} kg" for i in range(30)], "regression"),
        (["1.5", "2", "3"], "regression"),
        (["<=50K", ">50K"], "classification"),
    ],
)
def test_the_goal_follows_how_a_target_is_written(y, goal):
    assert goal_of(pd.Series(y)) == goal


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",".join(f"c{i}" for i in range(100_001)) + "\n1\n", "100,000 columns at most"),
        (",".join(f"c{i}" for i in range(9000)) + "\n" + "1\n" * 30_000, "200,000,000 cells"),
        ('"' + "x" * 200_000 + '",b\n1,2\n', "cannot be read"),
    ],
)
def test_a_file_that_grows_when_it_is_read_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_frame(tmp_path / "t.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MissingError, match="found none"):
        read_frame(tmp_path / "folder.csv")


def test_what_is_odd_in_a_table_is_in_the_report(tmp_path):
    odd = TABLE.assign(
        nothing=None,
        endless=[float("inf"), *range(59)],
        mixed=[1, "two", 3.5] * 20,
        name=[f"n{i}" for i in range(60)],
    )
    odd.loc[0, "kind"], odd.loc[1, "kind"] = "alone", None
    odd.to_csv(tmp_path / "odd.csv", index=False)
    run = tmp_path / "run"
    call("fit", tmp_path / "odd.csv", "--target", "kind", "--trials", "1", "--run", run)
    output = call("report", run)
    for note in (
        "nearly all of their values differ: name",
        "fewer than two values: nothing",
        "infinite values are taken as missing: endless",
        "all taken as categories: mixed",
        "1 classes have a single row",
        "1 rows without a target are left out",
    ):
        assert note in output


def test_a_table_too_small_for_the_importance_of_columns_is_searched(tmp_path):
    few = pd.DataFrame({"size": [i // 2 + i % 2 / 9 for i in range(40)]})
    few["kind"] = [f"k{i // 2}" for i in range(40)]  # three quarters have too many classes
    few.to_csv(tmp_path / "few.csv", index=False)
    run = tmp_path / "run"
    output = call("fit", tmp_path / "few.csv", "--target", "kind", "--trials", "1", "--run", run)
    assert "Note: the importance of columns is not known: expected classes" in output
    assert call("report", run) in output


def test_a_refusal_is_one_line(file, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["quickstudy", "automl", "fit", str(file), "--target", "knid"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "did you mean 'kind'" in capsys.readouterr().err


def test_whole_numbers_are_classes_while_they_are_few():
    assert goal_of(pd.Series([0, 1, 2])) == "classification"
    assert goal_of(pd.Series(range(21))) == "regression"
    assert goal_of(pd.Series([True, False])) == "classification"
    assert goal_of(pd.Series(["1.5", "x"])) == "classification"
