import json

import pytest

from quickstudy.experiments import reproduce
from quickstudy.experiments.reproduce import gaps, keep_over_seeds, reproductions, saved_results
from quickstudy.recipes import recipe_names
from quickstudy.recipes.loading import load_recipe


def test_gaps_are_measured_less_published():
    recipe = load_recipe("maml_omniglot")
    entry = {"title": "5-way 1-shot", "metric": "accuracy", "mean": 0.977, "interval": 0.004}
    entry["clustered_interval"] = 0.007
    row = next(r for r in gaps(recipe, [entry]) if r["test"] == "5-way 1-shot")
    assert (row["published"], row["measured"]) == (98.7, pytest.approx(97.7))
    assert row["gap"] == pytest.approx(-1.0)
    assert row["interval"] == pytest.approx(0.7)  # the one that is clustered by class
    assert gaps(recipe, [])[0]["measured"] is None


def test_every_test_of_every_recipe_has_a_row_and_saved_results_fill_it():
    rows = reproductions()
    titles = [(n, t.title) for n in recipe_names() for t in load_recipe(n).test]
    assert [(row["recipe"], row["test"]) for row in rows] == titles
    for row in rows:
        kept = saved_results(row["recipe"])
        assert (row["minutes"] is None) == (kept is None)


def test_saved_results_name_tests_that_the_recipes_have():
    for name in recipe_names():
        kept = saved_results(name)
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
    assert saved_results("x") == {"kept": True}
    assert saved_results("y") is None


def test_a_report_over_seeds_has_the_mean_and_the_spread_of_the_runs(tmp_path):
    reports = [
        {
            "about": "x",
            "train": {"seed": seed, "seconds": 10.0 * seed},
            "test": {
                "seed": seed,
                "results": {"score": [{"title": "t", "mean": mean, "clustered_interval": half}]},
            },
        }
        for seed, (mean, half) in enumerate([(0.9, 0.1), (0.92, 0.06), (0.94, 0.08)])
    ]
    report = keep_over_seeds(tmp_path, reports)
    (entry,) = report["test"]["results"]["score"]
    assert entry["mean"] == pytest.approx(0.92)
    assert entry["spread"] == pytest.approx(0.02)
    assert entry["clustered_interval"] == pytest.approx(0.08)
    assert entry["interval"] == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-4)  # t of 2 degrees
    assert entry["scores"] == [0.9, 0.92, 0.94]
    assert report["train"] == {"seed": [0, 1, 2], "seconds": 10.0}
    assert json.loads((tmp_path / "report.json").read_text()) == report
