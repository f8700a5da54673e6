import json

import pytest

from quickstudy.apps import reproduce
from quickstudy.apps.reproduce import gaps, kept_results, reproductions
from quickstudy.recipes import recipe_names
from quickstudy.recipes.recipe import load_recipe


def test_gaps_are_measured_less_published():
    recipe = load_recipe("maml_omniglot")
    entry = {"title": "5-way 1-shot", "metric": "accuracy", "mean": 0.977, "interval": 0.004}
    row = next(r for r in gaps(recipe, [entry]) if r["test"] == "5-way 1-shot")
    assert (row["published"], row["measured"]) == (98.7, pytest.approx(97.7))
    assert row["gap"] == pytest.approx(-1.0)
    assert gaps(recipe, [])[0]["measured"] is None


def test_every_test_of_every_recipe_has_a_row_and_kept_results_fill_it():
    rows = reproductions()
    titles = [(n, t.title) for n in recipe_names() for t in load_recipe(n).test]
    assert [(row["recipe"], row["test"]) for row in rows] == titles
    for row in rows:
        kept = kept_results(row["recipe"])
        assert (row["minutes"] is None) == (kept is None)


def test_kept_results_name_tests_that_the_recipes_have():
    for name in recipe_names():
        kept = kept_results(name)
        if kept:
            entries = next(iter(kept["test"]["results"].values()))
            known = {test.title for test in load_recipe(name).test}
            assert {entry["title"] for entry in entries} <= known


def test_results_of_an_installed_package_come_first(tmp_path, monkeypatch):
    module = tmp_path / "quickstudy" / "apps" / "reproduce.py"
    results = tmp_path / "quickstudy" / "recipes" / "results"
    results.mkdir(parents=True)
    (results / "x.json").write_text(json.dumps({"kept": True}))
    monkeypatch.setattr(reproduce, "__file__", str(module))
    assert kept_results("x") == {"kept": True}
    assert kept_results("y") is None
