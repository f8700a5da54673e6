"""The measured results in README and docs: whole, and with the interval that allows for classes."""

import importlib.util
from pathlib import Path

import pytest

from quickstudy.experiments.report import INTERVALS, result_rows

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(entry=None, commit="0123456789ab"):
    score = {"title": "5-way 1-shot", "metric": "accuracy", "mean": 0.5, "n_tasks": 600}
    score |= {"interval": 0.01, "clustered_interval": 0.06, "published": 49.0, **(entry or {})}
    train = {"seconds": 60.0, "commit": commit}
    return {"about": "x", "train": train, "test": {"commit": commit, "results": {"score": [score]}}}


def test_readme_and_docs_hold_the_tables_of_the_saved_results(results):
    for page, text in results.pages().items():
        assert page.read_text() == text, f"run `python benchmarks/results.py write` for {page}"


def test_the_interval_that_is_shown_is_the_one_clustered_by_class():
    (entry,) = report()["test"]["results"]["score"]
    assert result_rows({"score": [entry]})[1][2] == "50.00 ± 6.00"
    assert "clustered by class" in INTERVALS
    assert result_rows({"score": [{**entry, "clustered_interval": None}]})[1][2] == "50.00 ± 1.00"


@pytest.mark.parametrize("make", ["_table", "_beside_published"])
def test_an_interval_by_an_older_formula_and_a_tree_with_changes_are_marked(results, make):
    made = getattr(results, make)
    assert not set(results.MARKS) & set(made({"x": report()}))
    narrow = made({"x": report({"clustered_interval": 0.009})})
    assert "50.00 ± 1.00 †" in narrow
    assert f"\n† {results.MARKS['†']}\n" in narrow
    changed = made({"x": report(commit="0123456789ab-dirty")})
    assert "`x` ‡" in changed
    assert f"\n‡ {results.MARKS['‡']}\n" in changed


def test_a_table_without_labels_has_a_row_a_kept_recipe_and_a_column_a_kind_of_task(results):
    reports = {"x": report(), "y": report({"title": "20-way 1-shot"}), "other": report()}
    lines = results._without_labels(reports, {"x": "one", "y": "two", "absent": "three"}).split(
        "\n"
    )
    assert lines[0] == "| trained | 5-way 1-shot | 20-way 1-shot | in |"
    assert lines[2] == "| one, `x` | 50.00 ± 6.00 (49.0) |  | 1 min |"
    assert lines[3] == "| two, `y` |  | 50.00 ± 6.00 (49.0) | 1 min |"
    assert len(lines) == 5
