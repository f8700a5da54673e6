"""Running the same pipelines over tables, and going on after a kill."""

import json
import os
import signal
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

from quickstudy.apps.automl.meta.collect import (
    Split,
    Worker,
    configurations,
    learn,
    read_log,
    run_pipeline,
)
from quickstudy.apps.automl.pipelines.build import make_model
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.tables.public import PublicTable
from quickstudy.errors import RunError, UsageError

WINE = PublicTable("sklearn/wine", "classification", "target", "wine")
DIABETES = PublicTable("sklearn/diabetes", "regression", "target", "diabetes")
LINEAR, NEAREST = (
    ("linear", {"C": 1.0}),
    ("k-nearest neighbours", {"n_neighbors": 3, "weights": "uniform"}),
)


def test_the_pipelines_are_each_familys_default_and_draws_that_can_be_made():
    pipelines = configurations()
    assert {family for family, _ in pipelines} == set(FAMILIES)
    for family, options in pipelines:
        make_model(family, options, "classification")
    assert len({json.dumps(p, sort_keys=True) for p in pipelines}) == len(pipelines)
    assert pipelines == configurations()


def test_the_three_parts_of_a_table_are_apart_and_alike():
    split, other = Split(WINE, 0, 100), Split(WINE, 1, 100)
    together = np.concatenate(split.parts)
    assert sorted(together) == list(range(100))
    assert [len(part) for part in split.parts] == [60, 20, 20]
    assert all(set(split.target[part]) == {0, 1, 2} for part in split.parts)
    assert not np.array_equal(split.parts[1], other.parts[1])


def test_a_pipeline_is_scored_on_rows_it_did_not_see():
    split = Split(WINE, 0, None)
    cell = run_pipeline(split, *LINEAR)
    assert cell.failure is None
    assert cell.valid["accuracy"] > 0.9
    assert cell.test["accuracy"] > 0.9
    split.target[split.parts[2]] = 0  # what is judged by changes no other score
    assert run_pipeline(split, *LINEAR).valid == cell.valid


def test_a_pipeline_that_fails_is_a_result():
    cell = run_pipeline(Split(DIABETES, 0, 60), "svm", {"C": 1.0})
    assert cell.failure == "UsageError: expected the option 'gamma' of svm, got {'C': 1.0}"
    assert (cell.valid, cell.test) == ({}, {})


def test_a_run_that_was_killed_goes_on_with_more_pipelines(tmp_path):
    log = tmp_path / "log.jsonl"
    first = asdict(run_pipeline(Split(WINE, 0, 60), *LINEAR))
    log.write_text(json.dumps(first) + '\n{"table": "sklearn/di')  # as a kill leaves it
    lines = learn([WINE, DIABETES], log, pipelines=[LINEAR, NEAREST], n_splits=1, most_rows=60)
    assert lines[0] == first
    done = [(line["table"], line["family"]) for line in lines if "split" in line]
    assert len(done) == len(set(done)) == 4
    known = {line["table"]: line["features"] for line in lines if "features" in line}
    assert known["sklearn/wine"]["log_rows"] == pytest.approx(np.log(60))
    assert read_log(log) == lines


def test_what_takes_too_long_is_ended_and_not_tried_again(tmp_path):
    lines = learn(
        [WINE], tmp_path / "log", pipelines=[LINEAR], n_splits=2, most_rows=60, cell_limit=1e-6
    )
    assert [line["failure"] for line in lines if "split" in line] == ["took too long"]


def test_a_process_that_breaks_down_is_a_failure_and_the_next_one_works():
    with Worker(60) as worker:
        job = (WINE, 0, 60)
        worker.run(*job, *LINEAR)
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.join()
        assert worker.run(*job, *LINEAR).failure == "the process broke down"
        assert worker.run(*job, *LINEAR).failure is None


def test_no_time_is_no_pipeline(tmp_path):
    assert learn([WINE], tmp_path / "log", pipelines=[LINEAR], time_budget=-1.0) == []


def test_what_cannot_be_gone_on_with_is_refused(tmp_path):
    log = tmp_path / "log"
    log.write_text('{"table": "a", "goal": "regression", "most_rows": 70, "features": {}}\n')
    with pytest.raises(RunError, match="was made with another number of rows"):
        learn([WINE], log, most_rows=60)
    log.write_text("[1]\n")
    with pytest.raises(RunError, match="is no log of learning, or damaged"):
        learn([WINE], log)
    with pytest.raises(UsageError, match="expected n_splits >= 1, most_rows >= 50"):
        learn([WINE], log, most_rows=5)
